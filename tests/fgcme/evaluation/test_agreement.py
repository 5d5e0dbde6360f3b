"""How far raters agree, the model with them, and its probabilities with their shares."""

import numpy as np
import pytest
from scipy.spatial.distance import jensenshannon

from fgcme.evaluation.agreement import VOTES, measure_agreement, measure_distribution, with_votes
from fgcme.evaluation.cross_validation import predictions_table

CLASSES = ["calm", "angry", "sad"]


@pytest.mark.parametrize("seed", range(4))
def test_distances_are_those_of_the_definitions(seed: int) -> None:
    generator = np.random.default_rng(seed)
    votes = generator.multinomial(5, [0.6, 0.3, 0.1], 20)
    probabilities = generator.dirichlet([1, 1, 1], 20)
    found = measure_distribution(probabilities, votes)
    shares = votes / 5
    expected = [jensenshannon(*pair, base=2) for pair in zip(shares, probabilities, strict=True)]
    assert found["jensen_shannon"] == pytest.approx(np.mean(expected))
    assert found["cross_entropy"] == pytest.approx(-(shares * np.log(probabilities)).sum(1).mean())


def test_a_model_that_gives_the_shares_has_no_distance_and_the_raters_own_entropy() -> None:
    votes = np.array([[3, 1, 0], [0, 5, 0]])
    found = measure_distribution(votes / votes.sum(1, keepdims=True), votes)
    assert found["jensen_shannon"] == pytest.approx(0, abs=1e-7)
    assert found["cross_entropy"] == pytest.approx(-(0.75 * np.log(0.75) + 0.25 * np.log(0.25)) / 2)
    assert measure_distribution(np.array([[0.0, 0.0, 1.0]]), votes[1:])["jensen_shannon"] == pytest.approx(1)


def slow_pairs(votes: np.ndarray) -> list[tuple[int, int, int]]:
    """Utterance, majority of the others, own class: rater by rater."""
    pairs = []
    for utterance, counts in enumerate(votes.tolist()):
        raters = [number for number, times in enumerate(counts) for _ in range(times)]
        for place, own in enumerate(raters):
            others = raters[:place] + raters[place + 1 :]
            times = sorted(((others.count(each), each) for each in set(others)), reverse=True)
            if times and (len(times) == 1 or times[0][0] > times[1][0]):
                pairs.append((utterance, times[0][1], own))
    return pairs


@pytest.mark.parametrize("seed", range(4))
def test_each_rater_is_held_against_the_majority_of_the_others_and_the_model_too(seed: int) -> None:
    generator = np.random.default_rng(seed)
    count = 30
    votes = np.stack([generator.multinomial(generator.integers(1, 6), [0.5, 0.3, 0.2]) for _ in range(count)])
    logits = generator.normal(size=(count, 3)).astype(np.float32)
    ids = [f"u{number}" for number in range(count)]
    table = with_votes(predictions_table(ids, ["s"] * count, votes.argmax(1), logits, CLASSES, 0, 0), votes)
    assert np.array_equal(np.array(table[VOTES].to_pylist()), votes)
    found = measure_agreement(table, CLASSES)
    pairs = slow_pairs(votes)
    assert (found.labels, found.undecided) == (len(pairs), votes.sum() - len(pairs))
    assert found.human["wa"] == pytest.approx(np.mean([own == reference for _, reference, own in pairs]))
    answers = logits.argmax(1)
    assert found.model["wa"] == pytest.approx(np.mean([answers[each] == reference for each, reference, _ in pairs]))
    recalls = [
        np.mean([own == reference for _, reference, own in pairs if reference == number])
        for number in {reference for _, reference, _ in pairs}
    ]
    assert found.human["ua"] == pytest.approx(np.mean(recalls))
    assert found.metrics["human_ua"] == found.human["ua"]
    assert found.metrics["model_with_raters_wa"] == found.model["wa"]


def test_raters_who_are_of_one_mind_agree_wholly() -> None:
    votes = np.array([[3, 0, 0], [0, 2, 0], [0, 0, 1]])
    table = with_votes(predictions_table(list("abc"), list("abc"), np.arange(3), np.eye(3), CLASSES, 0, 0), votes)
    found = measure_agreement(table, CLASSES)
    # The third has no fellow.
    assert (found.human["wa"], found.labels, found.undecided) == (1.0, 5, 1)
