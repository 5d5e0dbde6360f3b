"""A cross-validation of the small corpus as `fgcme train` records it, made without any training."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from fgcme.data import SpeechCorpus
from fgcme.evaluation.cross_validation import predictions_table
from fgcme.experiment import Experiment
from fgcme.tracking import Tracker
from tests import small_corpus

CLASSES = list(small_corpus.EMOTIONS)
FOLDS = 2


def predict_class(corpus: SpeechCorpus, predicted: int) -> pa.Table:
    """Predictions of the whole corpus, always one class; speakers take turns in belonging to one of two folds."""
    labels = [CLASSES.index(label) for label in corpus.table.raw_labels]
    fold_of = [int(speaker[1]) % FOLDS for speaker in corpus.table.speakers]
    tables = []
    for fold in range(FOLDS):
        own = [index for index, each in enumerate(fold_of) if each == fold]
        tables.append(
            predictions_table(
                [corpus.table.ids[index] for index in own],
                [corpus.table.speakers[index] for index in own],
                np.array([labels[index] for index in own]),
                np.eye(len(CLASSES))[[predicted] * len(own)],
                CLASSES,
                fold,
                seed=0,
            )
        )
    return pa.concat_tables(tables)


def record_run(tracker: Tracker, folder: Path, experiment: Experiment, predictions: pa.Table, corpus_hash: str) -> str:
    """Record a finished cross-validation whose models were deleted.

    Args:
        tracker: where.
        folder: for files that are sent to the store.
        experiment: what was cross-validated.
        predictions: of all its folds.
        corpus_hash: of the corpus that it was trained on.

    Returns:
        The id of its run.
    """
    mlflow_experiment = tracker.get_or_create_experiment("small")
    tags = {"fgcme.kind": "cross_validation", "fgcme.corpus_hash": corpus_hash}
    run = tracker.create_run(mlflow_experiment, "small train", tags=tags)
    tracker.log_text(run, experiment.to_yaml(), "experiment.yaml")
    pq.write_table(predictions, folder / "predictions.parquet")
    tracker.log_artifact(run, folder / "predictions.parquet")
    for fold in range(FOLDS):
        tags = {"fgcme.kind": "fold", "fgcme.fold": str(fold), "fgcme.seed": "0"}
        child = tracker.create_run(mlflow_experiment, f"fold {fold}, seed 0", run, tags)
        for epoch, dev_ua in enumerate((0.3, 0.5 + 0.1 * fold), start=1):
            tracker.log_metrics(child, {"dev/ua": dev_ua, "train/loss": 1 / epoch}, epoch)
        tracker.log_metrics(child, {"seconds": 10.0 + fold}, 2)
        tracker.end_run(child, "FINISHED")
    tracker.log_metrics(run, {"test/ua": 0.25}, 0)
    tracker.end_run(run, "FINISHED")
    return run
