"""Promote: a version becomes a model's champion only if it beats the champion; demote takes that back.

Both are compared by the predictions of the cross-validations that their estimates are of: of the same utterances, by
the tests of an ablation (`fgcme.evaluation.comparison`), of UA, or of the mean CCC where ratings alone are answered or
epochs are chosen by it. Nothing is measured anew. An ensemble is compared by the mean answers of the models of each
fold, and stands beside each seed of a version that is none.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from fgcme.data import Tasks
from fgcme.errors import UserError
from fgcme.evaluation.comparison import ComparisonTable, Difference, compare_variants
from fgcme.evaluation.cross_validation import PREDICTIONS
from fgcme.evaluation.metrics import Score
from fgcme.evaluation.rating_comparison import RatingComparison, RatingDifference, compare_ratings
from fgcme.report.formatting import (
    count,
    decimals,
    decimals_range,
    p_equation,
    percent,
    percent_range,
    points,
    points_range,
    signed_decimals,
    signed_decimals_range,
)
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
        predictions: out of fold, of all seeds, schema `PREDICTIONS` with the columns of `fgcme.evaluation.ratings`.
        tasks: of its protocol.
        score: what its epochs were chosen by, `training.score`.
    """

    version: ModelVersion
    predictions: pa.Table
    tasks: Tasks
    score: Score

    @property
    def title(self) -> str:
        """What it is called."""
        return f"version {self.version.version}"

    @property
    def is_ensemble(self) -> bool:
        """Whether it answers by several models together."""
        return "members" in self.version.tags

    @property
    def goes_by_ratings(self) -> bool:
        """Whether its ratings say how good it is, and not its classes."""
        return not self.tasks.classes or (bool(self.tasks.dimensions) and self.score == "ccc")


@dataclass(frozen=True)
class _Comparison:
    """A challenger beside the champion.

    Attributes:
        classes: their answers of classes; None where ratings alone are learnt.
        ratings: their answers of ratings; None where classes alone are learnt.
        sizes: utterances, speakers and seeds, for reading.
        challenger: its name in both.
        by_ratings: whether the ratings decide.
    """

    classes: ComparisonTable | None
    ratings: RatingComparison | None
    sizes: str
    challenger: str
    by_ratings: bool

    @property
    def difference(self) -> Difference | RatingDifference:
        """What decides."""
        if self.by_ratings:
            assert self.ratings is not None
            return self.ratings.differences[self.challenger]
        assert self.classes is not None
        return self.classes.comparisons[self.challenger].differences["ua"]

    def level(self, title: str) -> str:
        """The metrics of one of the two, with their intervals."""
        said = []
        if self.classes is not None:
            estimates = self.classes.estimates[title]
            said += [
                f"{metric.upper()} {percent(estimates[metric].mean)} ({percent_range(estimates[metric].interval)})"
                for metric in ("ua", "wa")
            ]
        if self.ratings is not None:
            summary = self.ratings.summaries[title]
            of_each = ", ".join(
                f"{name} {decimals(summary.metrics[f'ccc_{name}'].mean)}" for name in summary.dimensions
            )
            estimate = summary.metrics["ccc"]
            around = f" ({decimals_range(estimate.interval)})" if estimate.interval else ""
            said.append(f"CCC {decimals(estimate.mean)}{around}: {of_each}")
        return "   ".join(said)

    def differences(self) -> list[str]:
        """A line for each difference, that which decides marked where there are two."""
        lines = []
        if self.classes is not None:
            of_classes = self.classes.comparisons[self.challenger].differences["ua"]
            lines.append(
                f"UA {points(of_classes.mean)} ({points_range(of_classes.interval)}), {p_equation(of_classes.p_value)}"
            )
        if self.ratings is not None:
            found = self.ratings.differences[self.challenger]
            around = signed_decimals_range(found.interval)
            lines.append(f"CCC {signed_decimals(found.mean)} ({around}), {p_equation(found.p_value)}")
        if len(lines) > 1:
            lines[self.by_ratings] += "; this decides, as epochs are chosen by " + (
                "CCC" if self.by_ratings else "classes"
            )
        return lines


