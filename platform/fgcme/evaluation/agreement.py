"""Several raters of an utterance: how far a model's probabilities are from their shares, and how far they agree.

The agreement of humans is that of each rater with the majority of the others, as Snow et al. ("Cheap and fast - but is
it good?", EMNLP 2008) hold each annotator against the others. A model is held against the very same majorities, so that
the two can be compared: the majority of all raters would be another yardstick, in which each of them has a say.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from fgcme.data.targets import shares_of
from fgcme.evaluation.metrics import confusion, measure

VOTES = "votes"
"""Column of predictions: how many raters gave each class."""


def measure_distribution(probabilities: np.ndarray, votes: np.ndarray) -> dict[str, float]:
    """How far probabilities are from the shares of raters, the mean over utterances.

    Args:
        probabilities: [B, K] of each class.
        votes: [B, K] how many raters gave each class.

    Returns:
        `cross_entropy` in nats, which is least, the raters' own entropy, where probabilities are their shares; and
        `jensen_shannon`, the distance of Endres and Schindelin (2003), 0 to 1.

    >>> found = measure_distribution(np.array([[0.5, 0.5], [1.0, 0.0]]), np.array([[2, 2], [0, 3]]))
    >>> round(found["jensen_shannon"], 3)  # of 0 and 1
    0.5
    """
    shares, sure = shares_of(votes).astype(np.float64), np.finfo(np.float64).tiny
    probabilities = np.asarray(probabilities, np.float64)
    middle = (shares + probabilities) / 2

    def divergence(of: np.ndarray) -> np.ndarray:
        return np.asarray((of * np.log2(np.maximum(of, sure) / np.maximum(middle, sure))).sum(1))

    distance = np.sqrt(np.clip((divergence(shares) + divergence(probabilities)) / 2, 0, 1))
    cross_entropy = -(shares * np.log(np.maximum(probabilities, sure))).sum(1)
    return {"cross_entropy": float(cross_entropy.mean()), "jensen_shannon": float(distance.mean())}


@dataclass(frozen=True)
class Agreement:
    """How far humans agree with each other, and a model with the same humans.

    Attributes:
        human: WA, UA and macro-F1 of each rater against the majority of the others.
        model: the same of the model against these majorities, the mean over seeds.
        distribution: see `measure_distribution`, the mean over seeds.
        labels: of raters that could be held against the others.
        undecided: of raters that could not: the others are tied, or there is no other.
    """

    human: dict[str, float]
    model: dict[str, float]
    distribution: dict[str, float]
    labels: int
    undecided: int

    @property
    def metrics(self) -> dict[str, float]:
        """All of it by names of metrics: `human_ua`, `model_with_raters_ua`, `jensen_shannon`."""
        human = {f"human_{name}": value for name, value in self.human.items()}
        return human | {f"model_with_raters_{name}": value for name, value in self.model.items()} | self.distribution


def with_votes(predictions: pa.Table, votes: np.ndarray) -> pa.Table:
    """Predictions with how many raters gave each class, [B, K]."""
    return predictions.append_column(VOTES, pa.array(list(votes.astype(np.int32)), pa.list_(pa.int32())))


def measure_agreement(predictions: pa.Table, classes: list[str]) -> Agreement:
    """Agreement in the predictions of a cross-validation.

    Args:
        predictions: all folds and seeds, schema `cross_validation.PREDICTIONS` and the column `VOTES`.
        classes: class names.
    """
    index = {name: number for number, name in enumerate(classes)}
    seeds = predictions["seed"].to_numpy()
    votes = np.array(predictions[VOTES].to_pylist(), np.int64)
    answers = np.array([index[name] for name in predictions["prediction"].to_pylist()])
    probabilities = np.array(predictions["probabilities"].to_pylist())
    models, distributions = [], []
    for seed in np.unique(seeds):
        own = seeds == seed
        references, given, utterances = _held_against_others(votes[own])
        models.append(measure(confusion(references, answers[own][utterances], len(classes))))
        distributions.append(measure_distribution(probabilities[own], votes[own]))
    return Agreement(
        human=measure(confusion(references, given, len(classes))),
        model=_mean(models),
        distribution=_mean(distributions),
        labels=len(given),
        undecided=int(votes[own].sum()) - len(given),
    )


def _held_against_others(votes: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For each rater whose fellows have a majority: their class, the rater's own, and the utterance.

    Args:
        votes: [B, K] how many raters gave each class.
    """
    utterances, given = np.nonzero(votes)
    times = votes[utterances, given]
    others = votes[utterances].copy()
    others[np.arange(len(given)), given] -= 1
    ordered = np.sort(others, axis=1)
    decided = ordered[:, -1] > ordered[:, -2]
    repeated = np.repeat(np.flatnonzero(decided), times[decided])
    return others.argmax(1)[repeated], given[repeated], utterances[repeated]


def _mean(of_seeds: list[dict[str, float]]) -> dict[str, float]:
    return {name: float(np.mean([each[name] for each in of_seeds])) for name in of_seeds[0]}
