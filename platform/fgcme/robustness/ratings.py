"""Answers of ratings under several conditions, and what they say: each condition against the recordings as they are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from fgcme.data import Tasks
from fgcme.evaluation.intervals import Interval
from fgcme.evaluation.rating_comparison import compare_ratings
from fgcme.evaluation.ratings import RatingEstimate, answered_column
from fgcme.robustness.degradation import CLEAN
from fgcme.robustness.table import tables_by_condition


@dataclass(frozen=True)
class RatingCondition:
    """How well a model answers ratings under one condition.

    Attributes:
        name: of the condition.
        ccc: the mean CCC of the dimensions, with its interval.
        loss: CCC as recorded less CCC here.
        loss_interval: of that, over speakers, paired by utterance.
        unanswered: utterances that it could not answer, which count as if rated in the middle of each scale.
    """

    name: str
    ccc: RatingEstimate
    loss: float
    loss_interval: Interval
    unanswered: int


def rating_cells(utterance: Mapping[str, Any], ratings: Mapping[str, float] | None, tasks: Tasks) -> dict[str, Any]:
    """What a row of answers has of ratings.

    Args:
        utterance: its row among the predictions of the cross-validation.
        ratings: dimension -> the answer; None without one.
        tasks: of the model.
    """
    answered = {answered_column(name): None if ratings is None else ratings[name] for name in tasks.dimensions}
    return {name: utterance[name] for name in tasks.dimensions} | answered


def summarise_rating_conditions(table: pa.Table, tasks: Tasks) -> list[RatingCondition]:
    """Every condition of a table, in its order, the recordings as they are first.

    Args:
        table: of schema `fgcme.robustness.table.robustness_schema`; all conditions have the same utterances.
        tasks: of the model.

    Raises:
        UserError: there are fewer than two speakers, or conditions differ in utterances.
    """
    own = tables_by_condition(table)
    answered = {name: _with_middles(each, tasks) for name, each in own.items()}
    compared = compare_ratings(answered, CLEAN, tasks.dimensions)
    first = answered_column(next(iter(tasks.dimensions)))
    found = []
    for name, summary in compared.summaries.items():
        loss, interval = 0.0, Interval(0.0, 0.0)
        if (difference := compared.differences.get(name)) is not None:
            loss, interval = -difference.mean, Interval(-difference.interval.high, -difference.interval.low)
        unanswered = own[name][first].null_count
        found.append(RatingCondition(name, summary.metrics["ccc"], loss, interval, unanswered))
    return found


def _with_middles(table: pa.Table, tasks: Tasks) -> pa.Table:
    """A table in which what was not answered is the middle of its scale."""
    for dimension, (low, high) in tasks.dimensions.items():
        place = table.schema.get_field_index(answered_column(dimension))
        filled = pc.fill_null(table.column(place), pa.scalar((low + high) / 2, pa.float32()))
        table = table.set_column(place, table.schema.field(place), filled)
    return table
