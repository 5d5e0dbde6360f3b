"""A training as the driver sees it: the job, the MLflow run that records it, and the result that it leaves."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from fgcme.experiment import Experiment
from fgcme.files import exists, read_text, write_text
from fgcme.report.headline import headline
from fgcme.tracking import LOCAL_ID_TAG, Tracker, code_version_tags
from pipelines.runs import records

if TYPE_CHECKING:
    from mlflow.entities import Run

# Kinds of runs: of `fgcme train --final`, and of each training below it, on everybody.
FINAL, FINAL_SEED = "final_training", "final_seed"
# Tags of the former: the cross-validation that speaks of its models, and how many epochs they were trained.
CROSS_VALIDATION_TAG, EPOCHS_TAG = "fgcme.cross_validation", "fgcme.epochs"


@dataclass(frozen=True)
class Job:
    """One training: everything that a worker on any machine needs to know.

    Attributes:
        experiment: what is trained.
        corpus: folder of the prepared corpus.
        corpus_hash: the content that the corpus must have.
        fold: the fold that is tested on; None trains on everybody.
        seed: of all that is random.
        folder: where its state and its result are kept.
        tracker: where its run is recorded.
        run: id of its MLflow run; empty before the training starts.
        epochs: how many it takes without a dev part that chooses; 0 lets the dev part choose.
    """

    experiment: Experiment
    corpus: Path
    corpus_hash: str
    fold: int | None
    seed: int
    folder: Path
    tracker: Tracker
    run: str
    epochs: int = 0

    @property
    def title(self) -> str:
        """What is trained, in messages and as its run's name."""
        return f"{_who(self.fold)}, seed {self.seed}"


@dataclass(frozen=True)
class Result:
    """What one training gave.

    Attributes:
        fold: the fold that was tested on; None if everybody was trained on.
        seed: of all that is random.
        best_epoch: the epoch whose weights were kept.
        epochs: epochs that were run.
        dev: metrics of those weights on the dev part, if there is one.
        test: metrics of those weights on the test part, if there is one.
        seconds: wall time, with that of interrupted starts.
    """

    fold: int | None
    seed: int
    best_epoch: int
    epochs: int
    dev: dict[str, float]
    test: dict[str, float]
    seconds: float


def read_result(folder: Path) -> Result | None:
    """The result of the training of this folder, or None if it has not ended."""
    path = folder / "result.json"
    return Result(**json.loads(read_text(path))) if exists(path) else None


def with_run(
    job: Job, mlflow_experiment: str, parent: str, title: str, tags: Mapping[str, str] = MappingProxyType({})
) -> Job:
    """The job with its MLflow run: a new one, or that of the interrupted training, reopened.

    The run's tags say which commit started it, and which resumed it.

    Args:
        job: without its run.
        mlflow_experiment: id of the MLflow experiment.
        parent: id of the run that it belongs to.
        title: name of the run.
        tags: of the run, besides those that every training has.
    """
    job.folder.mkdir(parents=True, exist_ok=True)
    marker = job.folder / "run"
    if marker.exists():
        run_id = marker.read_text(encoding="utf-8")
        job.tracker.reopen_run(run_id)
        job.tracker.set_tags(run_id, {records.RESUMED_COMMIT_TAG: code_version_tags()[records.COMMIT_TAG]})
    else:
        of_fold = {"fgcme.kind": "fold", "fgcme.fold": str(job.fold)}
        if job.fold is None:
            of_fold = {"fgcme.kind": FINAL_SEED}
        run_id = job.tracker.create_run(
            mlflow_experiment,
            title,
            parent=parent,
            tags={
                **code_version_tags(),
                **tags,
                **of_fold,
                "fgcme.seed": str(job.seed),
                "fgcme.protocol": records.protocol_label(job.experiment),
                "fgcme.selection": job.experiment.protocol.selection,
            },
            parameters={"fold": "none" if job.fold is None else job.fold, "seed": job.seed},
        )
        write_text(marker, run_id)
    return replace(job, run=run_id)


def conclude(job: Job) -> None:
    """Delete the checkpoints of a finished training, and end its run."""
    shutil.rmtree(job.folder / "train", ignore_errors=True)
    (job.folder / "state.pt").unlink(missing_ok=True)
    job.tracker.end_run(job.run, "FINISHED")


def finish_leftovers(jobs: Sequence[Job], parent: str) -> None:
    """Conclude trainings that have results, but whose driver was killed before it concluded them.

    Args:
        jobs: with or without their runs.
        parent: the run that theirs belong to.
    """
    if not jobs:
        return
    concluded = {
        name
        for child in jobs[0].tracker.child_runs(parent)
        if child.info.status == "FINISHED"
        for name in (child.info.run_id, child.data.tags.get(LOCAL_ID_TAG))
    }
    for job in jobs:
        if (run := recorded_run(job)) not in concluded:
            conclude(replace(job, run=run))


def recorded_run(job: Job) -> str:
    """The id of a training's run, from its folder.

    Raises:
        FileNotFoundError: it has none yet.
    """
    return (job.folder / "run").read_text(encoding="utf-8")


def finished_trainings(tracker: Tracker, parent: str) -> list[Run]:
    """The finished folds of a cross-validation, or the finished seeds of a final training, oldest first."""
    return [
        run
        for run in tracker.child_runs(parent)
        if run.data.tags.get("fgcme.kind") in ("fold", FINAL_SEED) and run.info.status == "FINISHED"
    ]


def format_result(result: Result) -> str:
    """A result in one line."""
    title = f"{_who(result.fold)}, seed {result.seed}"
    if result.fold is None:
        return f"{title}: {result.epochs} epochs"
    said = []
    if "ua" in result.test:
        said.append(
            f"dev UA {100 * result.dev['ua']:.1f}, test UA {100 * result.test['ua']:.1f}, "
            f"WA {100 * result.test['wa']:.1f}"
        )
    if "ccc" in result.test:
        ratings = {name: value for name, value in result.test.items() if name.startswith("ccc")}
        said.append(f"dev CCC {result.dev['ccc']:.3f}, test {headline(ratings)}")
    return f"{title}: best epoch {result.best_epoch} of {result.epochs}, {', '.join(said)}"


def _who(fold: int | None) -> str:
    return "all speakers" if fold is None else f"fold {fold}"
