"""Tune: a sweep over a search space, each trial the experiment with a drawn configuration.

Optuna proposes configurations (`search`), Ray Tune runs them side by side in processes that are reused (`trial`) and
stops bad ones early; MLflow gets a run for the sweep and one below it for each trial (`recorder`). Decided on dev parts
alone. A sweep can be killed at any moment and gone on with: see `docs/cluster.md` for what is kept where.
"""

from __future__ import annotations

import json
import math
import os
import pickle
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
import sqlalchemy
import torch
from optuna.storages import BaseStorage
from ray import tune
from ray.tune.error import TuneError
from ray.tune.search import SearchAlgorithm, Searcher

from fgcme.data import Assignment, SpeechCorpus, make_fold_loaders, split_fold
from fgcme.errors import UnfinishedError, UserError
from fgcme.experiment import Experiment, ScalingSettings, Space, apply_configuration, load_space
from fgcme.files import atomic_write, digest, write_text
from fgcme.tracking import Tracker, require_store, resolve_uri, sqlite_path
from fgcme.training.learning import FoldTrainer
from pipelines import bundled
from pipelines.cluster import clock, cluster_resources, concurrent_slots, ray_session, writable_folder
from pipelines.runs import records
from pipelines.runs.corpus import load_assigned_corpus
from pipelines.runs.opening import RunRequest, latest_run, open_run
from pipelines.sweep import scheduling, search, snapshot
from pipelines.sweep import shared_study as study
from pipelines.sweep.recorder import FailureLimit, SweepRecorder
from pipelines.sweep.report import pictures_of_sweep
from pipelines.sweep.search import settings_of
from pipelines.sweep.trial import FAILURE, TrialContext, TrialFolder, trial
from pipelines.training.failure import disk_full, failure_reason

# What may change between the beginning of a sweep and its going on, besides what never matters.
_FREE = ("tune.max_failures", "tune.epoch_minutes", "storage.path")
# So often may a trial be lost with its process or its machine.
_LOSSES = 100
KIND = "sweep"


@dataclass(frozen=True)
class Plan:
    """A sweep that can start: everything in it has been checked.

    Attributes:
        experiment: what is varied.
        space: how.
        title: experiment and space, as runs and folders are called.
        corpus, folder: the prepared corpus, and where it lies.
        assignment: who is in which fold.
        first: configurations to try before any is drawn.
        total: trials in all.
    """

    experiment: Experiment
    space: Space
    title: str
    corpus: SpeechCorpus
    folder: Path
    assignment: Assignment
    first: list[dict[str, Any]]
    total: int

    @property
    def scaling(self) -> ScalingSettings:
        """What a trial needs: its workers share the GPUs of the trial."""
        scaling = self.experiment.scaling
        if scaling.gpus_per_trial is None:
            return scaling
        return scaling.model_copy(update={"gpus_per_worker": scaling.gpus_per_trial / max(scaling.workers, 1)})

    @property
    def identity(self) -> str:
        """Of all that decides a trial's result."""
        settings = {
            key: value
            for key, value in self.experiment.flat().items()
            if key.startswith(("model.", "training.", "protocol.", "tune.folds", "tune.objective", "tune.cost"))
        }
        return digest([settings, as_json(self.space), self.corpus.description.corpus_hash])


