"""Calibration: whether a model that is sure to 80 % is right in 80 % of its answers."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np

_BINS = 10


@dataclass(frozen=True)
class ReliabilityBin:
    """The answers whose probability lies in one range.

    Attributes:
        low, high: of the range, its upper end in it.
        count: answers in it.
        confidence: their mean probability; NaN without answers.
        accuracy: the share of them that is right; NaN without answers.
    """

    low: float
    high: float
    count: int
    confidence: float
    accuracy: float


@dataclass(frozen=True)
class Calibration:
    """How far the probabilities of answers are from the shares of right ones.

    Attributes:
        error: the expected calibration error (ECE), the mean distance of both over the bins, by their answers.
        confidence: the mean probability of an answer.
        accuracy: the share of right answers.
        bins: of equal width, the lowest first.
    """

    error: float
    confidence: float
    accuracy: float
    bins: list[ReliabilityBin]


def calibrate(probabilities: np.ndarray, labels: np.ndarray, bins: int = _BINS) -> Calibration:
    """The calibration of answers, each the most probable class.

    Source: Guo et al., "On calibration of modern neural networks", ICML 2017.

    Args:
        probabilities: [N, K] of each class.
        labels: [N] true class indices.
        bins: how many ranges of equal width.

    >>> round(calibrate(np.array([[0.9, 0.1], [0.7, 0.3]]), np.array([0, 1])).error, 2)  # (0.1 + 0.7) / 2
    0.4
    """
    confidence, right = probabilities.max(1), probabilities.argmax(1) == labels
    edges = np.linspace(0, 1, bins + 1)
    bin_of = np.clip(np.searchsorted(edges, confidence, side="left") - 1, 0, bins - 1)
    found = []
    for number, (low, high) in enumerate(itertools.pairwise(edges.tolist())):
        own = bin_of == number
        count = int(own.sum())
        means = (float(confidence[own].mean()), float(right[own].mean())) if count else (float("nan"), float("nan"))
        found.append(ReliabilityBin(low, high, count, *means))
    distance = sum(each.count * abs(each.accuracy - each.confidence) for each in found if each.count)
    return Calibration(distance / len(labels), float(confidence.mean()), float(right.mean()), found)
