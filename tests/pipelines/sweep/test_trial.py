"""How a trial trains, what it reports to Ray Tune, and which errors it takes for its own failure."""

from __future__ import annotations

import errno
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ray.tune.schedulers import ASHAScheduler

from fgcme.data import SpeechCorpus
from fgcme.errors import UserError
from pipelines.sweep import trial
from pipelines.sweep.trial_folder import FAILURE, NOTE, TrialContext, TrialFolder
from pipelines.training.state import load_state
from tests import small_corpus

SETTINGS = small_corpus.experiment().tune


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_corpus.write(tmp_path_factory.mktemp("prepared") / "corpus")


@pytest.fixture
def folder(tmp_path: Path) -> TrialFolder:
    path = tmp_path / "0"
    path.mkdir()
    return TrialFolder(path)


def reports_of(folder: TrialFolder, error: Exception | None) -> list[dict[str, Any]]:
    """What a start reports that ends in an error; errors that Ray Tune is to handle are raised."""

    def train() -> None:
        if error is not None:
            raise error

    reports: list[dict[str, Any]] = []
    trial.train_or_report_failure(train, folder, SETTINGS, folder.count_start(), reports.append)
    return reports


def test_an_error_of_three_starts_in_a_row_fails_the_trial(folder: TrialFolder) -> None:
    for _ in range(2):
        with pytest.raises(ValueError, match="torn"):
            reports_of(folder, ValueError("torn"))
    assert [report[FAILURE] for report in reports_of(folder, ValueError("torn"))] == ["torn"]


def test_a_process_that_died_in_three_starts_in_a_row_fails_the_trial(folder: TrialFolder) -> None:
    for _ in range(3):
        folder.count_start()
    [report] = reports_of(folder, None)
    assert "its process died 3 times without an epoch in between" in report[FAILURE]


def test_a_full_disk_never_fails_the_trial(folder: TrialFolder) -> None:
    for _ in range(5):
        with pytest.raises(OSError, match="No space left"):
            reports_of(folder, OSError(errno.ENOSPC, "No space left on device"))


def test_a_failure_counts_as_the_worst_objective_but_no_scheduler_ranks_others_against_it(folder: TrialFolder) -> None:
    [report] = reports_of(folder, UserError("the loss is not a number"))
    assert (report["objective"], report[FAILURE]) == (0.0, "the loss is not a number")
    # With a reduction factor of 2, half of the trials that have reached an epoch are stopped there.
    halving = ASHAScheduler(
        time_attr="epoch", metric="objective", mode="max", grace_period=1, max_t=4, reduction_factor=2
    )
    decisions = []
    for name, result in {
        "failed": report,
        "good": {"epoch": 1, "objective": 0.5},
        "worse": {"epoch": 1, "objective": 0.4},
    }.items():
        each: Any = SimpleNamespace(trial_id=name)
        halving.on_trial_add(None, each)  # type: ignore[arg-type]
        decisions.append(halving.on_trial_result(None, each, result))  # type: ignore[arg-type]
    # Against an objective of 0 the third trial would be the better half.
    assert decisions == ["CONTINUE", "CONTINUE", "STOP"]


