"""The plan of a sweep: all that can be checked before anything starts, and what a sweep would take."""

from __future__ import annotations

import json
import math
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
import sqlalchemy
import torch
from optuna.storages import BaseStorage

from fgcme.addresses import reveal
from fgcme.data import Assignment, SpeechCorpus, open_fold, split_fold
from fgcme.errors import UserError
from fgcme.experiment import Experiment, ScalingSettings, Space, as_name, load_space
from fgcme.files import digest
from fgcme.model import encoder_of
from fgcme.report.formatting import count
from fgcme.tracking import require_store, resolve_uri, sqlite_path
from fgcme.training.learning import FoldTrainer
from pipelines import bundled
from pipelines.cluster import (
    clock,
    cluster_grows,
    cluster_resources,
    concurrent_slots,
    free_slots,
    ray_session,
    require_slot,
)
from pipelines.runs import records
from pipelines.runs.corpus import load_assigned_corpus
from pipelines.sweep import scheduling, search, shared_study

# Dev utterances that rank trials, where an experiment leaves the folds open.
_ENOUGH_UTTERANCES = 500


@dataclass(frozen=True)
class SweepPlan:
    """A sweep that can start: everything in it has been checked.

    Attributes:
        experiment: what is varied.
        space: how it is varied.
        title: names of the experiment and the space, after which runs and folders are named.
        corpus: the prepared corpus.
        corpus_folder: where it lies.
        assignment: which utterance is in which fold.
        initial_trials: configurations to try before any is drawn.
        total: trials in all.
    """

    experiment: Experiment
    space: Space
    title: str
    corpus: SpeechCorpus
    corpus_folder: Path
    assignment: Assignment
    initial_trials: list[dict[str, Any]]
    total: int

    @property
    def scaling(self) -> ScalingSettings:
        """Resources of each worker of a trial; `gpus_per_trial`, if set, is divided among the workers."""
        scaling = self.experiment.scaling
        if scaling.gpus_per_trial is None:
            return scaling
        return scaling.model_copy(update={"gpus_per_worker": scaling.gpus_per_trial / max(scaling.workers, 1)})

    @property
    def identity(self) -> str:
        """Hash of all that decides a trial's result."""
        settings = {
            key: value
            for key, value in self.experiment.flat().items()
            if key.startswith(("model.", "training.", "protocol.", "tune.folds", "tune.objective", "tune.cost"))
        }
        return digest([settings, as_json(self.space), self.corpus.description.corpus_hash])


def plan_sweep(experiment: Experiment, space_name: str) -> SweepPlan:
    """Check everything that can be checked before anything starts.

    Raises:
        UserError: the corpus is not prepared, or the space, the folds, the search or the workers do not fit.
    """
    path = bundled.space_file(space_name)
    space = load_space(path, experiment)
    corpus_folder, corpus, assignment = load_assigned_corpus(experiment)
    experiment = _with_folds(experiment, assignment)
    for fold in experiment.tune.planned_folds:
        split_fold(assignment, fold)
    scheduling.make_scheduler(experiment, space)
    if experiment.tune.scheduler == "pbt" and experiment.scaling.workers > 1:
        raise UserError("tune.scheduler pbt: each trial is one process; set scaling.workers to 0 or 1")
    if experiment.tune.scheduler == "pbt" and experiment.scaling.max_concurrent is not None:
        raise UserError(
            "tune.scheduler pbt: the trials take turns on all of Ray's CPUs and GPUs; leave out "
            "scaling.max_concurrent, or give each trial more CPUs (scaling.cpus_per_worker)"
        )
    is_grid = experiment.tune.search == "grid"
    initial_trials = list(space.grid(experiment.flat())) if is_grid else _initial_trials(space, experiment)
    return SweepPlan(
        experiment=experiment,
        space=space,
        title=f"{experiment.name}-{as_name(path.stem)}",
        corpus=corpus,
        corpus_folder=corpus_folder,
        assignment=assignment,
        initial_trials=initial_trials,
        total=len(initial_trials) if is_grid else experiment.tune.trials,
    )


