"""Files written in one step, seen and locked on all machines, and folders that count by their content."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from fgcme.errors import UserError
from fgcme.files import acquire, atomic_write, digest_folder, exists, locked, read_bytes, read_text, way_out, write_text


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


def test_a_file_that_another_machine_has_just_made_is_there(tmp_path: Path, late: Callable[[Path], None]) -> None:
    path = tmp_path / "folder" / "file"
    path.parent.mkdir()
    assert not exists(path)
    with pytest.raises(FileNotFoundError):
        read_text(path)
    write_text(path, "new")
    for unseen in (path, path.parent, tmp_path):
        late(unseen)
        assert not path.exists()
        assert exists(path)
        late(unseen)
        assert read_text(path) == "new"
    assert not exists(path / "below a file")


@pytest.mark.parametrize("deleted", [False, True])
def test_a_file_that_another_machine_replaces_or_deletes_is_read_as_it_is_then(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, deleted: bool
) -> None:
    path = tmp_path / "file"
    write_text(path, "old")
    read = Path.read_bytes

    def stale(opened: Path) -> bytes:
        monkeypatch.setattr(Path, "read_bytes", read)
        path.unlink() if deleted else write_text(path, "new")
        raise OSError(errno.ESTALE, "Stale file handle")

    monkeypatch.setattr(Path, "read_bytes", stale)
    if deleted:
        with pytest.raises(FileNotFoundError):
            read_bytes(path)
    else:
        assert read_bytes(path) == b"new"


def test_a_lock_is_held_alone_or_in_common(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with path.open("a+") as first, path.open("a+") as second:
        assert acquire(first) and not acquire(second, wait=False) and not acquire(second, shared=True, wait=False)
        assert acquire(first, shared=True) and acquire(second, shared=True, wait=False)
        assert not acquire(second, wait=False)
        first.close()
        assert acquire(second, wait=False)


def test_no_other_module_locks_files() -> None:
    root = Path(__file__).parents[2]
    modules = [path for folder in ("platform", "pipelines") for path in (root / folder).rglob("*.py")]
    assert [path.name for path in modules if "fcntl" in path.read_text()] == ["files.py"]


def test_a_disk_that_takes_no_locks_is_one_clear_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(file: object, operation: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    refusal = pytest.raises(UserError, match=r"lock: this disk takes no locks \(No locks available\); use one that")
    with refusal, locked(tmp_path / "lock"):
        pass


def deleted(path: Path) -> None:
    path.unlink()


def kept_under_another_name(path: Path) -> None:
    # What NFS does with a file that is deleted on the machine which has it open.
    path.rename(path.with_name(".nfs0001"))


def deleted_and_made_again(path: Path) -> None:
    path.unlink()
    path.touch()


@pytest.mark.parametrize("delete", [deleted, kept_under_another_name, deleted_and_made_again])
def test_who_waits_for_a_file_that_is_deleted_gets_the_one_that_has_its_name_then(
    tmp_path: Path, delete: Callable[[Path], None]
) -> None:
    path = tmp_path / "file"

    def append() -> None:
        with locked(path) as file:
            file.write(b"second")

    waiting = threading.Thread(target=append)
    with locked(path) as file:
        file.write(b"first")
        waiting.start()
        # It waits for the lock once it has opened the file, too.
        while [descriptor.resolve() for descriptor in Path("/proc/self/fd").iterdir()].count(path) < 2:
            pass
        delete(path)
    waiting.join(timeout=60)
    assert path.read_bytes() == b"second"


def test_a_file_that_another_machine_deletes_as_it_is_locked_is_made_again_or_not_there(
    tmp_path: Path, stale: Callable[[Path, Callable[[], object]], None]
) -> None:
    path = tmp_path / "file"
    path.write_text("old")
    stale(path, path.unlink)
    with locked(path) as file:
        file.write(b"new")
    assert path.read_text() == "new"
    stale(path, path.unlink)
    with pytest.raises(FileNotFoundError), locked(path, create=False):
        pass


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


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EACCES, errno.EROFS])
def test_a_disk_that_refuses_is_told_by_the_file_that_was_to_be_written(tmp_path: Path, code: int) -> None:
    """As Arrow raises it: with the number, and without the name."""
    path = tmp_path / "a.parquet"
    path.write_text("before")
    with pytest.raises(OSError, match=r"a\.parquet") as caught, atomic_write(path) as partial:
        partial.write_text("half")
        raise OSError(code, "Error writing bytes to file")
    assert (caught.value.errno, caught.value.filename) == (code, str(path))
    assert (way_out(caught.value) or "").startswith(f"{path}: {os.strerror(code)}; ")
    assert path.read_text() == "before" and [*tmp_path.iterdir()] == [path]


def test_of_a_copy_that_a_disk_refuses_the_file_that_was_to_be_written_is_named() -> None:
    """As `shutil` raises it: with the names of both."""
    told = way_out(OSError(errno.ENOSPC, "No space left on device", "original", None, "copy"))
    assert (told or "").startswith("copy: ")


def test_what_nobody_can_put_right_has_no_way_out(tmp_path: Path) -> None:
    assert way_out(OSError(errno.ENOSPC, "no name")) is None
    assert way_out(FileNotFoundError(errno.ENOENT, "gone", "a")) is None
    with pytest.raises(PermissionError) as caught, atomic_write(tmp_path / "a"):
        raise PermissionError(errno.EACCES, "another file's", "elsewhere")
    assert caught.value.filename == "elsewhere"
