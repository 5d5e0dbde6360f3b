"""Ablate: train every variant on the same folds with the same seeds, and compare them with the reference.

Finished trainings stay in the storage folder, so an ablation that is resumed trains only what is left or was added: a
variant, a seed, a selection rule. All variants have the same seeds, so that comparisons are paired.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from fgcme.data import Assignment, Selection, SpeechCorpus, Tasks, reads_test_audio
from fgcme.errors import UserError
from fgcme.evaluation.comparison import compare_variants
from fgcme.evaluation.rating_comparison import compare_ratings
from fgcme.experiment import Experiment, TaskWeights, ablation, as_name
from fgcme.files import digest
from fgcme.report.comparison import to_metrics, to_text
from fgcme.report.formatting import count
from fgcme.report.rating_comparison import comparison_metrics, describe_comparison
from fgcme.report.results import without_speakers
from fgcme.tracking import Tracker
from pipelines import bundled
from pipelines.runs import records
from pipelines.runs.corpus import corpus_in_use, load_assigned_corpus
from pipelines.runs.opening import OpenRun, RunRequest, latest_run, open_run, training_session
from pipelines.training.job import Job, read_result, recorded_run
from pipelines.training.runner import Training, run_trainings

KIND = "ablation"
RULES: Sequence[Selection] = ("dev", "test")
# Settings that may change when an ablation is resumed, and their tags: MLflow cannot change a parameter.
CHANGEABLE = {
    "protocol.selection": "fgcme.selection",
    "protocol.tuned_on": "fgcme.tuned_on",
    "training.seeds": "fgcme.seeds",
}


def run(
    experiment: Experiment, space_name: str, selections: Sequence[Selection] | None = None, resume: bool = False
) -> str:
    """Train all variants of an ablation and compare them.

    Args:
        experiment: what the variants change.
        space_name: an ablation's name, or its path.
        selections: the rules by which epochs are chosen, each with trainings of its own. By default the experiment's,
            or those of the ablation that is resumed.
        resume: resume the latest ablation of this experiment and space. It keeps the rules, the seeds and the speakers
            tuned on that it had.

    Returns:
        The id of the MLflow run.

    Raises:
        UserError: the corpus is not prepared, the ablation does not fit the experiment, the rules contradict the
            experiment's, Ray can never give what one training needs, another driver works on it or prepares the corpus,
            or trainings failed.
    """
    path = bundled.space_file(space_name, "ablation")
    ablation.load_ablation(path, experiment)
    title = f"{experiment.name}-{as_name(path.stem)}"
    with corpus_in_use(experiment):
        corpus_folder, corpus, assignment = load_assigned_corpus(experiment)
        with training_session(experiment) as (storage, tracker):
            folder = storage / "ablations" / title
            resumed = latest_run(folder, "ablation") if resume else None
            recorded = _recorded(tracker, resumed) if resumed is not None else None
            plan = _plan(path, experiment, selections, recorded)
            if resumed is not None and recorded is not None:
                records.require_unchanged(tracker, resumed, plan.experiment, corpus, ignoring=tuple(CHANGEABLE))
            request = _request(plan, title, folder, corpus, assignment)
            with open_run(tracker, request, resumed) as opened:
                trainings = _trainings(plan, corpus_folder, corpus.description.corpus_hash, assignment, tracker, opened)
                size = plan.size(assignment.fold_count)
                lines = records.describe_participants(plan.experiment, corpus, assignment, size)
                print(f"{title} on " + "\n".join(lines))
                run_trainings(trainings, opened, "--resume")
                _conclude(tracker, opened.run_id, plan, trainings, assignment.protocol.tasks)
    print(f"\nrun {opened.run_id}; next: fgcme report {opened.run_id}")
    return opened.run_id


@dataclass(frozen=True)
class _Plan:
    """What an ablation trains.

    Attributes:
        experiment: what the variants change, with the seeds and rule of this ablation.
        reference: name of the variant that the others are compared with.
        variants: all variants, by name.
        rules: the selection rules, in the order in which their trainings begin.
        resumed: whether a run of this ablation has recorded what it is.
    """

    experiment: Experiment
    reference: str
    variants: Mapping[str, Experiment]
    rules: Sequence[Selection]
    resumed: bool

    def size(self, folds: int) -> str:
        """How many trainings it has, for reading."""
        seeds = len(self.experiment.training.seeds)
        trainings = len(self.variants) * len(self.rules) * folds * seeds
        return (
            f"{count(len(self.variants), 'variant')} x {count(len(self.rules), 'selection rule')} "
            f"({', '.join(self.rules)}) x {count(folds, 'fold')} x {count(seeds, 'seed')} = "
            f"{count(trainings, 'training')}"
        )

    def description(self) -> dict[str, Any]:
        """What `ablation.json` says."""
        return {
            "reference": self.reference,
            "selections": list(self.rules),
            "variants": {name: variant.model_dump(mode="json") for name, variant in self.variants.items()},
        }


def _plan(
    path: Path,
    experiment: Experiment,
    selections: Sequence[Selection] | None,
    recorded: Mapping[str, Any] | None,
) -> _Plan:
    """Plan an ablation.

    Args:
        path: of the ablation's file.
        experiment: as the command gives it.
        selections: the rules that the command names, if it names any.
        recorded: `ablation.json` of the run that is resumed, if it has one.

    Raises:
        UserError: the ablation does not fit the experiment, or the rules contradict the experiment's.
    """
    rules = selection_rules(experiment.protocol.selection, selections, recorded["selections"] if recorded else [])
    experiment = _selecting(_with_recorded(experiment, recorded) if recorded else experiment, rules[0])
    reference, variants = ablation.load_ablation(path, experiment)
    if "test" in rules and (refitted := [name for name, variant in variants.items() if variant.training.refit]):
        raise UserError(
            f"{path.name}: training.refit trains {refitted[0]} on the part that chose the epoch: leave it out, or set "
            "`--selection dev`"
        )
    return _Plan(experiment, reference, variants, rules, resumed=recorded is not None)


def _request(plan: _Plan, title: str, folder: Path, corpus: SpeechCorpus, assignment: Assignment) -> RunRequest:
    """What the ablation's run records.

    Args:
        plan: the ablation.
        title: experiment and space, as runs and folders are called.
        folder: where the ablations of this title keep their files.
        corpus: the prepared corpus.
        assignment: its protocol applied to it.
    """
    tags = {
        "fgcme.kind": KIND,
        "fgcme.space": title,
        "fgcme.selection": records.rule_tag(plan.rules),
        "fgcme.seeds": ", ".join(map(str, plan.experiment.training.seeds)),
    }
    every_tag = records.run_tags(plan.experiment, corpus, assignment) | tags
    changeable = {name: value for name, value in every_tag.items() if name in CHANGEABLE.values()}
    return RunRequest(
        kind=KIND,
        title=f"{title} ablate",
        folder=folder,
        experiment=plan.experiment,
        corpus=corpus,
        assignment=assignment,
        tags=tags,
        # The commit that started a recorded ablation stays named: it may have trained most of it.
        resumed_tags=changeable if plan.resumed else every_tag,
        documents={
            "experiment.yaml": plan.experiment.to_yaml(),
            "ablation.json": json.dumps(plan.description(), indent=2),
        },
        changeable=tuple(CHANGEABLE),
    )


def _trainings(
    plan: _Plan, corpus: Path, corpus_hash: str, assignment: Assignment, tracker: Tracker, opened: OpenRun
) -> list[Training]:
    """All trainings, in the order in which they begin: rule by rule, seed by seed, variant by variant, fold by fold."""
    trainings = []
    for selection in plan.rules:
        selecting = {name: _selecting(variant, selection) for name, variant in plan.variants.items()}
        # All variants have the same seeds.
        for seed in next(iter(selecting.values())).training.seeds:
            for name, variant in selecting.items():
                variant_folder = opened.folder / f"{name}-{_settings_digest(variant)}" / selection
                for fold in range(assignment.fold_count):
                    folder = variant_folder / f"fold-{fold}-seed-{seed}"
                    job = Job(variant, corpus, corpus_hash, fold, seed, folder, tracker, run="")
                    trainings.append(Training(job, name))
    return trainings


def _recorded(tracker: Tracker, run: str) -> dict[str, Any] | None:
    """The `ablation.json` of a run; None if its driver was killed before it wrote one, and so before any training."""
    if not tracker.has_artifact(run, "ablation.json"):
        return None
    recorded: dict[str, Any] = tracker.load_json(run, "ablation.json")
    return recorded


def selection_rules(
    own: Selection, asked: Sequence[Selection] | None, recorded: Sequence[Selection]
) -> list[Selection]:
    """The selection rules of an ablation, in the order in which their trainings begin.

    Args:
        own: the experiment's, `dev` by default.
        asked: those that the command names, if it names any.
        recorded: those of the run that is resumed.

    Raises:
        UserError: the experiment and the command contradict each other.
    """
    if asked is None:
        asked = [] if recorded and own == "dev" else [own]
    elif own == "test" and own not in asked:
        raise UserError("--selection dev, but protocol.selection is test: drop one of them, or give `--selection both`")
    return [rule for rule in RULES if rule in recorded or rule in asked]


def _with_recorded(experiment: Experiment, recorded: Mapping[str, Any]) -> Experiment:
    """The experiment with the recorded seeds and speakers tuned on added to its own."""
    earlier = next(iter(recorded["variants"].values()))
    seeds = dict.fromkeys([*earlier["training"]["seeds"], *experiment.training.seeds])
    tuned_on = dict.fromkeys([*earlier["protocol"]["tuned_on"], *experiment.protocol.tuned_on])
    return experiment.model_copy(
        update={
            "training": experiment.training.model_copy(update={"seeds": list(seeds)}),
            "protocol": experiment.protocol.model_copy(update={"tuned_on": list(tuned_on)}),
        }
    )


def _selecting(experiment: Experiment, selection: Selection) -> Experiment:
    protocol = experiment.protocol.model_copy(update={"selection": selection})
    return experiment.model_copy(update={"protocol": protocol})


def _settings_digest(experiment: Experiment) -> str:
    """Tells a variant from an earlier one of the same name with other settings."""
    training = experiment.training.model_dump(mode="json", exclude={"seeds"})
    if experiment.training.task_weights == TaskWeights():
        # As in versions that knew one task.
        del training["task_weights"]
    return digest([experiment.model.model_dump(mode="json"), training])[:8]


def _conclude(tracker: Tracker, parent: str, plan: _Plan, trainings: Sequence[Training], tasks: Tasks) -> None:
    """Record all predictions and results with the run, and print the table of each selection rule."""
    results = []
    with tempfile.TemporaryDirectory() as scratch:
        for training in trainings:
            result = read_result(training.job.folder)
            assert result is not None, "all trainings have ended well"
            which = {"variant": training.variant, "selection": training.selection, "run": recorded_run(training.job)}
            results.append(which | asdict(result))
        for selection in plan.rules:
            chosen = [training for training in trainings if training.selection == selection]
            predictions = _predictions(chosen)
            folder = Path(scratch) / "predictions" / selection
            folder.mkdir(parents=True)
            for name, table in predictions.items():
                pq.write_table(table, folder / f"{name}.parquet")
            _print_rule(tracker, parent, plan, selection, predictions, tasks)
        (Path(scratch) / "results.json").write_text(json.dumps(results, indent=1), encoding="utf-8")
        tracker.log_artifact(parent, Path(scratch))


def _print_rule(
    tracker: Tracker,
    parent: str,
    plan: _Plan,
    selection: Selection,
    predictions: Mapping[str, pa.Table],
    tasks: Tasks,
) -> None:
    """Print and record the comparison by one selection rule, and what makes its numbers optimistic."""
    print(
        f"\n{records.protocol_label(plan.experiment)}, selection {records.rule_text(selection)}"
        f"{', in per cent' if tasks.classes else ''}:"
    )
    prefix = records.metric_prefix(selection)
    _compare(tracker, parent, prefix, predictions, plan.reference, tasks)
    if tuned_on := plan.experiment.protocol.tuned_on:
        print(records.UNTUNED_NOTE)
        untuned = without_speakers(predictions, tuned_on)
        if len(untuned[plan.reference]["speaker"].unique()) > 1:
            _compare(tracker, parent, f"{prefix}_untuned", untuned, plan.reference, tasks)
        else:
            print("  too few speakers are left")
    if hearing := [name for name, variant in plan.variants.items() if reads_test_audio(variant.model)]:
        print(f"  using unlabelled test audio: {', '.join(hearing)}")


def _compare(
    tracker: Tracker,
    parent: str,
    prefix: str,
    predictions: Mapping[str, pa.Table],
    reference: str,
    tasks: Tasks,
) -> None:
    """Print a comparison, and log its numbers as `<prefix>/<variant>/<number>`."""
    if tasks.classes:
        table = compare_variants(predictions, reference, tasks.classes)
        print(to_text(table))
        for name, numbers in to_metrics(table).items():
            tracker.log_metrics(parent, {f"{prefix}/{name}/{key}": value for key, value in numbers.items()}, 0)
    if tasks.dimensions:
        compared = compare_ratings(predictions, reference, tasks.dimensions)
        print(describe_comparison(compared))
        for name, numbers in comparison_metrics(compared).items():
            tracker.log_metrics(parent, {f"{prefix}/{name}/{key}": value for key, value in numbers.items()}, 0)


def _predictions(trainings: Sequence[Training]) -> dict[str, pa.Table]:
    """The test predictions of each variant."""
    by_variant: dict[str, list[pa.Table]] = {}
    for training in trainings:
        table = pq.read_table(training.job.folder / "predictions.parquet")
        by_variant.setdefault(training.variant, []).append(table)
    return {name: pa.concat_tables(tables) for name, tables in by_variant.items()}
