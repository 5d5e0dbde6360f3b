"""Fetching a corpus's files from its makers: resumed where it broke off, and kept only if the bytes are theirs."""

from __future__ import annotations

import hashlib
import re
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

import requests

from fgcme.corpora.contract import Download
from fgcme.errors import UserError
from fgcme.files import locked

# Of a chunk that a connection breaks off in, nothing is kept.
_CHUNK = 1 << 14
# Attempts in a row that bring no byte.
_ATTEMPTS = 5
# Answers after which to ask again: too many requests, or a server in trouble.
_TRANSIENT = (429, 500, 502, 503, 504)
_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+)")


def fetch(
    download: Download,
    folder: Path,
    tell: Callable[[int], None] = lambda _: None,
    wait: float = 2.0,
    patience: float = 60.0,
) -> Path:
    """Fetch a file; what an earlier attempt brought is kept beside it as `NAME.part`, and gone on with.

    Args:
        download: what to fetch.
        folder: where it goes.
        tell: is told how many bytes are here, again and again.
        wait: seconds before asking again after a failure, doubled each time.
        patience: seconds after which a server that says nothing counts as failed.

    Returns:
        The file, whose size and MD5 are those that its makers publish.

    Raises:
        UserError: the server does not have it, offers another size or other bytes, breaks off again and again; or the
            disk is full.
    """
    target = folder / download.name
    if target.exists():
        _refuse_other_bytes(target, download)
        return target
    try:
        folder.mkdir(parents=True, exist_ok=True)
        partial = folder / f"{download.name}.part"
        with locked(partial) as file:
            # Another process may have brought it while this one waited.
            try:
                if not target.exists():
                    _complete(file, download, tell, wait, patience)
                    _refuse_other_bytes(partial, download)
                    partial.replace(target)
            finally:
                # Nothing was brought that the next attempt could go on with.
                if partial.exists() and not partial.stat().st_size:
                    partial.unlink()
    except OSError as error:
        raise UserError(f"{folder}: {download.name} cannot be written ({error.strerror or error})") from None
    return target


def _complete(file: IO[bytes], download: Download, tell: Callable[[int], None], wait: float, patience: float) -> None:
    """Bring a partial file to its full size; see `fetch`."""
    failures = 0
    while (have := file.seek(0, 2)) != download.size:
        if have > download.size:
            file.truncate(0)
            continue
        folder, needed = Path(file.name).parent, download.size - have
        if needed > (free := shutil.disk_usage(folder).free):
            raise UserError(f"{folder}: {download.name} needs {needed:,} bytes more, and the disk has {free:,} left")
        try:
            for chunk in _chunks(file, download, have, patience):
                file.write(chunk)
                tell(file.tell())
        except (requests.RequestException, _TransientError) as error:
            said = (
                f"the connection failed, {type(error).__name__}"
                if isinstance(error, requests.RequestException)
                else str(error)
            )
        else:
            said = f"it ended after {file.tell():,} of {download.size:,} bytes"
        failures = 0 if file.tell() > have else failures + 1
        if failures == _ATTEMPTS:
            raise UserError(
                f"{download.url}: {_ATTEMPTS} attempts in a row brought nothing ({said}); the {have:,} bytes that are "
                "here are kept: try again later"
            )
        if file.tell() != download.size:
            time.sleep(wait * 2 ** max(failures - 1, 0))


class _TransientError(Exception):
    """The server is in trouble, and may be out of it later."""


def _chunks(file: IO[bytes], download: Download, have: int, patience: float) -> Iterator[bytes]:
    """What a server sends of the file from a byte on; the partial file is emptied where it starts from the first.

    Args:
        file: the partial file.
        download: what to fetch.
        have: bytes of it that are here.
        patience: see `fetch`.

    Raises:
        UserError: it does not have the file, or offers another size.
    """
    # Compressed on its way, a file would have another length.
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})
    with requests.get(download.url, headers=headers, stream=True, timeout=patience) as answer:
        if answer.status_code in _TRANSIENT:
            raise _TransientError(f"the server answers {answer.status_code} {answer.reason}")
        if answer.status_code == 416:
            # What is here is no beginning of what the server has.
            file.truncate(0)
            raise _TransientError("the server has no such range")
        if answer.status_code not in (200, 206):
            raise UserError(
                f"{download.url}: the server answers {answer.status_code} {answer.reason}; its makers may have moved it"
            )
        offered, start = answer.headers.get("Content-Length"), 0
        if answer.status_code == 206:
            match = _RANGE.fullmatch(answer.headers.get("Content-Range", ""))
            if match is None or int(match[1]) != have:
                file.truncate(0)
                raise _TransientError("the server sends another range than it was asked for")
            offered, start = match[2], have
        elif have:
            file.truncate(0)
        if offered is not None and int(offered) != download.size:
            raise UserError(
                f"{download.url}: the server offers {int(offered):,} bytes where its makers publish {download.size:,}; "
                "nothing is fetched"
            )
        room = download.size - start
        for chunk in answer.iter_content(_CHUNK):
            if len(chunk) > room:
                raise UserError(
                    f"{download.url}: the server sends more than the {download.size:,} bytes that its makers publish"
                )
            room -= len(chunk)
            yield chunk


def _refuse_other_bytes(path: Path, download: Download) -> None:
    """Refuse a file that is not the one published; a partial one is deleted, so that the next attempt starts anew."""
    with path.open("rb") as file:
        # No secret: the sum by which its makers let everybody check it.
        found = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
    if found == download.md5:
        return
    if path.name != download.name:
        path.unlink()
        raise UserError(
            f"{download.url}: what the server sends is not what its makers publish (MD5 {found}, not {download.md5}); "
            "it is not kept"
        )
    raise UserError(f"{path}: not what its makers publish (MD5 {found}, not {download.md5}); move it away")