def run(experiment: Experiment, space_name: str, resume: bool = False) -> Path:
    """Search for a better configuration.

    Args:
        experiment: what is varied; its `tune` section says how.
        space_name: a search space's name, or its path.
        resume: go on with the latest sweep of this experiment and space instead of starting one.

    Returns:
        The best configuration as an experiment file that `fgcme train` accepts.

    Raises:
        UserError: the corpus is not prepared, the space does not fit the experiment, another driver is at this sweep,
            more trials failed than may, or none ended well.
    """
    planned = plan_sweep(experiment, space_name)
    with ray_session():
        slots = concurrent_slots(planned.scaling, "one trial")
        tracker = records.open_store(experiment, writable_folder(experiment))
        sweeps = writable_folder(experiment, "sweeps", planned.title)
        resumed = latest_run(sweeps, "sweep") if resume else None
        if resumed is not None:
            _require_resumable(planned, tracker, resumed, sweeps / resumed)
        shared = _join(planned, resuming=resume)
        with open_run(tracker, _request(planned, sweeps), resumed) as opened:
            print(describe_plan(planned))
            failures = FailureLimit(experiment.tune.max_failures, _said(opened.folder / "trials"))
            restored = opened.resumed and snapshot.restore(opened.folder)
            if shared is not None and opened.resumed:
                _give_up_forgotten(planned, opened.folder, tracker, shared)
            proposing = _proposing(planned, opened.folder, shared)
            tuner = _tuner(planned, opened.folder, tracker, slots, proposing, failures)
            if restored:
                tuner = _resumed(planned, opened.folder, slots)
            results = _fit(planned, tuner, opened.folder, tracker)
            path = _conclude(planned, results, opened.folder, tracker)
            pictures_of_sweep(tracker, opened.run_id)
    print(f"\nrun {opened.run_id}; next: fgcme train {path}")
    return path


def _require_resumable(plan: Plan, tracker: Tracker, run: str, folder: Path) -> None:
    """Check that a sweep was begun with the same settings, corpus and space, and that not too many trials failed.

    Raises:
        UserError: names what differs, or why trials failed.
    """
    records.refuse_changes(tracker, run, plan.experiment, plan.corpus, ignoring=_FREE)
    if tracker.json(run, "space.json") != as_json(plan.space):
        raise UserError(f"run {run} was started with another search space; resume it with the same one")
    _refuse_too_many(list(_said(folder / "trials").values()), plan.experiment.tune.max_failures)


def _request(plan: Plan, sweeps: Path) -> RunRequest:
    """What the sweep's run records."""
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


def plan_sweep(experiment: Experiment, space_name: str) -> Plan:
    """Check everything that can be checked before anything starts.

    Raises:
        UserError: the corpus is not prepared, or the space, the folds, the search or the workers do not fit.
    """
    path = bundled.space_file(space_name)
    space = load_space(path, experiment)
    folder, corpus, assignment = load_assigned_corpus(experiment)
    for fold in experiment.tune.folds:
        split_fold(assignment, fold)
    scheduling.scheduler(experiment, space)
    if experiment.tune.scheduler == "pbt" and experiment.scaling.workers > 1:
        raise UserError("tune.scheduler pbt: its trials are of one process each; set scaling.workers to 0 or 1")
    if experiment.tune.scheduler == "pbt" and experiment.scaling.max_concurrent is not None:
        raise UserError(
            "tune.scheduler pbt: its trials take turns at all that Ray has; leave scaling.max_concurrent out, or give "
            "each trial more of it (scaling.cpus_per_worker)"
        )
    whole = experiment.tune.search == "grid"
    first = list(space.grid(experiment.flat())) if whole else _first(space, experiment)
    total = len(first) if whole else experiment.tune.trials
    return Plan(experiment, space, f"{experiment.name}-{path.stem}", corpus, folder, assignment, first, total)


def describe_plan(plan: Plan) -> str:
    """A sweep on one line."""
    folds = ", ".join(map(str, plan.experiment.tune.folds))
    return (
        f"{plan.title}: {plan.total} trials on the dev part of fold(s) {folds} of "
        f"{records.protocol_label(plan.experiment)}; test parts are not looked at"
    )


