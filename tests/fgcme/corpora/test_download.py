"""Fetching from servers that break off, lie about the length, serve other bytes, or know no ranges."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import pytest
from typing_extensions import override

from fgcme.corpora.contract import Download
from fgcme.corpora.download import fetch
from fgcme.errors import UserError

CONTENT = bytes(range(256)) * 4096  # 1 MiB


class Server(BaseHTTPRequestHandler):
    """Serves `CONTENT` with the faults that a test asks for; notes the ranges that it is asked for."""

    content: ClassVar[bytes] = CONTENT
    # How many bytes each of the next answers sends before it breaks off.
    breaks: ClassVar[list[int]] = []
    # Statuses of the next answers.
    statuses: ClassVar[list[int]] = []
    ranges: ClassVar[bool] = True
    says: ClassVar[int | None] = None
    sized: ClassVar[bool] = True
    shift: ClassVar[int] = 0
    asked: ClassVar[list[str | None]] = []

    @override
    def log_message(self, format: str, *args: object) -> None:
        """Nobody reads it."""

    def do_GET(self) -> None:
        """Answer as the test wants."""
        kind = type(self)
        asked = self.headers.get("Range")
        kind.asked.append(asked)
        if kind.statuses:
            self.send_error(kind.statuses.pop(0))
            return
        start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked and kind.ranges else 0
        if start >= len(kind.content):
            self.send_error(416)
            return
        body, size = kind.content[start:], kind.says or len(kind.content)
        self.send_response(206 if start else 200)
        if start:
            begin = start + kind.shift
            self.send_header("Content-Range", f"bytes {begin}-{size - 1}/{size}")
        if kind.sized:
            self.send_header("Content-Length", str(size - start))
        self.end_headers()
        self.wfile.write(body[: kind.breaks.pop(0)] if kind.breaks else body)


@pytest.fixture
def server() -> Iterator[tuple[type[Server], str]]:
    kind = type("Own", (Server,), {"breaks": [], "statuses": [], "asked": []})
    with ThreadingHTTPServer(("127.0.0.1", 0), kind) as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield kind, f"http://127.0.0.1:{running.server_port}/corpus.zip"
        running.shutdown()


def published(url: str, content: bytes = CONTENT) -> Download:
    digest = hashlib.md5(content, usedforsecurity=False).hexdigest()
    return Download(url, "corpus.zip", len(content), digest)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_is_fetched_whole_and_its_progress_told(server: tuple[type[Server], str], tmp_path: Path) -> None:
    told: list[int] = []
    path = fetch(published(server[1]), tmp_path / "new", told.append)
    assert path.read_bytes() == CONTENT
    assert names(tmp_path / "new") == ["corpus.zip"]
    assert told == sorted(told) and told[-1] == len(CONTENT)
    assert server[0].asked == [None]


def test_a_server_that_breaks_off_is_asked_for_the_rest_only(server: tuple[type[Server], str], tmp_path: Path) -> None:
    kind, url = server
    kind.breaks[:] = [327_680, 0, 491_520]
    assert fetch(published(url), tmp_path, wait=0).read_bytes() == CONTENT
    assert kind.asked == [None, "bytes=327680-", "bytes=327680-", "bytes=819200-"]


def test_what_was_fetched_before_a_failure_is_kept_and_gone_on_with(
    server: tuple[type[Server], str], tmp_path: Path
) -> None:
    kind, url = server
    kind.breaks[:] = [327_680, 0, 0, 0, 0, 0]
    with pytest.raises(UserError, match=r"5 attempts in a row brought nothing .*327,680 bytes that are here are kept"):
        fetch(published(url), tmp_path, wait=0)
    assert names(tmp_path) == ["corpus.zip.part"]
    assert fetch(published(url), tmp_path, wait=0).read_bytes() == CONTENT
    assert kind.asked[-1] == "bytes=327680-"
    assert names(tmp_path) == ["corpus.zip"]


def test_a_server_in_trouble_is_asked_again_and_one_that_has_no_such_file_is_not(
    server: tuple[type[Server], str], tmp_path: Path
) -> None:
    kind, url = server
    kind.statuses[:] = [503, 429]
    assert fetch(published(url), tmp_path / "one", wait=0).read_bytes() == CONTENT
    kind.statuses[:] = [404]
    with pytest.raises(UserError, match="the server answers 404 Not Found; its makers may have moved it"):
        fetch(published(url), tmp_path / "other", wait=0)
    assert len(kind.asked) == 4


def test_a_server_that_knows_no_ranges_starts_anew(server: tuple[type[Server], str], tmp_path: Path) -> None:
    kind, url = server
    kind.ranges = False
    kind.breaks[:] = [327_680]
    assert fetch(published(url), tmp_path, wait=0).read_bytes() == CONTENT


def test_a_server_that_sends_another_range_than_asked_for_is_not_believed(
    server: tuple[type[Server], str], tmp_path: Path
) -> None:
    kind, url = server
    kind.breaks[:] = [327_680]
    kind.shift = 1
    assert fetch(published(url), tmp_path, wait=0).read_bytes() == CONTENT
    assert kind.asked == [None, "bytes=327680-", None]


@pytest.mark.parametrize("says", [len(CONTENT) - 1, 10 * len(CONTENT)])
def test_a_server_that_offers_another_size_is_refused_before_anything_is_fetched(
    server: tuple[type[Server], str], tmp_path: Path, says: int
) -> None:
    kind, url = server
    kind.says = says
    with pytest.raises(
        UserError, match=f"offers {says:,} bytes where its makers publish 1,048,576; nothing is fetched"
    ):
        fetch(published(url), tmp_path, wait=0)
    assert names(tmp_path) == []


def test_a_server_that_says_no_size_and_sends_more_is_refused(server: tuple[type[Server], str], tmp_path: Path) -> None:
    kind, url = server
    kind.sized = False
    kind.content = CONTENT + b"more"
    with pytest.raises(UserError, match="sends more than the 1,048,576 bytes"):
        fetch(published(url), tmp_path, wait=0)
    assert not (tmp_path / "corpus.zip").exists()


def test_other_bytes_of_the_same_size_are_not_kept(server: tuple[type[Server], str], tmp_path: Path) -> None:
    kind, url = server
    kind.content = CONTENT[::-1]
    with pytest.raises(UserError, match=r"is not what its makers publish \(MD5 .*\); it is not kept"):
        fetch(published(url), tmp_path, wait=0)
    assert names(tmp_path) == []
    kind.content = CONTENT
    assert fetch(published(url), tmp_path, wait=0).read_bytes() == CONTENT


def test_a_file_that_is_here_is_checked_and_not_fetched_again(server: tuple[type[Server], str], tmp_path: Path) -> None:
    kind, url = server
    fetch(published(url), tmp_path)
    fetch(published(url), tmp_path)
    assert len(kind.asked) == 1
    (tmp_path / "corpus.zip").write_bytes(b"something else")
    with pytest.raises(UserError, match=r"corpus\.zip: not what its makers publish .*; move it away"):
        fetch(published(url), tmp_path)


def test_a_part_that_is_longer_than_the_file_is_started_anew(server: tuple[type[Server], str], tmp_path: Path) -> None:
    (tmp_path / "corpus.zip.part").write_bytes(CONTENT + b"more")
    assert fetch(published(server[1]), tmp_path, wait=0).read_bytes() == CONTENT


def test_a_file_beyond_the_disk_s_room_is_refused_before_it_is_fetched(
    server: tuple[type[Server], str], tmp_path: Path
) -> None:
    with pytest.raises(UserError, match="needs 1,000,000,000,000,000,000 bytes more, and the disk has"):
        fetch(Download(server[1], "corpus.zip", 10**18, "0" * 32), tmp_path)
    assert server[0].asked == []


def test_a_folder_that_cannot_be_made_is_refused_by_its_name(server: tuple[type[Server], str], tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"file/below: corpus\.zip cannot be written"):
        fetch(published(server[1]), tmp_path / "file" / "below")
