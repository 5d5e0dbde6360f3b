"""Hand-made predictions of the variants of an ablation."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from fgcme.evaluation.cross_validation import PREDICTIONS

CLASSES = ["calm", "angry", "sad"]


def predictions(
    speakers: Sequence[int], labels: np.ndarray, predicted: np.ndarray, classes: Sequence[str] = CLASSES, folds: int = 3
) -> pa.Table:
    """A table of schema PREDICTIONS, with seeds 0 to R - 1; speakers are dealt out to the folds in turn.

    Args:
        speakers: [B] numbers of the speakers.
        labels: [B] class indices.
        predicted: [R, B] class indices.
        classes: class names.
        folds: how many.
    """
    seeds, count = predicted.shape
    names = np.array(classes)
    columns = {
        "id": np.tile([f"u{index:05}" for index in range(count)], seeds),
        "speaker": np.tile([f"s{speaker:03}" for speaker in speakers], seeds),
        "label": np.tile(names[labels], seeds),
        "prediction": names[predicted].ravel(),
        "probabilities": pa.nulls(predicted.size),
        "fold": np.tile(np.array(speakers) % folds, seeds),
        "seed": np.repeat(np.arange(seeds), count),
    }
    return pa.table([pa.array(columns[field.name]).cast(field.type) for field in PREDICTIONS], PREDICTIONS)


def ablation(
    generator: np.random.Generator, speakers: int = 5, variants: int = 3, seeds: int = 2
) -> dict[str, pa.Table]:
    """Variants of rising accuracy, on speakers with different numbers of utterances; the first is `plain`."""
    owner = np.repeat(np.arange(speakers), generator.integers(4, 12, speakers))
    labels = generator.integers(0, 3, len(owner))
    tables = {}
    for number in range(variants):
        right = generator.random((seeds, len(owner))) < 0.4 + 0.1 * number
        wrong = (labels + generator.integers(1, 3, right.shape)) % 3
        name = f"variant{number}" if number else "plain"
        tables[name] = predictions(owner, labels, np.where(right, labels, wrong))
    return tables


def one_utterance_a_speaker(*right: str) -> dict[str, pa.Table]:
    """Variants of one seed, `1` where the only utterance of a speaker is predicted right; the first is `plain`."""
    labels = np.zeros(len(right[0]), int)
    return {
        f"variant{number}" if number else "plain": predictions(
            range(len(labels)), labels, np.array([[1 - int(mark) for mark in marks]])
        )
        for number, marks in enumerate(right)
    }
