"""Tests of a difference: permutation over speakers, McNemar over utterances, Holm's correction; and the effect size."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import binom

from fgcme.evaluation.counts import Counts
from fgcme.evaluation.metrics import ROUNDING
from fgcme.evaluation.predictions import PredictionsBySeed
from fgcme.evaluation.resampling import blocks


@dataclass(frozen=True)
class McNemar:
    """McNemar's exact test of a variant against the reference, over utterances.

    With several seeds an utterance is gained when more seeds of the variant than of the reference predict it right,
    lost when fewer do; with one seed these are the discordant pairs of McNemar (1947). No utterance counts more than
    once, and none is decided by a vote that may tie.

    The test takes utterances as independent, but those of one speaker are not (Dietterich 1998 compares classifiers so
    on independent examples). When some speakers gain and others lose, it finds differences that are not there. It is
    given because readers look for it; a claim rests on `Difference`.

    Attributes:
        gained, lost: utterances.
        p_value: exact, two-sided.
        p_holm: the same, corrected for all variants of the table.
    """

    gained: int
    lost: int
    p_value: float
    p_holm: float

    @property
    def odds_ratio(self) -> float:
        """Odds that a discordant utterance is a gain; half a count is added to each, so it is always finite."""
        return (self.gained + 0.5) / (self.lost + 0.5)


def speaker_contributions(variant: Counts, reference: Counts) -> dict[str, np.ndarray]:
    """What each speaker adds to the differences in UA and WA of the means over seeds, [S] each.

    They sum to the difference. Both variants have the same labels, so swapping the predictions of a speaker only
    changes the sign of its contribution. (That is not true of macro-F1, so macro-F1 is not tested.)
    """
    gained = (variant.correct - reference.correct).mean(1)
    support = reference.support[:, 0].sum(0)
    present = support > 0
    return {"ua": (gained[:, present] / support[present]).mean(1), "wa": gained.sum(1) / support.sum()}


def permutation_p(contributions: np.ndarray, swaps: np.ndarray) -> float:
    """Two-sided p-value of a difference by swapping speakers.

    The share of `swaps`, as `draw_swaps` returns them, under which the sum of the speakers' `contributions` [S] is at
    least as far from 0 as without them.

    >>> from fgcme.evaluation.resampling import draw_swaps
    >>> permutation_p(np.array([0.1, 0.2, 0.3]), draw_swaps(3, 10, np.random.default_rng()))
    0.25
    """
    speakers, observed, hits = len(contributions), abs(contributions.sum()), 0
    for rows in blocks(len(swaps), speakers):
        signs = np.where(np.unpackbits(swaps[rows], axis=1, count=speakers), -1.0, 1.0)
        hits += int((np.abs(signs @ contributions) >= observed - ROUNDING).sum())
    return hits / len(swaps)


def smallest_p(speakers: int, swaps: np.ndarray) -> float:
    """The smallest p-value that swaps of S speakers can give: that of speakers who all gain the same."""
    return permutation_p(np.ones(speakers), swaps)


def cohens_dz(differences: np.ndarray) -> float:
    """Cohen's d_z of paired differences [S]: their mean divided by their sample deviation.

    >>> cohens_dz(np.array([0.0, 0.5, 1.0]))
    1.0
    """
    mean, deviation = float(differences.mean()), float(differences.std(ddof=1))
    if deviation > ROUNDING:
        return mean / deviation
    return math.copysign(math.inf, mean) if abs(mean) > ROUNDING else 0.0


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down correction (1979), in the order given.

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    order, count = np.argsort(p_values), len(p_values)
    corrected = np.empty(count)
    corrected[order] = np.maximum.accumulate((count - np.arange(count)) * np.asarray(p_values, float)[order])
    return [float(value) for value in corrected.clip(max=1)]


def mcnemar_tests(variants: Mapping[str, PredictionsBySeed], reference: PredictionsBySeed) -> dict[str, McNemar]:
    """McNemar's test of each variant against the reference; all of them are one family of Holm."""

    def right_seeds(predictions: PredictionsBySeed) -> np.ndarray:
        return np.asarray((predictions.predictions == predictions.labels).sum(0))

    more_right = {name: right_seeds(variant) - right_seeds(reference) for name, variant in variants.items()}
    discordant = {name: (int((more > 0).sum()), int((more < 0).sum())) for name, more in more_right.items()}
    p_values = [
        min(1.0, 2 * float(binom.cdf(min(gained, lost), gained + lost, 0.5))) for gained, lost in discordant.values()
    ]
    return {
        name: McNemar(*discordant[name], p_value, p_holm)
        for name, p_value, p_holm in zip(variants, p_values, holm(p_values), strict=True)
    }