@pytest.fixture
def reported(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What a trial reports to Ray Tune."""
    reports: list[dict[str, Any]] = []
    monkeypatch.setattr(trial.tune, "report", reports.append)
    return reports


def train(
    folder: TrialFolder, corpus: Path, corpus_hash: str | None = None, scheduler: str = "hyperband", **settings: Any
) -> None:
    """Train a trial of two epochs, or with other `training` settings, without Ray Tune around it."""
    # With Hyperband every epoch is saved, however slow the disk is.
    tune_settings = {"folds": [0], "scheduler": scheduler}
    experiment = small_corpus.experiment(training={"epochs": 2, **settings}, tune=tune_settings)
    corpus_hash = corpus_hash or SpeechCorpus(corpus).description.corpus_hash
    drawn = {"number": folder.name, "training.weight_decay": 0.0}
    trial.train_trial(drawn, TrialContext(experiment, corpus, corpus_hash, folder.path.parent))


def test_a_trial_reports_every_epoch_and_saves_its_state(
    folder: TrialFolder, corpus: Path, reported: list[dict[str, Any]]
) -> None:
    train(folder, corpus)
    assert [report["epoch"] for report in reported] == [1, 2]
    assert all(report["objective"] == report["dev/objective/fold-0"] for report in reported)
    assert folder.state.exists() and not folder.start_counter.exists()


def test_a_trial_resumes_from_its_last_saved_epoch_and_reports_that_again(
    folder: TrialFolder, corpus: Path, reported: list[dict[str, Any]]
) -> None:
    train(folder, corpus, epochs=2)
    train(folder, corpus, epochs=4)
    assert [report["epoch"] for report in reported] == [1, 2, 2, 3, 4]
    assert reported[2] | {"done": True} == reported[1]
    # Ray Tune need not ask whether that was all.
    assert [report.get("done", False) for report in reported] == [False, True, False, False, True]


@pytest.mark.parametrize(("scheduler", "repeated"), [("asha", [1, 2, 3]), ("hyperband", [3])])
def test_a_trial_that_has_ended_only_repeats_its_reports(
    folder: TrialFolder, corpus: Path, reported: list[dict[str, Any]], scheduler: str, repeated: list[int]
) -> None:
    for epoch in (1, 2, 3):
        folder.add_report({"objective": 0.5, "epoch": epoch})
    folder.end({"objective": 0.5, "epoch": 3})
    train(folder, corpus, scheduler=scheduler)
    assert reported == [{"objective": 0.5, "epoch": epoch} for epoch in repeated]


def test_a_trial_that_has_failed_repeats_its_reports_and_then_the_failure(
    folder: TrialFolder, corpus: Path, reported: list[dict[str, Any]]
) -> None:
    failed = {"objective": 0.0, "epoch": 0, FAILURE: "the loss is not a number"}
    folder.add_report({"objective": 0.5, "epoch": 1})
    folder.end(failed)
    train(folder, corpus, scheduler="asha")
    assert reported == [{"objective": 0.5, "epoch": 1}, failed]


def test_a_trial_keeps_its_settings_and_its_reports(
    folder: TrialFolder, corpus: Path, reported: list[dict[str, Any]]
) -> None:
    train(folder, corpus)
    assert folder.settings() == {"training.weight_decay": 0.0}
    assert folder.reports() == [{name: each[name] for name in each if name != "done"} for each in reported]


def test_a_trial_with_a_damaged_state_starts_over_with_one_note(
    folder: TrialFolder, corpus: Path, reported: list[dict[str, Any]]
) -> None:
    folder.state.write_bytes(b"torn")
    train(folder, corpus)
    assert [report["epoch"] for report in reported] == [1, 2]
    assert [report.get(NOTE) for report in reported] == ["state.pt cannot be read: it starts over", None]
    assert not folder.start_counter.exists()


def test_a_trial_saves_no_state_in_its_first_seconds_nor_of_its_last_epoch(
    folder: TrialFolder, corpus: Path, reported: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    train(folder, corpus, scheduler="asha")
    assert not folder.state.exists()
    monkeypatch.setattr(trial, "_EXPECTED_SAVING_SECONDS", 0.0)
    train(folder, corpus, scheduler="asha")
    state = load_state(folder.state)
    assert state is not None and state["report"]["epoch"] == 1


def test_a_trial_whose_state_cannot_be_saved_continues_with_one_note(
    folder: TrialFolder, corpus: Path, reported: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*arguments: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(trial, "save_state", full)
        train(folder, corpus, epochs=3)
    assert [report["epoch"] for report in reported] == [1, 2, 3]
    assert not any(FAILURE in report for report in reported)
    notes = [report[NOTE] for report in reported if NOTE in report]
    assert len(notes) == 1 and "No space left on device" in notes[0]


def test_a_corpus_that_was_prepared_again_fails_the_trial(
    folder: TrialFolder, corpus: Path, reported: list[dict[str, Any]]
) -> None:
    train(folder, corpus, corpus_hash="another")
    assert "was prepared again while this sweep was under way" in reported[0][FAILURE]


def watched(folder: TrialFolder, step: float, pause: float) -> int:
    """The exit status of a process that computes one step in `step` seconds, and uses it for `pause` seconds."""
    code = (
        "import time, pathlib, sys; from pipelines.sweep.trial import exit_if_too_slow\n"
        "steps = (time.sleep(float(sys.argv[2])) for _ in range(1))\n"
        "for _ in exit_if_too_slow(steps, pathlib.Path(sys.argv[1]), 0.5): time.sleep(float(sys.argv[3]))\n"
    )
    command = [sys.executable, "-c", code, str(folder.stack_file()), str(step), str(pause)]
    return subprocess.run(command, check=False, timeout=300).returncode


def test_a_process_whose_step_takes_too_long_is_ended_and_leaves_its_stack(folder: TrialFolder) -> None:
    assert watched(folder, step=60, pause=0) == 1
    assert "line 2" in folder.stack_file().read_text()
    assert folder.has_hung()


def test_saving_and_reporting_may_take_longer_than_an_epoch(folder: TrialFolder) -> None:
    assert watched(folder, step=0, pause=1) == 0
    assert not folder.has_hung()
