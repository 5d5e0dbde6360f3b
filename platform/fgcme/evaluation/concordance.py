"""Metrics of ratings: Lin's concordance correlation (1989), Pearson's correlation, and the root mean square error.

All follow from six sums over utterances, and sums of speakers add up: so those of any resample of speakers follow
without its utterances.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from fgcme.evaluation.resampling import blocks

MEASURES = ("ccc", "pearson", "rmse")
"""Of each dimension, as `ccc_valence`; `ccc` alone is the mean over dimensions."""


@dataclass(frozen=True)
class RatingSums:
    """Sums over utterances that have a rating.

    Attributes:
        dimensions: names of the D ratings.
        values: [..., D, 6] of: one, the rating, the value answered, the square of each, their product.
    """

    dimensions: Sequence[str]
    values: np.ndarray

    @classmethod
    def of(cls, ratings: Mapping[str, np.ndarray], answered: Mapping[str, np.ndarray]) -> RatingSums:
        """The sums over some utterances, [D, 6].

        Args:
            ratings: dimension -> [B]; NaN where nobody rated.
            answered: dimension -> [B].
        """
        return cls(list(ratings), np.stack([_terms(ratings[name], answered[name]).sum(0) for name in ratings]))

    @classmethod
    def by_group(
        cls, groups: np.ndarray, ratings: Mapping[str, np.ndarray], answered: Mapping[str, np.ndarray]
    ) -> RatingSums:
        """The sums of each group and seed, [groups, R, D, 6], groups sorted.

        Args:
            groups: [B] such as the speaker of each utterance.
            ratings: dimension -> [B]; NaN where nobody rated.
            answered: dimension -> [R, B] by each of R seeds.
        """
        names, group = np.unique(groups, return_inverse=True)
        seeds = len(next(iter(answered.values())))
        values = np.zeros((len(names), seeds, len(ratings), 6))
        for number, name in enumerate(ratings):
            for seed in range(seeds):
                np.add.at(values[:, seed, number], group, _terms(ratings[name], answered[name][seed]))
        return cls(list(ratings), values)

    def vary_one_group(self) -> RatingSums:
        """Sums over all groups: group g as seed r answers it, the others as their mean over seeds.

        See `fgcme.evaluation.counts.Counts.vary_one_group`.
        """
        means = self.values.mean(1, keepdims=True)
        return RatingSums(self.dimensions, means.sum(0) - means + self.values)

    def weighted(self, weights: np.ndarray) -> RatingSums:
        """Sums over groups, each as often as its weight in `weights`, [draws, S]."""
        total = np.empty((len(weights), *self.values.shape[1:]))
        for rows in blocks(*weights.shape):
            total[rows] = np.tensordot(weights[rows].astype(float), self.values, 1)
        return RatingSums(self.dimensions, total)

    def measure(self) -> dict[str, np.ndarray]:
        """The metrics, [...] each; 0 for a correlation that is not defined, NaN for an error of no utterance."""
        count, x, y, xx, yy, xy = np.moveaxis(self.values, -1, 0)
        with np.errstate(invalid="ignore", divide="ignore"):
            x, y, xx, yy, xy = (each / count for each in (x, y, xx, yy, xy))
            variance, other, covariance = np.maximum(xx - x**2, 0), np.maximum(yy - y**2, 0), xy - x * y
            # Where all ratings are one number, rounding leaves a little.
            flat = (variance <= _NO_SPREAD) | (other <= _NO_SPREAD) | (count == 0)
            ccc = np.where(flat, 0.0, 2 * covariance / (variance + other + (x - y) ** 2))
            pearson = np.where(flat, 0.0, covariance / np.sqrt(variance * other))
            rmse = np.sqrt(np.maximum(xx - 2 * xy + yy, 0))
        found = {"ccc": ccc.mean(-1)}
        for measure, each in zip(MEASURES, (ccc, pearson, rmse), strict=True):
            found |= {f"{measure}_{name}": each[..., number] for number, name in enumerate(self.dimensions)}
        return found


# Ratings are of the order of one.
_NO_SPREAD = 1e-10


def _terms(ratings: np.ndarray, answered: np.ndarray) -> np.ndarray:
    """What each utterance adds to the sums, [B, 6]; nothing where nobody rated."""
    rated = ~np.isnan(ratings)
    x, y = np.where(rated, ratings, 0.0).astype(np.float64), np.where(rated, answered, 0.0).astype(np.float64)
    return np.stack([rated.astype(float), x, y, x * x, y * y, x * y], axis=-1)


def measure_ratings(ratings: Mapping[str, np.ndarray], answered: Mapping[str, np.ndarray]) -> dict[str, float]:
    """CCC, Pearson's correlation and root mean square error of each dimension, and the mean CCC.

    Args:
        ratings: dimension -> [B]; NaN where nobody rated.
        answered: dimension -> [B].

    >>> found = measure_ratings({"valence": np.array([1.0, 3.0])}, {"valence": np.array([2.0, 4.0])})
    >>> round(found["ccc"], 3), round(found["pearson_valence"], 3), round(found["rmse_valence"], 3)
    (0.667, 1.0, 1.0)
    """
    return {name: float(value) for name, value in RatingSums.of(ratings, answered).measure().items()}
