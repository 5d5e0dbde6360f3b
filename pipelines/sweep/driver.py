"""Runs the trials of a sweep that have not ended yet on Ray Tune, in the driver."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from optuna.storages import BaseStorage
from ray import tune
from ray.tune.error import TuneError
from ray.tune.search import SearchAlgorithm, Searcher

from fgcme.errors import UnfinishedError, UserError
from fgcme.tracking import Tracker
from pipelines.runs.corpus import with_absolute_encoder
from pipelines.sweep import internals, scheduling, search, shared_study, snapshot, study_storage
from pipelines.sweep.plan import SweepPlan
from pipelines.sweep.recorder import FailureLimit, SweepRecorder
from pipelines.sweep.trial import train_trial
from pipelines.sweep.trial_folder import FAILURE, TrialContext, TrialFolder, trial_folders
from pipelines.training.failure import disk_full, failure_reason

# A trial may lose its process or machine this many times.
_MAX_LOSSES = 100

_RAY_TUNE_SETTINGS = {
    # The recorder prints a line for each trial; Ray's own reports would drown it.
    "RAY_AIR_NEW_OUTPUT": "0",
    # Reports are kept in the trials' folders; Ray would write each of them into three more files.
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    # What Ray says of a lost trial is kept in its folder, and is a page long.
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
}


def make_proposer(plan: SweepPlan, folder: Path, shared: BaseStorage | None) -> Searcher | SearchAlgorithm:
    """What proposes the configurations of a sweep.

    Args:
        plan: of the sweep.
        folder: of the sweep, whose name is the sweep's id.
        shared: storage of the study, if drivers share one.
    """
    if plan.experiment.tune.scheduler == "pbt":
        return search.make_population(plan.experiment, plan.space, plan.initial_trials)
    proposed, forgotten = dict[int, dict[str, Any]](), list[int]()
    if shared is None:
        proposed = _forgotten_proposals(folder)
    else:
        known = internals.proposed_numbers(folder)
        forgotten = shared_study.forgotten_trials(shared, plan.title, folder.name, known)
    return search.make_searcher(
        plan.experiment, plan.space, plan.initial_trials, folder.name, plan.title, shared, proposed, forgotten
    )


def _forgotten_proposals(folder: Path) -> dict[int, dict[str, Any]]:
    """The settings of trials that began after the last snapshot of a killed driver, by number."""
    trials = trial_folders(folder / "trials")
    known = internals.proposed_numbers(folder) if trials else set()
    return {
        int(trial.name): settings
        for trial in trials
        if int(trial.name) not in known and (settings := trial.settings()) is not None
    }


def tell_results(plan: SweepPlan, folder: Path, shared: BaseStorage) -> None:
    """Tell the study the results of trials that ended while its database was away.

    Args:
        plan: of the sweep.
        folder: of the sweep.
        shared: storage of the study that drivers share.
    """
    metrics = search.metrics(plan.experiment.tune)

    def result_of(number: int) -> list[float] | None:
        last = TrialFolder(folder / "trials" / str(number)).read_last_report() or {}
        return [float(last[metric]) for metric in metrics] if last.keys() >= set(metrics) else None

    shared_study.tell_results(shared, plan.title, folder.name, result_of)


def run_trials(plan: SweepPlan, tuner: tune.Tuner, folder: Path, tracker: Tracker) -> tune.ResultGrid:
    """Run all trials that have not ended yet.

    Args:
        plan: of the sweep.
        tuner: made or restored for it.
        folder: of the sweep.
        tracker: where the trials' runs are recorded.

    Raises:
        KeyboardInterrupt: the user stops the sweep.
        UnfinishedError: too many trials failed, the disk is full, or a database is away for good.
    """
    for name, value in _RAY_TUNE_SETTINGS.items():
        os.environ.setdefault(name, value)
    trials, saver = folder / "trials", snapshot.SnapshotSaver(folder)
    try:
        saved = internals.records_saved_by(saver.save, lambda: snapshot.restore(folder))
        with saved, internals.trainable_fetched_once():
            results = tuner.fit()
    except (OSError, TuneError) as error:
        causes = list(_with_causes(error))
        if any(disk_full(cause) for cause in causes):
            raise UnfinishedError(f"{folder}: the disk is full; make room") from None
        for cause in causes:
            if isinstance(cause, UserError):
                raise cause from None
        raise
    finally:
        unfinished = end_open_runs(tracker, trials)
    study_storage.require_answering(plan.experiment.tune.study_storage)
    require_few_failures(failure_reasons(results, trials), plan.experiment.tune.max_failures)
    if unfinished or len(results) < plan.total:
        # After Ctrl-C Ray Tune returns the results so far.
        raise KeyboardInterrupt
    return results


def _with_causes(error: BaseException | None) -> Iterator[BaseException]:
    """An error and what caused it: Ray Tune wraps each error of a callback in one of its own."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def make_tuner(
    plan: SweepPlan,
    folder: Path,
    tracker: Tracker,
    slots: int,
    proposer: Searcher | SearchAlgorithm,
    failures: FailureLimit,
) -> tune.Tuner:
    """A tuner for all trials of a sweep.

    Args:
        plan: of the sweep.
        folder: of the sweep.
        tracker: where its trials are recorded.
        slots: trials that run at once.
        proposer: proposes configurations.
        failures: ends the sweep when too many trials have failed.
    """
    experiment, context = plan.experiment, trial_context(plan, folder)
    scheduler = scheduling.make_scheduler(experiment, plan.space)
    mlflow_experiment = tracker.get_or_create_experiment(experiment.name)
    recorder = SweepRecorder(tracker, mlflow_experiment, folder.name, context, plan.total, failures, scheduler)
    return tune.Tuner(
        _trainable(context),
        # Population-based training refuses to vary keys that are not named here.
        param_space=dict.fromkeys((*plan.space.parameters, search.NUMBER)) if context.is_population else {},
        tune_config=tune.TuneConfig(
            search_alg=proposer,
            scheduler=scheduler,
            num_samples=plan.total,
            max_concurrent_trials=max_concurrent_trials(plan, slots),
            reuse_actors=True,
        ),
        run_config=tune.RunConfig(
            name=folder.name,
            storage_path=str(folder.parent),
            callbacks=[recorder],
            stop=failures,
            verbose=0,
            checkpoint_config=tune.CheckpointConfig(num_to_keep=checkpoints_to_keep(plan)),
            # A trial without progress fails by itself, but not if its process cannot even start.
            failure_config=tune.FailureConfig(max_failures=_MAX_LOSSES),
        ),
    )


