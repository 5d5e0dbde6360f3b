"""Tune: a sweep over a search space; each trial trains the experiment with a drawn configuration.

Optuna proposes configurations (`sweep/search.py`), Ray Tune runs them side by side in processes that are reused
(`sweep/trial.py`) and stops bad ones early; MLflow gets a run for the sweep and one below it for each trial
(`sweep/recorder.py`). Only dev parts decide. A killed sweep can be resumed: `docs/cluster.md` says what is kept where.
"""

from __future__ import annotations

import json
import math
import shlex
from pathlib import Path
from typing import Any

from ray import tune

from fgcme.data import split_fold
from fgcme.errors import UserError
from fgcme.experiment import Experiment, apply_configuration
from fgcme.files import write_text
from fgcme.tracking import Tracker
from pipelines.cluster import concurrent_slots, ray_session, require_slot, writable_folder
from pipelines.runs import records
from pipelines.runs.corpus import corpus_in_use
from pipelines.runs.opening import RunRequest, latest_run, open_run
from pipelines.sweep import search, snapshot
from pipelines.sweep.driver import (
    failure_reasons,
    make_proposer,
    make_tuner,
    reported_failures,
    require_few_failures,
    restore_tuner,
    run_trials,
    tell_results,
)
from pipelines.sweep.plan import SweepPlan, as_json, describe_plan, join_study, plan_sweep
from pipelines.sweep.recorder import FailureLimit
from pipelines.sweep.report import pictures_of_sweep
from pipelines.sweep.search import settings_of
from pipelines.sweep.trial_folder import FAILURE, ended_trials

KIND = "sweep"
# Settings that may differ when a sweep is resumed, besides those that may always differ.
_CHANGEABLE = ("tune.max_failures", "tune.epoch_minutes", "storage.path")
_COST_UNITS = {"parameters": "parameters", "latency": "ms an utterance"}


def run(experiment: Experiment, space_name: str, resume: bool = False) -> Path:
    """Search for a better configuration.

    Args:
        experiment: what is varied; its `tune` section says how.
        space_name: name of a search space, or path of its file.
        resume: resume the latest sweep of this experiment and space, instead of starting a new one.

    Returns:
        The best configuration, as an experiment file for `fgcme train`.

    Raises:
        UserError: the corpus is not prepared, the space does not fit the experiment, the sweep cannot be resumed or is
            being run by another driver, the corpus is being prepared, too many trials failed, or none ended well.
    """
    with corpus_in_use(experiment):
        plan = plan_sweep(experiment, space_name)
        with ray_session():
            require_slot(plan.scaling, "one trial")
            tracker = records.open_store(experiment, writable_folder(experiment))
            sweeps = writable_folder(experiment, "sweeps", plan.title)
            resumed = latest_run(sweeps, "sweep") if resume else None
            if resumed is not None:
                _require_resumable(plan, tracker, resumed, sweeps / resumed)
            shared = join_study(plan, resuming=resume)
            with open_run(tracker, _request(plan, sweeps), resumed) as opened:
                print(describe_plan(plan))
                failures = FailureLimit(experiment.tune.max_failures, reported_failures(opened.folder / "trials"))
                restored = opened.resumed and snapshot.restore(opened.folder)
                if shared is not None and opened.resumed:
                    tell_results(plan, opened.folder, shared)
                left = plan.total - ended_trials(opened.folder / "trials")
                slots = concurrent_slots(plan.scaling, "one trial", max(left, 1))
                proposer = make_proposer(plan, opened.folder, shared)
                tuner = make_tuner(plan, opened.folder, tracker, slots, proposer, failures)
                if restored:
                    tuner = restore_tuner(plan, opened.folder, slots)
                results = run_trials(plan, tuner, opened.folder, tracker)
                path = _conclude(plan, results, opened.folder, tracker)
                pictures_of_sweep(tracker, opened.run_id)
    print(f"\nrun {opened.run_id}; next: {_train_command(path)}")
    return path