def preview(experiment: Experiment, space_name: str) -> None:
    """Print what a sweep would take, and start no trial: resources, trials, and its time, from an epoch that is timed.

    Raises:
        UserError: as `run`.
    """
    planned = plan_sweep(experiment, space_name)
    _require_databases(planned)
    print(describe_plan(planned))
    for name, parameter in as_json(planned.space)["parameters"].items():
        print(f"  {name}: {json.dumps(parameter)}")
    scaling = experiment.scaling
    with ray_session():
        slots, has = concurrent_slots(planned.scaling, "one trial"), cluster_resources()
    workers = max(scaling.workers, 1)
    cpus, gpus = workers * scaling.cpus_per_worker, workers * planned.scaling.gpus_per_worker
    print(
        f"a trial takes {cpus:g} CPUs and {gpus:g} GPUs; Ray has {has.get('CPU', 0):g} and {has.get('GPU', 0):g}: "
        f"{slots} at once"
    )
    if planned.experiment.tune.search not in ("grid", "random") and 4 * slots > planned.total:
        print(
            f"{slots} of {planned.total} trials are proposed before any has ended, so the search learns little: "
            "try more of them, or fewer at once (scaling.max_concurrent)"
        )
    epoch, epochs = _time_epoch(planned), experiment.training.epochs
    # Workers share an epoch's work; what they say to each other is not counted.
    rounds = math.ceil(planned.total / slots) / max(scaling.workers, 1)
    least = min(experiment.tune.grace_period, epochs)
    print(
        f"an epoch on fold(s) {', '.join(map(str, experiment.tune.folds))} took {epoch:.1f} s here, as the experiment "
        f"is: {clock(rounds * least * epoch)} if every trial ends after {least} epochs, "
        f"{clock(rounds * epochs * epoch)} if none is stopped before {epochs}"
    )


def _require_databases(plan: Plan) -> None:
    """Check the databases that a sweep would write to, and leave nothing in them.

    Raises:
        UserError: one cannot be used or made, or the study is of something else.
    """
    uri, address = resolve_uri(plan.experiment.tracking.uri), plan.experiment.tune.study_storage
    if _is_there("tracking.uri", uri):
        require_store(uri)
    if address is None or not _is_there("tune.study_storage", address):
        return
    try:
        tables = sqlalchemy.inspect(sqlalchemy.create_engine(address)).get_table_names()
        titles = optuna.get_all_study_names(address) if "studies" in tables else []
    except Exception as error:  # noqa: BLE001  SQLAlchemy and each database's driver have errors of their own
        raise UserError(f"tune.study_storage: {address} cannot be used ({str(error).partition(chr(10))[0]})") from None
    if plan.title in titles:
        _join(plan, resuming=False)


def _is_there(setting: str, address: str) -> bool:
    """Whether a database is there to be asked, as all are that are no files.

    Raises:
        UserError: the file is not there, and cannot be made.
    """
    path = sqlite_path(address)
    if path is None or path.is_file():
        return True
    parent = next(parent for parent in path.absolute().parents if parent.exists())
    if not parent.is_dir() or not os.access(parent, os.W_OK):
        raise UserError(f"{setting}: {path} cannot be made ({parent} cannot be written to)")
    return False


def dev_speakers(plan: Plan) -> list[str]:
    """The speakers whose dev scores decide between configurations."""
    return sorted(
        {
            plan.corpus.members.speakers[utterance]
            for fold in plan.experiment.tune.folds
            for utterance in split_fold(plan.assignment, fold).dev
        }
    )


def as_json(space: Space) -> Any:
    """A space as it is kept with a run, and compared with another."""
    return space.model_dump(mode="json", by_alias=True, exclude_defaults=True)


def _first(space: Space, experiment: Experiment) -> list[dict[str, Any]]:
    """What is tried before anything is drawn: the experiment as it is, lest the best be worse, and the space's own."""
    own = space.as_point(experiment.flat())
    points = ([own] if own is not None else []) + list(space.initial_trials)
    return [dict(point) for index, point in enumerate(points) if point not in points[:index]]


