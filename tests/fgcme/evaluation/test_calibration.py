"""The expected calibration error is the mean distance of confidence and accuracy over the bins."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.calibration import calibration_curve

from fgcme.evaluation.calibration import calibrate


def answers(count: int = 500, classes: int = 4) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(0)
    probabilities = generator.dirichlet(np.full(classes, 0.5), count)
    return probabilities, generator.integers(0, classes, count)


def test_the_bins_are_those_of_scikit_learn() -> None:
    probabilities, labels = answers()
    found = [each for each in calibrate(probabilities, labels).bins if each.count]
    right = probabilities.argmax(1) == labels
    accuracy, confidence = calibration_curve(right, probabilities.max(1), n_bins=10)
    assert [each.accuracy for each in found] == pytest.approx(accuracy.tolist())
    assert [each.confidence for each in found] == pytest.approx(confidence.tolist())


def test_the_error_weighs_bins_by_their_answers() -> None:
    # Three answers at 0.95, all right, and one at 0.55, wrong.
    probabilities = np.array([[0.95, 0.05]] * 3 + [[0.55, 0.45]])
    calibration = calibrate(probabilities, np.array([0, 0, 0, 1]))
    assert calibration.error == pytest.approx((3 * 0.05 + 0.55) / 4)
    assert (calibration.accuracy, calibration.confidence) == (0.75, pytest.approx(0.85))


def test_whoever_is_sure_and_right_has_no_error() -> None:
    assert calibrate(np.eye(3), np.arange(3)).error == 0


def test_an_answer_at_the_edge_of_two_bins_counts_once() -> None:
    calibration = calibrate(np.array([[0.5, 0.5], [1.0, 0.0]]), np.array([0, 0]))
    assert [each.count for each in calibration.bins] == [0, 0, 0, 0, 1, 0, 0, 0, 0, 1]
