"""What surrounds the program: an output that holds few letters, and a proxy that stands before this machine too."""

from __future__ import annotations

import codecs
import io
import os
from collections.abc import Iterable, MutableMapping
from typing import TextIO

# What stands for the signs of this program's own lines.
_PLAIN = {
    "\u2212": "-",
    "\u2013": "-",
    "\u2014": "-",
    "\u2026": "...",
    "\u00b1": "+-",
    "\u00d7": "x",
    "\u2192": "->",
    "\u00a0": " ",
}
_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_PROXIES = ("http_proxy", "https_proxy", "all_proxy")
_HANDLER = "fgcme.plain"


def write_what_can_be_written(streams: Iterable[TextIO]) -> None:
    """Let outputs replace what they cannot hold, as in `PYTHONIOENCODING=ascii`, instead of ending the program."""
    codecs.register_error(_HANDLER, _replace)
    for stream in streams:
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=_HANDLER)


def _replace(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    characters = error.object[error.start : error.end]
    return "".join(
        _PLAIN.get(each, each.encode("ascii", "backslashreplace").decode()) for each in characters
    ), error.end


def keep_loopback_from_proxies(environment: MutableMapping[str, str] = os.environ) -> None:
    """Let what listens on this machine be reached directly, where a proxy is set for everything else.

    Ray's and MLflow's servers on this machine are asked by HTTP, and a proxy does not know them.
    """
    if not any(environment.get(name) or environment.get(name.upper()) for name in _PROXIES):
        return
    given = environment.get("no_proxy") or environment.get("NO_PROXY") or ""
    names = [name.strip() for name in given.split(",") if name.strip()]
    if "*" not in names:
        names += [name for name in _LOOPBACK if name not in names]
    # Some libraries read the one, some the other.
    environment["no_proxy"] = environment["NO_PROXY"] = ",".join(names)
