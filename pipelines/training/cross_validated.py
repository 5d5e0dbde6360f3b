"""What a finished cross-validation chose, and how good it says its models are: for a training on all speakers."""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow.parquet as pq

from fgcme.data import SpeechCorpus, resolve_protocol
from fgcme.errors import UserError
from fgcme.evaluation.ensembles import average_answers
from fgcme.evaluation.summary import summarise_tasks
from fgcme.experiment import Experiment
from fgcme.tracking import Tracker
from pipelines.runs import records
from pipelines.runs.opening import opened_runs
from pipelines.training.job import finished_trainings

if TYPE_CHECKING:
    from mlflow.entities import Run

# Where the run lies, and what a sweep over it would do, changes nothing of what it says.
_IGNORED = ("storage.", "tune.")


@dataclass(frozen=True)
class CrossValidated:
    """A finished cross-validation.

    Attributes:
        run: id of its run.
        best_epochs: of its trainings, all folds and seeds.
        metrics: of its test parts, all folds: `test/ua`, `test/ua_deviation` over seeds, and so on; `test_untuned/` the
            same without the speakers that the configuration was tuned on; `test_together/`, with several seeds, of the
            mean answers of each fold's models.
    """

    run: str
    best_epochs: list[int]
    metrics: dict[str, float]

    @property
    def epochs(self) -> int:
        """The median of the best epochs; of the two in the middle the later one.

        A few folds whose dev score peaks by chance at the end or at the beginning move a mean, and no median; and all
        speakers are more data than those of any fold, which asks for no fewer epochs.
        """
        return statistics.median_high(self.best_epochs)


def find_cross_validation(
    tracker: Tracker, experiment: Experiment, corpus: SpeechCorpus, run: str, folder: Path
) -> CrossValidated:
    """The cross-validation that speaks of an experiment: of the same settings and the same corpus.

    Args:
        tracker: where it is recorded.
        experiment: what it has to have trained.
        corpus: what it has to have been trained on.
        run: id or name of its run, or `latest`: of the finished ones of this experiment and these settings.
        folder: parent of the folders of all cross-validations of this storage, among which the latest is.

    Raises:
        UserError: there is none, it is not finished, or it is of other settings or another corpus; names these.
    """
    if run != "latest":
        found = tracker.find_run(run)
        if not _is_finished(found):
            raise UserError(
                f"run {found.info.run_id} ({found.info.run_name}) is no finished cross-validation of all folds: give "
                "the id of one, or complete it with `fgcme train` and --resume"
            )
        if differences := _differences(tracker, found, experiment, corpus):
            raise _refusal(found, differences)
        return _read(tracker, found, experiment)
    latest: tuple[Run, list[str]] | None = None
    for found in _finished(tracker, experiment, folder):
        differences = _differences(tracker, found, experiment, corpus)
        if not differences:
            return _read(tracker, found, experiment)
        latest = latest or (found, differences)
    if latest is not None:
        raise _refusal(*latest)
    raise UserError(
        f"{folder}: no finished cross-validation of {experiment.name} has chosen how many epochs to train; run "
        "`fgcme train` without --final first"
    )


def _refusal(run: Run, differences: list[str]) -> UserError:
    return UserError(
        f"cross-validation {run.info.run_id} is of another configuration: {', '.join(differences)}; give the same "
        "settings, or run `fgcme train` with these and without --final first"
    )


def _finished(tracker: Tracker, experiment: Experiment, folder: Path) -> Iterator[Run]:
    """The finished cross-validations of an experiment in a storage folder, the latest first."""
    mlflow_experiment = tracker.get_or_create_experiment(experiment.name)
    for name in opened_runs(folder):
        # A run that was deleted from the store may have left its folder.
        with suppress(UserError):
            run = tracker.find_run(name)
            if run.info.experiment_id == mlflow_experiment and _is_finished(run):
                yield run


def _is_finished(run: Run) -> bool:
    # It gets its metrics when all folds are done.
    whole = run.data.tags.get("fgcme.kind") == "cross_validation" and records.is_complete(run)
    return bool(whole and run.info.status == "FINISHED")


def _differences(tracker: Tracker, run: Run, experiment: Experiment, corpus: SpeechCorpus) -> list[str]:
    """In what a run differs from an experiment and its corpus, each with both values."""
    differences = records.changed_settings(tracker, run.info.run_id, experiment, _IGNORED)
    then, now = run.data.tags.get("fgcme.corpus_hash"), corpus.description.corpus_hash
    return differences + ([f"corpus_hash ({then!r} then, {now!r} now)"] if then != now else [])


def _read(tracker: Tracker, run: Run, experiment: Experiment) -> CrossValidated:
    """What a finished cross-validation of an experiment says."""
    trainings = finished_trainings(tracker, run.info.run_id)
    metrics = {name: value for name, value in run.data.metrics.items() if name.startswith(("test/", "test_untuned/"))}
    if len(experiment.training.seeds) > 1:
        with tempfile.TemporaryDirectory() as scratch:
            path = tracker.download_artifact(run.info.run_id, "predictions.parquet", Path(scratch))
            predictions = pq.read_table(path)
        tasks = resolve_protocol(experiment.protocol, experiment.corpus.kind).tasks
        together = summarise_tasks(average_answers(predictions, tasks), tasks).mean
        metrics |= {f"test_together/{name}": value for name, value in together.items()}
    best_epochs = [int(training.data.metrics["best/epoch"]) for training in trainings]
    return CrossValidated(run.info.run_id, best_epochs, metrics)
