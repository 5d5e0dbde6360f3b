"""Locks of drivers: held by one writer or any number of readers, named to who comes second, gone with their owner."""

from __future__ import annotations

import fcntl
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from fgcme.errors import UserError
from pipelines.cluster import changing, driver_lock, reading

HOLD = """\
import sys, time
from pathlib import Path
from pipelines import cluster
with getattr(cluster, sys.argv[1])(Path(sys.argv[2]), "corpus 1"):
    print("held", flush=True)
    time.sleep(600)
"""
Lock = Callable[[Path, str], AbstractContextManager[None]]
OURS = f"process {os.getpid()} on {socket.gethostname()}"
END = "wait until it has ended, or end it"


@pytest.fixture
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a driver waits for comes in time, even on a busy machine."""
    monkeypatch.setattr("pipelines.cluster.lock._PATIENCE", 60.0)


@contextmanager
def held(lock: str, folder: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds a lock of a folder; killed at the end of the block."""
    command = [sys.executable, "-c", HOLD, lock, str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None and process.stdout.readline() == "held\n"
            yield process
        finally:
            process.kill()


def refused(lock: AbstractContextManager[None]) -> str:
    """The sentence with which a lock is refused."""
    with pytest.raises(UserError) as refusal, lock:
        pass
    return str(refusal.value)


def test_a_second_driver_is_refused_and_told_who_the_first_is_until_that_one_is_killed(tmp_path: Path) -> None:
    with held("driver_lock", tmp_path) as first:
        assert refused(driver_lock(tmp_path, "sweep 1")) == (
            f"sweep 1 is being run by another driver (process {first.pid} on {socket.gethostname()}): {END}"
        )
    with driver_lock(tmp_path, "sweep 1"):
        assert (tmp_path / "lock").read_text() == f"{OURS}\n"


def test_what_a_driver_reads_is_not_changed_until_that_driver_is_killed(tmp_path: Path) -> None:
    with held("reading", tmp_path) as reader:
        assert refused(changing(tmp_path, "corpus 1")) == (
            f"corpus 1 is in use by another driver (process {reader.pid} on {socket.gethostname()}): {END}"
        )
        # More may read it; who was killed meanwhile cannot be told from the others, and who has ended can.
        with reading(tmp_path, "corpus 1"), held("reading", tmp_path) as killed:
            pass
        names = [f"process {process.pid} on {socket.gethostname()}" for process in (reader, killed)]
        assert refused(changing(tmp_path, "corpus 1")) == (
            f"corpus 1 is in use by other drivers (at least one of {', '.join(names)}): "
            "wait until they have ended, or end them"
        )
    with changing(tmp_path, "corpus 1"):
        pass


def test_what_a_driver_changes_is_not_read_until_that_driver_is_killed(tmp_path: Path) -> None:
    with held("changing", tmp_path) as writer:
        assert refused(reading(tmp_path, "corpus 1")) == (
            f"corpus 1 is being changed by another driver (process {writer.pid} on {socket.gethostname()}): {END}"
        )
    with reading(tmp_path, "corpus 1"):
        # Who was here before is forgotten.
        assert refused(changing(tmp_path, "corpus 1")) == f"corpus 1 is in use by another driver ({OURS}): {END}"


@pytest.mark.usefixtures("_patient")
def test_readers_that_begin_at_the_same_moment_do_not_refuse_each_other(tmp_path: Path) -> None:
    with (tmp_path / "readers").open("a+") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        threading.Timer(0.2, fcntl.flock, [other, fcntl.LOCK_SH]).start()
        with reading(tmp_path, "corpus 1"):
            assert refused(changing(tmp_path, "corpus 1")) == f"corpus 1 is in use by another driver ({OURS}): {END}"


@pytest.mark.parametrize("lock", [driver_lock, changing, reading])
def test_a_lock_is_released_at_the_end_of_the_block_even_after_an_error(tmp_path: Path, lock: Lock) -> None:
    with pytest.raises(KeyError), lock(tmp_path, "corpus 1"):
        raise KeyError
    with driver_lock(tmp_path, "corpus 1"), changing(tmp_path, "corpus 1"):
        pass


@pytest.mark.parametrize("lock", [driver_lock, changing, reading])
def test_a_lock_s_file_is_open_as_nfs_requires(tmp_path: Path, lock: Lock) -> None:
    with lock(tmp_path, "corpus 1"):
        pass


def test_a_folder_that_cannot_be_written_to_is_read_under_the_lock_if_its_file_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = Path.open

    def read_only(path: Path, mode: str = "r", *arguments: object, **options: object) -> object:
        if mode != "r":
            raise OSError(30, "Read-only file system")
        return opened(path, mode, *arguments, **options)  # type: ignore[call-overload]

    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", read_only)
        with reading(tmp_path, "corpus 1"):
            assert list(tmp_path.iterdir()) == []
    with changing(tmp_path, "corpus 1"):
        pass
    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", read_only)
        with reading(tmp_path, "corpus 1"):
            patch.undo()
            assert "corpus 1 is in use by another driver" in refused(changing(tmp_path, "corpus 1"))


def test_a_folder_that_cannot_be_made_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    refusal = pytest.raises(UserError, match=r"file/below: cannot be written to \(Not a directory\)")
    with refusal, driver_lock(tmp_path / "file" / "below", "sweep"):
        pass


SIGN_LATE = """\
import fcntl, os, sys, time
with open(sys.argv[1], "a") as lock:
    fcntl.flock(lock, fcntl.LOCK_EX)
    print("held", flush=True)
    time.sleep(0.3)
    print(f"process {os.getpid()} on a host", file=lock, flush=True)
    time.sleep(600)
"""


@pytest.mark.usefixtures("_patient")
def test_a_driver_that_has_just_taken_the_lock_is_named_once_it_signs(tmp_path: Path) -> None:
    command = [sys.executable, "-c", SIGN_LATE, str(tmp_path / "lock")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as first:
        assert first.stdout is not None and first.stdout.readline() == "held\n"
        refusal = pytest.raises(UserError, match=rf"another driver \(process {first.pid} on a host\)")
        with refusal, driver_lock(tmp_path, "sweep"):
            pass
        first.kill()
