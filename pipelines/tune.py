"""Tune: a sweep over a search space with Ray Tune, Optuna's TPE and ASHA.

A trial trains on a few folds at once, epoch by epoch, in a process that is reused from trial to trial. What it reports
is the mean over these folds of the best dev score so far; the test parts are never looked at. The driver owns all
MLflow runs: one for the sweep, one below it for each trial.
"""

from __future__ import annotations

import functools
import math
import os
import tempfile
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
from fgcme.learning import Epoch, Fit, Workers, divide
from fgcme.protocol import Assignment, assign, resolve, split
from fgcme.space import Space, Suggests
from fgcme.tracking import Tracker, prepare_store, resolve_uri
from pipelines import catalogue, engine, prepare
from pipelines.progress import Progress
from pipelines.storage import writable
from pipelines.train import run_tags


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
    space = spaces.load(catalogue.space_file(space_name), experiment)
    corpus_folder = prepare.locate(experiment)
    corpus = SpeechCorpus(corpus_folder)
    protocol = resolve(experiment.protocol, experiment.corpus.kind)
    assignment = assign(protocol, corpus.members, experiment.protocol.allow_missing)
    tuned_on = dev_speakers(corpus, assignment, experiment)
    uri = resolve_uri(experiment.tracking.uri)
    prepare_store(uri)
    tracker = Tracker(uri, storage / "artifacts")
    title = f"{experiment.name} tune {Path(space_name).stem}"
    sweeps = storage / "sweeps" / f"{experiment.name}-{Path(space_name).stem}"
    study = tracker.experiment(experiment.name)
    parent = (
        _latest(sweeps)
        if resume
        else tracker.start(
            study,
            title,
            tags=run_tags(experiment, corpus, assignment)
            | {"fgcme.kind": "sweep", "fgcme.space": Path(space_name).stem, "fgcme.selection": "dev"},
            parameters=experiment.flat(),
        )
    )
    folder = sweeps / parent
    recorder = Recorder(tracker, study, parent, experiment, folder)
    print(
        f"{title}: {experiment.tune.trials} trials on the dev part of fold(s) "
        f"{', '.join(map(str, experiment.tune.folds))} of {protocol.name}; test parts are not looked at"
    )
    if resume:
        tracker.reopen(parent)
    else:
        tracker.text(parent, experiment.to_yaml(), "experiment.yaml")
        tracker.text(parent, space.model_dump_json(by_alias=True, exclude_defaults=True), "space.json")
    with tracker.ending(parent), engine.session():
        _require(experiment)
        # One line for each trial is ours to print; Ray's and Optuna's reports would drown it.
        os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        # Ray's own default of 10 s or more between snapshots would let a killed sweep run finished trials again.
        os.environ.setdefault("TUNE_GLOBAL_CHECKPOINT_S", "1")
        results = _tuner(experiment, space, corpus_folder, folder, recorder, resume).fit()
        if _interrupted(tracker, folder):
            # Ray Tune takes Ctrl-C for a wish to see what there is so far.
            raise KeyboardInterrupt
        best_configuration, best_score = _best(results)
        best = spaces.apply(experiment, best_configuration)
        best = best.model_copy(
            update={
                "name": f"{experiment.name}-{Path(space_name).stem}",
                "protocol": best.protocol.model_copy(update={"tuned_on": tuned_on}),
            }
        )
        path = folder / "best.yaml"
        path.write_text(
            f"# The best of {len(results)} trials, dev score {best_score:.4f}. Run: fgcme train {path}\n"
            + best.to_yaml(),
            encoding="utf-8",
        )
        tracker.artifact(parent, path)
        tracker.log(parent, {"dev/best_score": best_score}, 0)
    _conclude(results, best_configuration, best_score, path, parent)
    return path


def trial(configuration: dict[str, Any], experiment: Experiment, corpus_folder: Path) -> None:
    """One trial: the experiment with a drawn configuration, trained on the tuning folds in step."""
    experiment = spaces.apply(experiment, configuration)
    torch.set_num_threads(max(1, int(experiment.scaling.cpus_per_worker)))
    corpus = _corpus(corpus_folder)
    protocol = resolve(experiment.protocol, experiment.corpus.kind)
    assignment = assign(protocol, corpus.members, experiment.protocol.allow_missing)
    states = _last_states()
    device = torch.device("cuda" if experiment.scaling.gpus_per_worker else "cpu")
    fits = []
    for position, fold in enumerate(experiment.tune.folds):
        parts = divide(
            corpus,
            split(assignment, fold),
            assignment.labels,
            protocol.classes,
            experiment.model,
            experiment.training,
        )
        state = states[position] if states else None
        seed = experiment.training.seeds[0]
        fits.append(Fit(parts, experiment.model, experiment.training, seed, Workers(device=device), state))
    for epochs in zip(*(fit.epochs() for fit in fits), strict=True):
        report = _report(epochs, fits)
        with tempfile.TemporaryDirectory() as folder:
            torch.save([epoch.state() for epoch in epochs], Path(folder) / "states.pt")
            tune.report(report, checkpoint=tune.Checkpoint.from_directory(folder))


