"""Several variants of a model that answer ratings, compared by the mean CCC of their dimensions.

The statistics are those of `fgcme.evaluation.comparison`: speakers are drawn and swapped as wholes, what differs from
seed to seed comes on top, a difference has to pass both tests, and those of all variants are a family of Holm.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa

from fgcme.errors import UserError
from fgcme.evaluation.concordance import RatingSums
from fgcme.evaluation.intervals import Interval, difference_interval, standard_error
from fgcme.evaluation.metrics import ROUNDING
from fgcme.evaluation.ratings import RatingsBySeed, RatingsSummary, summarise_ratings
from fgcme.evaluation.resampling import blocks, draw_swaps, draw_weights
from fgcme.evaluation.significance import holm


@dataclass(frozen=True)
class RatingDifference:
    """The mean CCC of a variant less that of the reference, on the same utterances.

    Attributes:
        mean: over seeds.
        interval: of the mean, over speakers and seeds.
        p_value: two-sided, the larger of that of swapping speakers and that of the t-test of the interval.
        p_holm: the same, corrected for all variants.
    """

    mean: float
    interval: Interval
    p_value: float
    p_holm: float


@dataclass(frozen=True)
class RatingComparison:
    """Variants compared.

    Attributes:
        reference: the variant that the others are compared with.
        summaries: variant, the reference too -> its metrics.
        differences: variant, the reference not -> its difference.
    """

    reference: str
    summaries: dict[str, RatingsSummary]
    differences: dict[str, RatingDifference]

    @property
    def smallest_p(self) -> float:
        """The least corrected p-value that so few speakers can give: of all ways to swap them two are as far apart."""
        speakers = self.summaries[self.reference].speakers
        return min(1.0, len(self.differences) * 2.0 ** (1 - speakers))


def compare_ratings(
    variants: Mapping[str, pa.Table],
    reference: str,
    dimensions: Iterable[str],
    resamples: int = 10_000,
    swaps: int = 20_000,
    seed: int = 0,
) -> RatingComparison:
    """The metrics of all variants, and the difference of each from the reference.

    Args:
        variants: name -> predictions of all folds and seeds, with the columns of `fgcme.evaluation.ratings`.
        reference: one of the names.
        dimensions: that were learnt.
        resamples: draws of the bootstrap.
        swaps: of speakers, at most.
        seed: of the draws and the swaps.

    Raises:
        UserError: variants differ in utterances, ratings or seeds, or there are fewer than two speakers.
    """
    names = list(dimensions)
    answers = {name: RatingsBySeed.of(table, names, f"variant {name}") for name, table in variants.items()}
    own = answers[reference]
    for name, each in answers.items():
        same = np.array_equal(each.ids, own.ids) and np.array_equal(each.seeds, own.seeds)
        if not same or any(not np.array_equal(each.ratings[key], own.ratings[key], equal_nan=True) for key in names):
            raise UserError(f"variant {name}: its utterances, ratings or seeds are not those of {reference}")
    speakers = len(np.unique(own.speakers))
    if speakers < 2:
        raise UserError(f"variant {reference}: statistics over speakers need at least two, there is {speakers}")
    generator = np.random.default_rng(seed)
    weights, drawn = draw_weights(speakers, resamples, generator), draw_swaps(speakers, swaps, generator)
    found = {name: _difference(each, own, weights, drawn) for name, each in answers.items() if name != reference}
    corrected = holm([difference.p_value for difference in found.values()])
    return RatingComparison(
        reference,
        {name: summarise_ratings(table, names) for name, table in variants.items()},
        {
            name: replace(difference, p_holm=p_holm)
            for (name, difference), p_holm in zip(found.items(), corrected, strict=True)
        },
    )


def _difference(
    variant: RatingsBySeed, reference: RatingsBySeed, weights: np.ndarray, swaps: np.ndarray
) -> RatingDifference:
    """The difference of a variant, not yet corrected for the number of variants."""
    both = [each.sums(each.speakers) for each in (variant, reference)]
    folds = [each.sums(each.folds) for each in (variant, reference)]
    means = [_ccc(RatingSums(each.dimensions, each.values.sum(0))).mean() for each in both]
    error = standard_error(
        np.subtract(*(_ccc(each.weighted(weights)).mean(-1) for each in both)),
        len(both[0].values),
        np.subtract(*(_ccc(each.vary_one_group()) for each in folds)),
        np.subtract(*(_ccc(each.vary_one_group()) for each in both)),
    )
    mean = float(means[0] - means[1])
    p_value = max(_permutation_p(both[0], both[1], swaps), error.p_value(mean))
    return RatingDifference(mean, difference_interval(mean, error), p_value, p_value)


def _permutation_p(variant: RatingSums, reference: RatingSums, swaps: np.ndarray) -> float:
    """The share of ways to swap speakers whose difference is at least as far from 0 as that of no swap.

    Swapping a speaker swaps sums, so both tables follow from what the speaker has in common and in which they differ.
    """
    middle, half = (variant.values + reference.values).sum(0) / 2, (variant.values - reference.values) / 2
    speakers, hits = len(half), 0

    def differences(signs: np.ndarray) -> np.ndarray:
        moved = np.tensordot(signs, half, 1)
        of_both = (_ccc(RatingSums(variant.dimensions, middle + sign * moved)) for sign in (1, -1))
        return np.asarray(np.abs(np.subtract(*of_both).mean(-1)))

    observed = differences(np.ones((1, speakers)))[0]
    for rows in blocks(len(swaps), half.size):
        signs = np.where(np.unpackbits(swaps[rows], axis=1, count=speakers), -1.0, 1.0)
        hits += int((differences(signs) >= observed - ROUNDING).sum())
    return hits / len(swaps)


def _ccc(sums: RatingSums) -> np.ndarray:
    """The mean CCC over dimensions, [..., R]."""
    return sums.measure()["ccc"]
