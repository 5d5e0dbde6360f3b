from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fgcme.evaluation.counts import Counts
from fgcme.evaluation.metrics import confusion, measure
from fgcme.evaluation.predictions import PredictionsBySeed
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
