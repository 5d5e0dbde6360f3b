"""Reports of sweeps as MLflow has them, finished or not."""

from __future__ import annotations

import csv
import math
from dataclasses import replace
from pathlib import Path

import pytest

from fgcme.errors import UserError
from fgcme.report.formatting import percent
from fgcme.tracking import Tracker
from pipelines import cli
from pipelines.report import report
from pipelines.sweep.report import flat_settings, pictures_of_sweep, read_sweep
from tests import rated_corpus, small_corpus
from tests.recorded_sweep import EPOCHS, Recorded, record, some
from tests.store import make_tracker

FAILED = Recorded(some(0).drawn, (0.9,), "FAILED", failure="the loss is not finite")


@pytest.fixture(scope="module")
def tracker(tmp_path_factory: pytest.TempPathFactory) -> Tracker:
    return make_tracker(tmp_path_factory.mktemp("store"))


def artifacts(tracker: Tracker, run: str, folder: str | None = None) -> set[str]:
    return {entry.path for entry in tracker.client.list_artifacts(run, folder)}


def test_the_score_of_ratings_alone_is_their_concordance(tmp_path: Path) -> None:
    assert flat_settings(rated_corpus.rated_experiment(tmp_path))["training.score"] == "ccc"
    assert flat_settings(small_corpus.experiment())["training.score"] == "published"


def test_a_sweep_is_read_back_as_it_was_drawn(tracker: Tracker, tmp_path: Path) -> None:
    trials = [*map(some, range(5)), FAILED, replace(some(6), status="KILLED", cost=7.0), Recorded(some(7).drawn, ())]
    run, children = record(tracker, tmp_path, trials)
    sweep = read_sweep(tracker, tracker.find_run(run)).sweep
    assert [each.configuration for each in sweep.trials] == [each.drawn for each in trials]
    assert [each.run for each in sweep.trials] == children
    assert [each.score for each in sweep.trials[:5]] == [each.scores[-1] for each in trials[:5]]
    # What a trial reached before it failed is no score.
    failed, killed, silent = sweep.trials[5:]
    assert (failed.score, failed.state, failed.reason) == (None, "failed", "the loss is not finite")
    assert (killed.state, killed.cost) == ("interrupted", 7.0)
    assert (silent.score, silent.epochs) == (None, 0)
    states = ["finished" if len(each.scores) == EPOCHS else "stopped early" for each in trials[:5]]
    assert [each.state for each in sweep.trials[:5]] == states


def test_the_score_of_a_trial_is_its_last_one(tracker: Tracker, tmp_path: Path) -> None:
    # Of another measure than training.score, which chooses the epoch, the score of the best epoch may fall.
    falling = replace(some(0), scores=(0.7, 0.5, math.nan))
    run, _ = record(tracker, tmp_path, [falling])
    [trial] = read_sweep(tracker, tracker.find_run(run)).sweep.trials
    assert trial.score == 0.5


def test_a_trial_that_was_proposed_twice_under_one_number_counts_once(tracker: Tracker, tmp_path: Path) -> None:
    run, children = record(tracker, tmp_path, [some(0), replace(some(1), status="KILLED"), some(1)])
    tracker.set_tags(children[2], {"fgcme.trial": "1"})
    sweep = read_sweep(tracker, tracker.find_run(run)).sweep
    assert [each.run for each in sweep.trials] == [children[0], children[2]]


