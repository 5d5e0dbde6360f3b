"""Train: cross-validation over folds and seeds, each training a task of Ray, or a Ray Train job that it starts.

The driver creates the MLflow runs and passes their ids to the tasks. Finished trainings stay in the storage folder: a
cross-validation that is resumed trains only what is left.
"""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from fgcme.data import Assignment, Tasks, split_fold
from fgcme.evaluation.summary import TaskSummary, summarise_tasks
from fgcme.experiment import Experiment
from fgcme.report.confusion import confusion_figure
from fgcme.report.formatting import count
from fgcme.report.headline import describe_agreement, describe_ratings, headline
from fgcme.report.ratings import ratings_figure
from fgcme.tracking import Tracker
from pipelines.runs import records
from pipelines.runs.corpus import corpus_in_use, load_assigned_corpus
from pipelines.runs.opening import OpenRun, RunRequest, interrupted_run, open_run, training_session
from pipelines.training.job import Job, Result, read_result
from pipelines.training.runner import Training, run_trainings

KIND = "cross_validation"
FOLDER = "runs"


def run(experiment: Experiment, folds: Sequence[int] | None = None, resume: str | None = None) -> str:
    """Cross-validate an experiment and record it.

    Args:
        experiment: what to train.
        folds: train only these; by default all of the protocol's.
        resume: id or name of an interrupted run to complete, or `latest`.

    Returns:
        The id of the MLflow run.

    Raises:
        UserError: the corpus is not prepared or does not fit the protocol, Ray can never give what one training needs,
            another driver works on the run or prepares the corpus, or trainings failed.
    """
    with corpus_in_use(experiment):
        corpus_folder, corpus, assignment = load_assigned_corpus(experiment)
        chosen = sorted(set(range(assignment.fold_count) if folds is None else folds))
        for fold in chosen:
            split_fold(assignment, fold)
        with training_session(experiment) as (storage, tracker):
            resumed = None if resume is None else interrupted_run(tracker, experiment, resume, storage / FOLDER, KIND)
            if resumed is not None:
                records.require_unchanged(tracker, resumed, experiment, corpus)
            request = RunRequest(
                kind=KIND,
                title=f"{experiment.name} train",
                folder=storage / FOLDER,
                experiment=experiment,
                corpus=corpus,
                assignment=assignment,
                documents={"experiment.yaml": experiment.to_yaml()},
            )
            plan = f"{count(len(chosen), 'fold')} x {count(len(experiment.training.seeds), 'seed')}"
            with open_run(tracker, request, resumed) as opened:
                print("\n".join(records.describe_participants(experiment, corpus, assignment, plan)))
                jobs = _jobs(experiment, corpus_folder, corpus.description.corpus_hash, assignment, tracker, opened)
                trainings = [Training(job) for job in jobs if job.fold in chosen]
                run_trainings(trainings, opened, f"--resume {opened.run_id}")
                # Folds that the resumed run trained earlier count as well.
                trained = [job for job in jobs if read_result(job.folder) is not None]
                predictions = pa.concat_tables(pq.read_table(job.folder / "predictions.parquet") for job in trained)
                outcome = Outcome(experiment, assignment, predictions, complete=len(trained) == len(jobs))
                _record(tracker, opened.run_id, outcome)
    results = [result for job in trained if (result := read_result(job.folder)) is not None]
    _print_result(outcome, results, opened.run_id)
    return opened.run_id


@dataclass(frozen=True)
class Outcome:
    """What a cross-validation gave.

    Attributes:
        experiment: what was trained.
        assignment: its protocol applied to the corpus.
        predictions: of the test parts of the folds that were trained.
        complete: whether all folds were.
    """

    experiment: Experiment
    assignment: Assignment
    predictions: pa.Table
    complete: bool

    @property
    def tasks(self) -> Tasks:
        """What was learnt."""
        return self.assignment.protocol.tasks

    @functools.cached_property
    def summary(self) -> TaskSummary:
        """Of all test speakers."""
        return summarise_tasks(self.predictions, self.tasks)

    @functools.cached_property
    def untuned(self) -> TaskSummary | None:
        """Without the speakers that the configuration was tuned on; None if it was not tuned, or no speaker is left."""
        tuned_on = self.experiment.protocol.tuned_on
        summary = summarise_tasks(self.predictions, self.tasks, tuned_on)
        return summary if tuned_on and summary.utterances else None


def _jobs(
    experiment: Experiment,
    corpus: Path,
    corpus_hash: str,
    assignment: Assignment,
    tracker: Tracker,
    opened: OpenRun,
) -> list[Job]:
    """The jobs of all trainings of the cross-validation, seed by seed."""
    return [
        Job(experiment, corpus, corpus_hash, fold, seed, opened.folder / f"fold-{fold}-seed-{seed}", tracker, run="")
        for seed in experiment.training.seeds
        for fold in range(assignment.fold_count)
    ]


def _record(tracker: Tracker, parent: str, outcome: Outcome) -> None:
    """Record the metrics, the confusion matrix and the predictions with the run."""
    # The mean of some folds alone is no cross-validation.
    if outcome.complete:
        tracker.log_metrics(parent, _metrics("test", outcome.summary), 0)
        if outcome.untuned is not None:
            tracker.log_metrics(parent, _metrics("test_untuned", outcome.untuned), 0)
    rule = records.rule_text(outcome.experiment.protocol.selection)
    title = f"{records.protocol_label(outcome.experiment)}, selection {rule}"
    if (of_classes := outcome.summary.classes) is not None:
        tracker.log_figure(parent, confusion_figure(of_classes.matrix, outcome.tasks.classes, title), "confusion.png")
    if outcome.tasks.dimensions:
        tracker.log_figure(parent, ratings_figure(outcome.predictions, outcome.tasks, title), "ratings.png")
    with tempfile.TemporaryDirectory() as folder:
        pq.write_table(outcome.predictions, Path(folder) / "predictions.parquet")
        tracker.log_artifact(parent, Path(folder) / "predictions.parquet")


def _metrics(part: str, summary: TaskSummary) -> dict[str, float]:
    metrics = {f"{part}/{name}": value for name, value in summary.mean.items()}
    return metrics | {f"{part}/{name}_deviation": value for name, value in summary.deviation.items()}


def _print_result(outcome: Outcome, results: list[Result], parent: str) -> None:
    # One seed has no deviation.
    several = outcome.summary.seeds > 1

    def metrics(of: TaskSummary) -> str:
        return headline(of.mean, of.deviation if several else None)

    experiment, summary = outcome.experiment, outcome.summary
    print(
        f"\n{records.protocol_label(experiment)}, selection {records.rule_text(experiment.protocol.selection)}"
        f"{'' if outcome.complete else ', not all folds'}, "
        f"{summary.seeds} {'seeds, mean ± deviation' if several else 'seed'}"
        f"{', in per cent' if outcome.tasks.classes else ''}:"
    )
    print(f"  {metrics(summary)}  ({summary.utterances} utterances a seed)")
    if summary.ratings is not None:
        print("\n".join(f"    {line}" for line in describe_ratings(summary.ratings)))
    if summary.agreement is not None:
        print("\n".join(f"    {line}" for line in describe_agreement(summary.agreement)))
    if experiment.protocol.tuned_on:
        print(records.UNTUNED_NOTE)
        print(f"  {metrics(outcome.untuned)}" if outcome.untuned else "  no speaker is left")
    seconds = sum(result.seconds for result in results)
    print(f"  {count(len(results), 'training')}, {seconds:.0f} s of training time")
    print(f"\nrun {parent}; next: fgcme register {parent} --name fgcme-{experiment.name} --alias champion")
