"""Register: the best fold of a cross-validation, or the one the user names, or all of them become a version of a model.

The best fold has the highest dev score; test scores play no part. All of them are an ensemble: it answers by the mean
logits and ratings, and its estimate is that of the models of each fold, over the seeds, for speakers they were not
trained on. A model of all speakers (`fgcme train --final`) has the estimate of the cross-validation that chose its
epochs. The version's tags (protocol, selection rule, corpus, commit, metrics) trace its numbers from the registry
alone.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from fgcme.card import (
    Measured,
    Subject,
    card_figures,
    model_card,
    rating_figures,
    summarise_version,
    version_description,
    which_training,
)
from fgcme.corpora.catalogue import CORPORA
from fgcme.data import Tasks, reads_test_audio
from fgcme.errors import UserError
from fgcme.evaluation.ensembles import average_answers
from fgcme.evaluation.summary import main_measures, summarise_tasks
from fgcme.report.headline import format_measure
from fgcme.robustness import summarise_conditions, summarise_rating_conditions
from fgcme.serving import ensemble, fitted
from fgcme.serving.needs import needs_of
from fgcme.serving.registry import check_names, create_model_version, link_metrics, log_model
from fgcme.tracking import RunDataset, Tracker, require_store, resolve_uri
from pipelines.robustness import read_robustness
from pipelines.runs.out_of_fold import OutOfFold, read_out_of_fold
from pipelines.runs.records import metric_prefix
from pipelines.training.job import CROSS_VALIDATION_TAG, EPOCHS_TAG, FINAL, FINAL_SEED, finished_trainings

if TYPE_CHECKING:
    from mlflow.entities import Run

# Tags that only some runs have: name in the registry -> tag of the run.
_OPTIONAL_TAGS = {
    "variant": "fgcme.variant",
    "ablation": "fgcme.space",
    "tuned_on": "fgcme.tuned_on",
    "allow_missing": "fgcme.allow_missing",
    "cross_validation": CROSS_VALIDATION_TAG,
    "epochs": EPOCHS_TAG,
}


@dataclass(frozen=True)
class Registered:
    """A version of a registered model.

    Attributes:
        name, version, alias: its address in the registry.
        run: id of the run that fitted it.
    """

    name: str
    version: int
    alias: str | None
    run: str

    @property
    def uri(self) -> str:
        """Its address, as `fgcme predict` and MLflow take it."""
        return f"models:/{self.name}@{self.alias}" if self.alias else f"models:/{self.name}/{self.version}"


def register(
    run: str,
    name: str,
    alias: str | None = None,
    tracking_uri: str | None = None,
    together: bool = False,
    force: bool = False,
) -> Registered:
    """Register the model of a run.

    A model whose numbers cannot be trusted is refused: its run is not finished, nothing says which protocol or corpus
    it is of, or its epochs were chosen on the test part.

    Args:
        run: id, prefix of an id, name or `latest`; of a cross-validation, of a final training, or of one training of
            them or of an ablation.
        name: of the registered model.
        alias: to set on the new version.
        tracking_uri: where the run is recorded, see `fgcme.tracking.resolve_uri`.
        together: of a cross-validation or a final training, all models as an ensemble.
        force: register what would be refused, with a tag that says why it would.

    Raises:
        UserError: there is no such run, it has no model or models of several variants, a name is not allowed, or the
            model is refused.
    """
    check_names(name, alias)
    uri = resolve_uri(tracking_uri)
    require_store(uri)
    tracker = Tracker(uri)
    found = tracker.find_run(run)
    if together:
        return _register_ensemble(tracker, found, name, alias, force)
    fold = _select_fold(tracker, found)
    parent_id = fold.data.tags.get("mlflow.parentRunId")
    parent = tracker.client.get_run(parent_id) if parent_id else None
    folds = _same_variant(fold, finished_trainings(tracker, parent.info.run_id)) if parent else [fold]
    with tempfile.TemporaryDirectory() as folder:
        model_folder = tracker.download_artifact(fold.info.run_id, "model", Path(folder))
        _, spec = fitted.load(model_folder)
        origin = _origin(spec.origin, fold, parent)
        origin |= _objections(origin, [fold, *([parent] if parent else [])], force)
        metrics = _metrics(fold, parent, folds, spec.tasks)
        card, description = _described(tracker, name, alias, origin, metrics, spec, len(folds))
        model = log_model(tracker, fold.info.run_id, model_folder, name, card)
    tags = origin | {key: f"{value:.4f}" for key, value in metrics.items()}
    version = create_model_version(tracker, name, alias, model, tags, description)
    link_metrics(tracker, model, metrics, _dataset(origin))
    registered = Registered(name, version, alias, fold.info.run_id)
    _print_result(registered, origin, metrics, len(folds) if found is not fold else 1)
    return registered


def _described(
    tracker: Tracker,
    name: str,
    alias: str | None,
    origin: dict[str, str],
    metrics: dict[str, float],
    spec: fitted.ModelSpec,
    folds: int,
) -> tuple[str, str]:
    """The model's card and its version's description, with the figures of its cross-validation if that is complete."""
    corpus = CORPORA.get(origin["corpus"], CORPORA["manifest"])
    found = read_out_of_fold(tracker, origin)
    subject = Subject(
        name=name,
        alias=alias,
        summary=summarise_version(origin, metrics, spec, folds),
        origin=origin,
        corpus=corpus,
        tasks=spec.tasks,
        needs_text=needs_of([spec]).text,
        reads_test_audio=reads_test_audio(spec.model),
    )
    measured = Measured() if found is None else _measured(tracker, found, corpus.sex_of)
    return model_card(subject, measured), version_description(subject, measured)


def _measured(tracker: Tracker, found: OutOfFold, sex_of: Callable[[str], str | None]) -> Measured:
    """How good the models of a cross-validation are, at each of their tasks."""
    tasks, table = found.tasks, read_robustness(tracker, found.run.info.run_id)
    return Measured(
        figures=card_figures(found.predictions, tasks.classes, sex_of) if tasks.classes else None,
        ratings=rating_figures(found.predictions, tasks, sex_of) if tasks.dimensions else None,
        conditions=summarise_conditions(table, tasks.classes) if table is not None and tasks.classes else (),
        rating_conditions=summarise_rating_conditions(table, tasks) if table is not None and tasks.dimensions else (),
    )


def _dataset(origin: dict[str, str]) -> RunDataset:
    """What the metrics of a model are of."""
    return RunDataset(origin["corpus"], origin["corpus_hash"], folder="", use="evaluation", protocol=origin["protocol"])


def _objections(origin: dict[str, str], runs: list[Run], force: bool) -> dict[str, str]:
    """The tag that says why a model's numbers cannot be trusted; none where they can.

    Args:
        origin: of the model.
        runs: that it comes from.
        force: whether it is registered all the same.

    Raises:
        UserError: they cannot, and it is not.
    """
    reasons = [f"run {run.info.run_id} is {run.info.status}" for run in runs if run.info.status != "FINISHED"]
    reasons += [f"its {key} is unknown" for key in ("protocol", "corpus_hash") if origin[key] == "unknown"]
    if "optimistic" in origin["selection"]:
        reasons.append("its epochs were chosen on the test part")
    if not reasons:
        return {}
    if not force:
        raise UserError(
            f"run {runs[0].info.run_id} ({runs[0].info.run_name}) is not registered: {'; '.join(reasons)}. With "
            "--force it is, with a tag that says so"
        )
    return {"forced": "; ".join(reasons)}


def _register_ensemble(tracker: Tracker, found: Run, name: str, alias: str | None, force: bool) -> Registered:
    """Register all models of a cross-validation or of a final training as an ensemble; see `register`."""
    title = f"run {found.info.run_id} ({found.info.run_name})"
    if found.data.tags.get("fgcme.kind") not in ("cross_validation", FINAL):
        raise UserError(f"{title} is no cross-validation: --ensemble takes a run of `fgcme train`")
    finished = finished_trainings(tracker, found.info.run_id)
    folds = [run for run in finished if tracker.has_artifact(run.info.run_id, "model/model.json")]
    folds.sort(key=lambda run: [int(run.data.tags.get(f"fgcme.{key}", 0)) for key in ("fold", "seed")])
    if not folds:
        raise UserError(f"{title} has no finished fold with a model: complete it with `fgcme train --resume`")
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        for number, run in enumerate(folds):
            member = tracker.download_artifact(run.info.run_id, "model", folder / f"download-{number}")
            shutil.copytree(member, ensemble.member_folder(folder / "ensemble", number))
        members = [spec for _, spec in ensemble.load(folder / "ensemble")]
        origin = _origin(members[0].origin, folds[0], found)
        origin |= _objections(origin, [found], force)
        metrics = _metrics_of_ensemble(tracker, found, folds, members[0].tasks, folder)
        origin |= {key: ", ".join(sorted({str(spec.origin[key]) for spec in members})) for key in ("fold", "seed")}
        origin |= {"members": str(len(folds)), "source_run": found.info.run_id}
        card, description = _described(tracker, name, alias, origin, metrics, members[0], len(folds))
        model = log_model(tracker, found.info.run_id, folder / "ensemble", name, card)
    tags = origin | {key: f"{value:.4f}" for key, value in metrics.items()}
    version = create_model_version(tracker, name, alias, model, tags, description)
    link_metrics(tracker, model, metrics, _dataset(origin))
    registered = Registered(name, version, alias, found.info.run_id)
    _print_result(registered, origin, metrics, 1)
    return registered


def _metrics_of_ensemble(
    tracker: Tracker, parent: Run, folds: list[Run], tasks: Tasks, folder: Path
) -> dict[str, float]:
    """Metrics of its single models, and of the models of each fold together, if the cross-validation is complete."""
    metrics = {
        key: value for key, value in _metrics(folds[0], parent, folds, tasks).items() if not key.startswith("fold.")
    }
    if parent.data.tags["fgcme.kind"] == FINAL:
        prefix = "cross_validation_test_together"
        known = {measure: parent.data.metrics.get(f"{prefix}/{measure}") for measure in main_measures(tasks)}
        return metrics | {f"ensemble.test_{measure}": value for measure, value in known.items() if value is not None}
    measures = main_measures(tasks)
    if f"cross_validation.test_{measures[0]}" not in metrics:
        return metrics
    tables = [
        pq.read_table(
            tracker.download_artifact(run.info.run_id, "predictions.parquet", folder / f"predictions-{number}")
        )
        for number, run in enumerate(folds)
        if tracker.has_artifact(run.info.run_id, "predictions.parquet")
    ]
    if len(tables) == len(folds):
        together = summarise_tasks(average_answers(pa.concat_tables(tables), tasks), tasks).mean
        metrics |= {f"ensemble.test_{measure}": together[measure] for measure in measures}
    return metrics


def _select_fold(tracker: Tracker, found: Run) -> Run:
    """The run of the training whose model is meant.

    The run itself if it is a training; of a cross-validation, the finished fold with a model and the best dev score; of
    a final training, where no dev part chooses, the first seed.
    """
    kind = found.data.tags.get("fgcme.kind", "run of another program")
    title = f"run {found.info.run_id} ({found.info.run_name}, {kind.replace('_', ' ')})"
    if kind in ("fold", FINAL_SEED):
        if not tracker.has_artifact(found.info.run_id, "model/model.json"):
            raise UserError(
                f"{title} has no model, its status is {found.info.status}: register a finished run of `fgcme train`"
            )
        return found
    if kind == "ablation":
        raise UserError(f"{title} compares several variants: give the id of one of its trainings")
    if kind == "sweep":
        raise UserError(f"{title} has no model: train its artifact best.yaml with `fgcme train`, and register that run")
    if kind not in ("cross_validation", FINAL):
        raise UserError(f"{title} has no model: register a run of `fgcme train`")
    scores = {run.info.run_id: _dev_score(tracker, run) for run in finished_trainings(tracker, found.info.run_id)}
    for run_id in sorted(scores, key=lambda key: scores[key], reverse=True):
        if tracker.has_artifact(run_id, "model/model.json"):
            return tracker.client.get_run(run_id)
    raise UserError(
        f"{title} has no finished fold with a model: complete it with `fgcme train --resume`, or register another run"
    )


def _same_variant(fold: Run, folds: list[Run]) -> list[Run]:
    """The folds with the same variant and selection rule as one fold; in a cross-validation all of them."""

    def variant(run: Run) -> list[str | None]:
        return [run.data.tags.get(key) for key in ("fgcme.variant", "fgcme.selection")]

    return [run for run in folds if variant(run) == variant(fold)]


def _dev_score(tracker: Tracker, run: Run) -> float:
    """The dev score of the model: the highest of all epochs, whose weights were saved."""
    return max((value for _, value in tracker.metric_history(run.info.run_id, "dev/score")), default=float("-inf"))


def _origin(saved: dict[str, object], fold: Run, parent: Run | None) -> dict[str, str]:
    """Where the model comes from, by what was saved with it, else by the tags of its runs."""
    tags = (parent.data.tags if parent else {}) | fold.data.tags

    def value(key: str) -> str:
        return str(saved.get(key, tags.get(f"fgcme.{key}", "unknown")))

    origin = {key: value(key) for key in ("protocol", "selection", "corpus", "corpus_hash", "commit", "fold", "seed")}
    if origin["selection"] == "test":
        origin["selection"] = "test (optimistic)"
    origin |= {key: tags[tag] for key, tag in _OPTIONAL_TAGS.items() if tag in tags}
    return origin | {"source_run": fold.info.run_id}


def _metrics(fold: Run, parent: Run | None, folds: list[Run], tasks: Tasks) -> dict[str, float]:
    """Metrics of the fold, and of its cross-validation if it is complete."""
    metrics = {}
    # In an ablation, each variant and selection rule is a cross-validation.
    variant, prefix, infix = fold.data.tags.get("fgcme.variant"), "test", ""
    if variant is not None:
        prefix = metric_prefix("test" if fold.data.tags["fgcme.selection"] == "test" else "dev")
        infix = f"{variant}/"
    if fold.data.tags.get("fgcme.kind") == FINAL_SEED:
        prefix = "cross_validation_test"
    for measure in main_measures(tasks):
        for part, key in (("dev", f"best/dev/{measure}"), ("test", f"test/{measure}")):
            if key in fold.data.metrics:
                metrics[f"fold.{part}_{measure}"] = fold.data.metrics[key]
        # The parent gets its metrics when all folds are done.
        if parent is not None and f"{prefix}/{infix}{measure}" in parent.data.metrics:
            metrics[f"cross_validation.test_{measure}"] = parent.data.metrics[f"{prefix}/{infix}{measure}"]
            if (untuned := f"{prefix}_untuned/{infix}{measure}") in parent.data.metrics:
                metrics[f"cross_validation.untuned_{measure}"] = parent.data.metrics[untuned]
            dev = [
                run.data.metrics[f"best/dev/{measure}"] for run in folds if f"best/dev/{measure}" in run.data.metrics
            ]
            if dev:
                metrics[f"cross_validation.dev_{measure}"] = sum(dev) / len(dev)
    return metrics


def _print_result(registered: Registered, origin: dict[str, str], metrics: dict[str, float], candidates: int) -> None:
    chosen = "the first of {} seeds" if "cross_validation" in origin else "the highest dev score of {} folds"
    reason = f", {chosen.format(candidates)}" if candidates > 1 else ""
    which = which_training(origin)
    labels = [*([origin["variant"]] if "variant" in origin else []), which[0].lower() + which[1:]]
    print(f"{registered.name} version {registered.version}: {', '.join(labels)}{reason}")
    print(f"  {origin['protocol']} on {origin['corpus']}, selection {origin['selection']}, run {registered.run}")
    width = max([26, *map(len, metrics)])
    for key, value in metrics.items():
        print(f"  {key:<{width}} {format_measure(key, value)}")
    print(f'\nnext: fgcme predict {registered.uri} some.wav --text "what is said"')
