"""Tune: a sweep over a search space with Ray Tune, Optuna's TPE and ASHA.

A trial trains on a few folds at once, epoch by epoch, in a process that is reused from trial to trial. What it reports
is the mean over these folds of the best dev score so far; the test parts are never looked at. The driver owns all
MLflow runs: one for the sweep, one below it for each trial.
"""

from __future__ import annotations

import functools
import json
import math
import os
from pathlib import Path
from typing import Any

import optuna
import torch
from ray import tune
from ray.tune.experiment import Trial
from ray.tune.schedulers import ASHAScheduler
from ray.tune.search.optuna import OptunaSearch

from fgcme import space as spaces
from fgcme.dataset import SpeechCorpus
from fgcme.errors import UserError
from fgcme.experiment import Experiment
from fgcme.fold import divide
from fgcme.learning import Epoch, Fit, Workers
from fgcme.protocol import Assignment, apply, split
from fgcme.space import Space, Suggests
from fgcme.tracking import Tracker
from fgcme.whole_file import replacing, write_text
from pipelines import engine, prepare, records, shipped
from pipelines.storage import writable


def run(experiment: Experiment, space_name: str, resume: bool = False) -> Path:
    """Search for a better configuration.

    Args:
        experiment: what is varied; its `tune` section says how.
        space_name: a search space's name, or its path.
        resume: go on with the latest sweep of this experiment and space instead of starting one.

    Returns:
        The best configuration as an experiment file that `fgcme train` accepts.

    Raises:
        UserError: the corpus is not prepared, the space does not fit the experiment, or no trial ended well.
    """
    storage = writable(experiment)
    space = spaces.load(shipped.space_file(space_name), experiment)
    corpus_folder = prepare.locate(experiment)
    corpus = SpeechCorpus(corpus_folder)
    assignment = apply(experiment.protocol, experiment.corpus.kind, corpus.members)
    tuned_on = dev_speakers(corpus, assignment, experiment)
    if experiment.scaling.workers > 1:
        raise UserError("scaling.workers: a trial trains in one process; set it to 0 or 1 to tune")
    tracker = records.open_store(experiment, storage)
    title = f"{experiment.name}-{Path(space_name).stem}"
    sweeps = storage / "sweeps" / title
    if resume:
        parent = _latest(sweeps)
        records.refuse_changes(tracker, parent, experiment, corpus)
        if tracker.yaml(parent, "space.json") != _as_json(space):
            raise UserError(f"run {parent} was started with another search space; resume it with the same one")
        tracker.reopen(parent)
    else:
        parent = _begin(tracker, experiment, space, title, corpus, assignment)
    print(
        f"{title}: {experiment.tune.trials} trials on the dev part of fold(s) "
        f"{', '.join(map(str, experiment.tune.folds))} of {records.protocol(experiment)}; test parts are not looked at"
    )
    with tracker.ending(parent), engine.session():
        engine.require(experiment.scaling.cpus_per_worker, experiment.scaling.gpus_per_worker, "one trial")
        results = _search(experiment, space, corpus_folder, sweeps / parent, tracker, resume)
        configuration, score = _best(results)
        path = _write_best(experiment, configuration, score, len(results), title, tuned_on, sweeps / parent)
        tracker.artifact(parent, path)
        tracker.log(parent, {"dev/best_score": score}, 0)
    print(f"\nbest of {len(results)} trials: dev score {score:.4f} with")
    for name, value in configuration.items():
        print(f"  {name}: {value}")
    print(f"\nrun {parent}; next: fgcme train {path}")
    return path


def trial(configuration: dict[str, Any], experiment: Experiment, corpus_folder: Path, states: Path) -> None:
    """One trial: the experiment with a drawn configuration, trained on the tuning folds in step.

    Args:
        configuration: dotted settings and their values.
        experiment: what they change.
        corpus_folder: the prepared corpus.
        states: folder in which the trial keeps where it is. Not a checkpoint of Ray Tune's: a sweep that is killed
            remembers one that was replaced since, and could not go on.
    """
    experiment = spaces.apply(experiment, configuration)
    torch.set_num_threads(max(1, int(experiment.scaling.cpus_per_worker)))
    corpus = _corpus(corpus_folder)
    assignment = apply(experiment.protocol, experiment.corpus.kind, corpus.members)
    device = torch.device("cuda" if experiment.scaling.gpus_per_worker else "cpu")
    path = states / f"{tune.get_context().get_trial_id()}.pt"
    last = torch.load(path, map_location="cpu", weights_only=True) if path.exists() else None
    if last is not None:
        # It may have been killed before this was heard.
        tune.report(last["report"])
    fits = []
    for position, fold in enumerate(experiment.tune.folds):
        parts = divide(corpus, assignment, fold, "dev", experiment.model, experiment.training)
        seed = experiment.training.seeds[0]
        state = last["states"][position] if last is not None else None
        fits.append(Fit(parts, experiment.model, experiment.training, seed, Workers(device=device), state))
    for epochs in zip(*(fit.epochs() for fit in fits), strict=True):
        report = _report(epochs, fits)
        with replacing(path) as partial:
            torch.save({"report": report, "states": [epoch.state() for epoch in epochs]}, partial)
        tune.report(report)


