"""What a trial keeps, and what it takes for its own failure."""

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
from pipelines.sweep.trial import NOTE, TrialContext, TrialFolder
from tests import small_corpus

SETTINGS = small_corpus.experiment().tune


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_corpus.write(tmp_path_factory.mktemp("prepared") / "corpus")


@pytest.fixture
def kept(tmp_path: Path) -> TrialFolder:
    return TrialFolder(tmp_path)


def test_starts_are_counted_as_long_as_it_gets_nowhere(kept: TrialFolder) -> None:
    assert [kept.start(), kept.start()] == [1, 2]
    kept.made_progress()
    assert [kept.start(), kept.start(), kept.start()] == [1, 2, 3]


def test_a_trial_that_has_ended_keeps_its_report_and_nothing_to_go_on_from(kept: TrialFolder) -> None:
    assert kept.ended() is None
    kept.state.write_bytes(b"state")
    (kept.folder / "train").mkdir()
    kept.start()
    kept.hang(0).touch()
    kept.hang(1).write_text("where it was")
    kept.end({"objective": 0.5, "epoch": 3})
    assert kept.ended() == {"objective": 0.5, "epoch": 3}
    assert sorted(path.name for path in kept.folder.iterdir()) == ["hang-1", "last.json"]


def test_a_trial_whose_last_report_cannot_be_read_has_not_ended(kept: TrialFolder) -> None:
    kept.last.write_bytes(bytes(64))
    assert kept.ended() is None


def test_a_trial_hung_if_any_of_its_processes_did(kept: TrialFolder) -> None:
    kept.hang(0).touch()
    assert not kept.hung()
    kept.hang(1).write_text("where it was")
    assert kept.hung()


def test_a_trial_is_known_by_its_number_and_one_of_a_population_by_itself(tmp_path: Path) -> None:
    sweep = TrialContext(small_corpus.experiment(), tmp_path, "hash", tmp_path)
    assert sweep.folder_of("abc_00001", {"number": 7}).folder == tmp_path / "7"
    populating = small_corpus.experiment(tune={"scheduler": "pbt", "search": "random"})
    population = TrialContext(populating, tmp_path, "hash", tmp_path)
    assert population.folder_of("abc_00001", {"number": 7}).folder == tmp_path / "abc_00001"


def reports_of(kept: TrialFolder, error: Exception | None) -> list[dict[str, Any]]:
    """What a start reports that ends in an error; one that is left to Ray Tune is raised."""

    def train() -> None:
        if error is not None:
            raise error

    reports: list[dict[str, Any]] = []
    trial._attempt(train, kept, SETTINGS, kept.start(), reports.append)
    return reports


def test_an_error_that_comes_back_with_each_start_fails_the_trial_in_the_third(kept: TrialFolder) -> None:
    for _ in range(2):
        with pytest.raises(ValueError, match="torn"):
            reports_of(kept, ValueError("torn"))
    assert [report[trial.FAILURE] for report in reports_of(kept, ValueError("torn"))] == ["torn"]


def test_a_process_that_died_in_three_starts_is_not_tried_again(kept: TrialFolder) -> None:
    for _ in range(3):
        kept.start()
    [report] = reports_of(kept, None)
    assert "its process died 3 times without an epoch in between" in report[trial.FAILURE]


def test_a_full_disk_is_never_the_trial_s_own_failure(kept: TrialFolder) -> None:
    for _ in range(5):
        with pytest.raises(OSError, match="No space left"):
            reports_of(kept, OSError(errno.ENOSPC, "No space left on device"))


def test_a_failure_is_reported_at_once_as_the_worst_result_and_of_no_epoch(kept: TrialFolder) -> None:
    scheduler = ASHAScheduler(time_attr="epoch", metric="objective", mode="max", grace_period=1, max_t=4)
    [report] = reports_of(kept, UserError("the loss is not a number"))
    assert (report["objective"], report[trial.FAILURE]) == (0.0, "the loss is not a number")
    failed: Any = SimpleNamespace(trial_id="failed")
    scheduler.on_trial_add(None, failed)  # type: ignore[arg-type]
    scheduler.on_trial_result(None, failed, report)  # type: ignore[arg-type]
    # No scheduler measures others by it.
    assert not any(recorded for _, recorded in scheduler._brackets[0]._rungs)


@pytest.fixture
def reported(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What a trial reports to Ray Tune."""
    reports: list[dict[str, Any]] = []
    monkeypatch.setattr(trial.tune, "report", reports.append)
    return reports


def train(kept: TrialFolder, corpus: Path, corpus_hash: str | None = None, epochs: int = 2) -> None:
    """A trial, without Ray Tune around it."""
    experiment = small_corpus.experiment(training={"epochs": epochs}, tune={"folds": [0]})
    sweep = TrialContext(
        experiment, corpus, corpus_hash or SpeechCorpus(corpus).description.corpus_hash, kept.folder.parent
    )
    kept.folder.mkdir(exist_ok=True)
    trial._attempt(
        lambda: trial._in_process(experiment, sweep, kept, None), kept, experiment.tune, kept.start(), trial.tune.report
    )


def test_a_trial_whose_state_cannot_be_read_says_so_once_and_begins_anew(
    kept: TrialFolder, corpus: Path, reported: list[dict[str, Any]]
) -> None:
    kept.state.write_bytes(b"torn")
    train(kept, corpus)
    assert [report["epoch"] for report in reported] == [1, 2]
    assert [report.get(NOTE) for report in reported] == ["state.pt cannot be read: it begins anew", None]
    assert not kept.start_counter.exists()


def test_a_trial_goes_on_without_a_state_that_the_disk_does_not_take_and_says_so_once(
    kept: TrialFolder, corpus: Path, reported: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*arguments: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(trial, "save_state", full)
        train(kept, corpus, epochs=3)
    assert [report["epoch"] for report in reported] == [1, 2, 3]
    assert not any(trial.FAILURE in report for report in reported)
    said = [report[NOTE] for report in reported if NOTE in report]
    assert len(said) == 1 and "No space left on device" in said[0]


def test_a_corpus_that_was_prepared_again_fails_the_trial(
    kept: TrialFolder, corpus: Path, reported: list[dict[str, Any]]
) -> None:
    train(kept, corpus, corpus_hash="another")
    assert "was prepared again while this sweep was under way" in reported[0][trial.FAILURE]


def watched(kept: TrialFolder, step: float, pause: float) -> int:
    """The exit status of a process whose one step takes so many seconds, and what it does with it so many more."""
    code = (
        "import time, pathlib, sys; from pipelines.sweep.trial import _watched\n"
        "steps = (time.sleep(float(sys.argv[2])) for _ in range(1))\n"
        "for _ in _watched(steps, pathlib.Path(sys.argv[1]), 0.5): time.sleep(float(sys.argv[3]))\n"
    )
    command = [sys.executable, "-c", code, str(kept.hang()), str(step), str(pause)]
    return subprocess.run(command, check=False, timeout=50).returncode


def test_a_process_that_says_nothing_is_ended_and_leaves_where_it_was(kept: TrialFolder) -> None:
    assert watched(kept, step=60, pause=0) == 1
    assert "line 2" in kept.hang().read_text()
    assert kept.hung()


def test_saving_and_reporting_may_take_longer_than_an_epoch(kept: TrialFolder) -> None:
    assert watched(kept, step=0, pause=1) == 0
    assert not kept.hung()
