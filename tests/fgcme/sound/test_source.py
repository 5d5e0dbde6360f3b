"""What is no sound is refused before it is decoded, with the reason."""

import io
import os
from pathlib import Path

import pytest

from fgcme.sound import AudioError, check_source
from fgcme.sound.source import from_beginning, read_all


def reason(path: str | Path) -> tuple[str, str]:
    with pytest.raises(AudioError) as caught:
        check_source(path)
    return caught.value.reason, caught.value.message


def test_what_is_no_file_is_refused_without_waiting_for_it(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.wav")
    assert reason(tmp_path / "pipe.wav") == ("unreadable", f"{tmp_path / 'pipe.wav'} is no file")
    assert reason("/dev/zero")[0] == "unreadable"
    (tmp_path / "loop.wav").symlink_to("loop.wav")
    assert reason(tmp_path / "loop.wav")[0] == "unreadable"


@pytest.mark.parametrize("name", ["a\0b.wav", "\ud800.wav"])
def test_what_is_no_path_is_missing(tmp_path: Path, name: str) -> None:
    kind, message = reason(tmp_path / name)
    assert kind == "missing" and "is no path" in message
    message.encode()


@pytest.mark.parametrize("page", [b"<!DOCTYPE html><title>404</title>", b"\n <HTML>", b'<?xml version="1.0"?>'])
def test_a_web_page_is_told_from_damage(tmp_path: Path, page: bytes) -> None:
    (tmp_path / "a.wav").write_bytes(page)
    assert "is a web page, not audio" in reason(tmp_path / "a.wav")[1]


def test_a_stream_is_left_where_it_was_and_decoded_from_its_beginning() -> None:
    stream = io.BytesIO(b"RIFF and more")
    stream.seek(4)
    check_source(stream)
    assert stream.tell() == 4
    again = from_beginning(stream)
    assert not isinstance(again, str | Path) and again.read() == read_all(stream) == b"RIFF and more"
    # A decoder of a damaged file may look before its beginning, and only learns that there is nothing.
    assert again.seek(-1) == -1
