import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, balanced_accuracy_score, f1_score

from fgcme.evaluation.metrics import confusion, measure, score


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=60))
@pytest.mark.filterwarnings("ignore:y_pred contains classes")
def test_metrics_agree_with_scikit_learn(pairs: list[tuple[int, int]]) -> None:
    labels, predictions = np.array(pairs).T
    measured = measure(confusion(labels, predictions, 4))
    assert measured["wa"] == pytest.approx(accuracy_score(labels, predictions))
    assert measured["ua"] == pytest.approx(balanced_accuracy_score(labels, predictions))
    present = np.unique(labels)
    expected = f1_score(labels, predictions, labels=present, average="macro", zero_division=0)
    assert measured["macro_f1"] == pytest.approx(expected)


def test_the_published_score_weighs_wa_nine_times() -> None:
    assert score({"wa": 0.5, "ua": 1.0}, "published") == pytest.approx(0.55)
    assert score({"wa": 0.5, "ua": 1.0}, "ua") == 1.0
    assert score({"wa": 0.5, "ua": 1.0}, "wa") == 0.5


def test_metrics_without_utterances_are_zero() -> None:
    assert measure(np.zeros((3, 3), int)) == {"wa": 0.0, "ua": 0.0, "macro_f1": 0.0}
