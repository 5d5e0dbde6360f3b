"""Files are read once, as long as their size and times stay the same."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from pipelines.preparing import FileHashes, file_hashes


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "hashes.npy"


@pytest.fixture
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files count as settled at once."""
    monkeypatch.setattr(file_hashes, "_UNSETTLED_NS", 0)


def hashes(cache: Path, *paths: Path) -> list[str | None]:
    with FileHashes(cache) as files:
        found = files.hash(map(str, paths))
        assert files.hash(map(str, paths)) == found
    return [found[str(path)] for path in paths]


def write(folder: Path, count: int, prefix: str = "") -> list[Path]:
    paths = [folder / f"{number}.wav" for number in range(count)]
    for number, path in enumerate(paths):
        path.write_text(f"{prefix}{number}")
    return paths


def seconds_of_reading(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the files that are opened from here on."""
    opened: list[str] = []
    plain = Path.open

    def noted(path: Path, *arguments: object, **options: object) -> object:
        opened.append(path.name)
        return plain(path, *arguments, **options)  # type: ignore[call-overload]

    monkeypatch.setattr(Path, "open", noted)
    return opened


def test_files_with_the_same_bytes_have_the_same_hash(cache: Path, tmp_path: Path) -> None:
    paths = write(tmp_path, 300)
    paths[7].write_text("6")
    found = hashes(cache, *paths)
    assert found[7] == found[6]
    assert len({*found}) == 299 and None not in found


def test_a_missing_an_empty_file_and_a_folder_have_none(cache: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    assert hashes(cache, tmp_path / "missing", tmp_path / "empty", tmp_path) == [None] * 3
    assert not cache.exists()


@pytest.mark.usefixtures("settled")
def test_an_unchanged_file_is_not_read_again(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = write(tmp_path, 5)
    before = hashes(cache, *paths)
    paths[3].write_text("another")
    opened = seconds_of_reading(monkeypatch)
    after = hashes(cache, *paths)
    assert {*opened} & {path.name for path in paths} == {"3.wav"}
    assert [new == old for new, old in zip(after, before, strict=True)] == [True, True, True, False, True]


@pytest.mark.usefixtures("settled")
def test_a_file_of_the_same_size_and_modification_time_is_read_again_when_it_was_changed(
    cache: Path, tmp_path: Path
) -> None:
    (path,) = write(tmp_path, 1)
    before, times = hashes(cache, path), path.stat()
    time.sleep(0.02)
    path.write_text("1")
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert hashes(cache, path) != before


def test_a_file_that_has_just_changed_is_not_remembered(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = write(tmp_path, 2)
    hashes(cache, *paths)
    opened = seconds_of_reading(monkeypatch)
    hashes(cache, *paths)
    assert {"0.wav", "1.wav"} <= {*opened}


@pytest.mark.usefixtures("settled")
@pytest.mark.parametrize("content", [b"", b"not an array", b"\x93NUMPY\x01\x00"])
def test_a_damaged_cache_costs_time_only(cache: Path, tmp_path: Path, content: bytes) -> None:
    paths = write(tmp_path, 3)
    before = hashes(cache, *paths)
    cache.write_bytes(content)
    assert hashes(cache, *paths) == before
    assert len(cache.read_bytes()) > 3 * 16


@pytest.mark.usefixtures("settled")
def test_hashes_are_kept_where_something_else_fails(cache: Path, tmp_path: Path) -> None:
    paths = write(tmp_path, 3)
    with pytest.raises(RuntimeError), FileHashes(cache) as files:
        files.hash(map(str, paths))
        raise RuntimeError
    assert cache.exists()
