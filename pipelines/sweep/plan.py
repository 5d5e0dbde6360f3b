"""A sweep that can start: everything that can be checked is, before anything starts."""

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

from fgcme.data import Assignment, SpeechCorpus, open_fold, split_fold
from fgcme.errors import UserError
from fgcme.experiment import Experiment, ScalingSettings, Space, load_space
from fgcme.files import digest
from fgcme.tracking import require_store, resolve_uri, sqlite_path
from fgcme.training.learning import FoldTrainer
from pipelines import bundled
from pipelines.cluster import clock, cluster_resources, concurrent_slots, ray_session
from pipelines.runs import records
from pipelines.runs.corpus import load_assigned_corpus
from pipelines.sweep import scheduling, search
from pipelines.sweep import shared_study as study


@dataclass(frozen=True)
class SweepPlan:
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


def plan_sweep(experiment: Experiment, space_name: str) -> SweepPlan:
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
    first = list(space.grid(experiment.flat())) if whole else _initial_trials(space, experiment)
    total = len(first) if whole else experiment.tune.trials
    return SweepPlan(experiment, space, f"{experiment.name}-{path.stem}", corpus, folder, assignment, first, total)


def describe_plan(plan: SweepPlan) -> str:
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
    require_databases(planned)
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


def require_databases(plan: SweepPlan) -> None:
    """Check the databases that a sweep would write to, and leave nothing in them.

    Raises:
        UserError: one cannot be used or made, or the study is of something else.
    """
    uri, address = resolve_uri(plan.experiment.tracking.uri), plan.experiment.tune.study_storage
    if _database_exists("tracking.uri", uri):
        require_store(uri)
    if address is None or not _database_exists("tune.study_storage", address):
        return
    try:
        tables = sqlalchemy.inspect(sqlalchemy.create_engine(address)).get_table_names()
        titles = optuna.get_all_study_names(address) if "studies" in tables else []
    except Exception as error:  # noqa: BLE001  SQLAlchemy and each database's driver have errors of their own
        raise UserError(f"tune.study_storage: {address} cannot be used ({str(error).partition(chr(10))[0]})") from None
    if plan.title in titles:
        join_study(plan, resuming=False)


def _database_exists(setting: str, address: str) -> bool:
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


def as_json(space: Space) -> Any:
    """A space as it is kept with a run, and compared with another."""
    return space.model_dump(mode="json", by_alias=True, exclude_defaults=True)


def _initial_trials(space: Space, experiment: Experiment) -> list[dict[str, Any]]:
    """What is tried before anything is drawn: the experiment as it is, lest the best be worse, and the space's own."""
    own = space.as_point(experiment.flat())
    points = ([own] if own is not None else []) + list(space.initial_trials)
    return [dict(point) for index, point in enumerate(points) if point not in points[:index]]


def join_study(plan: SweepPlan, resuming: bool) -> BaseStorage | None:
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


def _time_epoch(plan: SweepPlan) -> float:
    """Seconds of one epoch on all tuning folds, in this process."""
    experiment, seconds = plan.experiment, 0.0
    torch.set_num_threads(max(1, int(experiment.scaling.cpus_per_worker)))
    for fold in experiment.tune.folds:
        corpus_hash = plan.corpus.description.corpus_hash
        _, parts = open_fold(plan.corpus, corpus_hash, experiment, fold, "dev", "sweep")
        fit = FoldTrainer(parts, experiment.model, experiment.training, experiment.training.seeds[0])
        started = time.monotonic()
        next(fit.epochs())
        seconds += time.monotonic() - started
    return seconds