def promote(name: str, version: str, margin: float | None = None, tracking_uri: str | None = None) -> bool:
    """Make a version the champion, if it beats the present one; the one before is kept as `previous`.

    Args:
        name: of the registered model.
        version: its number, or an alias that it has.
        margin: points of UA, or hundredths of CCC, by which it must be better; None asks that the paired test says so.
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
            compared = _compare(name, present, challenger)
            print(_described(name, compared, present, challenger))
            if not _beats(compared.difference, margin):
                print(f"\n{name} {present.title} stays the champion: {_reason(compared, margin)}")
                return False
            reason = f"over {present.title}: {_reason(compared, margin)}"
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
    return Candidate(version, found.predictions, found.tasks, found.experiment.training.score)


def _compare(name: str, champion: Candidate, challenger: Candidate) -> _Comparison:
    """Compare two versions over the seeds that both have; what the champion's epochs were chosen by decides."""
    one, other = champion.version.tags.get("protocol"), challenger.version.tags.get("protocol")
    if one != other:
        raise UserError(
            f"{name} {challenger.title} is of protocol {other}, the champion, {champion.title}, of {one}: nothing "
            "compares them; register it under another name"
        )
    if champion.tasks != challenger.tasks:
        raise UserError(
            f"{name} {challenger.title} and the champion, {champion.title}, are both of protocol {one} and do not "
            "answer the same classes and ratings: nothing compares them; register it under another name"
        )
    tables = {each.title: each.predictions for each in (champion, challenger)}
    if champion.is_ensemble != challenger.is_ensemble:
        single, together = sorted((champion, challenger), key=lambda each: each.is_ensemble)
        tables[together.title] = _for_each_seed(together.predictions, _seeds(single.predictions))
    shared = functools.reduce(np.intersect1d, map(_seeds, tables.values()))
    if not len(shared):
        raise UserError(f"{name}: {' and '.join(tables)} were trained with no seed in common; train both with the same")
    tables = {title: table.filter(np.isin(table["seed"].to_numpy(), shared)) for title, table in tables.items()}
    tasks, reference = champion.tasks, champion.title
    classes = compare_variants(tables, reference, tasks.classes) if tasks.classes else None
    ratings = compare_ratings(tables, reference, tasks.dimensions) if tasks.dimensions else None
    own = tables[reference]
    sizes = (("id", "utterance"), ("speaker", "speaker"), ("seed", "seed"))
    said = ", ".join(count(len(own[column].unique()), noun) for column, noun in sizes)
    return _Comparison(classes, ratings, said, challenger.title, champion.goes_by_ratings)


def _seeds(predictions: pa.Table) -> np.ndarray:
    return np.unique(predictions["seed"].to_numpy())


def _for_each_seed(predictions: pa.Table, seeds: np.ndarray) -> pa.Table:
    """The predictions of one seed, under each of several seeds."""
    place, kind = predictions.schema.get_field_index("seed"), PREDICTIONS.field("seed")
    return pa.concat_tables(
        predictions.set_column(place, kind, pa.array(np.full(len(predictions), seed), kind.type)) for seed in seeds
    )


def _beats(difference: Difference | RatingDifference, margin: float | None) -> bool:
    if margin is not None:
        return 100 * difference.mean >= margin
    return difference.mean > 0 and difference.p_value <= _SIGNIFICANT


def _reason(compared: _Comparison, margin: float | None) -> str:
    """How the two differ, by the rule that decides."""
    difference = compared.difference
    asked = f"--margin {margin:g}" if margin is not None else f"{p_equation(difference.p_value)} of the paired test"
    if compared.by_ratings:
        return f"CCC {signed_decimals(difference.mean)}, {asked}"
    return f"UA {points(difference.mean)} points, {asked}"


def _described(name: str, compared: _Comparison, champion: Candidate, challenger: Candidate) -> str:
    """The comparison as text."""
    lines = [f"{name} on {challenger.version.tags['protocol']}, out of fold: {compared.sizes}"]
    remarks: Mapping[str, str] = {champion.title: " (champion)", challenger.title: ""}
    for title, remark in remarks.items():
        lines.append(f"  {title + remark:<24} {compared.level(title)}")
    lines += [f"  {'difference':<24} {line}" for line in compared.differences()]
    if champion.is_ensemble != challenger.is_ensemble:
        together = champion if champion.is_ensemble else challenger
        lines.append(f"  {together.title} is an ensemble: its one answer stands beside each seed of the other")
    if "optimistic" in champion.version.tags.get("selection", ""):
        lines.append(f"  {champion.title} was selected on the test part: its figures are optimistic")
    return "\n".join(lines)
