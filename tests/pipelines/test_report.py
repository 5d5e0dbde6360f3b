from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from fgcme.errors import UserError
from fgcme.evaluation.cross_validation import predictions_table
from fgcme.tracking import Tracker
from pipelines import cli
from pipelines.report import report
from tests import small_corpus
from tests.store import make_tracker


@pytest.fixture(scope="module")
def tracker(tmp_path_factory: pytest.TempPathFactory) -> Tracker:
    return make_tracker(tmp_path_factory.mktemp("store"))


def test_a_run_that_cannot_be_reported_on_leaves_no_folder(tracker: Tracker, tmp_path: Path) -> None:
    run = tracker.create_run(tracker.get_or_create_experiment("runs"), "a model", tags={"fgcme.kind": "model"})
    with pytest.raises(UserError, match="has nothing to report"):
        report(run, tmp_path / "report", tracker.uri)
    assert not (tmp_path / "report").exists()


def test_a_missing_store_is_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no MLflow database here"):
        report("latest", None, f"sqlite:///{tmp_path}/nothing.db")


def test_the_verb_takes_a_run_and_a_folder() -> None:
    options = cli.parse(["report", "latest", "--output", "folder"])
    assert (options.run_id, options.output) == ("latest", "folder")


def test_a_folder_that_cannot_be_written_to_is_refused_in_one_line(tracker: Tracker, tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file")
    mlflow_experiment = tracker.get_or_create_experiment("whole")
    run = tracker.create_run(mlflow_experiment, "small train", tags={"fgcme.kind": "cross_validation"})
    tracker.log_text(run, small_corpus.experiment().to_yaml(), "experiment.yaml")
    predictions = predictions_table(["a"], ["s0"], np.array([0]), np.eye(4)[[0]], small_corpus.EMOTIONS, 0, 0)
    pq.write_table(predictions, tmp_path / "predictions.parquet")
    tracker.log_artifact(run, tmp_path / "predictions.parquet")
    tracker.log_metrics(run, {"test/ua": 0.5}, 0)
    tracker.end_run(run, "FINISHED")
    with pytest.raises(UserError, match=r"taken: cannot be written to .*--output"):
        report(run, tmp_path / "taken", tracker.uri)
