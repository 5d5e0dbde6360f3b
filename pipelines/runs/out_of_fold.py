"""What a registered version's estimate was made of: the out-of-fold predictions of its cross-validation."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from fgcme.data import Tasks, resolve_protocol
from fgcme.evaluation.ensembles import average_answers
from fgcme.experiment import Experiment, parse_stored
from fgcme.tracking import Tracker

if TYPE_CHECKING:
    from mlflow.entities import Run


@dataclass(frozen=True)
class OutOfFold:
    """A finished cross-validation.

    Attributes:
        run: of it.
        experiment: what was cross-validated.
        predictions: of all folds and seeds; of an ensemble, of the mean answers of each fold's models.
        tasks: of its protocol.
    """

    run: Run
    experiment: Experiment
    predictions: pa.Table
    tasks: Tasks

    @property
    def classes(self) -> list[str]:
        """Class names; none where ratings alone are learnt."""
        return [*self.tasks.classes]


def measuring_run(tracker: Tracker, tags: Mapping[str, str]) -> Run:
    """The run whose predictions a version's estimate was made of, finished or not.

    Args:
        tracker: where it is recorded.
        tags: of the version.
    """
    run = tracker.find_run(tags.get("cross_validation", tags["source_run"]))
    parent = run.data.tags.get("mlflow.parentRunId")
    return tracker.find_run(parent) if parent else run


def read_out_of_fold(tracker: Tracker, tags: Mapping[str, str]) -> OutOfFold | None:
    """The predictions that a version's estimate was made of; None where its cross-validation is not complete.

    Args:
        tracker: where it is recorded.
        tags: of the version.
    """
    run = measuring_run(tracker, tags)
    path = "predictions.parquet"
    if "variant" in tags:
        path = f"predictions/{tags['selection'].split()[0]}/{tags['variant']}.parquet"
    if not tracker.has_artifact(run.info.run_id, path):
        return None
    with tempfile.TemporaryDirectory() as scratch:
        predictions = pq.read_table(tracker.download_artifact(run.info.run_id, path, Path(scratch)))
    experiment = parse_stored(tracker.load_yaml(run.info.run_id, "experiment.yaml"), f"run {run.info.run_id}")
    tasks = resolve_protocol(experiment.protocol, experiment.corpus.kind).tasks
    if "members" in tags:
        predictions = average_answers(predictions, tasks)
    return OutOfFold(run, experiment, predictions, tasks)
