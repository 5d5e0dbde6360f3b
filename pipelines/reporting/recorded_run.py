"""A finished ablation or cross-validation, read back from MLflow."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from fgcme.data import Selection, Tasks, resolve_protocol
from fgcme.errors import UserError
from fgcme.experiment import Experiment, parse_stored
from fgcme.report.conditions import Conditions
from fgcme.tracking import Tracker
from pipelines.runs.records import is_complete, protocol_label
from pipelines.runs.reproduce import Repetition, repeat_ablation, repeat_training
from pipelines.training.job import CROSS_VALIDATION_TAG

if TYPE_CHECKING:
    from mlflow.entities import Run


@dataclass(frozen=True)
class RecordedTraining:
    """One training of a recorded run.

    Attributes:
        variant, selection, fold, seed: which training it is.
        run: id of the MLflow run that has its curves and its model.
        seconds: wall time.
    """

    variant: str
    selection: Selection
    fold: int
    seed: int
    run: str
    seconds: float


@dataclass(frozen=True)
class RecordedRun:
    """A finished run, read back.

    Attributes:
        run: the MLflow run.
        reference, variants: what was compared; of a cross-validation, the one model.
        trainings: all of them.
        predictions: selection rule -> variant -> predictions of all folds and seeds; an honest rule first.
        repetition: the commands and files that repeat it.
    """

    run: Run
    reference: str
    variants: Mapping[str, Experiment]
    trainings: Sequence[RecordedTraining]
    predictions: Mapping[Selection, Mapping[str, pa.Table]]
    repetition: Repetition

    @property
    def experiment(self) -> Experiment:
        """The experiment that the variants change, or that was cross-validated; with all seeds that it has by now."""
        return self.repetition.experiment

    @property
    def tasks(self) -> Tasks:
        """What was learnt."""
        return resolve_protocol(self.experiment.protocol, self.experiment.corpus.kind).tasks

    @property
    def classes(self) -> list[str]:
        """Class names."""
        return [*self.tasks.classes]

    @property
    def protocol_label(self) -> str:
        """The protocol as shown beside results."""
        return protocol_label(self.experiment)

    def conditions(self, selection: Selection, protocol: str) -> Conditions:
        """Under which conditions a selection rule's results came about; `protocol` is how the report names it."""
        return Conditions(
            protocol,
            selection,
            self.experiment.training.seeds,
            self.experiment.protocol.tuned_on,
            self.run.data.tags.get("fgcme.allow_missing", ""),
        )

    @property
    def main_selection(self) -> Selection:
        """The selection rule whose trainings are shown in detail: an honest one, if there is one."""
        return next(iter(self.predictions))

    def main_trainings(self, variant: str) -> list[RecordedTraining]:
        """The trainings of a variant by the main selection rule."""
        return [
            training
            for training in self.trainings
            if (training.variant, training.selection) == (variant, self.main_selection)
        ]


def read_run(tracker: Tracker, run: Run) -> RecordedRun:
    """Read a finished run back.

    Raises:
        UserError: it is neither an ablation nor a cross-validation, or not finished.
    """
    kind = run.data.tags.get("fgcme.kind", "run of another program")
    title = f"run {run.info.run_id} ({run.info.run_name}, {kind.replace('_', ' ')})"
    if kind not in ("ablation", "cross_validation"):
        parent = run.data.tags.get("mlflow.parentRunId")
        belongs = f"; it belongs to run {parent}" if parent else ""
        if measured := run.data.tags.get(CROSS_VALIDATION_TAG):
            belongs = f"; its estimate is that of run {measured}"
        raise UserError(
            f"{title} has nothing to report: name a run of `fgcme ablate`, `fgcme train` or `fgcme tune`{belongs}"
        )
    verb = "ablate" if kind == "ablation" else "train"
    if run.info.status != "FINISHED":
        raise UserError(f"{title} is {run.info.status}: complete it with `fgcme {verb}` and --resume {run.info.run_id}")
    experiment = parse_stored(tracker.load_yaml(run.info.run_id, "experiment.yaml"), f"run {run.info.run_id}")
    if kind == "ablation":
        return _read_ablation(tracker, run, experiment)
    if not is_complete(run):
        raise UserError(
            f"{title} does not have all folds, so it is no cross-validation: complete it with `fgcme train` and "
            f"--resume {run.info.run_id}"
        )
    return _read_cross_validation(tracker, run, experiment)


def _read_ablation(tracker: Tracker, run: Run, experiment: Experiment) -> RecordedRun:
    description, results = (tracker.load_json(run.info.run_id, name) for name in ("ablation.json", "results.json"))
    variants = {
        name: parse_stored(settings, f"run {run.info.run_id}, variant {name}")
        for name, settings in description["variants"].items()
    }
    with tempfile.TemporaryDirectory() as scratch:
        folder = tracker.download_artifact(run.info.run_id, "predictions", Path(scratch))
        selections: list[Selection] = sorted(description["selections"])
        predictions = {
            selection: {name: pq.read_table(folder / selection / f"{name}.parquet") for name in variants}
            for selection in selections
        }
    space = run.data.tags["fgcme.space"].removeprefix(f"{experiment.name}-")
    return RecordedRun(
        run=run,
        reference=description["reference"],
        variants=variants,
        trainings=[
            RecordedTraining(*(result[key] for key in ("variant", "selection", "fold", "seed", "run", "seconds")))
            for result in results
        ],
        predictions=predictions,
        repetition=repeat_ablation(experiment, space, description["reference"], variants, selections),
    )


def _read_cross_validation(tracker: Tracker, run: Run, experiment: Experiment) -> RecordedRun:
    selection = experiment.protocol.selection
    with tempfile.TemporaryDirectory() as scratch:
        predictions = pq.read_table(tracker.download_artifact(run.info.run_id, "predictions.parquet", Path(scratch)))
    return RecordedRun(
        run=run,
        reference=experiment.name,
        variants={experiment.name: experiment},
        trainings=[
            RecordedTraining(
                experiment.name,
                selection,
                int(child.data.tags["fgcme.fold"]),
                int(child.data.tags["fgcme.seed"]),
                child.info.run_id,
                child.data.metrics["seconds"],
            )
            for child in tracker.child_runs(run.info.run_id)
            if child.data.tags.get("fgcme.kind") == "fold" and child.info.status == "FINISHED"
        ],
        predictions={selection: {experiment.name: predictions}},
        repetition=repeat_training(experiment),
    )
