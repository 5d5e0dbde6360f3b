"""The report of what a cross-validation answers of ratings, as one page of HTML and a table."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import pyarrow as pa

from fgcme.data import Tasks
from fgcme.evaluation.rating_comparison import RatingComparison
from fgcme.evaluation.ratings import RatingsSummary
from fgcme.report.comparison import stars
from fgcme.report.conditions import Conditions
from fgcme.report.content import Provenance
from fgcme.report.formatting import (
    decimals,
    decimals_range,
    listing,
    p_value,
    sentence,
    signed_decimals,
    signed_decimals_range,
)
from fgcme.report.html import Image, render
from fgcme.report.ratings import describe_scatter, ratings_figure
from fgcme.report.theme import Picture

SIGNIFICANT = 0.05


@dataclass(frozen=True)
class RatingResults:
    """What a cross-validation answers of ratings.

    Attributes:
        conditions: by what rules it was made.
        summary: its metrics; of several variants, those of the reference.
        comparison: of several variants; None of one.
    """

    conditions: Conditions
    summary: RatingsSummary
    comparison: RatingComparison | None = None

    @property
    def summaries(self) -> dict[str, RatingsSummary]:
        """Variant -> its metrics; the one there is has no name."""
        return {"": self.summary} if self.comparison is None else self.comparison.summaries

    @property
    def title(self) -> str:
        """What tells it from the others of a report."""
        if self.conditions.left_out:
            return f"Without the speakers the configuration was tuned on: {self.conditions.rule_alone}"
        return sentence(self.conditions.rule_alone)


@dataclass(frozen=True)
class RatingsReport:
    """A report on ratings.

    Attributes:
        provenance: where its numbers come from.
        tasks: that were learnt.
        predictions: all folds and seeds; of several variants, those of the reference.
        results: of all speakers, for each selection rule; then, where the configuration was tuned, without those that
            it was tuned on.
    """

    provenance: Provenance
    tasks: Tasks
    predictions: pa.Table
    results: Sequence[RatingResults]

    @property
    def scales(self) -> dict[str, list[str]]:
        """Dimension -> the ends of its scale, for reading."""
        return {name: [f"{end:g}" for end in scale] for name, scale in self.tasks.dimensions.items()}

    @property
    def scatter(self) -> Picture:
        """The picture of all answers."""
        main = self.results[0]
        label = main.conditions.label
        return Picture(
            f"ratings-{main.conditions.file_name}",
            partial(ratings_figure, self.predictions, self.tasks, label),
            f"{describe_scatter(main.summary)} ({label}.)",
            "Each dot is an answer; on the line it is the rating.",
        )


def to_html(content: RatingsReport, light: bytes) -> str:
    """The page of a report on ratings.

    Args:
        content: the report.
        light: the PNG of its picture for a light ground.
    """
    return render(
        "ratings.html.j2",
        {
            each.__name__: each
            for each in (decimals, decimals_range, p_value, signed_decimals, signed_decimals_range, stars)
        },
        content=content,
        main=content.results[0],
        several=len(content.results[0].conditions.seeds) > 1,
        scatter=Image.of(content.scatter, light),
        summary=_summarise(content.results[0]),
    )


def to_csv(content: RatingsReport) -> str:
    """The metrics as CSV, and the differences from the reference: a row each, with its interval."""
    lines = io.StringIO()
    writer = csv.writer(lines, lineterminator="\n")
    writer.writerow(
        ["protocol", "selection", "caveats", "variant", "metric", "mean", "deviation", "low", "high", "p_holm"]
    )
    for results in content.results:
        conditions = results.conditions
        own = [conditions.protocol, conditions.selection, " ".join(conditions.caveats)]
        for variant, summary in results.summaries.items():
            for name, estimate in summary.metrics.items():
                ends = ("", "") if estimate.interval is None else (estimate.interval.low, estimate.interval.high)
                writer.writerow([*own, variant, name, estimate.mean, estimate.deviation, *ends, ""])
        if results.comparison is not None:
            for variant, difference in results.comparison.differences.items():
                ends = (difference.interval.low, difference.interval.high)
                writer.writerow([*own, variant, "ccc_difference", difference.mean, "", *ends, difference.p_holm])
    return lines.getvalue()


def _summarise(results: RatingResults) -> list[str]:
    summary, conditions = results.summary, results.conditions
    opening = "Optimistic: with" if conditions.optimistic else "With"
    said = []
    for name in summary.dimensions:
        estimate = summary.metrics[f"ccc_{name}"]
        interval = estimate.interval
        ends = "" if interval is None else f" (95 % interval {decimals(interval.low)} to {decimals(interval.high)})"
        said.append(f"{decimals(estimate.mean)}{ends} for {name}")
    of_reference = "" if results.comparison is None else f" of the reference, {results.comparison.reference},"
    sentences = [f"{opening} {conditions.rule_alone}, the CCC{of_reference} is {listing(said)}."]
    if results.comparison is not None:
        sentences.append(_compare(results.comparison))
    for name, count in summary.counts.items():
        if missing := summary.utterances - count:
            sentences.append(f"{sentence(name)} of {missing} of {summary.utterances} utterances was not rated.")
    if len(conditions.seeds) == 1:
        sentences.append("With one seed it is unknown how much results vary from training to training.")
    return sentences


def _compare(comparison: RatingComparison) -> str:
    """Which variants differ from the reference, in a sentence."""
    differing = {name: each.mean for name, each in comparison.differences.items() if each.p_holm <= SIGNIFICANT}
    if not differing:
        return "No variant differs from it significantly."
    said = [f"{name} ({signed_decimals(mean)})" for name, mean in differing.items()]
    return f"In the mean CCC these differ from it significantly: {listing(said)}."