def _require_resumable(plan: SweepPlan, tracker: Tracker, run: str, folder: Path) -> None:
    """Check that a sweep was started by this code, with the same settings, corpus and space, and few trials failed.

    Raises:
        UserError: names what differs, or why trials failed.
    """
    snapshot.require_readable(folder, tracker.find_run(run).data.tags.get("fgcme.commit", "unknown"))
    records.require_unchanged(tracker, run, plan.experiment, plan.corpus, ignoring=_CHANGEABLE)
    if tracker.load_json(run, "space.json") != as_json(plan.space):
        raise UserError(f"run {run} was started with another search space; resume it with the same one")
    require_few_failures(list(reported_failures(folder / "trials").values()), plan.experiment.tune.max_failures)


def _request(plan: SweepPlan, sweeps: Path) -> RunRequest:
    """What is recorded of the sweep when its run is created."""
    tags = {"fgcme.space": plan.title, "fgcme.selection": "dev"}
    if plan.experiment.tune.cost != "none":
        tags["fgcme.cost"] = plan.experiment.tune.cost
    return RunRequest(
        kind=KIND,
        title=f"{plan.title} tune",
        folder=sweeps,
        experiment=plan.experiment,
        corpus=plan.corpus,
        assignment=plan.assignment,
        tags=tags,
        documents={
            "experiment.yaml": plan.experiment.to_yaml(),
            "space.json": json.dumps(as_json(plan.space), indent=2),
        },
    )


def dev_speakers(plan: SweepPlan) -> list[str]:
    """The speakers whose utterances decide between configurations: those of the tuning folds' dev parts."""
    return sorted(
        {
            plan.corpus.table.speakers[utterance]
            for fold in plan.experiment.tune.planned_folds
            for utterance in split_fold(plan.assignment, fold).dev
        }
    )


def _conclude(plan: SweepPlan, results: tune.ResultGrid, folder: Path, tracker: Tracker) -> Path:
    """Print the best trial, and write it as an experiment file; returns its path.

    Raises:
        UserError: no trial ended well.
    """
    succeeded = [
        result
        for result in (results[index] for index in range(len(results)))
        if result.metrics and FAILURE not in result.metrics and math.isfinite(result.metrics.get("objective", math.nan))
    ]
    if not succeeded:
        raise UserError(
            f"none of {len(results)} trials ended well: {(failure_reasons(results, folder / 'trials') or [''])[0]}"
        )
    best = max(succeeded, key=lambda result: float((result.metrics or {})["objective"]))
    score, drawn = float((best.metrics or {})["objective"]), settings_of(best.config or {})
    path = _write_best(plan, drawn, score, len(results), folder)
    tracker.log_artifact(folder.name, path)
    tracker.log_metrics(folder.name, {"dev/best_score": score}, 0)
    if plan.experiment.tune.cost != "none":
        _print_front(plan.experiment.tune.cost, [(result.metrics or {}, result.config or {}) for result in succeeded])
    print(f"\nbest of {len(results)} trials: dev {plan.experiment.tune.objective} {score:.4f} with")
    for name, value in drawn.items():
        print(f"  {name}: {value}")
    return path


def _print_front(cost: str, trials: list[tuple[dict[str, Any], dict[str, Any]]]) -> None:
    """Print the trials that no other one beats in both objective and cost."""
    print(f"\nPareto front (dev score, then cost in {_COST_UNITS[cost]}):")
    for index in search.pareto_front([(metrics["objective"], metrics["cost"]) for metrics, _ in trials]):
        metrics, configuration = trials[index]
        drawn = ", ".join(f"{name}={value}" for name, value in settings_of(configuration).items())
        print(f"  {metrics['objective']:.4f}  {metrics['cost']:g}  {drawn}")


def _write_best(plan: SweepPlan, drawn: dict[str, Any], score: float, trials: int, folder: Path) -> Path:
    """Write the best configuration as an experiment file, which carries the speakers that it was tuned on."""
    best = apply_configuration(plan.experiment, drawn)
    tuned_on = sorted({*best.protocol.tuned_on, *dev_speakers(plan)})
    protocol = best.protocol.model_copy(update={"tuned_on": tuned_on})
    best = best.model_copy(update={"name": plan.title, "protocol": protocol})
    path = folder / "best.yaml"
    header = f"# The best of {trials} trials, dev score {score:.4f}. Run: {_train_command(path)}\n"
    write_text(path, header + best.to_yaml())
    return path


def _train_command(path: Path) -> str:
    return shlex.join(["fgcme", "train", str(path)])
