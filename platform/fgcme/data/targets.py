"""What is learnt from an utterance: its class, ratings of it, or both; and where a model's output holds which.

A model has one head a task on the features that all of them share: the K logits of the classes come first in its
output, then a value for each of the D dimensions. Ratings are learnt on a scale from 0 to 1, and answered on their own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from fgcme.errors import UserError

RATINGS = ("valence", "arousal", "dominance")
"""The ratings that a prepared corpus may have."""


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


def require_classes(tasks: Tasks, what: str) -> None:
    """Refuse what only knows answers of classes so far.

    Args:
        tasks: of the protocol or the model.
        what: is asked for, such as a verb.

    Raises:
        UserError: there are ratings among the tasks.
    """
    if tasks.dimensions:
        raise UserError(
            f"{what} works on classes alone so far, and this also answers {', '.join(tasks.dimensions)} "
            "(protocol.dimensions)"
        )


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
