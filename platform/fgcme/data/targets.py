"""What is learnt from an utterance: its class, ratings of it, or both; and where a model's output holds which.

A model has one head a task on the features that all of them share: the K logits of the classes come first in its
output, then a value for each of the D dimensions. Ratings are learnt on a scale from 0 to 1, and answered on their own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from fgcme.data.columns import encode
from fgcme.errors import UserError

RATINGS = ("valence", "arousal", "dominance")
"""The ratings that a prepared corpus may have."""


# What is between the labels of raters in a raw label.
_BETWEEN_RATERS = ";"
# Share of ratings that may lie beyond their scale.
_SLIPS = 0.01


@dataclass(frozen=True)
class Tasks:
    """The tasks of a model.

    Attributes:
        classes: names of the K classes; none where no class is learnt.
        dimensions: name of each of the D ratings -> the lowest and the highest value of its scale.
    """

    classes: Sequence[str]
    dimensions: Mapping[str, Sequence[float]] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """Values of a model's output, K + D."""
        return len(self.classes) + len(self.dimensions)

    def scaled(self, ratings: np.ndarray) -> np.ndarray:
        """Ratings on their own scales, [B, D], on one from 0 to 1.

        >>> Tasks([], {"valence": (1, 5)}).scaled(np.array([[1.0], [4.0]])).tolist()
        [[0.0], [0.75]]
        """
        low, high = self._ends
        return np.asarray((ratings - low) / (high - low), np.float32)

    def unscaled(self, values: np.ndarray) -> np.ndarray:
        """The reverse of `scaled`; what a model answers may lie a little beyond its scale."""
        low, high = self._ends
        return np.asarray(low + values * (high - low), np.float64)

    @property
    def _ends(self) -> tuple[np.ndarray, np.ndarray]:
        low, high = np.array([*self.dimensions.values()], np.float64).reshape(-1, 2).T
        return low, high


def gather_ratings(
    tasks: Tasks, ratings: Mapping[str, np.ndarray], ids: Sequence[str], name: str, corpus: str
) -> np.ndarray:
    """The ratings that a protocol learns from, [B, D] from 0 to 1; NaN where nobody rated.

    Args:
        tasks: of the protocol.
        ratings: [B] of each name that the corpus may have, on its own scale; NaN where nobody rated.
        ids: of the utterances.
        name: of the protocol, for messages.
        corpus: its name, for messages.

    Raises:
        UserError: the corpus has no rating of a dimension, or more than one in a hundred is not on its scale.
    """
    columns = []
    for dimension, (low, high) in tasks.dimensions.items():
        values = ratings.get(dimension)
        if values is None or np.isnan(values).all():
            raise UserError(
                f"{name}: protocol.dimensions asks for {dimension}, and no utterance of the corpus {corpus} has a "
                "rating of it; a manifest has ratings in columns valence, arousal, dominance"
            )
        beyond = np.flatnonzero((values < low) | (values > high))
        # A few are slips of raters, which IEMOCAP has; more are another scale.
        if len(beyond) > _SLIPS * (~np.isnan(values)).sum():
            first = int(beyond[0])
            raise UserError(
                f"{name}: {len(beyond)} ratings of {dimension} are not on the scale from {low:g} to {high:g} of "
                f"protocol.dimensions.{dimension}, such as {values[first]:g} of utterance {ids[first]}"
            )
        columns.append(values)
    return tasks.scaled(np.stack(columns, axis=1)) if columns else np.zeros((len(ids), 0), np.float32)


def gather_votes(
    labels: Mapping[str, str], classes: Sequence[str], raw_labels: Sequence[str], name: str, corpus: str
) -> tuple[np.ndarray, int]:
    """How many raters gave each class, from raw labels that hold one of each rater: `happy;happy;neutral`.

    Args:
        labels: raw label -> class.
        classes: their names.
        raw_labels: of the B utterances.
        name: of the protocol, for messages.
        corpus: its name, for messages.

    Returns:
        [B, K] counts, and how many labels of raters are of no class.

    Raises:
        UserError: no utterance has labels of several raters.
    """
    index = {each: number for number, each in enumerate(classes)}
    numbers, distinct = encode(raw_labels)
    counts, unmapped = np.zeros((len(distinct) + 1, len(classes)), np.int64), np.zeros(len(distinct) + 1, np.int64)
    for number, text in enumerate(distinct):
        for given in filter(None, map(str.strip, text.split(_BETWEEN_RATERS))):
            if given in labels:
                counts[number, index[labels[given]]] += 1
            else:
                unmapped[number] += 1
    if not ((counts.sum(1) + unmapped)[numbers] > 1).any():
        raise UserError(
            f"{name}: protocol.distribution asks for the labels of several raters, and no utterance of the corpus "
            f"{corpus} has more than one: write a label of each rater into the column label, as in "
            "happy;happy;neutral, or take corpus.kind=iemocap_raters or msp_podcast_raters"
        )
    return counts[numbers], int(unmapped[numbers].sum())


def shares_of(votes: np.ndarray) -> np.ndarray:
    """The share of raters who gave each class, [B, K] float32; zeros where nobody gave one.

    >>> shares_of(np.array([[3, 1], [0, 0]])).tolist()
    [[0.75, 0.25], [0.0, 0.0]]
    """
    return np.asarray(votes / np.maximum(votes.sum(1, keepdims=True), 1), np.float32)
