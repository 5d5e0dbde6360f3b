"""Runs the trials of a sweep on Ray Tune that have not ended yet, from the driver."""

from __future__ import annotations

import json
import os
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from optuna.storages import BaseStorage
from ray import tune
from ray.tune.error import TuneError
from ray.tune.search import SearchAlgorithm, Searcher

from fgcme.errors import UnfinishedError
from fgcme.files import atomic_write, write_text
from fgcme.tracking import Tracker
from pipelines.sweep import scheduling, search, snapshot
from pipelines.sweep import shared_study as study
from pipelines.sweep.plan import SweepPlan
from pipelines.sweep.recorder import FailureLimit, SweepRecorder
from pipelines.sweep.trial import FAILURE, TrialContext, TrialFolder, trial
from pipelines.training.failure import disk_full, failure_reason

# So often may a trial be lost with its process or its machine.
_LOSSES = 100


def make_proposer(plan: SweepPlan, folder: Path, shared: BaseStorage | None) -> Searcher | SearchAlgorithm:
    """What proposes configurations."""
    if plan.experiment.tune.scheduler == "pbt":
        return search.population(plan.experiment, plan.space, plan.first)
    return search.searcher(plan.experiment, plan.space, plan.first, folder.name, plan.title, shared)


def give_up_orphans(plan: SweepPlan, folder: Path, tracker: Tracker, shared: BaseStorage) -> None:
    """Drop the trials that were proposed just before the driver was killed; the study proposes them again."""
    for number in study.requeue_orphans(shared, plan.title, folder.name, snapshot.proposed_numbers(folder)):
        kept = TrialFolder(folder / "trials" / str(number))
        if kept.run_open_marker.exists():
            tracker.end_run(kept.run.read_text(encoding="utf-8"), "KILLED")
        if kept.folder.exists():
            kept.delete()


def run_trials(plan: SweepPlan, tuner: tune.Tuner, folder: Path, tracker: Tracker) -> tune.ResultGrid:
    """Run all trials that have not ended yet.

    Raises:
        KeyboardInterrupt: somebody wants it to stop.
        UnfinishedError: more trials failed than may, or the disk is full.
    """
    # One line for each trial is ours to print; Ray's and Optuna's reports would drown it.
    os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
    # Ray's own default of 10 s or more between snapshots would let a killed sweep run finished trials again.
    os.environ.setdefault("TUNE_GLOBAL_CHECKPOINT_S", "1")
    # Nor is it to warn of that, as it does where old checkpoints are deleted.
    os.environ.setdefault("TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S", "0")
    trials = folder / "trials"
    try:
        results = tuner.fit()
    except (OSError, TuneError) as error:
        if any(disk_full(each) for each in _chain(error)):
            raise UnfinishedError(f"{folder}: the disk is full; make room") from None
        raise
    finally:
        left = end_leftovers(tracker, trials)
    refuse_too_many(failure_reasons(results, trials), plan.experiment.tune.max_failures)
    if left or len(results) < plan.total:
        # Ray Tune takes Ctrl-C for a wish to see what there is so far.
        raise KeyboardInterrupt
    return results


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """An error and those that it came of: Ray Tune raises one of its own for whatever a callback raises."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def make_tuner(
    plan: SweepPlan,
    folder: Path,
    tracker: Tracker,
    slots: int,
    proposing: Searcher | SearchAlgorithm,
    failures: FailureLimit,
) -> tune.Tuner:
    """A tuner for all trials of a sweep.

    Args:
        plan: the sweep.
        folder: where the sweep keeps its files.
        tracker: where its trials are recorded.
        slots: trials at once.
        proposing: what proposes configurations.
        failures: ends the sweep when too many trials have failed.
    """
    experiment, sweep = plan.experiment, trial_context(plan, folder)
    scheduler = scheduling.scheduler(experiment, plan.space)
    recorder = SweepRecorder(
        tracker, tracker.get_or_create_experiment(experiment.name), folder.name, sweep, plan.total, failures, scheduler
    )
    grace = min(experiment.tune.grace_period, experiment.training.epochs)
    return tune.Tuner(
        _trainable(sweep),
        # Of a population, Ray Tune wants to have heard of all that its members hold.
        param_space=dict.fromkeys((*plan.space.parameters, search.NUMBER)) if sweep.is_population else {},
        tune_config=tune.TuneConfig(
            search_alg=proposing,
            scheduler=scheduler,
            num_samples=plan.total,
            # A configuration that is proposed before there is room for it does not know of those that end meanwhile.
            # A population's members are all there from the beginning, and take turns.
            max_concurrent_trials=None if sweep.is_population else slots,
            reuse_actors=True,
        ),
        run_config=tune.RunConfig(
            name=folder.name,
            storage_path=str(folder.parent),
            callbacks=[recorder],
            stop=failures,
            verbose=0,
            # Only population-based training has checkpoints of Ray Tune's. A member is copied as it was up to an
            # interval ago, and the one copied goes on meanwhile, for an interval at most.
            checkpoint_config=tune.CheckpointConfig(num_to_keep=3 * (grace + 1)),
            # A trial that gets nowhere ends itself; one that cannot even be started does not.
            failure_config=tune.FailureConfig(max_failures=_LOSSES),
        ),
    )


def restore_tuner(plan: SweepPlan, folder: Path, slots: int) -> tune.Tuner:
    """A tuner that goes on from Ray Tune's records, all else as the last one that was made for this folder."""
    delete_limits(folder, slots)
    sweep = trial_context(plan, folder)
    for path in sweep.folder.glob("*/starts"):
        # What killed the driver was not the trials' doing.
        path.unlink()
    trainable = _trainable(sweep)
    return tune.Tuner.restore(str(folder), trainable=trainable, resume_unfinished=True, restart_errored=True)


