"""Addresses of databases and servers, and their passwords, which are shown and written nowhere.

A setting, a file, a pickle and a message hold an address with three dots in place of each password. What they stand for
is known to the process that was given the whole address; another one finds it in an environment variable.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from urllib.parse import quote

from fgcme.errors import UserError

TRACKING, STUDY = "MLFLOW_TRACKING_URI", "FGCME_STUDY_STORAGE"
"""Environment variables that may hold a whole address: of the runs, and of a study that drivers share."""

_HIDDEN = "..."
_MARK = re.compile(r":\.\.\.@|[?&;][^=]*=\.\.\.(?:[&;]|$)")
_WITH_USER = re.compile(r"(?P<user>[^:/]*):(?P<password>.+)@(?P<place>[^@]*)", re.DOTALL)
_PLACE = re.compile(r"(?:\[[^\]]*\]|[^/:@]*)(?::\d*)?(?:/[^@]*)?", re.DOTALL)
_OVERRIDE = re.compile(r"([\w.]+=)(\w[\w+.-]*://.*)", re.DOTALL)
# A parameter of an address whose value is a password, by its name.
_SECRET_PARAMETER = re.compile(
    r"[?&;][^?&;=\s]*(?:passw|pwd|secret|token|odbc_connect|api_?key|access_?key|signature)[^?&;=\s]*=([^&;\s]+)",
    re.IGNORECASE,
)
# In a text nobody knows where a password ends that holds a `/` or an `@`: hide too much rather than too little.
_SECRET_OF_USER = re.compile(r"://[^/:@?\s]*(?:@[^/:@?\s]*)?:(\S+)@")

# Hidden address -> whole address.
_known: dict[str, str] = {}


def hide(address: str) -> str:
    """An address with three dots in place of each password; this process keeps the whole address for `reveal`.

    A server's address loses the slash at its end.

    >>> hide("postgresql://me:pass/w@rd@host/study?connect_timeout=3")
    'postgresql://me:...@host/study?connect_timeout=3'
    >>> reveal("postgresql://me:...@host/study?connect_timeout=3")
    'postgresql://me:pass%2Fw%40rd@host/study?connect_timeout=3'

    Raises:
        UserError: nobody can tell where the password ends.
    """
    address = address.rstrip("/") if address.startswith("http") else address
    scheme, colon, rest = address.partition("://")
    if not colon:
        return address
    head, question, query = rest.partition("?")
    shown_query = _replace(question + query, _SECRET_PARAMETER)
    if "@" in query and ("@" in shown_query or not _PLACE.fullmatch(head)):
        raise UserError(f"{scheme}://{_HIDDEN}: write each `@` behind a `?` as %40, and a `?` of a password as %3F")
    hidden, whole = f"{scheme}://{head}{shown_query}", address
    if match := _WITH_USER.fullmatch(head):
        hidden = f"{scheme}://{match['user']}:{_HIDDEN}@{match['place']}{shown_query}"
        # What else stands in an address has to be quoted in a password; what is quoted already stays as it is.
        password = quote(re.sub(r"%(?![0-9a-fA-F]{2})", "%25", match["password"]), safe="%")
        whole = f"{scheme}://{match['user']}:{password}@{match['place']}{question}{query}"
    if hidden != whole:
        _known[hidden] = whole
    return hidden


def reveal(hidden: str) -> str:
    """The whole address of a hidden one, known to this process or from an environment variable.

    Raises:
        UserError: its password is not known here; says where to put it.
    """
    if hidden not in _known and is_hidden(hidden):
        for name in (TRACKING, STUDY):
            hide(os.environ.get(name, ""))
        if hidden not in _known:
            raise UserError(
                f"{hidden}: its password is not known here; set {TRACKING} (of the runs) or {STUDY} (of a study) to "
                "the whole address"
            )
    return _known.get(hidden, hidden)


def is_hidden(address: str) -> bool:
    """Whether three dots stand for a password in an address."""
    return bool(_MARK.search(address))


def known_addresses() -> dict[str, str]:
    """What this process knows of hidden addresses, for a process that it trusts; never for a file."""
    return dict(_known)


def learn_addresses(known: Mapping[str, str]) -> None:
    """Take over what another process knows of hidden addresses, as `known_addresses` returned it."""
    _known.update(known)


def without_passwords(text: str) -> str:
    """A text with the password of every address in it replaced by dots.

    >>> without_passwords("postgresql://fgcme:secret@database:5432/runs does not answer")
    'postgresql://fgcme:...@database:5432/runs does not answer'
    """
    return _replace(text, _SECRET_OF_USER, _SECRET_PARAMETER)


def hide_in_setting(address: str | None) -> str | None:
    """A setting that may be an address, with its password hidden.

    Raises:
        ValueError: nobody can tell where the password ends.
    """
    try:
        return None if address is None else hide(address)
    except UserError as error:
        raise ValueError(str(error)) from None


def hide_in_override(word: str) -> str:
    """A word of a command, with the password of its address hidden if it is an override such as `tracking.uri=ADDRESS`.

    >>> hide_in_override("tracking.uri=http://me:two words@host")
    'tracking.uri=http://me:...@host'

    Raises:
        UserError: nobody can tell where the password ends.
    """
    match = _OVERRIDE.fullmatch(word)
    return match[1] + hide(match[2]) if match else word


def _replace(text: str, *patterns: re.Pattern[str]) -> str:
    """A text with dots in place of what the patterns' groups match, together where they overlap."""
    shown, end = [], 0
    for start, stop in sorted(match.span(1) for pattern in patterns for match in pattern.finditer(text)):
        if start >= end:
            shown += [text[end:start], _HIDDEN]
        end = max(end, stop)
    return "".join([*shown, text[end:]])
