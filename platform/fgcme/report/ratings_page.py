"""The report of what a cross-validation answers of ratings, as one page of HTML and a table."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import pyarrow as pa

from fgcme.data import Tasks
from fgcme.evaluation.ratings import RatingsSummary
from fgcme.report.conditions import Conditions
from fgcme.report.content import Provenance
from fgcme.report.formatting import MINUS, listing, sentence
from fgcme.report.html import Image, render
from fgcme.report.ratings import describe_scatter, ratings_figure
from fgcme.report.theme import Picture


@dataclass(frozen=True)
class RatingResults:
    """What a cross-validation answers of ratings.

    Attributes:
        conditions: by what rules it was made.
        summary: its metrics.
    """

    conditions: Conditions
    summary: RatingsSummary


@dataclass(frozen=True)
class RatingsReport:
    """A report on ratings.

    Attributes:
        provenance: where its numbers come from.
        tasks: that were learnt.
        predictions: all folds and seeds.
        results: of all speakers; then, where the configuration was tuned, without those that it was tuned on.
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
        {"decimals": _decimals},
        content=content,
        main=content.results[0],
        several=len(content.results[0].conditions.seeds) > 1,
        scatter=Image.of(content.scatter, light),
        summary=_summarise(content.results[0]),
    )


def to_csv(content: RatingsReport) -> str:
    """The metrics as CSV: a row each, with its interval."""
    lines = io.StringIO()
    writer = csv.writer(lines, lineterminator="\n")
    writer.writerow(["protocol", "selection", "caveats", "metric", "mean", "deviation", "low", "high"])
    for results in content.results:
        conditions = results.conditions
        for name, estimate in results.summary.metrics.items():
            ends = ("", "") if estimate.interval is None else (estimate.interval.low, estimate.interval.high)
            own = [conditions.protocol, conditions.selection, " ".join(conditions.caveats), name]
            writer.writerow([*own, estimate.mean, estimate.deviation, *ends])
    return lines.getvalue()


def _summarise(results: RatingResults) -> list[str]:
    summary, conditions = results.summary, results.conditions
    opening = "Optimistic: with" if conditions.optimistic else "With"
    said = []
    for name in summary.dimensions:
        estimate = summary.metrics[f"ccc_{name}"]
        interval = estimate.interval
        ends = "" if interval is None else f" (95 % interval {_decimals(interval.low)} to {_decimals(interval.high)})"
        said.append(f"{_decimals(estimate.mean)}{ends} for {name}")
    sentences = [f"{opening} {conditions.rule_alone}, the CCC is {listing(said)}."]
    for name, count in summary.counts.items():
        if missing := summary.utterances - count:
            sentences.append(f"{sentence(name)} of {missing} of {summary.utterances} utterances was not rated.")
    if len(conditions.seeds) == 1:
        sentences.append("With one seed it is unknown how much results vary from training to training.")
    return sentences


def _decimals(value: float) -> str:
    """A metric with three decimals and a true minus sign.

    >>> _decimals(-0.1234)
    '−0.123'
    """
    return f"{value:.3f}".replace("-", MINUS)