class Recorder(tune.Callback):
    """Keeps MLflow and the terminal in step with the sweep, from the driver.

    A resumed sweep gets this object as it was pickled when the sweep began, so nothing that changes is kept here: which
    run belongs to which trial is in the sweep's folder, and what is done is read off Ray Tune's list of trials.
    """

    def __init__(self, tracker: Tracker, study: str, parent: str, experiment: Experiment, folder: Path) -> None:
        self._tracker = tracker
        self._study = study
        self._parent = parent
        self._experiment = experiment
        self._folder = folder

    def on_trial_start(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """Make the trial's run, or open it again."""
        marker = self._marker(trial)
        if marker.exists():
            self._tracker.reopen(marker.read_text(encoding="utf-8"))
            return
        run_id = self._tracker.start(
            self._study,
            f"trial {trial.trial_id}",
            parent=self._parent,
            tags={"fgcme.kind": "trial", "fgcme.trial": trial.trial_id, "fgcme.selection": "dev"},
            parameters=spaces.apply(self._experiment, trial.config).flat(),
        )
        marker.parent.mkdir(parents=True, exist_ok=True)
        write_text(marker, run_id)

    def on_trial_result(
        self, iteration: int, trials: list[Trial], trial: Trial, result: dict[str, Any], **info: Any
    ) -> None:
        """Record an epoch."""
        metrics = {name: value for name, value in result.items() if name.startswith(("train/", "dev/"))}
        self._tracker.log(self._run(trial), metrics | {"dev/objective": result["objective"]}, result["epoch"])

    def on_trial_complete(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """End the trial's run."""
        self._tracker.finish(self._run(trial), "FINISHED")
        (self._folder / "states" / f"{trial.trial_id}.pt").unlink(missing_ok=True)
        epochs = trial.last_result.get("epoch", 0)
        stopped = " (stopped early)" if epochs < self._experiment.training.epochs else ""
        self._say(
            f"trial {trial.trial_id}: dev score {_objective(trial):.4f} after {epochs} epochs{stopped}", trial, trials
        )

    def on_trial_error(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """End the trial's run as failed."""
        self._tracker.finish(self._run(trial), "FAILED")
        self._say(f"trial {trial.trial_id} failed", trial, trials)

    def _say(self, message: str, just_ended: Trial, trials: list[Trial]) -> None:
        # Ray Tune calls back before it marks the trial as ended.
        ended = [trial for trial in trials if trial is just_ended or trial.status in (Trial.TERMINATED, Trial.ERROR)]
        best = max(_objective(trial) for trial in ended)
        print(f"{message}, best {best:.4f}  [{len(ended)}/{self._experiment.tune.trials}]", flush=True)

    def _marker(self, trial: Trial) -> Path:
        return self._folder / "runs" / trial.trial_id

    def _run(self, trial: Trial) -> str:
        return self._marker(trial).read_text(encoding="utf-8")


def _objective(trial: Trial) -> float:
    return float(trial.last_result.get("objective", -math.inf))


def draw(trial: Suggests, space: Space, settings: dict[str, Any]) -> dict[str, Any]:
    """One configuration, for Optuna."""
    return dict(space.draw(trial, settings))


def dev_speakers(corpus: SpeechCorpus, assignment: Assignment, experiment: Experiment) -> list[str]:
    """The speakers whose dev scores decide between configurations."""
    return sorted(
        {
            corpus.members.speakers[utterance]
            for fold in experiment.tune.folds
            for utterance in split(assignment, fold).dev
        }
    )


@functools.lru_cache(maxsize=2)
def _corpus(folder: Path) -> SpeechCorpus:
    """Mapped once in a process that runs many trials."""
    return SpeechCorpus(folder)


def _report(epochs: tuple[Epoch, ...], fits: list[Fit]) -> dict[str, Any]:
    report: dict[str, Any] = {
        name: sum(epoch.metrics[name] for epoch in epochs) / len(epochs) for name in epochs[0].metrics
    }
    return report | {"objective": sum(fit.best_score for fit in fits) / len(fits), "epoch": epochs[0].number}


def _begin(
    tracker: Tracker, experiment: Experiment, space: Space, title: str, corpus: SpeechCorpus, assignment: Assignment
) -> str:
    """Make the sweep's run."""
    run_id = tracker.start(
        tracker.experiment(experiment.name),
        f"{title} tune",
        tags=records.tags(experiment, corpus, assignment)
        | {"fgcme.kind": "sweep", "fgcme.space": title, "fgcme.selection": "dev"},
        parameters=experiment.flat(),
    )
    tracker.text(run_id, experiment.to_yaml(), "experiment.yaml")
    tracker.text(run_id, json.dumps(_as_json(space), indent=2), "space.json")
    return run_id


def _as_json(space: Space) -> Any:
    return space.model_dump(mode="json", by_alias=True, exclude_defaults=True)


def _search(
    experiment: Experiment, space: Space, corpus_folder: Path, folder: Path, tracker: Tracker, resume: bool
) -> tune.ResultGrid:
    # One line for each trial is ours to print; Ray's and Optuna's reports would drown it.
    os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    # Ray's own default of 10 s or more between snapshots would let a killed sweep run finished trials again.
    os.environ.setdefault("TUNE_GLOBAL_CHECKPOINT_S", "1")
    recorder = Recorder(tracker, tracker.experiment(experiment.name), folder.name, experiment, folder)
    (folder / "states").mkdir(parents=True, exist_ok=True)
    try:
        results = _tuner(experiment, space, corpus_folder, folder, recorder, resume).fit()
    finally:
        left = _end_what_is_left(tracker, folder)
    if left or len(results) < experiment.tune.trials:
        # Ray Tune takes Ctrl-C for a wish to see what there is so far.
        raise KeyboardInterrupt
    return results


def _tuner(
    experiment: Experiment, space: Space, corpus_folder: Path, folder: Path, recorder: Recorder, resume: bool
) -> tune.Tuner:
    scaling, settings = experiment.scaling, experiment.tune
    trainable = tune.with_resources(
        tune.with_parameters(trial, experiment=experiment, corpus_folder=corpus_folder, states=folder / "states"),
        {"CPU": scaling.cpus_per_worker, "GPU": scaling.gpus_per_worker},
    )
    if resume:
        return tune.Tuner.restore(str(folder), trainable=trainable, resume_unfinished=True, restart_errored=True)
    searcher = OptunaSearch(
        functools.partial(draw, space=space, settings=experiment.flat()),
        metric="objective",
        mode="max",
        points_to_evaluate=_first(space, experiment) or None,
        seed=settings.seed,
    )
    scheduler = ASHAScheduler(
        time_attr="epoch",
        max_t=experiment.training.epochs,
        grace_period=min(settings.grace_epochs, experiment.training.epochs),
        reduction_factor=settings.reduction,
    )
    return tune.Tuner(
        trainable,
        tune_config=tune.TuneConfig(
            metric="objective",
            mode="max",
            search_alg=searcher,
            scheduler=scheduler,
            num_samples=settings.trials,
            max_concurrent_trials=scaling.parallel,
            reuse_actors=True,
        ),
        run_config=tune.RunConfig(
            name=folder.name,
            storage_path=str(folder.parent),
            callbacks=[recorder],
            verbose=0,
            failure_config=tune.FailureConfig(max_failures=2),
        ),
    )


def _end_what_is_left(tracker: Tracker, folder: Path) -> int:
    """End the runs of trials that were left in the middle as KILLED, and count them."""
    runs = [marker.read_text(encoding="utf-8") for marker in (folder / "runs").glob("*") if not marker.suffix]
    left = [run_id for run_id in runs if tracker.client.get_run(run_id).info.status == "RUNNING"]
    for run_id in left:
        tracker.finish(run_id, "KILLED")
    return len(left)


def _first(space: Space, experiment: Experiment) -> list[dict[str, Any]]:
    """What is tried before anything is drawn: the experiment as it is, lest the best be worse, and the space's own."""
    own = space.point(experiment.flat())
    points = ([own] if own is not None else []) + list(space.first)
    return [dict(point) for index, point in enumerate(points) if point not in points[:index]]


def _best(results: tune.ResultGrid) -> tuple[dict[str, Any], float]:
    ended_well = [
        result
        for result in (results[index] for index in range(len(results)))
        if result.metrics and math.isfinite(result.metrics.get("objective", math.nan))
    ]
    if not ended_well:
        raise UserError(
            f"none of {len(results)} trials ended well; {results.errors[0] if results.errors else ''}".strip()
        )
    objectives = [float((result.metrics or {})["objective"]) for result in ended_well]
    best = objectives.index(max(objectives))
    return dict(ended_well[best].config or {}), objectives[best]


def _latest(sweeps: Path) -> str:
    runs = sorted(sweeps.glob("*/tuner.pkl"), key=lambda path: path.stat().st_mtime)
    if not runs:
        raise UserError(f"{sweeps}: no sweep to resume; start one without --resume")
    return runs[-1].parent.name


def _write_best(
    experiment: Experiment,
    configuration: dict[str, Any],
    score: float,
    trials: int,
    title: str,
    tuned_on: list[str],
    folder: Path,
) -> Path:
    best = spaces.apply(experiment, configuration)
    protocol = best.protocol.model_copy(update={"tuned_on": tuned_on})
    best = best.model_copy(update={"name": title, "protocol": protocol})
    path = folder / "best.yaml"
    write_text(
        path, f"# The best of {trials} trials, dev score {score:.4f}. Run: fgcme train {path}\n" + best.to_yaml()
    )
    return path
