"""What a protocol learns from an utterance, and what it refuses to learn from."""

import numpy as np
import pytest

from fgcme.data import Tasks, assign_folds, split_fold
from fgcme.data.protocol import Protocol, UtteranceTable
from fgcme.data.targets import gather_ratings, shares_of
from fgcme.errors import UserError

NAN = float("nan")
SCALES = {"valence": [1.0, 5.0], "arousal": [0.0, 10.0]}
VALENCE = np.array([1, 2, 5, NAN, NAN, 3], np.float32)
AROUSAL = np.array([0, 5, NAN, 10, NAN, 5], np.float32)


def table(**ratings: np.ndarray) -> UtteranceTable:
    count = len(VALENCE)
    speakers = [f"s{number % 3}" for number in range(count)]
    labels = ["calm", "angry"] * (count // 2)
    nothing = [None] * count
    return UtteranceTable([f"u{n}" for n in range(count)], labels, speakers, nothing, nothing, ratings, "tones")


def protocol(**changes: object) -> Protocol:
    return Protocol.model_validate({"name": "rated", "dimensions": SCALES, "folds": 3} | changes)


def test_ratings_are_scaled_to_0_and_1_and_back() -> None:
    tasks = Tasks(["calm"], SCALES)
    assert tasks.size == 3
    scaled = tasks.scaled(np.stack([VALENCE, AROUSAL], axis=1))
    np.testing.assert_array_equal(scaled[:, 0], [0, 0.25, 1, NAN, NAN, 0.5])
    np.testing.assert_array_equal(scaled[:, 1], [0, 0.5, NAN, 1, NAN, 0.5])
    np.testing.assert_allclose(tasks.unscaled(scaled)[:, 0], VALENCE)
    np.testing.assert_allclose(tasks.unscaled(np.array([[1.25, -0.1]])), [[6, -1]])


def test_who_has_any_rating_takes_part_and_who_lacks_one_is_counted() -> None:
    assigned = assign_folds(protocol(), table(valence=VALENCE, arousal=AROUSAL))
    assert assigned.left_out == {"without a rating": 1}
    assert (assigned.folds >= 0).tolist() == [True, True, True, True, False, True]
    assert [remark.split(",")[0] for remark in assigned.remarks] == [
        "without a rating of valence: 1",
        "without a rating of arousal: 1",
    ]
    assert set(assigned.labels.tolist()) == {0, -1}
    assert sorted(np.concatenate(list(vars(split_fold(assigned, 0)).values())).tolist()) == [0, 1, 2, 3, 5]


def test_beside_classes_the_labels_decide_who_takes_part() -> None:
    own = protocol(labels={"calm": "calm", "angry": "angry"})
    assigned = assign_folds(own, table(valence=VALENCE, arousal=AROUSAL))
    assert (assigned.folds >= 0).all()
    assert len(assigned.remarks) == 2 and all(": 2," in remark for remark in assigned.remarks)
    assert assigned.labels.tolist() == [0, 1] * 3
    assert own.tasks == Tasks(["calm", "angry"], SCALES)


def test_a_corpus_without_ratings_is_refused_with_the_key_and_its_name() -> None:
    for ratings in ({}, {"valence": VALENCE, "arousal": np.full(6, NAN, np.float32)}):
        with pytest.raises(UserError, match=r"rated: protocol\.dimensions asks for .*of the corpus tones"):
            assign_folds(protocol(), table(**ratings))


def test_ratings_on_another_scale_are_refused_with_an_utterance() -> None:
    message = (
        r"1 ratings of arousal are not on the scale from 0 to 7 of protocol\.dimensions\.arousal, such as 10 of .* u3"
    )
    with pytest.raises(UserError, match=message):
        gather_ratings(Tasks([], {"arousal": (0, 7)}), {"arousal": AROUSAL}, [f"u{n}" for n in range(6)], "p", "c")


def test_a_slip_in_a_hundred_ratings_is_taken_as_it_is_and_counted() -> None:
    slips = np.where(np.arange(100) == 7, 5.5, 3).astype(np.float32)
    found = gather_ratings(Tasks([], {"valence": (1, 5)}), {"valence": slips}, [""] * 100, "p", "c")
    assert found[7] == 1.125
    names = [f"s{number % 3}" for number in range(100)]
    own = protocol(dimensions={"valence": [1, 5]})
    assigned = assign_folds(own, UtteranceTable(names, names, names, names, names, {"valence": slips}))
    assert assigned.remarks == ["ratings of valence beyond its scale, taken as they are: 1"]


def test_a_protocol_learns_something() -> None:
    with pytest.raises(ValueError, match="labels, dimensions or both"):
        protocol(dimensions={})


MAPPED = {"calm": "calm", "angry": "angry", "furious": "angry"}


def by_raters(labels: list[str]) -> UtteranceTable:
    names = [f"s{number % 3}" for number in range(len(labels))]
    return UtteranceTable(names, labels, names, [None] * len(labels), [None] * len(labels), corpus="tones")


def test_the_shares_of_raters_are_counted_from_raw_labels_and_the_most_frequent_class_is_the_label() -> None:
    labels = ["calm;calm; angry", "angry;furious;calm", "calm;bored", "bored;bored", "angry;calm", "calm"]
    assigned = assign_folds(protocol(dimensions={}, labels=MAPPED, distribution="raters"), by_raters(labels))
    assert assigned.votes.tolist() == [[2, 1], [1, 2], [1, 0], [0, 0], [1, 1], [1, 0]]
    assert assigned.labels.tolist() == [0, 1, 0, -1, 0, 0]
    assert assigned.left_out == {"no rater's label of a class": 1}
    assert assigned.remarks == [
        "raters: 10 labels of classes, 2.0 an utterance; 3 labels of no class, which do not count",
        "no class most frequent among raters: 1, held against the first of their most frequent",
        "one rater's label of a class alone: 2",
    ]
    np.testing.assert_allclose(shares_of(assigned.votes)[0], [2 / 3, 1 / 3])


def test_a_corpus_of_one_rater_is_refused_with_the_key_and_its_name() -> None:
    with pytest.raises(
        UserError, match=r"rated: protocol\.distribution asks for .* of the corpus tones has more than one"
    ):
        assign_folds(protocol(labels=MAPPED, dimensions={}, distribution="raters"), by_raters(["calm", "angry"] * 3))


def test_shares_are_those_of_classes() -> None:
    with pytest.raises(ValueError, match="give labels as well"):
        protocol(distribution="raters")