def _join(plan: Plan, resuming: bool) -> BaseStorage | None:
    """The storage of the study that drivers share, if they do.

    Raises:
        UserError: it cannot be used, or a grid is to be searched in a study that has trials already.
    """
    experiment, address = plan.experiment, plan.experiment.tune.study_storage
    if address is None or experiment.tune.scheduler == "pbt":
        return None
    storage = study.join(address, plan.title, plan.identity, search.directions(experiment.tune))
    if experiment.tune.search == "grid" and not resuming and study.has_trials(storage, plan.title):
        raise UserError(
            f"tune.study_storage: {address} has begun with {plan.title}, and a grid is one driver's alone; "
            "go on with --resume, or name another database, or another experiment (`name:`)"
        )
    return storage


def _proposing(plan: Plan, folder: Path, shared: BaseStorage | None) -> Searcher | SearchAlgorithm:
    """What proposes configurations."""
    if plan.experiment.tune.scheduler == "pbt":
        return search.population(plan.experiment, plan.space, plan.first)
    return search.searcher(plan.experiment, plan.space, plan.first, folder.name, plan.title, shared)


def _give_up_forgotten(plan: Plan, folder: Path, tracker: Tracker, shared: BaseStorage) -> None:
    """Drop the trials that were proposed just before the driver was killed; the study proposes them again."""
    for number in study.requeue_orphans(shared, plan.title, folder.name, snapshot.proposed_numbers(folder)):
        kept = TrialFolder(folder / "trials" / str(number))
        if kept.run_open_marker.exists():
            tracker.finish(kept.run.read_text(encoding="utf-8"), "KILLED")
        if kept.folder.exists():
            kept.delete()


def _fit(plan: Plan, tuner: tune.Tuner, folder: Path, tracker: Tracker) -> tune.ResultGrid:
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
        if any(disk_full(each) for each in _causes(error)):
            raise UnfinishedError(f"{folder}: the disk is full; make room") from None
        raise
    finally:
        left = _end_what_is_left(tracker, trials)
    _refuse_too_many(_failures(results, trials), plan.experiment.tune.max_failures)
    if left or len(results) < plan.total:
        # Ray Tune takes Ctrl-C for a wish to see what there is so far.
        raise KeyboardInterrupt
    return results


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """An error and those that it came of: Ray Tune raises one of its own for whatever a callback raises."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _tuner(
    plan: Plan,
    folder: Path,
    tracker: Tracker,
    slots: int,
    proposing: Searcher | SearchAlgorithm,
    failures: FailureLimit,
) -> tune.Tuner:
    experiment, sweep = plan.experiment, _sweep(plan, folder)
    scheduler = scheduling.scheduler(experiment, plan.space)
    recorder = SweepRecorder(
        tracker, tracker.experiment(experiment.name), folder.name, sweep, plan.total, failures, scheduler
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


def _resumed(plan: Plan, folder: Path, slots: int) -> tune.Tuner:
    """A tuner that goes on from Ray Tune's records, all else as the last one that was made for this folder."""
    _forget_limits(folder, slots)
    sweep = _sweep(plan, folder)
    for path in sweep.folder.glob("*/starts"):
        # What killed the driver was not the trials' doing.
        path.unlink()
    trainable = _trainable(sweep)
    return tune.Tuner.restore(str(folder), trainable=trainable, resume_unfinished=True, restart_errored=True)


def _forget_limits(folder: Path, slots: int) -> None:
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


def _sweep(plan: Plan, folder: Path) -> TrialContext:
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


def _end_what_is_left(tracker: Tracker, trials: Path) -> int:
    """End the runs of trials that were left in the middle as KILLED, and count them."""
    left = [TrialFolder(opened.parent) for opened in trials.glob("*/open")]
    for kept in left:
        tracker.finish(kept.run.read_text(encoding="utf-8"), "KILLED")
        kept.run_open_marker.unlink()
    return len(left)


def _failures(results: tune.ResultGrid, trials: Path) -> list[str]:
    """Why trials failed, as far as they did."""
    return [*_said(trials).values(), *(failure_reason(error) for error in results.errors)]