def test_pictures_and_the_table_of_trials_are_kept_with_the_sweep(tracker: Tracker, tmp_path: Path) -> None:
    trials = [replace(some(number), cost=float(100 + number)) for number in range(12)]
    run, _ = record(tracker, tmp_path, [*trials, FAILED], status="RUNNING", cost="parameters")
    pictures_of_sweep(tracker, run)
    names = {"history", "importances", "coordinates", "pareto"}
    assert artifacts(tracker, run, "figures") == {f"figures/{name}.png" for name in names}
    with tracker.download_artifact(run, "trials.csv", tmp_path).open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 13
    assert [row["pareto_front"] for row in rows].count("True") == 12
    assert tracker.download_artifact(run, "figures/history.png", tmp_path).read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("trials", "figures", "sentence"),
    [
        ([], set(), "No history: no trial has a score (0 trials)."),
        ([FAILED, FAILED], set(), "No parallel coordinates: no trial has a score (2 trials: 2 failed)."),
        ([some(0)], {"history", "coordinates"}, "No importances: 1 of 1 trial has a score"),
        (
            [replace(some(number), scores=(0.25,)) for number in range(10)],
            {"history", "coordinates"},
            "No importances: so many trials have the same score",
        ),
    ],
    ids=["none", "all failed", "one", "all alike"],
)
def test_a_picture_that_cannot_be_drawn_is_printed_and_fails_nothing(
    tracker: Tracker,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    trials: list[Recorded],
    figures: set[str],
    sentence: str,
) -> None:
    run, _ = record(tracker, tmp_path, trials)
    pictures_of_sweep(tracker, run)
    assert sentence in capsys.readouterr().out
    assert artifacts(tracker, run, "figures") == {f"figures/{name}.png" for name in figures}
    assert "trials.csv" in artifacts(tracker, run)


def test_a_sweep_whose_space_is_not_kept_fails_nothing(tracker: Tracker, capsys: pytest.CaptureFixture[str]) -> None:
    run = tracker.create_run(
        tracker.get_or_create_experiment("small"), "small-rates tune", tags={"fgcme.kind": "sweep"}
    )
    pictures_of_sweep(tracker, run)
    assert f"make them with `fgcme report {run}`" in capsys.readouterr().out


def test_the_report_of_a_finished_sweep_has_the_files_that_repeat_it(
    tracker: Tracker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run, _ = record(tracker, tmp_path, [some(number) for number in range(12)])
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", tracker.uri)
    assert cli.main(["report", run]) == 0
    folder = tmp_path / f"report-{run[:8]}"
    assert "figures of 12 trials: 6 finished, 6 stopped early" in capsys.readouterr().out
    expected = {"index.html", "trials.csv", "experiment.yaml", "rates.yaml", "best.yaml", "figures"}
    assert {path.name for path in folder.iterdir()} == expected
    assert artifacts(tracker, run, "report") == {f"report/{name}" for name in expected}
    text = (folder / "index.html").read_text(encoding="utf-8")
    assert "fgcme tune experiment.yaml --space rates.yaml" in text
    assert "fgcme train best.yaml" in text
    assert percent(0.41) in text
    assert "All scores are dev scores" in text
    # Nothing of the machine.
    everything = text + "".join((folder / name).read_text() for name in ("experiment.yaml", "best.yaml", "rates.yaml"))
    assert str(tmp_path) not in everything


def test_a_running_sweep_has_a_report_of_its_trials_so_far(tracker: Tracker, tmp_path: Path) -> None:
    run, _ = record(tracker, tmp_path, [some(0), replace(some(1), status="RUNNING")], status="RUNNING")
    text = report(run, tmp_path / "report", tracker.uri).read_text(encoding="utf-8")
    assert "2 trials: 1 stopped early, 1 running" in text
    assert "not yet (running)" in text
    assert "best.yaml</code> beside this page" not in text


def test_a_report_of_a_single_trial_is_refused(tracker: Tracker, tmp_path: Path) -> None:
    run, children = record(tracker, tmp_path, [some(0)])
    with pytest.raises(UserError, match=rf"trial\) has nothing to report.*it belongs to run {run}"):
        report(children[0], tmp_path / "report", tracker.uri)


def test_a_folder_whose_files_cannot_be_replaced_is_one_line(tracker: Tracker, tmp_path: Path) -> None:
    run, _ = record(tracker, tmp_path, [some(0)])
    folder = tmp_path / "report"
    folder.mkdir()
    (folder / "figures").write_text("a file")
    with pytest.raises(UserError) as refused:
        report(run, folder, tracker.uri)
    assert str(refused.value) == f"{folder}: cannot be written to (File exists); choose another folder with --output"
