"""What the integration tests share: Ray, a store, a small experiment, and programs that end whatever happens."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import psutil
import pytest

from fgcme.experiment import Experiment
from fgcme.tracking import Tracker
from pipelines import engine
from tests import small_corpus
from tests.store import make_tracker

Found = TypeVar("Found")
Make = Callable[..., Experiment]


@pytest.fixture(scope="module")
def ray_session() -> Iterator[None]:
    """Ray on this machine, stopped after the module's last test."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("RAY_ADDRESS", raising=False)
        with engine.session():
            yield


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small prepared corpus of 128 utterances."""
    return small_corpus.write(tmp_path_factory.mktemp("prepared") / "corpus", each=16)


@pytest.fixture
def tracker(tmp_path: Path) -> Tracker:
    """A fresh MLflow store."""
    return make_tracker(tmp_path)


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
    """The program `fgcme`, running; it and all that it started are gone at the end of the block."""
    command = [sys.executable, "-u", "-m", "pipelines.cli", *arguments]
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        kill(process)
        process.communicate(timeout=30)


def kill(process: subprocess.Popen[str]) -> None:
    """End a program and all that it started at once, as when a machine loses its power."""
    with contextlib.suppress(psutil.NoSuchProcess):
        driver = psutil.Process(process.pid)
        for one in [*driver.children(recursive=True), driver]:
            with contextlib.suppress(psutil.NoSuchProcess):
                one.kill()


def wait_for(look: Callable[[], Found | None], seconds: float = 120) -> Found:
    """What `look` finds, as soon as it finds anything.

    Raises:
        AssertionError: nothing was found in time.
    """
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := look():
            return found
        time.sleep(0.1)
    raise AssertionError(f"nothing was found within {seconds:g} s")
