"""Train: cross-validation over folds and seeds, each training a Ray Train job.

The driver makes the MLflow runs and hands their ids out. Each (fold, seed) is one Ray task; it trains in its own
process, or, with `scaling.workers`, starts that many Ray Train workers. What is finished is kept in the storage folder:
a training that is resumed does only what is left.
"""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import ray

from fgcme.data import Assignment, SpeechCorpus, split_fold
from fgcme.errors import UserError
from fgcme.evaluation.cross_validation import CrossValidationSummary, summarise
from fgcme.experiment import Experiment
from fgcme.report.confusion import confusion_figure
from fgcme.tracking import Tracker
from pipelines.cluster import Progress, capacity, ray_session, require_capacity, writable_folder
from pipelines.runs import records
from pipelines.runs.corpus import load_assigned_corpus
from pipelines.training import failure
from pipelines.training.job import Job, Result, conclude, finish_leftovers, format_result, read_result, with_run
from pipelines.training.worker import train_fold


def run(experiment: Experiment, folds: Sequence[int] | None = None, resume: str | None = None) -> str:
    """Cross-validate an experiment and record it.

    Args:
        experiment: what to train.
        folds: only these; all of the protocol's by default.
        resume: a run that was interrupted, to be completed.

    Returns:
        The id of the MLflow run.

    Raises:
        UserError: the corpus is not prepared or does not fit the protocol, or Ray has less than one training needs.
    """
    storage = writable_folder(experiment)
    corpus_folder, corpus, assignment = load_assigned_corpus(experiment)
    chosen = sorted(set(range(assignment.fold_count) if folds is None else folds))
    for fold in chosen:
        split_fold(assignment, fold)
    tracker = records.open_store(experiment, storage)
    study, parent = _open(tracker, experiment, corpus, assignment, resume)
    folder = storage / "runs" / parent
    if resume is not None:
        records.delete_unstarted(tracker, parent, folder)
    jobs = [
        Job(
            experiment,
            corpus_folder,
            corpus.description.corpus_hash,
            fold,
            seed,
            folder / f"fold-{fold}-seed-{seed}",
            tracker,
            run="",
        )
        for seed in experiment.training.seeds
        for fold in range(assignment.fold_count)
    ]
    plan = f"{len(chosen)} folds x {len(experiment.training.seeds)} seeds"
    print("\n".join(records.describe_participants(experiment, corpus, assignment, plan)))
    with tracker.closing_run(parent), ray_session():
        _train_all([job for job in jobs if job.fold in chosen], study, parent)
        # Folds that were trained before, by a run that is now completed, count as well.
        there = [job for job in jobs if read_result(job.folder) is not None]
        predictions = pa.concat_tables(pq.read_table(job.folder / "predictions.parquet") for job in there)
        outcome = Outcome(experiment, assignment, predictions, complete=len(there) == len(jobs))
        _record(tracker, parent, outcome)
    _conclude(outcome, [result for job in there if (result := read_result(job.folder)) is not None], parent)
    return parent


@dataclass(frozen=True)
class Outcome:
    """What a cross-validation gave: the test predictions of its folds, all of them or (not `complete`) some."""

    experiment: Experiment
    assignment: Assignment
    predictions: pa.Table
    complete: bool

    @property
    def classes(self) -> list[str]:
        """Class names."""
        return self.assignment.protocol.classes

    @functools.cached_property
    def summary(self) -> CrossValidationSummary:
        """Of all test speakers."""
        return summarise(self.predictions, self.classes)

    @functools.cached_property
    def untuned(self) -> CrossValidationSummary | None:
        """Without the speakers that the configuration was chosen on; None if there were none, or if none is left."""
        tuned_on = self.experiment.protocol.tuned_on
        summary = summarise(self.predictions, self.classes, tuned_on)
        return summary if tuned_on and summary.utterances else None


def _open(
    tracker: Tracker, experiment: Experiment, corpus: SpeechCorpus, assignment: Assignment, resume: str | None
) -> tuple[str, str]:
    """The ids of the MLflow experiment and of the run: a new one, or the one to be completed."""
    if resume is None:
        study = tracker.experiment(experiment.name)
        run_id = tracker.start(
            study,
            f"{experiment.name} train",
            tags=records.tags(experiment, corpus, assignment) | {"fgcme.kind": "cross_validation"},
            parameters=experiment.flat(),
        )
        tracker.text(run_id, experiment.to_yaml(), "experiment.yaml")
        return study, run_id
    found = tracker.find(resume)
    if found.data.tags.get("fgcme.kind") != "cross_validation":
        raise UserError(f"{resume}: not a run of `fgcme train`; give one's id")
    records.refuse_changes(tracker, found.info.run_id, experiment, corpus)
    tracker.reopen(found.info.run_id)
    return found.info.experiment_id, found.info.run_id