def _said(trials: Path) -> dict[str, str]:
    """Why trials cannot be trained, as far as they said so themselves, by the names of their folders."""
    ended = {path.name: TrialFolder(path).ended() or {} for path in trials.glob("*")}
    return {name: str(last[FAILURE]) for name, last in ended.items() if FAILURE in last}


def _refuse_too_many(reasons: list[str], most: int) -> None:
    """Refuse to go on if there are more reasons why trials failed than there may be.

    Raises:
        UnfinishedError: there are.
    """
    if len(reasons) > most:
        raise UnfinishedError(
            f"{len(reasons)} trials failed, more than tune.max_failures={most} (the last: {reasons[-1]})",
            f"tune.max_failures={len(reasons)}",
        )


def _conclude(plan: Plan, results: tune.ResultGrid, folder: Path, tracker: Tracker) -> Path:
    """Print the best trial, and write it as an experiment."""
    ended_well = [
        result
        for result in (results[index] for index in range(len(results)))
        if result.metrics and FAILURE not in result.metrics and math.isfinite(result.metrics.get("objective", math.nan))
    ]
    if not ended_well:
        raise UserError(
            f"none of {len(results)} trials ended well: {(_failures(results, folder / 'trials') or [''])[0]}"
        )
    best = max(ended_well, key=lambda result: float((result.metrics or {})["objective"]))
    score, drawn = float((best.metrics or {})["objective"]), settings_of(best.config or {})
    path = _write_best(plan, drawn, score, len(results), folder)
    tracker.artifact(folder.name, path)
    tracker.log(folder.name, {"dev/best_score": score}, 0)
    if plan.experiment.tune.cost != "none":
        _print_front(plan.experiment.tune.cost, [(result.metrics or {}, result.config or {}) for result in ended_well])
    print(f"\nbest of {len(results)} trials: dev {plan.experiment.tune.objective} {score:.4f} with")
    for name, value in drawn.items():
        print(f"  {name}: {value}")
    return path


def _print_front(cost: str, trials: list[tuple[dict[str, Any], dict[str, Any]]]) -> None:
    """The trials that no other one beats in objective and cost at once."""
    print(f"\nbest for what they cost ({'parameters' if cost == 'parameters' else 'ms an utterance'}):")
    for index in search.front([(metrics["objective"], metrics["cost"]) for metrics, _ in trials]):
        metrics, configuration = trials[index]
        drawn = ", ".join(f"{name}={value}" for name, value in settings_of(configuration).items())
        print(f"  {metrics['objective']:.4f}  {metrics['cost']:g}  {drawn}")


def _write_best(plan: Plan, drawn: dict[str, Any], score: float, trials: int, folder: Path) -> Path:
    best = apply_configuration(plan.experiment, drawn)
    tuned_on = sorted({*best.protocol.tuned_on, *dev_speakers(plan)})
    protocol = best.protocol.model_copy(update={"tuned_on": tuned_on})
    best = best.model_copy(update={"name": plan.title, "protocol": protocol})
    path = folder / "best.yaml"
    write_text(
        path, f"# The best of {trials} trials, dev score {score:.4f}. Run: fgcme train {path}\n" + best.to_yaml()
    )
    return path


def _time_epoch(plan: Plan) -> float:
    """Seconds of one epoch on all tuning folds, in this process."""
    experiment, seconds = plan.experiment, 0.0
    torch.set_num_threads(max(1, int(experiment.scaling.cpus_per_worker)))
    for fold in experiment.tune.folds:
        parts = make_fold_loaders(plan.corpus, plan.assignment, fold, "dev", experiment.model, experiment.training)
        fit = FoldTrainer(parts, experiment.model, experiment.training, experiment.training.seeds[0])
        started = time.monotonic()
        next(fit.epochs())
        seconds += time.monotonic() - started
    return seconds
