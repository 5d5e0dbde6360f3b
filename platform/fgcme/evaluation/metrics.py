"""Metrics of a classification, from its confusion matrix.

WA (weighted accuracy) is accuracy; UA (unweighted accuracy, UAR) is the mean of the recalls of the classes.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

Score = Literal["published", "ua", "wa", "ccc"]

# Sums of shares of one size differ by rounding; the metrics' own steps are far larger.
ROUNDING = 1e-12


def confusion(labels: np.ndarray, predictions: np.ndarray, classes: int) -> np.ndarray:
    """Confusion matrix [K, K] of counts: rows are true classes, columns predicted ones.

    >>> confusion(np.array([0, 0, 1]), np.array([0, 1, 1]), 2).tolist()
    [[1, 1], [0, 1]]

    Args:
        labels: [B] true class indices.
        predictions: [B] predicted class indices.
        classes: K, how many.
    """
    return np.bincount(labels * classes + predictions, minlength=classes * classes).reshape(classes, classes)


def measure(matrix: np.ndarray) -> dict[str, float]:
    """WA, UA and macro-F1 of a confusion matrix. Classes without utterances do not count; an empty matrix gives zeros.

    >>> measure(np.array([[1, 1], [0, 2]]))
    {'wa': 0.75, 'ua': 0.75, 'macro_f1': 0.7333333333333334}
    """
    correct = np.diag(matrix).astype(float)
    support, predicted = matrix.sum(1), matrix.sum(0)
    present = support > 0
    if not present.any():
        return {"wa": 0.0, "ua": 0.0, "macro_f1": 0.0}
    recall = correct[present] / support[present]
    f1 = 2 * correct[present] / (support[present] + predicted[present])
    return {"wa": float(correct.sum() / support.sum()), "ua": float(recall.mean()), "macro_f1": float(f1.mean())}


def score(measured: dict[str, float], kind: Score) -> float:
    """The number that selects the best epoch.

    `published` is the published code's 0.9 WA + 0.1 UA, and the mean CCC where ratings alone are measured.

    >>> score({"wa": 0.5, "ua": 1.0, "ccc": 0.2}, "published"), score({"ccc": 0.2}, "published")
    (0.55, 0.2)
    """
    if kind == "published" and "ua" not in measured:
        return measured["ccc"]
    if kind == "published":
        return 0.9 * measured["wa"] + 0.1 * measured["ua"]
    return measured[kind]
