"""Ablate: every variant trained on the same folds with the same seeds, and compared with the reference.

Each (variant, selection rule, fold, seed) is one trial of Ray Tune's grid, in a process that is reused from trial to
trial. What is finished is kept in the storage folder, so an ablation that is resumed trains only what is left, and one
that gets another variant or seed just that. All variants start from the same seeds, so that comparisons are paired.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from ray import tune
from ray.tune.experiment import Trial

from fgcme import ablation, statistics
from fgcme.dataset import SpeechCorpus
from fgcme.errors import UserError
from fgcme.experiment import Experiment, digest
from fgcme.protocol import Assignment, Selection, apply
from fgcme.report.comparison import to_text
from fgcme.tracking import Tracker
from pipelines import engine, prepare, records, shipped
from pipelines.jobs import Job, conclude, finished, line, with_run
from pipelines.progress import Progress
from pipelines.storage import writable
from pipelines.training import train

KIND = "ablation"


@dataclass(frozen=True)
class Training:
    """One training of an ablation.

    Attributes:
        variant: its name.
        job: what is trained; its experiment says the selection rule.
    """

    variant: str
    job: Job

    @property
    def selection(self) -> Selection:
        """How its epoch is chosen."""
        return self.job.experiment.protocol.selection


def run(
    experiment: Experiment, space_name: str, selections: Sequence[Selection] = ("dev",), resume: bool = False
) -> str:
    """Train all variants of an ablation and compare them.

    Args:
        experiment: what the variants change.
        space_name: an ablation's name, or its path.
        selections: the rules by which epochs are chosen, each with trainings of its own.
        resume: go on with the latest ablation of this experiment and space; variants and seeds may have been added.

    Returns:
        The id of the MLflow run.

    Raises:
        UserError: the corpus is not prepared, the ablation does not fit the experiment, or trainings failed.
    """
    storage = writable(experiment)
    path = shipped.space_file(space_name)
    reference, variants = ablation.load(path, experiment)
    if experiment.scaling.workers > 1:
        raise UserError("scaling.workers: trainings of an ablation are of one process each; set it to 0 or 1")
    corpus_folder = prepare.locate(experiment)
    corpus = SpeechCorpus(corpus_folder)
    assignment = apply(experiment.protocol, experiment.corpus.kind, corpus.members)
    tracker = records.open_store(experiment, storage)
    title = f"{experiment.name}-{path.stem}"
    folder = storage / "ablations" / title
    if resume:
        parent = _latest(folder)
        records.refuse_changes(tracker, parent, experiment, corpus, but=("training.seeds", "protocol.selection"))
        tracker.reopen(parent)
    else:
        parent = _begin(tracker, experiment, title, corpus, assignment)
    (folder / parent).mkdir(parents=True, exist_ok=True)
    tracker.text(parent, json.dumps(_description(reference, variants, selections), indent=2), "ablation.json")
    trainings = [
        Training(
            name,
            Job(
                changed,
                corpus_folder,
                corpus.description.corpus_hash,
                fold,
                seed,
                folder / parent / f"{name}-{_identity(changed)}" / selection / f"fold-{fold}-seed-{seed}",
                tracker,
                run="",
            ),
        )
        for selection in selections
        for seed in experiment.training.seeds
        for name, changed in ((name, _selecting(variant, selection)) for name, variant in variants.items())
        for fold in range(assignment.fold_count)
    ]
    print(
        f"{title} on {records.protocol(experiment)}: {len(variants)} variants x {len(selections)} selection rule(s) x "
        f"{assignment.fold_count} folds x {len(experiment.training.seeds)} seeds = {len(trainings)} trainings"
    )
    with tracker.ending(parent), engine.session():
        _train_all(trainings, tracker.experiment(experiment.name), parent)
        _conclude(tracker, parent, experiment, reference, trainings, assignment.protocol.classes)
    print(f"\nrun {parent}; next: fgcme report {parent}")
    return parent


def _begin(tracker: Tracker, experiment: Experiment, title: str, corpus: SpeechCorpus, assignment: Assignment) -> str:
    parent = tracker.start(
        tracker.experiment(experiment.name),
        f"{title} ablate",
        tags=records.tags(experiment, corpus, assignment) | {"fgcme.kind": KIND, "fgcme.space": title},
        parameters=experiment.flat(),
    )
    tracker.text(parent, experiment.to_yaml(), "experiment.yaml")
    return parent


def _latest(folder: Path) -> str:
    started = sorted(folder.glob("*/"), key=lambda path: path.stat().st_mtime)
    if not started:
        raise UserError(f"{folder}: no ablation to resume; start one without --resume")
    return started[-1].name


def _description(reference: str, variants: Mapping[str, Experiment], selections: Sequence[Selection]) -> dict[str, Any]:
    return {
        "reference": reference,
        "selections": list(selections),
        "variants": {name: variant.model_dump(mode="json") for name, variant in variants.items()},
    }


def _selecting(experiment: Experiment, selection: Selection) -> Experiment:
    protocol = experiment.protocol.model_copy(update={"selection": selection})
    return experiment.model_copy(update={"protocol": protocol})


def _identity(experiment: Experiment) -> str:
    """What tells a variant from another of its name whose settings have changed since."""
    training = experiment.training.model_dump(mode="json", exclude={"seeds"})
    return digest([experiment.model.model_dump(mode="json"), training])[:8]


def _train_all(trainings: Sequence[Training], study: str, parent: str) -> None:
    """Train what is not trained yet, as much at once as fits."""
    waiting = []
    for training in trainings:
        if finished(training.job.folder) is None:
            waiting.append(training)
        else:
            # The driver may have been killed between a training's end and its saying so.
            conclude(_with_run(training, study, parent).job)
    if not waiting:
        return
    scaling = waiting[0].job.experiment.scaling
    engine.require(scaling.cpus_per_worker, scaling.gpus_per_worker, "one training")
    # One line for each training is ours to print; Ray's reports would drown it.
    os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
    recorder = Recorder(waiting, study, parent, Progress(len(trainings), "training", len(trainings) - len(waiting)))
    # Ray Tune's own record, which nodes share while they train: what is kept lies in the trainings' folders.
    grid = waiting[0].job.folder.parents[2] / "grid"
    shutil.rmtree(grid, ignore_errors=True)
    results = tune.Tuner(
        tune.with_resources(
            tune.with_parameters(trial, jobs=[training.job for training in waiting]),
            {"CPU": scaling.cpus_per_worker, "GPU": scaling.gpus_per_worker},
        ),
        param_space={"training": tune.grid_search(list(range(len(waiting))))},
        tune_config=tune.TuneConfig(max_concurrent_trials=scaling.parallel, reuse_actors=True),
        run_config=tune.RunConfig(
            name=grid.name,
            storage_path=str(grid.parent),
            callbacks=[recorder],
            verbose=0,
            failure_config=tune.FailureConfig(max_failures=2),
        ),
    ).fit()
    shutil.rmtree(grid, ignore_errors=True)
    left = [training for training in waiting if finished(training.job.folder) is None]
    for training in left:
        marker = training.job.folder / "run"
        if marker.exists() and not results.num_errors:
            training.job.tracker.finish(marker.read_text(encoding="utf-8"), "KILLED")
    if left and not results.num_errors:
        # Ray Tune takes Ctrl-C for a wish to see what there is so far.
        raise KeyboardInterrupt
    if left:
        cause = next((str(error).strip().splitlines()[-1] for error in results.errors), "")
        raise UserError(f"{len(left)} of {len(trainings)} trainings failed ({cause}); complete them with --resume")


def trial(configuration: dict[str, Any], jobs: Sequence[Job]) -> None:
    """One training; its run was made by the driver just before."""
    job = jobs[configuration["training"]]
    train(replace(job, run=(job.folder / "run").read_text(encoding="utf-8")))
    tune.report({"done": 1})


class Recorder(tune.Callback):
    """Keeps MLflow and the terminal in step with the grid, from the driver."""

    def __init__(self, trainings: Sequence[Training], study: str, parent: str, progress: Progress) -> None:
        self._trainings = trainings
        self._study = study
        self._parent = parent
        self._progress = progress

    def on_trial_start(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """Make the training's run, or open it again; called before the training begins."""
        _with_run(self._of(trial), self._study, self._parent)

    def on_trial_complete(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """End the training's run."""
        training = self._of(trial)
        result = finished(training.job.folder)
        if result is None:
            return
        conclude(_with_run(training, self._study, self._parent).job)
        selection = "" if training.selection == "dev" else " (epoch chosen on test: optimistic)"
        self._progress.step(f"{training.variant}{selection}, {line(result)}")

    def on_trial_error(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """End the training's run as failed."""
        training = self._of(trial)
        job = _with_run(training, self._study, self._parent).job
        job.tracker.finish(job.run, "FAILED")
        self._progress.say(f"{training.variant}, fold {job.fold}, seed {job.seed} failed")

    def _of(self, trial: Trial) -> Training:
        return self._trainings[int(trial.config["training"])]


def _with_run(training: Training, study: str, parent: str) -> Training:
    title = f"{training.variant}, fold {training.job.fold}, seed {training.job.seed}"
    return replace(training, job=with_run(training.job, study, parent, title, {"fgcme.variant": training.variant}))


def _conclude(
    tracker: Tracker,
    parent: str,
    experiment: Experiment,
    reference: str,
    trainings: Sequence[Training],
    classes: Sequence[str],
) -> None:
    """Keep all predictions and results with the run, and print the table of each selection rule."""
    results = []
    with tempfile.TemporaryDirectory() as scratch:
        for training in trainings:
            result = finished(training.job.folder)
            assert result is not None, "all trainings have ended well"
            run = (training.job.folder / "run").read_text(encoding="utf-8")
            results.append({"variant": training.variant, "selection": training.selection, "run": run, **asdict(result)})
        for selection in dict.fromkeys(training.selection for training in trainings):
            tables = _predictions([training for training in trainings if training.selection == selection])
            folder = Path(scratch) / "predictions" / selection
            folder.mkdir(parents=True)
            for name, table in tables.items():
                pq.write_table(table, folder / f"{name}.parquet")
            table = statistics.compare_table(tables, reference, classes)
            print(f"\n{records.protocol(experiment)}, selection {records.rule(selection)}, in per cent:")
            print(to_text(table))
            prefix = "test" if selection == "dev" else "test_selected_on_test"
            for name, estimates in table.estimates.items():
                # What a metric's name may hold in MLflow.
                tracker.log(parent, {f"{prefix}/{name}/{key}": each.mean for key, each in estimates.items()}, 0)
        (Path(scratch) / "results.json").write_text(json.dumps(results, indent=1), encoding="utf-8")
        tracker.artifact(parent, Path(scratch))


def _predictions(trainings: Sequence[Training]) -> dict[str, pa.Table]:
    by_variant: dict[str, list[pa.Table]] = {}
    for training in trainings:
        table = pq.read_table(training.job.folder / "predictions.parquet")
        by_variant.setdefault(training.variant, []).append(table)
    return {name: pa.concat_tables(tables) for name, tables in by_variant.items()}