def max_concurrent_trials(plan: SweepPlan, slots: int) -> int | None:
    """How many trials Ray Tune may propose at once; None sets no limit.

    A trial proposed before there is room for it would not learn from those that end meanwhile. The members of a
    population are all proposed at the start, and take turns.
    """
    return None if plan.experiment.tune.scheduler == "pbt" else slots


def checkpoints_to_keep(plan: SweepPlan) -> int:
    """How many of Ray Tune's checkpoints, one an epoch, each member of a population keeps; other trials have none.

    A copied checkpoint is up to one perturbation interval (`tune.grace_period`) old, and the copied member trains on
    for another before it is read; a third is margin.
    """
    interval = min(plan.experiment.tune.grace_period, plan.experiment.training.epochs)
    return 3 * (interval + 1)


def restore_tuner(plan: SweepPlan, folder: Path, slots: int) -> tune.Tuner:
    """A tuner that resumes a sweep from Ray Tune's records.

    It is as the last tuner made for this folder, but with this number of slots, and without the recorded stopper.

    Args:
        plan: of the sweep.
        folder: of the sweep.
        slots: trials that run at once.
    """
    internals.delete_stopper(folder)
    internals.set_max_concurrent(folder, slots)
    context = trial_context(plan, folder)
    for trial in trial_folders(context.trials_folder):
        # The trials are not to blame for what killed the driver.
        trial.made_progress()
    trainable = _trainable(context)
    return tune.Tuner.restore(str(folder), trainable=trainable, resume_unfinished=True, restart_errored=True)


def trial_context(plan: SweepPlan, folder: Path) -> TrialContext:
    """What the trials of a sweep share; each of their workers takes its share of the trial's GPUs."""
    experiment = with_absolute_encoder(plan.experiment).model_copy(update={"scaling": plan.scaling})
    return TrialContext(experiment, plan.corpus_folder, plan.corpus.description.corpus_hash, folder / "trials")


def _trainable(context: TrialContext) -> Any:
    scaling = context.experiment.scaling
    resources: dict[str, float] = {"CPU": scaling.cpus_per_worker, "GPU": scaling.gpus_per_worker}
    if scaling.workers > 1:
        # The trial's process only waits for its workers, which ask for CPUs and GPUs themselves.
        resources = {"CPU": 0, internals.HEAD_NODE: 0.001}
    return tune.with_resources(tune.with_parameters(train_trial, context=context), resources)


def end_open_runs(tracker: Tracker, trials: Path) -> int:
    """End the runs of unfinished trials as KILLED.

    Args:
        tracker: where the runs are recorded.
        trials: the folder of the trials' folders.

    Returns:
        How many there were.
    """
    open_runs = [folder for folder in trial_folders(trials) if folder.run_open_marker.exists()]
    for folder in open_runs:
        if folder.run_id_file.exists():
            tracker.end_run(folder.run_id(), "KILLED")
    unfinished = [folder for folder in open_runs if folder.read_last_report() is None]
    for folder in unfinished:
        # What could not be recorded of a trial that has ended is recorded when the sweep is resumed.
        folder.run_open_marker.unlink()
    return len(unfinished)


def failure_reasons(results: tune.ResultGrid, trials: Path) -> list[str]:
    """The reasons of all failed trials: of those that reported a failure, then of those that Ray Tune gave up on.

    Args:
        results: of Ray Tune.
        trials: the folder of the trials' folders.
    """
    return [*reported_failures(trials).values(), *(failure_reason(error) for error in results.errors)]


def reported_failures(trials: Path) -> dict[str, str]:
    """The failures that trials reported themselves: name of the trial's folder -> why it cannot be trained.

    Args:
        trials: the folder of the trials' folders.
    """
    reports = {folder.name: folder.read_last_report() or {} for folder in trial_folders(trials)}
    return {name: str(report[FAILURE]) for name, report in reports.items() if FAILURE in report}


def require_few_failures(reasons: list[str], max_failures: int) -> None:
    """Check that no more trials failed than may fail.

    Args:
        reasons: why each of them failed.
        max_failures: how many may fail.

    Raises:
        UnfinishedError: too many failed.
    """
    if len(reasons) > max_failures:
        raise UnfinishedError(
            f"{len(reasons)} trials failed, more than tune.max_failures={max_failures} (the last: {reasons[-1]})",
            f"tune.max_failures={len(reasons)}",
        )
