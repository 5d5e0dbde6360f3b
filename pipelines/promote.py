"""Promote: a version becomes a model's champion only if it beats the champion; demote takes that back.

Both are compared by the predictions of the cross-validations that their estimates are of: of the same utterances, by
the tests of an ablation (`fgcme.evaluation.comparison`). Nothing is measured anew. An ensemble is compared by the mean
logits of the models of each fold, and stands beside each seed of a version that is none.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from fgcme.errors import UserError
from fgcme.evaluation.comparison import ComparisonTable, Difference, compare_variants
from fgcme.evaluation.cross_validation import PREDICTIONS
from fgcme.report.formatting import count, p_equation, percent, percent_range, points, points_range
from fgcme.serving.registry import CHAMPION, PREVIOUS, aliased, moving_aliases, registered_version
from fgcme.tracking import Tracker, require_store, resolve_uri
from pipelines.runs.out_of_fold import measuring_run, read_out_of_fold

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion

_SIGNIFICANT = 0.05


@dataclass(frozen=True)
class Candidate:
    """A version, and what its estimate was made of.

    Attributes:
        version: in the registry.
        predictions: out of fold, of all seeds, schema `PREDICTIONS`.
        classes: of its protocol.
    """

    version: ModelVersion
    predictions: pa.Table
    classes: list[str]

    @property
    def title(self) -> str:
        """What it is called."""
        return f"version {self.version.version}"

    @property
    def is_ensemble(self) -> bool:
        """Whether it answers by several models together."""
        return "members" in self.version.tags


def promote(name: str, version: str, margin: float | None = None, tracking_uri: str | None = None) -> bool:
    """Make a version the champion, if it beats the present one; the one before is kept as `previous`.

    Args:
        name: of the registered model.
        version: its number, or an alias that it has.
        margin: points of UA by which it must be better; None asks that the paired test says so.
        tracking_uri: where the model is registered, see `fgcme.tracking.resolve_uri`.

    Returns:
        Whether it is the champion now.

    Raises:
        UserError: there is no such version; nothing says how good it is, as its cross-validation is not complete, or
            its epochs were chosen on the test part; or the champion was tested on other data.
    """
    tracker = _open(tracking_uri)
    challenger = _candidate(tracker, registered_version(tracker, name, version))
    if "optimistic" in challenger.version.tags.get("selection", ""):
        raise UserError(
            f"{name} {challenger.title}: its epochs were chosen on the test part, so its estimate is optimistic; train "
            "with protocol.selection=dev, and register that"
        )
    with moving_aliases(tracker, name):
        champion = aliased(tracker, name, CHAMPION)
        if champion is None:
            reason = "there was none before"
        elif int(champion.version) == int(challenger.version.version):
            print(f"{name} {challenger.title} is the champion already")
            return True
        else:
            present = _candidate(tracker, champion)
            table = _compare(name, present, challenger)
            difference = table.comparisons[challenger.title].differences["ua"]
            print(_described(name, table, present, challenger, difference))
            if not _beats(difference, margin):
                print(f"\n{name} {present.title} stays the champion: {_reason(difference, margin)}")
                return False
            reason = f"over {present.title}: {_reason(difference, margin)}"
            tracker.client.set_registered_model_alias(name, PREVIOUS, str(champion.version))
        tracker.client.set_model_version_tag(name, str(challenger.version.version), "promoted", reason)
        tracker.client.set_registered_model_alias(name, CHAMPION, str(challenger.version.version))
    print(f"\n{name} {challenger.title} is the champion now, {reason}")
    if champion is not None:
        print(f"{name} version {champion.version} is kept as {PREVIOUS!r}; to take it back: fgcme demote {name}")
    return True


def demote(name: str, tracking_uri: str | None = None) -> None:
    """Make the previous champion the champion again.

    Args:
        name: of the registered model.
        tracking_uri: where the model is registered, see `fgcme.tracking.resolve_uri`.

    Raises:
        UserError: there is none.
    """
    tracker = _open(tracking_uri)
    with moving_aliases(tracker, name):
        champion, previous = (aliased(tracker, name, alias) for alias in (CHAMPION, PREVIOUS))
        if previous is None:
            raise UserError(f"{name} has no version with the alias {PREVIOUS!r}: nothing was promoted over another")
        tracker.client.set_registered_model_alias(name, CHAMPION, str(previous.version))
        tracker.client.delete_registered_model_alias(name, PREVIOUS)
    instead = f" instead of version {champion.version}" if champion is not None else ""
    print(f"{name} version {previous.version} is the champion again{instead}")


def _open(tracking_uri: str | None) -> Tracker:
    uri = resolve_uri(tracking_uri)
    require_store(uri)
    return Tracker(uri)


def _candidate(tracker: Tracker, version: ModelVersion) -> Candidate:
    """A version with the predictions of the cross-validation that its estimate is of."""
    tags, title = version.tags, f"{version.name} version {version.version}"
    if "source_run" not in tags:
        raise UserError(f"{title} was not registered by `fgcme register`: nothing says how good it is")
    found = read_out_of_fold(tracker, tags)
    if found is None:
        run = measuring_run(tracker, tags).info
        raise UserError(
            f"{title}: its cross-validation {run.run_id} ({run.run_name}) is not complete, so nothing says "
            f"how good it is; complete it with --resume {run.run_id}"
        )
    return Candidate(version, found.predictions, found.classes)


def _compare(name: str, champion: Candidate, challenger: Candidate) -> ComparisonTable:
    """Compare two versions over the seeds that both have."""
    one, other = champion.version.tags.get("protocol"), challenger.version.tags.get("protocol")
    if one != other:
        raise UserError(
            f"{name} {challenger.title} is of protocol {other}, the champion, {champion.title}, of {one}: nothing "
            "compares them; register it under another name"
        )
    tables = {each.title: each.predictions for each in (champion, challenger)}
    if champion.is_ensemble != challenger.is_ensemble:
        single, together = sorted((champion, challenger), key=lambda each: each.is_ensemble)
        tables[together.title] = _for_each_seed(together.predictions, _seeds(single.predictions))
    shared = functools.reduce(np.intersect1d, map(_seeds, tables.values()))
    if not len(shared):
        raise UserError(f"{name}: {' and '.join(tables)} were trained with no seed in common; train both with the same")
    tables = {title: table.filter(np.isin(table["seed"].to_numpy(), shared)) for title, table in tables.items()}
    return compare_variants(tables, champion.title, champion.classes)


def _seeds(predictions: pa.Table) -> np.ndarray:
    return np.unique(predictions["seed"].to_numpy())


def _for_each_seed(predictions: pa.Table, seeds: np.ndarray) -> pa.Table:
    """The predictions of one seed, under each of several seeds."""
    place, kind = predictions.schema.get_field_index("seed"), PREDICTIONS.field("seed")
    return pa.concat_tables(
        predictions.set_column(place, kind, pa.array(np.full(len(predictions), seed), kind.type)) for seed in seeds
    )


def _beats(difference: Difference, margin: float | None) -> bool:
    if margin is not None:
        return 100 * difference.mean >= margin
    return difference.mean > 0 and difference.p_value <= _SIGNIFICANT


def _reason(difference: Difference, margin: float | None) -> str:
    """How the two differ, by the rule that decides."""
    asked = f"--margin {margin:g}" if margin is not None else f"{p_equation(difference.p_value)} of the paired test"
    return f"UA {points(difference.mean)} points, {asked}"


def _described(
    name: str, table: ComparisonTable, champion: Candidate, challenger: Candidate, difference: Difference
) -> str:
    """The comparison as text."""
    counts = ((table.utterances, "utterance"), (table.speakers, "speaker"), (table.seeds, "seed"))
    sizes = ", ".join(count(number, noun) for number, noun in counts)
    lines = [f"{name} on {challenger.version.tags['protocol']}, out of fold: {sizes}"]
    remarks: Mapping[str, str] = {champion.title: " (champion)", challenger.title: ""}
    for title, estimates in table.estimates.items():
        values = (
            f"{metric.upper()} {percent(estimates[metric].mean)} ({percent_range(estimates[metric].interval)})"
            for metric in ("ua", "wa")
        )
        lines.append(f"  {title + remarks[title]:<24} {'   '.join(values)}")
    lines.append(
        f"  {'difference':<24} UA {points(difference.mean)} ({points_range(difference.interval)}), "
        f"{p_equation(difference.p_value)}"
    )
    if champion.is_ensemble != challenger.is_ensemble:
        together = champion if champion.is_ensemble else challenger
        lines.append(f"  {together.title} is an ensemble: its one answer stands beside each seed of the other")
    if "optimistic" in champion.version.tags.get("selection", ""):
        lines.append(f"  {champion.title} was selected on the test part: its figures are optimistic")
    return "\n".join(lines)
