"""Register: the best fold of a cross-validation, or the one that is named, becomes a version of a registered model.

The fold is chosen by its dev score, never by its test score, and the version says so much about itself (protocol,
selection rule, corpus, commit, metrics) that its numbers can be traced from the registry alone.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from fgcme.errors import UserError
from fgcme.serving import fitted
from fgcme.serving.registry import check_names, create_model_version, log_model
from fgcme.tracking import Tracker, require_store, resolve_uri
from pipelines.runs.records import metric_prefix

if TYPE_CHECKING:
    from mlflow.entities import Run

_MEASURES = ("ua", "wa")
# What a run may say of itself besides, by the tag that says it.
_WHERE_THERE = {
    "variant": "fgcme.variant",
    "ablation": "fgcme.space",
    "tuned_on": "fgcme.tuned_on",
    "allow_missing": "fgcme.allow_missing",
}


@dataclass(frozen=True)
class Registered:
    """A version of a registered model.

    Attributes:
        name, version, alias: by which it is found.
        run: the run that fitted it.
    """

    name: str
    version: int
    alias: str | None
    run: str

    @property
    def uri(self) -> str:
        """Its address, as `fgcme predict` and MLflow take it."""
        return f"models:/{self.name}@{self.alias}" if self.alias else f"models:/{self.name}/{self.version}"


def register(run: str, name: str, alias: str | None = None, tracking_uri: str | None = None) -> Registered:
    """Register the model of a run.

    Args:
        run: id, beginning of an id, name or `latest`; a cross-validation, or a training of one or of an ablation.
        name: of the registered model.
        alias: to point at the new version.
        tracking_uri: where the run is recorded, see `fgcme.tracking.resolve_uri`.

    Raises:
        UserError: there is no such run, it keeps no model or models of several kinds, or a name is refused.
    """
    check_names(name, alias)
    uri = resolve_uri(tracking_uri)
    require_store(uri)
    tracker = Tracker(uri)
    found = tracker.find_run(run)
    fold = _choose(tracker, found)
    parent_id = fold.data.tags.get("mlflow.parentRunId")
    parent = tracker.client.get_run(parent_id) if parent_id else None
    folds = _alike(fold, _finished_folds(tracker, parent.info.run_id)) if parent else [fold]
    with tempfile.TemporaryDirectory() as folder:
        model_folder = tracker.download_artifact(fold.info.run_id, "model", Path(folder))
        _, card = fitted.load(model_folder)
        facts = _facts(card.origin, fold, parent)
        metrics = _metrics(fold, parent, folds)
        model = log_model(tracker, fold.info.run_id, model_folder, name)
    version = create_model_version(
        tracker,
        name,
        alias,
        model,
        facts | {key: f"{value:.4f}" for key, value in metrics.items()},
        model_description(facts, metrics, card.classes, len(folds)),
    )
    registered = Registered(name, version, alias, fold.info.run_id)
    _conclude(registered, facts, metrics, len(folds) if found is not fold else 1)
    return registered


def model_description(facts: dict[str, str], metrics: dict[str, float], classes: list[str], folds: int) -> str:
    """What a person reads about a version on the registry's page, in Markdown.

    Args:
        facts: protocol, selection, corpus, corpus_hash, commit, fold, seed and source_run; of a training of an
            ablation its variant, and the ablation.
        metrics: shares, under `fold.dev_ua` and the like; those of the whole cross-validation may be missing.
        classes: that the model tells apart.
        folds: finished trainings that the cross-validation has.
    """
    variant = f"Variant {facts['variant']} of the ablation {facts['ablation']}. " if "variant" in facts else ""
    lines = [
        f"Speech emotion recognition from a recording and its transcript: {', '.join(classes)}.",
        "",
        f"{variant}Fold {facts['fold']}, seed {facts['seed']} of protocol {facts['protocol']} on corpus "
        f"{facts['corpus']} (prepared corpus {facts['corpus_hash']}); one of {folds} finished trainings; "
        f"code {facts['commit']}, run {facts['source_run']}.",
        "",
    ]
    if "optimistic" in facts["selection"]:
        lines += ["**Optimistic: epochs were chosen on the test part, as in the published code.**", ""]
    lines += ["| % | UA | WA |", "|---|---|---|"]
    for part, title in (
        ("fold.dev", "this model, dev part"),
        ("fold.test", "this model, test part"),
        ("cross_validation.dev", "all folds, dev parts, mean"),
        ("cross_validation.test", "all folds, test parts, out of fold"),
        ("cross_validation.untuned", "the same, without the speakers that the configuration was tuned on"),
    ):
        values = [metrics.get(f"{part}_{measure}") for measure in _MEASURES]
        if None not in values:
            lines.append(
                f"| {title} | " + " | ".join(f"{100 * value:.1f}" for value in values if value is not None) + " |"
            )
    if "cross_validation.test_ua" not in metrics:
        lines += ["", "The cross-validation that this fold belongs to is not complete."]
    for key in ("tuned_on", "allow_missing"):
        if key in facts:
            lines += ["", f"{key.replace('_', ' ').capitalize()}: {facts[key]}"]
    return "\n".join(lines)


def _choose(tracker: Tracker, found: Run) -> Run:
    """The run itself if it is a fold, else the finished fold of it with the highest dev score that keeps a model."""
    kind = found.data.tags.get("fgcme.kind", "run of another program")
    title = f"run {found.info.run_id} ({found.info.run_name}, {kind.replace('_', ' ')})"
    if kind == "fold":
        if not tracker.has_artifact(found.info.run_id, "model/model.json"):
            raise UserError(
                f"{title} keeps no model, it is {found.info.status}: register a finished run of `fgcme train`"
            )
        return found
    if kind == "ablation":
        raise UserError(f"{title} compares models of several kinds: name the training of it that is to be registered")
    if kind != "cross_validation":
        raise UserError(
            f"{title} keeps no model: train the configuration it found with `fgcme train`, and register that run"
        )
    scores = {run.info.run_id: _dev_score(tracker, run) for run in _finished_folds(tracker, found.info.run_id)}
    for run_id in sorted(scores, key=lambda key: scores[key], reverse=True):
        if tracker.has_artifact(run_id, "model/model.json"):
            return tracker.client.get_run(run_id)
    raise UserError(
        f"{title} has no finished fold with a model: complete it with `fgcme train --resume`, or register another"
    )


def _finished_folds(tracker: Tracker, parent: str) -> list[Run]:
    return [
        run
        for run in tracker.child_runs(parent)
        if run.data.tags.get("fgcme.kind") == "fold" and run.info.status == "FINISHED"
    ]


def _alike(fold: Run, folds: list[Run]) -> list[Run]:
    """Those of an ablation's trainings, or of a cross-validation's, that are of one fold's variant and rule."""

    def which(run: Run) -> list[str | None]:
        return [run.data.tags.get(key) for key in ("fgcme.variant", "fgcme.selection")]

    return [run for run in folds if which(run) == which(fold)]


