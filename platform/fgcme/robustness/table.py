"""Predictions under several conditions, and what they say: each condition against the recordings as they are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from fgcme.data import Tasks
from fgcme.evaluation.comparison import Estimate, compare_variants
from fgcme.evaluation.cross_validation import PREDICTIONS
from fgcme.evaluation.intervals import Interval
from fgcme.evaluation.ratings import answered_column
from fgcme.robustness.degradation import CLEAN

ROBUSTNESS = pa.schema([*PREDICTIONS, ("condition", pa.string())])
_OF_CLASSES = ("label", "prediction", "probabilities")


def robustness_schema(tasks: Tasks) -> pa.Schema:
    """The columns of a table of answers under several conditions.

    Args:
        tasks: of the model; of one of classes alone they are `ROBUSTNESS`.
    """
    kept = [each for each in ROBUSTNESS if tasks.classes or each.name not in _OF_CLASSES]
    of_ratings = [(column, pa.float32()) for name in tasks.dimensions for column in (name, answered_column(name))]
    return pa.schema([*kept, *of_ratings])


@dataclass(frozen=True)
class Condition:
    """How well a model answers under one condition.

    Attributes:
        name: of the condition.
        ua, wa: with their intervals.
        loss: UA as recorded less UA here.
        loss_interval: of that, over speakers, paired by utterance.
        unanswered: utterances that it could not answer, which count as wrong.
    """

    name: str
    ua: Estimate
    wa: Estimate
    loss: float
    loss_interval: Interval
    unanswered: int


def choose_utterances(predictions: pa.Table, count: int, seed: int = 0) -> list[str]:
    """Ids of so many utterances at random, as evenly as possible from the speakers and from the classes of each.

    Args:
        predictions: of one seed, schema `PREDICTIONS`; without a class where ratings alone are learnt.
        count: how many; all if there are no more.
        seed: of the draw.
    """
    label = "label" if "label" in predictions.column_names else "speaker"
    names = list(zip(*(predictions[key].to_pylist() for key in ("id", "speaker", label)), strict=True))
    shuffled = [names[place] for place in np.random.default_rng(seed).permutation(len(names))]
    taken: Counter[tuple[str, str]] = Counter()
    ranked = []
    for place, (name, speaker, label) in enumerate(shuffled):
        ranked.append((taken[speaker, label], place, name))
        taken[speaker, label] += 1
    return [name for _, _, name in sorted(ranked)[:count]]


def condition_rows(
    condition: str, utterance: dict[str, Any], probabilities: Sequence[float] | None, classes: Sequence[str]
) -> dict[str, Any]:
    """A row of schema `ROBUSTNESS`; an utterance without an answer gets another class than its own.

    Args:
        condition: its name.
        utterance: its row among the predictions of the cross-validation.
        probabilities: [K] of the answer; None without one.
        classes: class names.
    """
    kept = {key: utterance[key] for key in ("id", "speaker", "label", "fold", "seed")}
    if probabilities is None:
        other = next(name for name in classes if name != utterance["label"])
        return kept | {"condition": condition, "prediction": other, "probabilities": None}
    answer = classes[int(np.argmax(probabilities))]
    return kept | {"condition": condition, "prediction": answer, "probabilities": list(probabilities)}


def tables_by_condition(table: pa.Table) -> dict[str, pa.Table]:
    """The rows of each condition, in their order, the recordings as they are first.

    Args:
        table: with a column `condition`.
    """
    conditions = np.array(table["condition"].to_pylist())
    names = [CLEAN, *(name for name in dict.fromkeys(conditions.tolist()) if name != CLEAN)]
    return {name: table.filter(conditions == name) for name in names}


def summarise_conditions(table: pa.Table, classes: Sequence[str]) -> list[Condition]:
    """Every condition of a table, in its order, the recordings as they are first.

    Args:
        table: schema `ROBUSTNESS`; all conditions have the same utterances.
        classes: class names.

    Raises:
        UserError: there are fewer than two speakers, or conditions differ in utterances.
    """
    own = tables_by_condition(table)
    compared = compare_variants({name: each.select(PREDICTIONS.names) for name, each in own.items()}, CLEAN, classes)
    found = []
    for name in own:
        loss, interval = 0.0, Interval(0.0, 0.0)
        if name != CLEAN:
            difference = compared.comparisons[name].differences["ua"]
            loss, interval = -difference.mean, Interval(-difference.interval.high, -difference.interval.low)
        estimates = compared.estimates[name]
        unanswered = own[name]["probabilities"].null_count
        found.append(Condition(name, estimates["ua"], estimates["wa"], loss, interval, unanswered))
    return found
