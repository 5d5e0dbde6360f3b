"""The driver lock: held by one process, named to the second, gone with its owner."""

from __future__ import annotations

import fcntl
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from fgcme.errors import UserError
from pipelines.cluster import driver_lock

HOLD = """\
import sys, time
from pathlib import Path
from pipelines.cluster import driver_lock
with driver_lock(Path(sys.argv[1]), "sweep 1"):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_second_driver_is_refused_and_told_who_the_first_is_until_that_one_is_killed(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True) as first:
        assert first.stdout is not None and first.stdout.readline() == "held\n"
        with pytest.raises(UserError) as refusal, driver_lock(tmp_path, "sweep 1"):
            pass
        assert str(refusal.value) == (
            f"sweep 1 is being run by another driver (process {first.pid} on {socket.gethostname()}): "
            "wait until it has ended, or end it"
        )
        first.kill()
    with driver_lock(tmp_path, "sweep 1"):
        assert (tmp_path / "lock").read_text() == f"process {os.getpid()} on {socket.gethostname()}\n"


def test_the_lock_is_released_at_the_end_of_the_block_even_after_an_error(tmp_path: Path) -> None:
    with pytest.raises(KeyError), driver_lock(tmp_path, "sweep"):
        raise KeyError
    with driver_lock(tmp_path, "sweep"):
        pass


def test_the_lock_s_file_is_open_for_writing_as_nfs_requires(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Linux's NFS client takes an exclusive lock only on a file that is open for writing.
    flock = fcntl.flock

    def nfs_flock(file: object, operation: int) -> None:
        mode = fcntl.fcntl(file.fileno(), fcntl.F_GETFL) & os.O_ACCMODE  # type: ignore[attr-defined]
        if operation & fcntl.LOCK_EX and mode == os.O_RDONLY:
            raise OSError(9, "Bad file descriptor")
        flock(file, operation)  # type: ignore[arg-type]

    monkeypatch.setattr(fcntl, "flock", nfs_flock)
    with driver_lock(tmp_path, "sweep"):
        pass


def test_a_folder_that_cannot_be_made_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    refusal = pytest.raises(UserError, match=r"file/below: cannot be written to \(Not a directory\)")
    with refusal, driver_lock(tmp_path / "file" / "below", "sweep"):
        pass
