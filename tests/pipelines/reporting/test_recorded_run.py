from __future__ import annotations

from pathlib import Path

import pytest

from fgcme.data import SpeechCorpus
from fgcme.errors import UserError
from fgcme.tracking import Tracker
from pipelines.reporting import read_run
from tests import small_corpus
from tests.pipelines.reporting.sample_run import CLASSES, predict_class, record_run
from tests.store import make_tracker, record_cross_validation


@pytest.fixture(scope="module")
def tracker(tmp_path_factory: pytest.TempPathFactory) -> Tracker:
    return make_tracker(tmp_path_factory.mktemp("store"))


@pytest.mark.parametrize(
    ("kind", "status", "sentence"),
    [
        ("model", "FINISHED", "has nothing to report: name a run of `fgcme ablate`, `fgcme train` or `fgcme tune`"),
        ("ablation", "FAILED", "is FAILED: complete it with `fgcme ablate` and --resume"),
        ("ablation", "RUNNING", "is RUNNING: complete it with `fgcme ablate`"),
        ("cross_validation", "KILLED", "is KILLED: complete it with `fgcme train`"),
    ],
)
def test_a_run_that_cannot_be_reported_on_is_refused_in_one_line_with_the_way_out(
    tracker: Tracker, kind: str, status: str, sentence: str
) -> None:
    run = tracker.create_run(tracker.get_or_create_experiment("runs"), f"a {kind}", tags={"fgcme.kind": kind})
    if status != "RUNNING":
        tracker.end_run(run, status)  # type: ignore[arg-type]
    with pytest.raises(UserError, match=sentence) as refused:
        read_run(tracker, tracker.find_run(run))
    assert run in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_final_training_is_refused_with_the_cross_validation_that_measured_it(tracker: Tracker) -> None:
    tags = {"fgcme.kind": "final_training", "fgcme.cross_validation": "c0ffee"}
    run = tracker.create_run(tracker.get_or_create_experiment("runs"), "small final", tags=tags)
    tracker.end_run(run, "FINISHED")
    with pytest.raises(UserError, match=r"has nothing to report: .*; its estimate is that of run c0ffee$"):
        read_run(tracker, tracker.find_run(run))


def test_a_fold_is_refused_with_the_run_that_it_belongs_to(tracker: Tracker, tmp_path: Path) -> None:
    parent, folds = record_cross_validation(tracker, tmp_path, [0.5])
    with pytest.raises(UserError, match=rf"fold\) has nothing to report.*belongs to run {parent}"):
        read_run(tracker, tracker.find_run(folds[0]))


def test_a_run_of_some_folds_is_not_reported_as_a_cross_validation(tracker: Tracker) -> None:
    mlflow_experiment = tracker.get_or_create_experiment("runs")
    run = tracker.create_run(mlflow_experiment, "small train", tags={"fgcme.kind": "cross_validation"})
    tracker.log_text(run, small_corpus.experiment().to_yaml(), "experiment.yaml")
    tracker.end_run(run, "FINISHED")
    with pytest.raises(UserError, match=rf"does not have all folds.*--resume {run}"):
        read_run(tracker, tracker.find_run(run))


def test_a_cross_validation_is_read_back_with_its_trainings_and_predictions(tracker: Tracker, tmp_path: Path) -> None:
    experiment = small_corpus.experiment()
    corpus = SpeechCorpus(small_corpus.write(tmp_path / "corpus"))
    predictions = predict_class(corpus, 2)
    run = record_run(tracker, tmp_path, experiment, predictions, corpus.description.corpus_hash)
    recorded = read_run(tracker, tracker.find_run(run))
    assert (recorded.reference, list(recorded.variants)) == ("small", ["small"])
    assert recorded.experiment == experiment
    assert recorded.classes == CLASSES
    assert recorded.main_selection == "dev"
    assert recorded.predictions["dev"]["small"].equals(predictions)
    trainings = [(each.selection, each.fold, each.seed, each.seconds) for each in recorded.trainings]
    assert sorted(trainings) == [("dev", 0, 0, 10.0), ("dev", 1, 0, 11.0)]
    assert recorded.main_trainings("small") == recorded.trainings
    assert recorded.main_trainings("another") == []
