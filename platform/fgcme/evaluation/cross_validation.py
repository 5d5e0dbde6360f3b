"""The metrics of a cross-validation, from the predictions of its folds.

Each utterance is in the test part of one fold, so the predictions of a seed's folds together cover every utterance
once: metrics are taken of these pooled out-of-fold predictions, once a seed. The deviation over seeds is that of
training (initial weights, order of batches); it says nothing of other speakers.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from fgcme.evaluation.metrics import confusion, measure

PREDICTIONS = pa.schema(
    [
        ("id", pa.string()),
        ("speaker", pa.string()),
        ("label", pa.string()),
        ("prediction", pa.string()),
        ("probabilities", pa.list_(pa.float32())),
        ("fold", pa.int32()),
        ("seed", pa.int32()),
    ]
)


@dataclass(frozen=True)
class CrossValidationSummary:
    """Metrics of a cross-validation.

    Attributes:
        by_seed: seed -> metrics of its pooled out-of-fold predictions.
        mean, deviation: metric -> its mean and sample deviation over seeds; the deviation is 0 with one seed.
        matrix: [K, K] confusion counts over all seeds.
        utterances: how many utterances the metrics of one seed are taken of.
    """

    by_seed: dict[int, dict[str, float]]
    mean: dict[str, float]
    deviation: dict[str, float]
    matrix: np.ndarray
    utterances: int


def probabilities_of(logits: np.ndarray) -> np.ndarray:
    """The softmax of each row, [B, K] -> [B, K] float32; all answers have theirs from here, to the last bit."""
    shifted = np.exp(logits - logits.max(1, keepdims=True))
    return np.asarray(shifted / shifted.sum(1, keepdims=True), np.float32)


def predictions_table(
    ids: Sequence[str],
    speakers: Sequence[str],
    labels: np.ndarray,
    logits: np.ndarray,
    classes: Sequence[str],
    fold: int,
    seed: int,
) -> pa.Table:
    """Predictions of one fold as a table of schema `PREDICTIONS`.

    Args:
        ids: of the B utterances.
        speakers: of the B utterances.
        labels: [B] class indices.
        logits: [B, K] unnormalised scores; the largest is the prediction.
        classes: class names.
        fold: of the training.
        seed: of the training.
    """
    columns = [
        list(ids),
        list(speakers),
        [classes[label] for label in labels],
        [classes[label] for label in logits.argmax(1)],
        list(probabilities_of(logits)),
        [fold] * len(ids),
        [seed] * len(ids),
    ]
    return pa.table(
        [pa.array(column, field.type) for column, field in zip(columns, PREDICTIONS, strict=True)], PREDICTIONS
    )


def average_seeds(predictions: pa.Table, classes: Sequence[str]) -> pa.Table:
    """Out-of-fold predictions of ensembles: for each utterance the mean logits over the seeds, as one seed, 0.

    Args:
        predictions: all folds and seeds, schema `PREDICTIONS`.
        classes: class names.
    """
    names = np.array(predictions["id"].to_pylist())
    ids, first, which = np.unique(names, return_index=True, return_inverse=True)
    # The logarithm of probabilities is a logit less a number that all classes share.
    probabilities = np.array(predictions["probabilities"].to_pylist(), np.float64)
    logits = np.zeros((len(ids), len(classes)))
    np.add.at(logits, which, np.log(np.maximum(probabilities, np.finfo(np.float32).tiny)))
    logits /= np.bincount(which)[:, None]
    of_each = predictions.take(first)
    index = {name: number for number, name in enumerate(classes)}
    labels = np.array([index[name] for name in of_each["label"].to_pylist()])
    table = predictions_table(ids.tolist(), of_each["speaker"].to_pylist(), labels, logits, classes, fold=0, seed=0)
    return table.set_column(table.schema.get_field_index("fold"), PREDICTIONS.field("fold"), of_each["fold"])


def summarise(
    predictions: pa.Table, classes: Sequence[str], without_speakers: Iterable[str] = ()
) -> CrossValidationSummary:
    """Metrics of the pooled out-of-fold predictions of each seed.

    Args:
        predictions: all folds and seeds, schema `PREDICTIONS`.
        classes: class names.
        without_speakers: leave these speakers out.
    """
    index = {name: number for number, name in enumerate(classes)}
    seeds = np.array(predictions["seed"].to_pylist())
    labels = np.array([index[name] for name in predictions["label"].to_pylist()])
    predicted = np.array([index[name] for name in predictions["prediction"].to_pylist()])
    included = ~np.isin(np.array(predictions["speaker"].to_pylist()), list(without_speakers))
    by_seed = {}
    for seed in np.unique(seeds):
        own = included & (seeds == seed)
        by_seed[int(seed)] = measure(confusion(labels[own], predicted[own], len(classes)))
    names = list(next(iter(by_seed.values())))
    values = {name: np.array([metrics[name] for metrics in by_seed.values()]) for name in names}
    return CrossValidationSummary(
        by_seed=by_seed,
        mean={name: float(column.mean()) for name, column in values.items()},
        deviation={name: float(column.std(ddof=1)) if len(column) > 1 else 0.0 for name, column in values.items()},
        matrix=confusion(labels[included], predicted[included], len(classes)),
        utterances=int(included.sum()) // len(by_seed),
    )