def describe_plan(plan: SweepPlan) -> str:
    """The plan on one line."""
    utterances = sum(len(split_fold(plan.assignment, fold).dev) for fold in plan.experiment.tune.planned_folds)
    return (
        f"{plan.title}: {plan.total} trials on the dev part of fold(s) {_folds(plan)} of "
        f"{records.protocol_label(plan.experiment)}, {count(utterances, 'utterance')}; test parts are not looked at"
    )


def preview(experiment: Experiment, space_name: str) -> None:
    """Print what a sweep would take, and start no trial: its trials, resources and time, by an epoch that is timed.

    Raises:
        UserError: see `plan_sweep` and `require_databases`; or a trial needs more than Ray has.
    """
    plan = plan_sweep(experiment, space_name)
    require_databases(plan)
    print(describe_plan(plan))
    for name, parameter in as_json(plan.space)["parameters"].items():
        print(f"  {name}: {json.dumps(parameter)}")
    with ray_session():
        slots, text = _preview_slots(plan)
    print(text)
    if experiment.tune.search not in ("grid", "random") and 4 * slots > plan.total:
        print(
            f"{slots} of {plan.total} trials are proposed before any has ended, so the search learns little: "
            "set more trials, or fewer at once (scaling.max_concurrent)"
        )
    epoch_seconds, epochs = _time_epoch(plan), experiment.training.epochs
    # Workers share an epoch's work; the time of their communication is not known here.
    seconds = math.ceil(plan.total / slots) / max(experiment.scaling.workers, 1) * epoch_seconds
    least = min(experiment.tune.grace_period, epochs)
    shortest = f"{clock(least * seconds)} if every trial ends after {least} epochs, " if least < epochs else ""
    print(
        f"an epoch of the experiment as it is took {epoch_seconds:.1f} s here on fold(s) {_folds(plan)}: the sweep "
        f"takes {shortest}{clock(epochs * seconds)} if none is stopped early"
    )


def _preview_slots(plan: SweepPlan) -> tuple[int, str]:
    """How many trials would run at once, on a cluster that grows at best, and a sentence that says so.

    Asks for no nodes.

    Raises:
        UserError: a trial needs more than Ray has, and the cluster does not grow.
    """
    scaling, available = plan.scaling, cluster_resources()
    workers = max(scaling.workers, 1)
    needs = (
        f"each trial takes {workers * scaling.cpus_per_worker:g} CPUs and {workers * scaling.gpus_per_worker:g} GPUs "
        f"of the {available.get('CPU', 0):g} and {available.get('GPU', 0):g} that Ray has"
    )
    if cluster_grows():
        hoped = min(plan.total, scaling.max_concurrent or plan.total)
        why = "scaling.max_concurrent" if scaling.max_concurrent else "less if it cannot grow so far"
        now = f"{needs} now: {min(free_slots(scaling), hoped)} have room"
        return hoped, f"{now}; the cluster grows, and will be asked for {hoped} at once ({why})"
    require_slot(scaling, "one trial")
    slots = concurrent_slots(scaling, "one trial", plan.total)
    return slots, f"{needs}: {slots} run at once"


def _folds(plan: SweepPlan) -> str:
    return ", ".join(map(str, plan.experiment.tune.planned_folds))


def _with_folds(experiment: Experiment, assignment: Assignment) -> Experiment:
    """The experiment with its tuning folds chosen, if it leaves them open: every other one, then those between.

    A share of 500 answers has a standard error of at most 2.2 points, one of 120 has 4.6: too much to rank trials by.
    """
    if experiment.tune.folds is not None:
        return experiment
    folds: list[int] = []
    utterances = 0
    for fold in [*range(0, assignment.fold_count, 2), *range(1, assignment.fold_count, 2)]:
        folds.append(fold)
        utterances += len(assignment.dev[fold])
        if utterances >= _ENOUGH_UTTERANCES:
            break
    tune = experiment.tune.model_copy(update={"folds": sorted(folds)})
    return experiment.model_copy(update={"tune": tune})


