"""What a part's answers are and how they are measured: of classes, of ratings, of both."""

import numpy as np
import pytest

from fgcme.data import Tasks
from fgcme.evaluation.concordance import measure_ratings
from fgcme.training.evaluation import Evaluation

NAN = float("nan")
SCALES = {"valence": (1, 5), "arousal": (-1, 1)}


def of_classes(logits: np.ndarray, labels: list[int]) -> Evaluation:
    count = logits.shape[1]
    return Evaluation(
        logits, np.array(labels), np.zeros((len(labels), 0)), Tasks([f"c{each}" for each in range(count)])
    )


def test_the_metrics_of_an_evaluation_are_those_of_its_predictions() -> None:
    logits = np.log(np.array([[0.7, 0.2, 0.1], [0.1, 0.8, 0.1], [0.5, 0.3, 0.2], [0.2, 0.3, 0.5]], np.float32))
    evaluation = of_classes(logits, [0, 1, 1, 2])
    assert evaluation.predictions.tolist() == [0, 1, 0, 2]
    found = evaluation.metrics()
    assert found["wa"] == pytest.approx(3 / 4)
    assert found["ua"] == pytest.approx((1 + 1 / 2 + 1) / 3)
    assert found["loss"] == pytest.approx(-np.log([0.7, 0.8, 0.3, 0.5]).mean(), rel=1e-5)


def test_a_part_may_have_fewer_utterances_than_classes() -> None:
    logits = np.array([[0.0, 0.0, 3.0, 1.0], [0.0, 0.0, 0.0, 2.0]], np.float32)
    found = of_classes(logits, [2, 2]).metrics()
    assert (found["wa"], found["ua"], found["macro_f1"]) == pytest.approx((1 / 2, 1 / 2, 2 / 3))


def test_ratings_are_answered_and_measured_on_their_own_scales() -> None:
    answers = np.array([[0.25, 0.5], [0.5, 1.0], [1.25, 0.0]], np.float32)
    ratings = np.array([[0.0, NAN], [0.5, 0.75], [1.0, 0.25]], np.float32)
    found = Evaluation(answers, np.zeros(3, int), ratings, Tasks([], SCALES))
    assert found.answered_ratings["valence"].tolist() == [2, 3, 6]
    assert found.answered_ratings["arousal"].tolist() == [0, 1, -1]
    assert found.true_ratings["valence"].tolist() == [1, 3, 5]
    metrics = found.metrics()
    expected = measure_ratings(found.true_ratings, found.answered_ratings)
    assert {name: metrics[name] for name in expected} == expected
    assert metrics["loss"] == pytest.approx(1 - expected["ccc"])
    assert metrics["rmse_valence"] == pytest.approx(np.sqrt(2 / 3))
    assert "ua" not in metrics


def test_with_both_tasks_classes_come_first_and_the_losses_are_added() -> None:
    outputs = np.array([[2.0, 0.0, 0.1, 0.3], [0.0, 1.0, 0.9, 0.2], [1.0, 0.0, 0.4, 0.8]], np.float32)
    labels, ratings = np.array([0, 1, 1]), np.array([[0, 0.5], [1, 0], [0.5, 1]], np.float32)
    both = Evaluation(outputs, labels, ratings, Tasks(["calm", "angry"], SCALES)).metrics()
    classes = of_classes(outputs[:, :2], labels.tolist()).metrics()
    rated = Evaluation(outputs[:, 2:], labels, ratings, Tasks([], SCALES)).metrics()
    assert both == {**classes, **rated, "loss": pytest.approx(classes["loss"] + rated["loss"])}


def test_raters_are_met_by_probabilities_and_their_cross_entropy_is_the_loss() -> None:
    logits, votes = np.log(np.array([[0.75, 0.25], [0.5, 0.5]], np.float32)), np.array([[3, 1], [0, 2]])
    tasks = Tasks(["calm", "angry"])
    found = Evaluation(logits, np.array([0, 1]), np.zeros((2, 0)), tasks, votes).metrics()
    own = -(0.75 * np.log(0.75) + 0.25 * np.log(0.25))
    assert found["loss"] == found["cross_entropy"] == pytest.approx((own + np.log(2)) / 2, rel=1e-5)
    assert found["jensen_shannon"] > 0
    assert found["ua"] == pytest.approx(0.5)
