from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fgcme.evaluation.counts import Counts
from fgcme.evaluation.metrics import confusion, measure
from fgcme.evaluation.predictions import PredictionsBySeed
from tests.fgcme.evaluation.memory import peak_mebibytes
from tests.fgcme.evaluation.sample_predictions import CLASSES, predictions


def test_weighted_counts_are_those_of_speakers_taken_as_often_as_their_weight() -> None:
    labels = np.array([0, 1, 1, 2])
    table = predictions([0, 0, 1, 1], labels, np.array([[0, 1, 2, 2]]))
    counts = Counts.by_speaker(PredictionsBySeed.of("", table, CLASSES), 3)
    twice_the_first = counts.weighted(np.array([[2.0, 0.0], [1.0, 1.0]]))
    assert twice_the_first.support[:, 0].tolist() == [[2, 2, 0], [1, 2, 1]]
    assert twice_the_first.correct[:, 0].tolist() == [[2, 2, 0], [1, 1, 1]]
    assert twice_the_first.predicted[:, 0].tolist() == [[2, 2, 0], [1, 1, 2]]


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2), st.integers(0, 2)), min_size=1, max_size=40))
def test_measures_of_counts_are_those_of_the_confusion_matrix(rows: list[tuple[int, int, int]]) -> None:
    labels, first, second = np.array(rows).T
    answers = np.stack([first, second])
    table = predictions([0] * len(labels), labels, answers)
    measured = Counts.by_speaker(PredictionsBySeed.of("plain", table, CLASSES), 3).measure()
    for seed in range(2):
        expected = measure(confusion(labels, answers[seed], 3))
        assert {metric: values[0, seed] for metric, values in measured.items()} == pytest.approx(expected)


def test_varying_one_fold_over_seeds_keeps_the_other_folds_at_their_mean() -> None:
    # Two folds of two utterances, two seeds; right are 0 and 2 in fold 0, 1 and 1 in fold 1.
    labels = np.zeros(4, int)
    answers = np.array([[1, 1, 0, 1], [0, 0, 0, 1]])
    counts = Counts.by_fold(PredictionsBySeed.of("", predictions([0, 0, 1, 1], labels, answers), CLASSES), 3)
    assert counts.vary_one_group().correct[:, :, 0].tolist() == [[0 + 1, 2 + 1], [1 + 1, 1 + 1]]
    assert counts.vary_one_group().support[:, :, 0].tolist() == [[4], [4]]


def test_counts_of_groups_are_those_of_their_confusion_matrices() -> None:
    generator = np.random.default_rng(0)
    speakers, (labels, *rows) = generator.integers(0, 5, 60), generator.integers(0, 3, (3, 60))
    answers = np.stack(rows)
    arranged = PredictionsBySeed.of("", predictions(speakers.tolist(), labels, answers), CLASSES)
    for counts, groups in ((Counts.by_speaker(arranged, 4), speakers), (Counts.by_fold(arranged, 4), speakers % 3)):
        assert counts.support.shape == (groups.max() + 1, 1, 4)
        for group, seed in np.ndindex(groups.max() + 1, 2):
            own = groups == group
            matrix = confusion(labels[own], answers[seed, own], 4)
            assert counts.correct[group, seed].tolist() == np.diag(matrix).tolist()
            assert counts.support[group, 0].tolist() == matrix.sum(1).tolist()
            assert counts.predicted[group, seed].tolist() == matrix.sum(0).tolist()


def test_weighted_counts_of_many_resamples_are_those_of_one_product() -> None:
    generator = np.random.default_rng(1)
    owner = np.repeat(np.arange(300), 2)
    labels, answers = generator.integers(0, 3, 600), generator.integers(0, 3, (2, 600))
    counts = Counts.by_speaker(PredictionsBySeed.of("", predictions(owner.tolist(), labels, answers), CLASSES), 3)
    weights = generator.integers(0, 4, (10_000, 300)).astype(np.uint8)
    weighted = counts.weighted(weights)
    for name in ("correct", "support", "predicted"):
        expected = np.tensordot(weights.astype(float), getattr(counts, name), 1)
        np.testing.assert_array_equal(getattr(weighted, name), expected)


def test_counts_of_many_classes_take_the_memory_of_their_sums_alone() -> None:
    # A matrix for each of 1,500 speakers would have 100 x 100 numbers, 114 MiB in all.
    generator = np.random.default_rng(2)
    classes = [f"c{index}" for index in range(100)]
    labels = generator.integers(0, 100, 3000)
    table = predictions(np.repeat(np.arange(1500), 2).tolist(), labels, labels[None], classes)
    arranged = PredictionsBySeed.of("", table, classes)
    assert peak_mebibytes(lambda: Counts.by_speaker(arranged, 100)) < 20
