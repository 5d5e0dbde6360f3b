"""What a trial keeps, and what it takes for its own failure."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from fgcme.errors import UserError
from pipelines import trial
from pipelines.trial import Kept, Sweep
from tests import small_corpus


@pytest.fixture
def kept(tmp_path: Path) -> Kept:
    return Kept(tmp_path)


def test_starts_are_counted_as_long_as_it_gets_nowhere(kept: Kept) -> None:
    assert [kept.start(0), kept.start(0), kept.start(5), kept.start(5), kept.start(5)] == [1, 2, 1, 2, 3]


def test_a_trial_that_has_ended_keeps_its_report_and_nothing_to_go_on_from(kept: Kept) -> None:
    assert kept.ended() is None
    kept.state.write_bytes(b"state")
    (kept.folder / "train").mkdir()
    kept.start(2)
    kept.hang(0).touch()
    kept.hang(1).write_text("where it was")
    kept.end({"objective": 0.5, "epoch": 3})
    assert kept.ended() == {"objective": 0.5, "epoch": 3}
    assert sorted(path.name for path in kept.folder.iterdir()) == ["hang-1", "last.json"]


def test_a_trial_hung_if_any_of_its_processes_did(kept: Kept) -> None:
    kept.hang(0).touch()
    assert not kept.hung()
    kept.hang(1).write_text("where it was")
    assert kept.hung()


def test_a_trial_is_known_by_its_number_and_one_of_a_population_by_itself(tmp_path: Path) -> None:
    sweep = Sweep(small_corpus.experiment(), tmp_path, tmp_path)
    assert sweep.kept("abc_00001", {"number": 7}).folder == tmp_path / "7"
    population = Sweep(small_corpus.experiment(tune={"scheduler": "pbt", "search": "random"}), tmp_path, tmp_path)
    assert population.kept("abc_00001", {"number": 7}).folder == tmp_path / "abc_00001"


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (UserError("the loss is not a number"), "the loss is not a number"),
        (MemoryError(), "out of memory"),
        (torch.OutOfMemoryError("CUDA out of memory.\nTried"), "out of memory: CUDA out of memory."),
        (
            RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 4 bytes.\n"),
            "out of memory: DefaultCPUAllocator: can't allocate memory: you tried to allocate 4 bytes.",
        ),
        (RuntimeError("a lost connection"), None),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_would_happen_again_is_a_failure_and_the_rest_is_tried_again(error: Exception, reason: str | None) -> None:
    assert trial._failure(error) == reason


def test_a_process_that_says_nothing_is_ended_and_leaves_where_it_was(kept: Kept) -> None:
    code = (
        "import time, pathlib, sys; from pipelines.trial import _watched\n"
        "with _watched(pathlib.Path(sys.argv[1]), 0.5): time.sleep(60)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(kept.hang())], check=False, timeout=50)
    assert done.returncode == 1
    assert "line 2" in kept.hang().read_text()
    assert kept.hung()
