"""Linear classifiers by a protocol: standardised values, and C chosen on the dev part of each fold.

The model is then trained on train and dev part together. Nothing is chosen on a test part, and nothing is drawn.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np

from fgcme.data.assignment import Assignment, split_fold
from fgcme.evaluation.metrics import confusion, measure

Model = TypeVar("Model")
Standardise = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]


def by_training_part(values: np.ndarray, train: np.ndarray, speakers: np.ndarray) -> np.ndarray:
    """Each value by its mean and deviation over the training part, [B, values] -> [B, values]."""
    return (values - values[train].mean(0)) / np.maximum(values[train].std(0), 1e-9)


def by_speaker(values: np.ndarray, train: np.ndarray, speakers: np.ndarray) -> np.ndarray:
    """Each value by its mean and deviation over all that the speaker says, [B, values] -> [B, values]."""
    standardised = np.empty_like(values)
    for speaker in np.unique(speakers):
        own = speakers == speaker
        standardised[own] = by_training_part(values[own], np.arange(own.sum()), speakers)
    return standardised


STANDARDISED: dict[str, Standardise] = {"training part": by_training_part, "speaker": by_speaker}


def cross_validate(
    assignment: Assignment,
    standardised: Callable[[np.ndarray], np.ndarray],
    fit: Callable[[np.ndarray, np.ndarray, float], Model],
    answer: Callable[[Model, np.ndarray], np.ndarray],
    penalties: Sequence[float],
) -> dict[str, float]:
    """Metrics of the pooled out-of-fold predictions.

    Args:
        assignment: the protocol applied to the utterances.
        standardised: what is known of all B of them, [B, ...], given the indices of the training part.
        fit: a model of values, labels and C.
        answer: the class of each utterance by its values.
        penalties: values of C to choose from.
    """
    labels = assignment.labels
    predicted = np.full(len(labels), -1)
    for fold in range(assignment.fold_count):
        split = split_fold(assignment, fold)
        seen = standardised(split.train)
        scores = [
            _ua(labels[split.dev], answer(fit(seen[split.train], labels[split.train], penalty), seen[split.dev]))
            for penalty in penalties
        ]
        both = np.concatenate([split.train, split.dev])
        seen = standardised(both)
        model = fit(seen[both], labels[both], penalties[int(np.argmax(scores))])
        predicted[split.test] = answer(model, seen[split.test])
    tested = predicted >= 0
    return measure(confusion(labels[tested], predicted[tested], len(assignment.protocol.classes)))


def _ua(labels: np.ndarray, predicted: np.ndarray) -> float:
    """Mean recall of the classes."""
    return measure(confusion(labels, predicted, 1 + int(labels.max())))["ua"]
