"""What a version's estimate was made of is found by its tags."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from fgcme.data.protocol import named_protocols
from fgcme.evaluation.cross_validation import predictions_table
from fgcme.tracking import Tracker
from pipelines.runs.out_of_fold import measuring_run, read_out_of_fold
from tests import small_corpus

CLASSES = named_protocols()["demo/4class"].classes


def record(tracker: Tracker, folder: Path, path: str | None = None) -> tuple[str, str]:
    """A cross-validation with predictions of two seeds, and a training below it."""
    experiment = tracker.get_or_create_experiment("demo")
    parent = tracker.create_run(experiment, "demo train")
    tracker.log_text(parent, small_corpus.experiment().to_yaml(), "experiment.yaml")
    logits = np.eye(4) * 3
    tables = [predictions_table(list("abcd"), list("sstt"), np.arange(4), logits, CLASSES, 0, seed) for seed in (0, 1)]
    pq.write_table(pa.concat_tables(tables), folder / "mean.parquet")
    if path is None:
        (folder / "mean.parquet").rename(folder / "predictions.parquet")
        tracker.log_artifact(parent, folder / "predictions.parquet")
    else:
        tracker.log_artifact(parent, folder / "mean.parquet", path)
    return parent, tracker.create_run(experiment, "fold 0", parent)


def test_of_one_training_they_are_those_of_the_run_above_it(tracker: Tracker, tmp_path: Path) -> None:
    parent, fold = record(tracker, tmp_path)
    found = read_out_of_fold(tracker, {"source_run": fold, "selection": "dev"})
    assert found is not None
    assert (found.run.info.run_id, found.classes, len(found.predictions)) == (parent, CLASSES, 8)
    assert found.experiment.corpus.kind == "demo"


def test_of_an_ensemble_they_are_those_of_all_seeds_together(tracker: Tracker, tmp_path: Path) -> None:
    parent, _ = record(tracker, tmp_path)
    found = read_out_of_fold(tracker, {"source_run": parent, "selection": "dev", "members": "2"})
    assert found is not None and len(found.predictions) == 4


def test_of_a_variant_they_are_its_own_by_its_selection_rule(tracker: Tracker, tmp_path: Path) -> None:
    _, fold = record(tracker, tmp_path, "predictions/test")
    tags = {"source_run": fold, "variant": "mean"}
    assert read_out_of_fold(tracker, tags | {"selection": "test (optimistic)"}) is not None
    assert read_out_of_fold(tracker, tags | {"selection": "dev"}) is None


def test_of_a_final_training_they_are_those_of_the_cross_validation_that_chose_its_epochs(
    tracker: Tracker, tmp_path: Path
) -> None:
    parent, _ = record(tracker, tmp_path)
    final = tracker.create_run(tracker.get_or_create_experiment("demo"), "demo final")
    tags = {"source_run": final, "cross_validation": parent, "selection": "dev"}
    assert measuring_run(tracker, tags).info.run_id == parent
