"""Ablate: train every variant on the same folds with the same seeds, and compare them with the reference.

What is finished is kept in the storage folder, so an ablation that is resumed trains only what is left, and one that
gets another variant, seed or selection rule just that. All variants start from the same seeds, so that comparisons are
paired.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from fgcme.data import Assignment, Selection, reads_test_audio
from fgcme.errors import UserError
from fgcme.evaluation.comparison import compare_variants
from fgcme.experiment import Experiment, ablation
from fgcme.files import digest
from fgcme.report.comparison import to_metrics, to_text
from fgcme.report.findings import without_speakers
from fgcme.tracking import Tracker
from pipelines import bundled
from pipelines.cluster import concurrent_slots, ray_session, writable_folder
from pipelines.runs import records
from pipelines.runs.corpus import load_assigned_corpus
from pipelines.runs.opening import OpenRun, RunRequest, latest_run, open_run
from pipelines.training.job import Job, read_result, recorded_run
from pipelines.training.runner import Training, run_trainings

KIND = "ablation"
RULES: Sequence[Selection] = ("dev", "test")
# What may change when an ablation is resumed, and the tags that say it: MLflow's parameters stay what they are.
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
        selections: the rules by which epochs are chosen, each with trainings of its own; the experiment's by default,
            or, of an ablation that is resumed, those that it had.
        resume: resume the latest ablation of this experiment and space. What it had before stays part of it: rules,
            seeds, and speakers that the configuration was tuned on.

    Returns:
        The id of the MLflow run.

    Raises:
        UserError: the corpus is not prepared, the ablation does not fit the experiment, the rules contradict the
            experiment's, Ray has less than one training needs, another driver works on it, or trainings failed.
    """
    path = bundled.space_file(space_name, "ablation")
    ablation.load_ablation(path, experiment)
    corpus_folder, corpus, assignment = load_assigned_corpus(experiment)
    title = f"{experiment.name}-{path.stem}"
    with ray_session():
        slots = concurrent_slots(experiment.scaling, "one training")
        storage = writable_folder(experiment)
        tracker = records.open_store(experiment, storage)
        folder = storage / "ablations" / title
        resumed = latest_run(folder, "ablation") if resume else None
        recorded = _recorded(tracker, resumed) if resumed is not None else None
        rules = selection_rules(experiment.protocol.selection, selections, recorded["selections"] if recorded else [])
        experiment = _selecting(_with_recorded(experiment, recorded) if recorded else experiment, rules[0])
        reference, variants = ablation.load_ablation(path, experiment)
        if resumed is not None and recorded is not None:
            records.require_unchanged(tracker, resumed, experiment, corpus, ignoring=tuple(CHANGEABLE))
        tags = {
            "fgcme.kind": KIND,
            "fgcme.space": title,
            "fgcme.selection": records.rule_tag(rules),
            "fgcme.seeds": ", ".join(map(str, experiment.training.seeds)),
        }
        every_tag = records.run_tags(experiment, corpus, assignment) | tags
        description = _description(reference, variants, rules)
        request = RunRequest(
            kind=KIND,
            title=f"{title} ablate",
            folder=folder,
            experiment=experiment,
            corpus=corpus,
            assignment=assignment,
            tags=tags,
            # The code that began it, and trained most of it perhaps, stays named.
            resumed_tags=_changeable(every_tag) if recorded else every_tag,
            documents={
                "experiment.yaml": experiment.to_yaml(),
                "ablation.json": json.dumps(description, indent=2),
            },
            changeable=tuple(CHANGEABLE),
        )
        with open_run(tracker, request, resumed) as opened:
            planned = _trainings(
                variants, rules, corpus_folder, corpus.description.corpus_hash, assignment, tracker, opened
            )
            plan = (
                f"{len(variants)} variants x {len(rules)} selection rule(s) ({', '.join(rules)}) x "
                f"{assignment.fold_count} folds x {len(experiment.training.seeds)} seeds = {len(planned)} trainings"
            )
            participants = records.describe_participants(experiment, corpus, assignment, plan)
            print(f"{title} on " + "\n".join(participants))
            run_trainings(planned, opened, slots, "--resume")
            _conclude(tracker, opened.run_id, experiment, reference, planned, assignment.protocol.classes)
    print(f"\nrun {opened.run_id}; next: fgcme report {opened.run_id}")
    return opened.run_id


def _trainings(
    variants: Mapping[str, Experiment],
    rules: Sequence[Selection],
    corpus: Path,
    corpus_hash: str,
    assignment: Assignment,
    tracker: Tracker,
    opened: OpenRun,
) -> list[Training]:
    """All trainings, in the order in which they begin: rule by rule, seed by seed, variant by variant, fold by fold."""
    trainings = []
    for selection in rules:
        selecting = {name: _selecting(variant, selection) for name, variant in variants.items()}
        # All variants have the same seeds.
        for seed in next(iter(selecting.values())).training.seeds:
            for name, variant in selecting.items():
                below = opened.folder / f"{name}-{_identity(variant)}" / selection
                for fold in range(assignment.fold_count):
                    folder = below / f"fold-{fold}-seed-{seed}"
                    job = Job(variant, corpus, corpus_hash, fold, seed, folder, tracker, run="")
                    trainings.append(Training(job, name))
    return trainings


def _changeable(tags: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in tags.items() if name in CHANGEABLE.values()}


def _recorded(tracker: Tracker, run: str) -> dict[str, Any] | None:
    """What a run says of its ablation; None if it was killed before it could, and so before it trained anything."""
    if not tracker.has_artifact(run, "ablation.json"):
        return None
    recorded: dict[str, Any] = tracker.load_json(run, "ablation.json")
    return recorded


def selection_rules(
    own: Selection, asked: Sequence[Selection] | None, recorded: Sequence[Selection]
) -> list[Selection]:
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
                print(records.UNTUNED_NOTE)
                left = without_speakers(tables, tuned_on)
                if len(left[reference]["speaker"].unique()) > 1:
                    _compare(tracker, parent, f"{prefix}_untuned", left, reference, classes)
                else:
                    print("  too few speakers are left")
            if hearing := {each.variant: None for each in chosen if reads_test_audio(each.job.experiment.model)}:
                print(f"  using unlabelled test audio: {', '.join(hearing)}")
        (Path(scratch) / "results.json").write_text(json.dumps(results, indent=1), encoding="utf-8")
        tracker.log_artifact(parent, Path(scratch))


def _compare(
    tracker: Tracker,
    parent: str,
    prefix: str,
    predictions: Mapping[str, pa.Table],
    reference: str,
    classes: Sequence[str],
) -> None:
    """Print the table of some predictions, and keep its numbers with the run as `<prefix>/<variant>/<number>`."""
    table = compare_variants(predictions, reference, classes)
    print(to_text(table))
    for name, numbers in to_metrics(table).items():
        tracker.log_metrics(parent, {f"{prefix}/{name}/{key}": value for key, value in numbers.items()}, 0)


def _predictions(trainings: Sequence[Training]) -> dict[str, pa.Table]:
    by_variant: dict[str, list[pa.Table]] = {}
    for training in trainings:
        table = pq.read_table(training.job.folder / "predictions.parquet")
        by_variant.setdefault(training.variant, []).append(table)
    return {name: pa.concat_tables(tables) for name, tables in by_variant.items()}
