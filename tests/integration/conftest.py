"""What the integration tests share: Ray, a store, a small experiment, and programs that end whatever happens."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import psutil
import pytest

from fgcme.experiment import Experiment
from fgcme.files import acquire
from fgcme.tracking import Tracker
from pipelines import cluster
from tests import small_corpus

Found = TypeVar("Found")
Make = Callable[..., Experiment]

PATIENCE = 240.0
"""Seconds within which whatever is waited for happens, even on a slow machine that is busy with other tests."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What takes long comes first: at the end, no process then waits for another's last module."""
    items.sort(key=lambda item: item.path.parent != Path(__file__).parent)


@pytest.fixture(scope="session", autouse=True)
def _on_this_machine() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("RAY_ADDRESS", raising=False)
        yield


@pytest.fixture(scope="session")
def ray_session() -> Iterator[None]:
    """Ray on this machine, started once for all modules of tests that a process runs, and stopped at its end."""
    with cluster.ray_session():
        yield


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small prepared corpus of 128 utterances."""
    return small_corpus.write(tmp_path_factory.mktemp("prepared") / "corpus", each=16)


@pytest.fixture
def experiment(prepared: Path, tracker: Tracker, tmp_path: Path) -> Make:
    """Makes small experiments on the prepared corpus, recorded in the fresh store."""

    def make(**sections: dict[str, object]) -> Experiment:
        own = {
            "prepare": {"folder": str(prepared)},
            "storage": {"path": str(tmp_path / "storage")},
            "tracking": {"uri": tracker.uri},
        }
        return small_corpus.experiment(
            **{name: {**own.get(name, {}), **sections.get(name, {})} for name in {*own, *sections}}
        )

    return make


@contextmanager
def program(folder: Path, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """The program `fgcme`, running; it and all that it started are gone at the end of the block, or if it hangs."""
    command = [sys.executable, "-u", "-m", "pipelines.cli", *arguments]
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    # Otherwise a program that hangs would be read from for ever.
    limit = threading.Timer(500, kill, [process])
    limit.start()
    try:
        yield process
    finally:
        limit.cancel()
        kill(process)
        process.communicate(timeout=30)


def kill(process: subprocess.Popen[str]) -> None:
    """End a program and all that it started at once, as when a machine loses its power."""
    with contextlib.suppress(psutil.NoSuchProcess):
        driver = psutil.Process(process.pid)
        # The driver first, so that it cannot react to the end of the others.
        for one in [driver, *driver.children(recursive=True)]:
            with contextlib.suppress(psutil.NoSuchProcess):
                one.kill()


def descendants(process: int, named: str = "") -> list[psutil.Process]:
    """The processes that a process has started, and those that they have, whose command line holds a text."""
    found = []
    for one in psutil.Process(process).children(recursive=True):
        # It may end meanwhile.
        with contextlib.suppress(psutil.NoSuchProcess):
            if named in " ".join(one.cmdline()):
                found.append(one)
    return found


def stand_still(process: subprocess.Popen[str], database: Path) -> None:
    """Stop a program, until it gets SIGCONT or is killed, at a moment at which it keeps nobody from a SQLite store.

    Args:
        process: of the program.
        database: file of the store.
    """

    def stopped() -> bool:
        assert process.poll() is None, "it ended too early"
        process.send_signal(signal.SIGSTOP)
        wait_for(lambda: psutil.Process(process.pid).status() == psutil.STATUS_STOPPED, every=0.01)
        with database.with_name(f"{database.name}.lock").open("a") as lock:
            if acquire(lock, wait=False):
                return True
        process.send_signal(signal.SIGCONT)
        return False

    wait_for(stopped)


def wait_for(look: Callable[[], Found | None], seconds: float = PATIENCE, every: float = 0.1) -> Found:
    """What `look` finds, as soon as it finds anything; it is asked again after `every` seconds.

    Raises:
        AssertionError: nothing was found in time.
    """
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := look():
            return found
        time.sleep(every)
    raise AssertionError(f"nothing was found within {seconds:g} s")
