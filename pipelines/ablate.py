"""Ablate: every variant trained on the same folds with the same seeds, and compared with the reference.

Each (variant, selection rule, fold, seed) is one trial of Ray Tune, in a process that is reused from trial to trial.
What is finished is kept in the storage folder, so an ablation that is resumed trains only what is left, and one that
gets another variant, seed or selection rule just that. All variants start from the same seeds, so that comparisons are
paired.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from ray import cloudpickle, tune
from ray.tune.experiment import Trial

from fgcme.data import Selection, reads_test_audio
from fgcme.errors import UserError
from fgcme.evaluation.comparison import compare_table
from fgcme.experiment import Experiment, ablation
from fgcme.files import digest, write_text
from fgcme.report.comparison import to_metrics, to_text
from fgcme.report.findings import without_speakers
from fgcme.tracking import Tracker
from pipelines import bundled
from pipelines.cluster import Progress, ray_session, require_capacity, writable_folder
from pipelines.runs import records
from pipelines.runs.corpus import load_assigned_corpus
from pipelines.training import failure
from pipelines.training.job import Job, conclude, finish_leftovers, format_result, read_result, recorded_run, with_run
from pipelines.training.worker import train

KIND = "ablation"
RULES: Sequence[Selection] = ("dev", "test")
# What may change when an ablation is resumed, and the tags that say it: MLflow's parameters stay what they are.
CHANGEABLE = {
    "protocol.selection": "fgcme.selection",
    "protocol.tuned_on": "fgcme.tuned_on",
    "training.seeds": "fgcme.seeds",
}
# Of the reasons why trainings failed, as many as one line can hold.
_REASONS = 3


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

    @property
    def label(self) -> str:
        """Its variant, with what has to be said beside its numbers."""
        return self.variant if self.selection == "dev" else f"{self.variant} (epoch chosen on test: optimistic)"


def run(
    experiment: Experiment, space_name: str, selections: Sequence[Selection] | None = None, resume: bool = False
) -> str:
    """Train all variants of an ablation and compare them.

    Args:
        experiment: what the variants change.
        space_name: an ablation's name, or its path.
        selections: the rules by which epochs are chosen, each with trainings of its own; the experiment's by default,
            or, of an ablation that is resumed, those that it had.
        resume: go on with the latest ablation of this experiment and space. What it had before stays part of it: rules,
            seeds, and speakers that the configuration was tuned on.

    Returns:
        The id of the MLflow run.

    Raises:
        UserError: the corpus is not prepared, the ablation does not fit the experiment, the rules contradict the
            experiment's, or trainings failed.
    """
    storage = writable_folder(experiment)
    path = bundled.space_file(space_name)
    if experiment.scaling.workers > 1:
        raise UserError("scaling.workers: trainings of an ablation are of one process each; set it to 0 or 1")
    corpus_folder, corpus, assignment = load_assigned_corpus(experiment)
    tracker = records.open_store(experiment, storage)
    title = f"{experiment.name}-{path.stem}"
    folder = storage / "ablations" / title
    latest = _latest(folder) if resume else None
    recorded = _recorded(tracker, latest) if latest is not None else None
    rules = _rules(experiment.protocol.selection, selections, recorded["selections"] if recorded else [])
    experiment = _selecting(_with_recorded(experiment, recorded) if recorded else experiment, rules[0])
    reference, variants = ablation.load_ablation(path, experiment)
    if latest is not None and recorded is not None:
        records.refuse_changes(tracker, latest, experiment, corpus, ignoring=tuple(CHANGEABLE))
    tags = records.tags(experiment, corpus, assignment) | {
        "fgcme.kind": KIND,
        "fgcme.space": title,
        "fgcme.selection": records.rule_tag(rules),
        "fgcme.seeds": ", ".join(map(str, experiment.training.seeds)),
    }
    if latest is None:
        parent = _begin(tracker, experiment, title, tags)
        (folder / parent).mkdir(parents=True)
    else:
        parent = latest
        records.delete_unstarted(tracker, parent, folder / parent)
        tracker.reopen(parent)
        # The code that began it, and trained most of it perhaps, stays named.
        changed = {key: value for key, value in tags.items() if key in CHANGEABLE.values()}
        tracker.tag(parent, changed if recorded else tags)
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
        for selection in rules
        for seed in experiment.training.seeds
        for name, changed in ((name, _selecting(variant, selection)) for name, variant in variants.items())
        for fold in range(assignment.fold_count)
    ]
    plan = (
        f"{len(variants)} variants x {len(rules)} selection rule(s) ({', '.join(rules)}) x "
        f"{assignment.fold_count} folds x {len(experiment.training.seeds)} seeds = {len(trainings)} trainings"
    )
    print(f"{title} on " + "\n".join(records.describe_participants(experiment, corpus, assignment, plan)))
    with tracker.closing_run(parent):
        tracker.text(parent, experiment.to_yaml(), "experiment.yaml")
        tracker.text(parent, json.dumps(_description(reference, variants, rules), indent=2), "ablation.json")
        _train_all(trainings, tracker.experiment(experiment.name), parent)
        _conclude(tracker, parent, experiment, reference, trainings, assignment.protocol.classes)
    print(f"\nrun {parent}; next: fgcme report {parent}")
    return parent


def _begin(tracker: Tracker, experiment: Experiment, title: str, tags: Mapping[str, str]) -> str:
    parameters = {key: value for key, value in experiment.flat().items() if key not in CHANGEABLE}
    return tracker.start(tracker.experiment(experiment.name), f"{title} ablate", tags=tags, parameters=parameters)


def _latest(folder: Path) -> str:
    started = sorted(folder.glob("*/"), key=lambda path: path.stat().st_mtime)
    if not started:
        raise UserError(f"{folder}: no ablation to resume; start one without --resume")
    return started[-1].name


def _recorded(tracker: Tracker, run: str) -> dict[str, Any] | None:
    """What a run says of its ablation; None if it was killed before it could, and so before it trained anything."""
    if not tracker.has_artifact(run, "ablation.json"):
        return None
    recorded: dict[str, Any] = tracker.json(run, "ablation.json")
    return recorded


def _rules(own: Selection, asked: Sequence[Selection] | None, recorded: Sequence[Selection]) -> list[Selection]:
    """The selection rules of an ablation, in the order in which their trainings begin.

    Args:
        own: the experiment's, `dev` unless somebody has said otherwise.
        asked: those of the command, if it names any.
        recorded: those that a run that is resumed has.

    Raises:
        UserError: the experiment and the command contradict each other.
    """
    if asked is None:
        asked = [] if recorded and own == "dev" else [own]
    elif own == "test" and own not in asked:
        raise UserError("--selection dev, but protocol.selection is test: leave one of them away, or say both")
    return [rule for rule in RULES if rule in recorded or rule in asked]


def _with_recorded(experiment: Experiment, recorded: Mapping[str, Any]) -> Experiment:
    """The experiment with the seeds, and the speakers that it was tuned on, that a run of it says it has."""
    before = next(iter(recorded["variants"].values()))
    seeds = dict.fromkeys([*before["training"]["seeds"], *experiment.training.seeds])
    tuned_on = dict.fromkeys([*before["protocol"]["tuned_on"], *experiment.protocol.tuned_on])
    return experiment.model_copy(
        update={
            "training": experiment.training.model_copy(update={"seeds": list(seeds)}),
            "protocol": experiment.protocol.model_copy(update={"tuned_on": list(tuned_on)}),
        }
    )


def _description(reference: str, variants: Mapping[str, Experiment], rules: Sequence[Selection]) -> dict[str, Any]:
    return {
        "reference": reference,
        "selections": list(rules),
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
    waiting: list[Training] = []
    done: list[Training] = []
    for training in trainings:
        (waiting if read_result(training.job.folder) is None else done).append(training)
    finish_leftovers([training.job for training in done], parent)
    progress = Progress("training", [training.variant for training in waiting], already=len(done))
    if waiting:
        with ray_session():
            _train(waiting, study, parent, progress)
        _refuse_gaps(trainings)


def _train(waiting: Sequence[Training], study: str, parent: str, progress: Progress) -> None:
    scaling = waiting[0].job.experiment.scaling
    require_capacity(scaling.cpus_per_worker, scaling.gpus_per_worker, "one training")
    # One line for each training is ours to print; Ray's reports and stack traces would drown it.
    os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)
    # Ray Tune's own record, which nodes share while they train: what is kept lies in the trainings' folders.
    grid = waiting[0].job.folder.parents[2] / "grid"
    shutil.rmtree(grid, ignore_errors=True)
    assigned = grid / "assigned"
    assigned.mkdir(parents=True)
    tune.Tuner(
        tune.with_resources(
            tune.with_parameters(trial, jobs=[training.job for training in waiting], assigned=assigned),
            {"CPU": scaling.cpus_per_worker, "GPU": scaling.gpus_per_worker},
        ),
        tune_config=tune.TuneConfig(
            num_samples=len(waiting), max_concurrent_trials=scaling.max_concurrent, reuse_actors=True
        ),
        run_config=tune.RunConfig(
            name=grid.name,
            storage_path=str(grid.parent),
            callbacks=[Recorder(waiting, assigned, study, parent, progress)],
            verbose=0,
            failure_config=tune.FailureConfig(max_failures=failure.RETRIES),
        ),
    ).fit()
    shutil.rmtree(grid, ignore_errors=True)


def _refuse_gaps(trainings: Sequence[Training]) -> None:
    """Check that all trainings have ended well.

    Raises:
        KeyboardInterrupt: some were not tried.
        UserError: some failed; says why.
    """
    left = [training for training in trainings if read_result(training.job.folder) is None]
    untried = [training for training in left if failure.noted(training.job) is None]
    for training in untried:
        if (training.job.folder / "run").exists():
            training.job.tracker.finish(recorded_run(training.job), "KILLED")
    if untried:
        # Ray Tune takes Ctrl-C for a wish to see what there is so far.
        raise KeyboardInterrupt
    if left:
        reasons = Counter((training.label, failure.noted(training.job)) for training in left)
        shown = [f"{count} of {label}: {why}" for (label, why), count in reasons.most_common(_REASONS)]
        more = [f"and {len(reasons) - _REASONS} other reasons"] if len(reasons) > _REASONS else []
        raise UserError(
            f"{len(left)} of {len(trainings)} trainings failed ({'; '.join(shown + more)}); complete them with --resume"
        )


def trial(configuration: dict[str, Any], jobs: Sequence[Job], assigned: Path) -> None:
    """One training: the one that the driver has assigned to this trial just before, with a run made for it."""
    job = jobs[int((assigned / tune.get_context().get_trial_id()).read_text(encoding="utf-8"))]
    try:
        train(replace(job, run=recorded_run(job)))
    except UserError as error:
        # It would happen again just so; Ray Tune tries whatever raises again.
        failure.note(job, str(error))
    tune.report({"done": 1})


class Recorder(tune.Callback):
    """Hands out the trainings, and keeps MLflow and the terminal in step with them, from the driver.

    Ray Tune starts trials in no order of its own where several processes are free; so it is a training, the next of
    them, that is assigned to whatever trial starts. An ablation that is interrupted then has whole rows of its table.

    Args:
        trainings: in the order in which they begin.
        assigned: folder where a trial finds the number of its training.
        study, parent: ids of the MLflow experiment and of the ablation's run.
        progress: is told of each training that ends.
    """

    def __init__(
        self, trainings: Sequence[Training], assigned: Path, study: str, parent: str, progress: Progress
    ) -> None:
        self._assigned = assigned
        self._study = study
        self._parent = parent
        self._progress = progress
        self._waiting: Iterator[tuple[int, Training]] = iter(enumerate(trainings))
        self._by_trial: dict[str, Training] = {}

    def on_trial_start(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """Assign a training, make its run, or open it again; called before the training begins."""
        self._of(trial)

    def on_trial_complete(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """End the training's run: as failed if there is a reason why it cannot be trained."""
        training = self._of(trial)
        if (result := read_result(training.job.folder)) is not None:
            conclude(training.job)
            beside = sum(other is not trial and other.status == Trial.RUNNING for other in trials)
            self._progress.step(f"{training.label}, {format_result(result)}", training.variant, result.seconds, beside)
        elif (why := failure.noted(training.job)) is not None:
            self._fail(training, why)

    def on_trial_recover(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """Say that a training goes on after what befell it."""
        self._progress.say(f"{_title(self._of(trial))} was cut short, and goes on from its last epoch")

    def on_trial_error(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """End the training's run as failed."""
        self._fail(self._of(trial), failure.failure_reason(_error(trial)))

    def _fail(self, training: Training, why: str) -> None:
        failure.record(training.job, why)
        self._progress.fail(f"{_title(training)} failed: {why}", training.variant)

    def _of(self, trial: Trial) -> Training:
        """The training of a trial, which has its run; of a trial that is new, the next one."""
        if trial.trial_id not in self._by_trial:
            number, training = next(self._waiting)
            self._by_trial[trial.trial_id] = _with_run(training, self._study, self._parent)
            write_text(self._assigned / trial.trial_id, str(number))
        return self._by_trial[trial.trial_id]


def _error(trial: Trial) -> Exception:
    """What ended a trial. Ray Tune's own function looks for it in the storage, where it comes a little later."""
    if trial.pickled_error_file is not None:
        error: Exception = cloudpickle.loads(Path(trial.pickled_error_file).read_bytes())
        return error
    text = Path(trial.error_file).read_text(encoding="utf-8") if trial.error_file is not None else ""
    return RuntimeError(text or "it was lost")


def _title(training: Training) -> str:
    return f"{training.label}, fold {training.job.fold}, seed {training.job.seed}"


def _with_run(training: Training, study: str, parent: str) -> Training:
    job = with_run(training.job, study, parent, _title(training), {"fgcme.variant": training.variant})
    failure.forget(job)
    return replace(training, job=job)


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
            result = read_result(training.job.folder)
            assert result is not None, "all trainings have ended well"
            which = {"variant": training.variant, "selection": training.selection, "run": recorded_run(training.job)}
            results.append(which | asdict(result))
        for selection in dict.fromkeys(training.selection for training in trainings):
            chosen = [training for training in trainings if training.selection == selection]
            tables = _predictions(chosen)
            folder = Path(scratch) / "predictions" / selection
            folder.mkdir(parents=True)
            for name, table in tables.items():
                pq.write_table(table, folder / f"{name}.parquet")
            print(f"\n{records.protocol_label(experiment)}, selection {records.rule_text(selection)}, in per cent:")
            prefix = records.metric_prefix(selection)
            _compare(tracker, parent, prefix, tables, reference, classes)
            if tuned_on := experiment.protocol.tuned_on:
                print(records.TUNED_ON)
                left = without_speakers(tables, tuned_on)
                if len(left[reference]["speaker"].unique()) > 1:
                    _compare(tracker, parent, f"{prefix}_untuned", left, reference, classes)
                else:
                    print("  too few speakers are left")
            if hearing := {each.variant: None for each in chosen if reads_test_audio(each.job.experiment.model)}:
                print(f"  using unlabelled test audio: {', '.join(hearing)}")
        (Path(scratch) / "results.json").write_text(json.dumps(results, indent=1), encoding="utf-8")
        tracker.artifact(parent, Path(scratch))


def _compare(
    tracker: Tracker,
    parent: str,
    prefix: str,
    predictions: Mapping[str, pa.Table],
    reference: str,
    classes: Sequence[str],
) -> None:
    """Print the table of some predictions, and keep its numbers with the run as `<prefix>/<variant>/<number>`."""
    table = compare_table(predictions, reference, classes)
    print(to_text(table))
    for name, numbers in to_metrics(table).items():
        tracker.log(parent, {f"{prefix}/{name}/{key}": value for key, value in numbers.items()}, 0)


def _predictions(trainings: Sequence[Training]) -> dict[str, pa.Table]:
    by_variant: dict[str, list[pa.Table]] = {}
    for training in trainings:
        table = pq.read_table(training.job.folder / "predictions.parquet")
        by_variant.setdefault(training.variant, []).append(table)
    return {name: pa.concat_tables(tables) for name, tables in by_variant.items()}