class Recorder(tune.Callback):
    """Keeps MLflow and the terminal in step with the sweep, from the driver.

    Which run belongs to which trial is kept in the sweep's folder, so that a resumed sweep goes on in the same runs.
    """

    def __init__(self, tracker: Tracker, study: str, parent: str, experiment: Experiment, folder: Path) -> None:
        self._tracker = tracker
        self._study = study
        self._parent = parent
        self._experiment = experiment
        self._folder = folder
        self._progress = Progress(experiment.tune.trials, "trial")
        self._best = -math.inf

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
        marker.write_text(run_id, encoding="utf-8")

    def on_trial_result(
        self, iteration: int, trials: list[Trial], trial: Trial, result: dict[str, Any], **info: Any
    ) -> None:
        """Record an epoch."""
        metrics = {name: value for name, value in result.items() if name.startswith(("train/", "dev/"))}
        self._tracker.log(self._run(trial), metrics | {"dev/objective": result["objective"]}, result["epoch"])

    def on_trial_complete(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """End the trial's run."""
        self._tracker.finish(self._run(trial), "FINISHED")
        objective = float(trial.last_result.get("objective", math.nan))
        self._best = max(self._best, objective)
        epochs = trial.last_result.get("epoch", 0)
        stopped = " (stopped early)" if epochs < self._experiment.training.epochs else ""
        self._progress.step(
            f"trial {trial.trial_id}: dev score {objective:.4f} after {epochs} epochs{stopped}, best {self._best:.4f}"
        )

    def on_trial_error(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """End the trial's run as failed."""
        self._tracker.finish(self._run(trial), "FAILED")
        self._progress.step(f"trial {trial.trial_id} failed")

    def _marker(self, trial: Trial) -> Path:
        return self._folder / "runs" / trial.trial_id

    def _run(self, trial: Trial) -> str:
        return self._marker(trial).read_text(encoding="utf-8")


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


def _last_states() -> list[dict[str, Any]] | None:
    checkpoint = tune.get_checkpoint()
    if checkpoint is None:
        return None
    with checkpoint.as_directory() as folder:
        states: list[dict[str, Any]] = torch.load(Path(folder) / "states.pt", map_location="cpu", weights_only=True)
    return states


def _report(epochs: tuple[Epoch, ...], fits: list[Fit]) -> dict[str, Any]:
    report: dict[str, Any] = {
        name: sum(epoch.metrics[name] for epoch in epochs) / len(epochs) for name in epochs[0].metrics
    }
    return report | {"objective": sum(fit.best_score for fit in fits) / len(fits), "epoch": epochs[0].number}


def _require(experiment: Experiment) -> None:
    if experiment.scaling.workers > 1:
        raise UserError("scaling.workers: a trial trains in one process; set it to 0 or 1 to tune")
    engine.require(experiment.scaling.cpus_per_worker, experiment.scaling.gpus_per_worker, "one trial")


def _tuner(
    experiment: Experiment, space: Space, corpus_folder: Path, folder: Path, recorder: Recorder, resume: bool
) -> tune.Tuner:
    scaling, settings = experiment.scaling, experiment.tune
    trainable = tune.with_resources(
        tune.with_parameters(trial, experiment=experiment, corpus_folder=corpus_folder),
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
            checkpoint_config=tune.CheckpointConfig(num_to_keep=1),
            failure_config=tune.FailureConfig(max_failures=2),
        ),
    )


def _interrupted(tracker: Tracker, folder: Path) -> bool:
    """Whether trials were left in the middle; their runs are ended as KILLED."""
    runs = [marker.read_text(encoding="utf-8") for marker in (folder / "runs").iterdir()]
    left = [run_id for run_id in runs if tracker.client.get_run(run_id).info.status == "RUNNING"]
    for run_id in left:
        tracker.finish(run_id, "KILLED")
    return bool(left)


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


def _conclude(results: tune.ResultGrid, configuration: dict[str, Any], score: float, path: Path, parent: str) -> None:
    print(f"\nbest of {len(results)} trials: dev score {score:.4f} with")
    for name, value in configuration.items():
        print(f"  {name}: {value}")
    print(f"\nrun {parent}; next: fgcme train {path}")
