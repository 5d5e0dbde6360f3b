"""Files written in one step, and folders that count by their content."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from fgcme.files import atomic_write, digest_folder, write_text


def test_a_file_appears_only_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with atomic_write(path) as partial:
        partial.write_text("new")
        assert not path.exists()
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


def test_an_error_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_text(path, "old")
    with pytest.raises(RuntimeError), atomic_write(path) as partial:
        partial.write_text("half")
        raise RuntimeError
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_two_writers_write_to_different_files_and_the_last_one_stays(tmp_path: Path) -> None:
    with atomic_write(tmp_path / "file") as first, atomic_write(tmp_path / "file") as second:
        assert first != second
        first.write_text("first")
        second.write_text("second")
    assert (tmp_path / "file").read_text() == "first"


def test_the_content_is_synced_before_the_file_gets_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    existed: list[bool] = []
    sync = os.fsync
    monkeypatch.setattr(os, "fsync", lambda file: (existed.append((tmp_path / "file").exists()), sync(file)))
    write_text(tmp_path / "file", "new")
    assert existed == [False]


def test_a_folder_s_hash_follows_its_files_and_not_its_place(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    (folder / "part").mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    (folder / "part" / "weights.bin").write_bytes(b"1234")
    base = digest_folder(folder)
    (folder / ".cache").mkdir()
    (folder / ".cache" / "metadata").write_text("when it was fetched")
    os.utime(folder / "config.json", (0, 0))
    assert digest_folder(folder) == digest_folder(shutil.copytree(folder, tmp_path / "copy")) == base
    (folder / "part" / "weights.bin").write_bytes(b"12345")
    changed = digest_folder(folder)
    (folder / "config.json").rename(folder / "settings.json")
    assert len({base, changed, digest_folder(folder)}) == 3
