"""Which cross-validation speaks of an experiment, what it chose and what it says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fgcme.data import SpeechCorpus
from fgcme.errors import UserError
from fgcme.evaluation.cross_validation import predictions_table
from fgcme.experiment import Experiment
from fgcme.tracking import Tracker
from pipelines.training.cross_validated import CrossValidated, find_cross_validation
from tests import small_corpus

CLASSES = ["neutral", "happy", "sad", "angry"]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> SpeechCorpus:
    return SpeechCorpus(small_corpus.write(tmp_path_factory.mktemp("prepared") / "corpus", each=2))


@pytest.fixture
def experiment() -> Experiment:
    return small_corpus.experiment(training={"seeds": [0, 1]})


def record(
    tracker: Tracker, corpus: SpeechCorpus, experiment: Experiment, storage: Path, status: str = "FINISHED"
) -> str:
    """A cross-validation of two folds and two seeds, with best epochs 2, 9, 4 and 5, complete if it is finished."""
    mlflow_experiment = tracker.get_or_create_experiment(experiment.name)
    tags = {"fgcme.kind": "cross_validation", "fgcme.corpus_hash": corpus.description.corpus_hash}
    run = tracker.create_run(mlflow_experiment, f"{experiment.name} train", tags=tags)
    tracker.log_text(run, experiment.to_yaml(), "experiment.yaml")
    tables = []
    for best_epoch, (fold, seed) in zip((2, 9, 4, 5), ((0, 0), (0, 1), (1, 0), (1, 1)), strict=True):
        child = tracker.create_run(mlflow_experiment, "a training", run, {"fgcme.kind": "fold"})
        tracker.log_metrics(child, {"best/epoch": best_epoch}, best_epoch)
        tracker.end_run(child, "FINISHED")
        # The first seed is sure and right, the second in doubt and wrong.
        labels = np.array([0, 1] if fold == 0 else [2, 3])
        logits = 5 * np.eye(4)[labels] if seed == 0 else np.eye(4)[(labels + 1) % 4]
        tables.append(predictions_table([f"{fold}-0", f"{fold}-1"], ["a", "b"], labels, logits, CLASSES, fold, seed))
    pq.write_table(pa.concat_tables(tables), storage / "predictions.parquet")
    tracker.log_artifact(run, storage / "predictions.parquet")
    if status == "FINISHED":
        measured = {"test/ua": 0.5, "test/ua_deviation": 0.7, "test_untuned/ua": 0.4}
        tracker.log_metrics(run, {**measured, "something/else": 1.0}, 0)
    tracker.end_run(run, status)  # type: ignore[arg-type]
    (storage / "runs" / run).mkdir(parents=True)
    return run


def find(tracker: Tracker, corpus: SpeechCorpus, experiment: Experiment, storage: Path, run: str = "latest") -> str:
    return find_cross_validation(tracker, experiment, corpus, run, storage / "runs").run


def test_the_epochs_are_the_median_of_the_best_ones() -> None:
    assert CrossValidated("a", [4, 30, 5], {}).epochs == 5
    # One that a training chose, and not a mean that none did.
    assert CrossValidated("a", [2, 9, 4, 5], {}).epochs == 5


def test_its_metrics_are_its_own_and_those_of_its_seeds_together(
    tracker: Tracker, corpus: SpeechCorpus, experiment: Experiment, tmp_path: Path
) -> None:
    run = record(tracker, corpus, experiment, tmp_path)
    found = find_cross_validation(tracker, experiment, corpus, "latest", tmp_path / "runs")
    assert (found.run, sorted(found.best_epochs)) == (run, [2, 4, 5, 9])
    assert found.metrics["test/ua"] == 0.5 and found.metrics["test/ua_deviation"] == 0.7
    assert found.metrics["test_untuned/ua"] == 0.4 and "something/else" not in found.metrics
    assert found.metrics["test_together/ua"] == found.metrics["test_together/wa"] == 1


def test_the_latest_is_the_last_finished_one_of_the_same_settings(
    tracker: Tracker, corpus: SpeechCorpus, experiment: Experiment, tmp_path: Path
) -> None:
    own = record(tracker, corpus, experiment, tmp_path)
    other_settings = small_corpus.experiment(training={"seeds": [0, 1], "epochs": 9})
    other = record(tracker, corpus, other_settings, tmp_path)
    record(tracker, corpus, experiment, tmp_path, status="FAILED")
    (tmp_path / "runs" / ("0" * 32)).mkdir()
    assert find(tracker, corpus, experiment, tmp_path) == own
    assert find(tracker, corpus, other_settings, tmp_path) == other
    # Where results are kept and what a sweep would try do not matter.
    elsewhere = small_corpus.experiment(training={"seeds": [0, 1]}, storage={"path": "/x"}, tune={"trials": 3})
    assert find(tracker, corpus, elsewhere, tmp_path) == own


def test_where_there_is_none_the_way_out_is_said_in_one_line(
    tracker: Tracker, corpus: SpeechCorpus, experiment: Experiment, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=r"no finished cross-validation of small .* run `fgcme train` without --final"):
        find(tracker, corpus, experiment, tmp_path)
    unfinished = record(tracker, corpus, experiment, tmp_path, status="KILLED")
    for run in ("latest", unfinished):
        with pytest.raises(UserError, match="no finished cross-validation"):
            find(tracker, corpus, experiment, tmp_path, run)


@pytest.mark.parametrize("named", [True, False])
def test_one_of_other_settings_or_another_corpus_is_refused_with_what_differs(
    tracker: Tracker, corpus: SpeechCorpus, experiment: Experiment, tmp_path: Path, named: bool
) -> None:
    run = record(tracker, corpus, experiment, tmp_path)
    asked = run if named else "latest"
    longer = small_corpus.experiment(training={"seeds": [0, 1], "epochs": 9})
    with pytest.raises(UserError, match=rf"{run} is of another configuration: training\.epochs \(3 then, 9 now\)"):
        find(tracker, corpus, longer, tmp_path, asked)
    changed = SpeechCorpus(small_corpus.write(tmp_path / "changed", each=2, seed=1))
    with pytest.raises(UserError, match=r"corpus_hash \('\w+' then, '\w+' now\)") as refused:
        find(tracker, changed, experiment, tmp_path, asked)
    assert "\n" not in str(refused.value)