def _train_all(jobs: list[Job], study: str, parent: str) -> None:
    """Train what is not trained yet, as much at once as fits."""
    done = [job for job in jobs if read_result(job.folder) is not None]
    finish_leftovers(done, parent)
    waiting = [job for job in jobs if job not in done]
    if not waiting:
        return
    scaling, at_once = waiting[0].experiment.scaling, _at_once(waiting[0].experiment)
    progress = Progress("training", ["fold"] * len(waiting), already=len(done))
    running: dict[Any, Job] = {}
    failed: list[str] = []
    try:
        while waiting or running:
            while waiting and len(running) < at_once:
                job = _with_run(waiting.pop(0), study, parent)
                # With workers of its own a training's task computes nothing itself.
                task = train_fold.options(
                    num_cpus=0 if scaling.workers else scaling.cpus_per_worker,
                    num_gpus=0 if scaling.workers else scaling.gpus_per_worker,
                    name=f"fold {job.fold}, seed {job.seed}",
                    max_retries=failure.RETRIES,
                )
                running[task.remote(job)] = job
            (reference,), _ = ray.wait(list(running), num_returns=1)
            job = running.pop(reference)
            try:
                ray.get(reference)
            except ray.exceptions.RayError as error:
                failure.record(job, failure.failure_reason(error))
                failed.append(f"fold {job.fold}, seed {job.seed}: {failure.noted(job)}")
                progress.fail(failed[-1], "fold")
                continue
            result = read_result(job.folder)
            assert result is not None, "a training that ended well has left its result"
            conclude(job)
            progress.step(format_result(result), "fold", result.seconds, beside=len(running))
    finally:
        for reference, job in running.items():
            ray.cancel(reference, force=True)
            job.tracker.finish(job.run, "KILLED")
    if failed:
        raise UserError(
            f"{len(failed)} of {len(jobs)} trainings failed ({failed[0]}); complete them with --resume {parent}"
        )


def _with_run(job: Job, study: str, parent: str) -> Job:
    job = with_run(job, study, parent, f"fold {job.fold}, seed {job.seed}")
    failure.forget(job)
    return job


def _at_once(experiment: Experiment) -> int:
    """How many trainings fit at a time."""
    scaling = experiment.scaling
    size = max(scaling.workers, 1)
    require_capacity(scaling.cpus_per_worker, scaling.gpus_per_worker, "one training", size)
    fitting = capacity(scaling.cpus_per_worker, scaling.gpus_per_worker) // size
    return min(fitting, scaling.max_concurrent or fitting)


def _record(tracker: Tracker, parent: str, outcome: Outcome) -> None:
    # Some folds alone are no cross-validation: their mean must not be taken for one.
    if outcome.complete:
        tracker.log(parent, _metrics("test", outcome.summary), 0)
        if outcome.untuned is not None:
            tracker.log(parent, _metrics("test_untuned", outcome.untuned), 0)
    rule = records.rule_text(outcome.experiment.protocol.selection)
    title = f"{records.protocol_label(outcome.experiment)}, selection {rule}"
    tracker.figure(parent, confusion_figure(outcome.summary.matrix, outcome.classes, title), "confusion.png")
    with tempfile.TemporaryDirectory() as folder:
        pq.write_table(outcome.predictions, Path(folder) / "predictions.parquet")
        tracker.artifact(parent, Path(folder) / "predictions.parquet")


def _metrics(part: str, summary: CrossValidationSummary) -> dict[str, float]:
    metrics = {f"{part}/{name}": value for name, value in summary.mean.items()}
    return metrics | {f"{part}/{name}_deviation": value for name, value in summary.deviation.items()}


def _conclude(outcome: Outcome, results: list[Result], parent: str) -> None:
    # One seed has no spread.
    several = len(outcome.summary.by_seed) > 1

    def metrics(of: CrossValidationSummary) -> str:
        return ", ".join(
            f"{title} {100 * of.mean[name]:.1f}" + (f" ± {100 * of.deviation[name]:.1f}" if several else "")
            for title, name in (("WA", "wa"), ("UA", "ua"), ("macro-F1", "macro_f1"))
        )

    experiment, summary = outcome.experiment, outcome.summary
    print(
        f"\n{records.protocol_label(experiment)}, selection {records.rule_text(experiment.protocol.selection)}"
        f"{'' if outcome.complete else ', not all folds'}, "
        f"{len(summary.by_seed)} {'seeds, mean ± deviation' if several else 'seed'}, in per cent:"
    )
    print(f"  {metrics(summary)}  ({summary.utterances} utterances a seed)")
    if experiment.protocol.tuned_on:
        print(records.TUNED_ON)
        print(f"  {metrics(outcome.untuned)}" if outcome.untuned else "  no speaker is left")
    print(f"  {len(results)} trainings, {sum(result.seconds for result in results):.0f} s of training time")
    print(f"\nrun {parent}; next: fgcme register {parent} --name fgcme-{experiment.name} --alias champion")