def delete_limits(folder: Path, slots: int) -> None:
    """Take out of Ray Tune's records what may be set anew: what ends the sweep, and how many trials run at once."""
    for path in folder.glob("experiment_state-*.json"):
        state = json.loads(path.read_text(encoding="utf-8"))
        state["runner_data"].pop("_stopper", None)
        write_text(path, json.dumps(state))
    for path in folder.glob("search_gen_state-*.json"):
        state = pickle.loads(path.read_bytes())
        state["name:ConcurrencyLimiter"]["max_concurrent"] = slots
        with atomic_write(path) as partial:
            partial.write_bytes(pickle.dumps(state))


def trial_context(plan: SweepPlan, folder: Path) -> TrialContext:
    """What the trials need: an experiment whose workers take their share of the trial's GPUs."""
    experiment = plan.experiment.model_copy(update={"scaling": plan.scaling})
    return TrialContext(experiment, plan.folder, plan.corpus.description.corpus_hash, folder / "trials")


def _trainable(sweep: TrialContext) -> Any:
    scaling = sweep.experiment.scaling
    resources: dict[str, float] = {"CPU": scaling.cpus_per_worker, "GPU": scaling.gpus_per_worker}
    if scaling.workers > 1:
        # The trial itself computes nothing: its workers ask for what they need, and never more trials wait than fit.
        resources = {"CPU": 0, "node:__internal_head__": 0.001}
    return tune.with_resources(tune.with_parameters(trial, sweep=sweep), resources)


def end_leftovers(tracker: Tracker, trials: Path) -> int:
    """End the runs of trials that were left in the middle as KILLED, and count them."""
    left = [TrialFolder(opened.parent) for opened in trials.glob("*/open")]
    for kept in left:
        tracker.end_run(kept.run.read_text(encoding="utf-8"), "KILLED")
        kept.run_open_marker.unlink()
    return len(left)


def failure_reasons(results: tune.ResultGrid, trials: Path) -> list[str]:
    """Why trials failed, as far as they did."""
    return [*reported_failures(trials).values(), *(failure_reason(error) for error in results.errors)]


def reported_failures(trials: Path) -> dict[str, str]:
    """Why trials cannot be trained, as far as they said so themselves, by the names of their folders."""
    ended = {path.name: TrialFolder(path).ended() or {} for path in trials.glob("*")}
    return {name: str(last[FAILURE]) for name, last in ended.items() if FAILURE in last}


def refuse_too_many(reasons: list[str], most: int) -> None:
    """Refuse to go on if there are more reasons why trials failed than there may be.

    Raises:
        UnfinishedError: there are.
    """
    if len(reasons) > most:
        raise UnfinishedError(
            f"{len(reasons)} trials failed, more than tune.max_failures={most} (the last: {reasons[-1]})",
            f"tune.max_failures={len(reasons)}",
        )