def require_databases(plan: SweepPlan) -> None:
    """Check the databases that a sweep would write to, and change nothing in them.

    Raises:
        UserError: one cannot be used or created, or the study in it is of another space, corpus or experiment.
    """
    uri, address = resolve_uri(plan.experiment.tracking.uri), plan.experiment.tune.study_storage
    if _database_exists("tracking.uri", uri):
        require_store(uri)
    if address is None or not _database_exists("tune.study_storage", address):
        return
    whole = reveal(address)
    try:
        tables = sqlalchemy.inspect(sqlalchemy.create_engine(whole)).get_table_names()
        titles = optuna.get_all_study_names(whole) if "studies" in tables else []
    except Exception as error:  # noqa: BLE001  SQLAlchemy and each database's driver have errors of their own
        raise shared_study.unusable(address, error) from None
    if plan.title in titles:
        join_study(plan, resuming=False)


def _database_exists(setting: str, address: str) -> bool:
    """Whether a database exists; a database that is not a file counts as existing.

    Raises:
        UserError: the file does not exist and cannot be created.
    """
    path = sqlite_path(address)
    if path is None or path.is_file():
        return True
    parent = next(parent for parent in path.absolute().parents if parent.exists())
    if not parent.is_dir() or not os.access(parent, os.W_OK):
        raise UserError(f"{setting}: {path} cannot be created ({parent} cannot be written to)")
    return False


def as_json(space: Space) -> Any:
    """A space as it is saved with a run, and compared when the run is resumed."""
    return space.model_dump(mode="json", by_alias=True, exclude_defaults=True)


def _initial_trials(space: Space, experiment: Experiment) -> list[dict[str, Any]]:
    """The experiment's own settings, so that the best is never worse, then the space's initial trials."""
    unchanged = space.as_point(experiment.flat())
    points = ([unchanged] if unchanged is not None else []) + list(space.initial_trials)
    return [dict(point) for index, point in enumerate(points) if point not in points[:index]]


def join_study(plan: SweepPlan, resuming: bool) -> BaseStorage | None:
    """The storage of the study that drivers share; None if they share none.

    Raises:
        UserError: it cannot be used, or a new grid search would share a study that has trials.
    """
    experiment, address = plan.experiment, plan.experiment.tune.study_storage
    if address is None or experiment.tune.scheduler == "pbt":
        return None
    storage = shared_study.open_study(address, plan.title, plan.identity, search.directions(experiment.tune))
    if experiment.tune.search == "grid" and not resuming and shared_study.has_trials(storage, plan.title):
        raise UserError(
            f"tune.study_storage: {address} has trials of {plan.title}, and drivers cannot share a grid; "
            "resume it with --resume, or name another database, or another experiment (`name:`)"
        )
    return storage


def _time_epoch(plan: SweepPlan) -> float:
    """Seconds of one epoch on all tuning folds, in this process."""
    experiment, seconds = plan.experiment, 0.0
    torch.set_num_threads(max(1, int(experiment.scaling.cpus_per_worker)))
    for fold in experiment.tune.planned_folds:
        corpus_hash = plan.corpus.description.corpus_hash
        _, loaders = open_fold(plan.corpus, corpus_hash, experiment, fold, "dev", "sweep")
        encoder = encoder_of(experiment.model, experiment.prepare.features)
        seed = experiment.training.seeds[0]
        trainer = FoldTrainer(loaders, experiment.model, experiment.training, seed, encoder=encoder)
        started = time.monotonic()
        next(trainer.epochs())
        seconds += time.monotonic() - started
    return seconds
