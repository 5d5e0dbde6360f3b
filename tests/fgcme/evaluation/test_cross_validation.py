import numpy as np
import pyarrow as pa
import pytest

from fgcme.evaluation.cross_validation import PREDICTIONS, average_seeds, predictions_table, summarise

CLASSES = ["calm", "angry"]


def table(labels: list[int], predicted: list[int], fold: int, seed: int, speaker: str = "s") -> pa.Table:
    logits = np.eye(2)[predicted] * 3
    ids = [f"{fold}-{index}" for index in range(len(labels))]
    return predictions_table(ids, [speaker] * len(labels), np.array(labels), logits, CLASSES, fold, seed)


def test_predictions_hold_class_names_and_probabilities() -> None:
    predictions = table([0, 1], [0, 0], fold=2, seed=1)
    assert predictions.schema == PREDICTIONS
    assert predictions["label"].to_pylist() == ["calm", "angry"]
    assert predictions["prediction"].to_pylist() == ["calm", "calm"]
    assert [sum(row) for row in predictions["probabilities"].to_pylist()] == pytest.approx([1, 1])


def test_metrics_are_of_the_pooled_predictions_of_a_seed_not_the_mean_of_its_folds() -> None:
    # Fold 0 has one utterance, right; fold 1 has three, one of them right.
    predictions = pa.concat_tables([table([0], [0], 0, 0), table([0, 1, 1], [0, 0, 0], 1, 0)])
    summary = summarise(predictions, CLASSES)
    assert summary.mean["wa"] == pytest.approx(2 / 4)
    assert summary.mean["ua"] == pytest.approx((2 / 2 + 0 / 2) / 2)
    assert summary.deviation["wa"] == 0
    assert summary.utterances == 4


def test_the_deviation_is_the_sample_deviation_over_seeds() -> None:
    predictions = pa.concat_tables([table([0, 1], [0, 1], 0, 0), table([0, 1], [0, 0], 0, 1)])
    summary = summarise(predictions, CLASSES)
    assert summary.by_seed[0]["wa"] == 1
    assert summary.mean["wa"] == pytest.approx(0.75)
    assert summary.deviation["wa"] == pytest.approx(np.std([1, 0.5], ddof=1))
    assert summary.matrix.tolist() == [[2, 0], [1, 1]]


def test_speakers_can_be_left_out() -> None:
    predictions = pa.concat_tables([table([0, 1], [0, 1], 0, 0, "seen"), table([0, 1], [1, 0], 1, 0, "fresh")])
    summary = summarise(predictions, CLASSES, without_speakers=["seen"])
    assert summary.mean["wa"] == 0
    assert summary.by_seed[0]["ua"] == 0
    assert summary.matrix.tolist() == [[0, 1], [1, 0]]
    assert summary.utterances == 2


def test_an_ensemble_of_the_seeds_answers_by_their_mean_logits() -> None:
    logits = {0: [[2.0, 0.0], [0.0, 1.0]], 1: [[0.0, 3.0], [0.0, 0.5]]}
    tables = [
        predictions_table(["u1", "u0"], ["s", "t"], np.array([1, 0]), np.array(rows), CLASSES, 4, seed)
        for seed, rows in logits.items()
    ]
    averaged = average_seeds(pa.concat_tables(tables), CLASSES)
    assert averaged.schema == PREDICTIONS
    assert averaged["id"].to_pylist() == ["u0", "u1"] and averaged["speaker"].to_pylist() == ["t", "s"]
    assert averaged["label"].to_pylist() == ["calm", "angry"] and averaged["fold"].to_pylist() == [4, 4]
    assert averaged["prediction"].to_pylist() == ["angry", "angry"]
    expected = np.array([[0.0, 0.75], [1.0, 1.5]])
    shares = np.exp(expected) / np.exp(expected).sum(1, keepdims=True)
    np.testing.assert_allclose(np.array(averaged["probabilities"].to_pylist()), shares, rtol=1e-5)
    assert summarise(averaged, CLASSES).mean["wa"] == 0.5