def _dev_score(tracker: Tracker, run: Run) -> float:
    """The score of the epoch whose weights were kept: the highest of all."""
    return max((value for _, value in tracker.metric_history(run.info.run_id, "dev/score")), default=float("-inf"))


def _facts(origin: dict[str, object], fold: Run, parent: Run | None) -> dict[str, str]:
    tags = (parent.data.tags if parent else {}) | fold.data.tags

    def fact(key: str) -> str:
        return str(origin.get(key, tags.get(f"fgcme.{key}", "unknown")))

    facts = {key: fact(key) for key in ("protocol", "selection", "corpus", "corpus_hash", "commit", "fold", "seed")}
    if facts["selection"] == "test":
        facts["selection"] = "test (optimistic)"
    facts |= {key: tags[tag] for key, tag in _WHERE_THERE.items() if tag in tags}
    return facts | {"source_run": fold.info.run_id}


def _metrics(fold: Run, parent: Run | None, folds: list[Run]) -> dict[str, float]:
    metrics = {}
    # An ablation has metrics of each variant and rule, a cross-validation its own.
    variant, whole, below = fold.data.tags.get("fgcme.variant"), "test", ""
    if variant is not None:
        whole = metric_prefix("test" if fold.data.tags["fgcme.selection"] == "test" else "dev")
        below = f"{variant}/"
    for measure in _MEASURES:
        for part, key in (("dev", f"best/dev/{measure}"), ("test", f"test/{measure}")):
            if key in fold.data.metrics:
                metrics[f"fold.{part}_{measure}"] = fold.data.metrics[key]
        # They come when all of it is done.
        if parent is not None and f"{whole}/{below}{measure}" in parent.data.metrics:
            metrics[f"cross_validation.test_{measure}"] = parent.data.metrics[f"{whole}/{below}{measure}"]
            if (untuned := f"{whole}_untuned/{below}{measure}") in parent.data.metrics:
                metrics[f"cross_validation.untuned_{measure}"] = parent.data.metrics[untuned]
            dev = [
                run.data.metrics[f"best/dev/{measure}"] for run in folds if f"best/dev/{measure}" in run.data.metrics
            ]
            if dev:
                metrics[f"cross_validation.dev_{measure}"] = sum(dev) / len(dev)
    return metrics


def _conclude(registered: Registered, facts: dict[str, str], metrics: dict[str, float], among: int) -> None:
    chosen = f", of {among} folds the one with the highest dev score" if among > 1 else ""
    which = [*([facts["variant"]] if "variant" in facts else []), f"fold {facts['fold']}", f"seed {facts['seed']}"]
    print(f"{registered.name} version {registered.version}: {', '.join(which)}{chosen}")
    print(f"  {facts['protocol']} on {facts['corpus']}, selection {facts['selection']}, run {registered.run}")
    for key, value in metrics.items():
        print(f"  {key:<26} {100 * value:.1f} %")
    print(f'\nnext: fgcme predict {registered.uri} some.wav --text "what is said"')
