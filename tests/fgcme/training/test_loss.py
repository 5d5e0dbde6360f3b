"""Each loss, compared with its definition or with torch, and finite for any logits."""

import itertools
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from fgcme.data import Batch, Mixture, Ranges
from fgcme.model import Output
from fgcme.training.loss import (
    balanced_class_weights,
    concordance_loss,
    focal,
    soft_cross_entropy,
    utterance_losses,
    word_ctc,
)

CLASSES = 4
COUNTS = torch.tensor([3, 1, 12])
LABELS = torch.tensor([2, 0, 3])
WEIGHTS = torch.tensor([0.5, 2.0, 1.0, 0.25])
NOTHING = torch.zeros(0, dtype=torch.int64)


def batch(mixture: Mixture | None = None) -> Batch:
    return Batch(
        frames=torch.zeros(1, 2),
        reads=Ranges(NOTHING, NOTHING, NOTHING),
        spans=torch.zeros(0, 2, dtype=torch.int64),
        words=torch.zeros(int(COUNTS.sum()), dtype=torch.int64),
        word_counts=COUNTS,
        labels=LABELS,
        mixture=mixture,
    )


def random_logits(*shape: int, seed: int = 0) -> Tensor:
    return 3 * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("weights", [torch.ones(CLASSES), WEIGHTS])
def test_cross_entropy_matches_torch(weights: Tensor, smoothing: float) -> None:
    logits = random_logits(3, CLASSES)
    losses = utterance_losses(Output(logits), batch(), "cross_entropy", weights, smoothing)
    expected = functional.cross_entropy(logits, LABELS, weights, label_smoothing=smoothing)
    torch.testing.assert_close(losses.sum() / weights[LABELS].sum(), expected)


def test_a_focal_loss_with_gamma_0_is_cross_entropy() -> None:
    logits = random_logits(3, CLASSES)
    torch.testing.assert_close(focal(logits, LABELS, 0.0), functional.cross_entropy(logits, LABELS, reduction="none"))


def test_a_focal_loss_weighs_cross_entropy_by_the_missing_probability() -> None:
    # The label's probability is 3/4, the missing one 1/4.
    logits = torch.tensor([[3.0, 1.0]]).log()
    expected = -((1 / 4) ** 2) * math.log(3 / 4)
    assert float(focal(logits, torch.tensor([0]), 2.0)) == pytest.approx(expected, rel=1e-5)
    losses = utterance_losses(Output(random_logits(3, CLASSES)), batch(), "focal", WEIGHTS, focal_gamma=2.0)
    torch.testing.assert_close(losses, WEIGHTS[LABELS] * focal(random_logits(3, CLASSES), LABELS, 2.0))


@pytest.mark.parametrize("focus", [0.0, 0.5, 2.0])
@pytest.mark.parametrize("margin", [-200.0, 0.0, 20.0, 200.0])
def test_a_focal_loss_has_a_finite_gradient_for_any_logits(focus: float, margin: float) -> None:
    logits = torch.tensor([[margin, 0.0, 0.0]], requires_grad=True)
    loss = focal(logits, torch.tensor([0]), focus).sum()
    loss.backward()
    assert logits.grad is not None
    assert torch.isfinite(loss)
    assert torch.isfinite(logits.grad).all()


def probability_of_labelling(logits: Tensor, labelling: list[int]) -> float:
    """The probability of a labelling: the sum over all paths through the words that collapse to it."""
    probabilities = logits.double().softmax(1)
    blank = logits.shape[1] - 1
    total = 0.0
    for path in itertools.product(range(blank + 1), repeat=len(logits)):
        if [label for label, _ in itertools.groupby(path) if label != blank] == labelling:
            total += math.prod(float(probabilities[word, label]) for word, label in enumerate(path))
    return total


@pytest.mark.parametrize(("words", "repeats"), [(1, 1), (2, 1), (4, 1), (5, 1), (9, 1), (10, 2)])
def test_ctc_is_the_probability_of_the_repeated_label(words: int, repeats: int) -> None:
    logits = random_logits(words, 3)
    expected = -math.log(probability_of_labelling(logits, repeats * [1])) / repeats
    found = word_ctc(logits, torch.tensor([1]), torch.tensor([words]))
    assert float(found) == pytest.approx(expected, rel=1e-5)


def test_ctc_is_finite_for_any_number_of_words() -> None:
    counts = torch.arange(1, 41)
    logits = random_logits(int(counts.sum()), CLASSES + 1).requires_grad_()
    losses = word_ctc(logits, torch.arange(40) % CLASSES, counts)
    losses.sum().backward()
    assert logits.grad is not None
    assert torch.isfinite(losses).all()
    assert torch.isfinite(logits.grad).all()
    assert (logits.grad.abs().sum(1) > 0).all()


def test_ctc_of_an_utterance_does_not_depend_on_the_batch() -> None:
    logits = random_logits(int(COUNTS.sum()), CLASSES + 1)
    together = word_ctc(logits, LABELS, COUNTS)
    alone = [
        word_ctc(words, LABELS[[index]], COUNTS[[index]]) for index, words in enumerate(logits.split(COUNTS.tolist()))
    ]
    torch.testing.assert_close(together, torch.cat(alone))


def test_ctc_uses_word_logits_alone() -> None:
    word_logits = random_logits(int(COUNTS.sum()), CLASSES + 1)
    losses = utterance_losses(Output(random_logits(3, CLASSES), word_logits), batch(), "ctc", torch.ones(CLASSES))
    torch.testing.assert_close(losses, word_ctc(word_logits, LABELS, COUNTS))
    with pytest.raises(ValueError, match="classifies words"):
        utterance_losses(Output(random_logits(3, CLASSES)), batch(), "ctc", torch.ones(CLASSES))


@pytest.mark.parametrize("kind", ["cross_entropy", "focal"])
def test_the_losses_of_all_modality_logits_are_added(kind: Any) -> None:
    decisions = random_logits(3, CLASSES, seed=1), random_logits(3, CLASSES, seed=2)
    together = utterance_losses(Output(random_logits(3, CLASSES), modality_logits=decisions), batch(), kind, WEIGHTS)
    apart = [utterance_losses(Output(logits), batch(), kind, WEIGHTS) for logits in decisions]
    torch.testing.assert_close(together, apart[0] + apart[1])


def test_an_auxiliary_loss_is_added_with_the_class_weight() -> None:
    own = torch.tensor([1.0, 2.0, 4.0])
    with_it = utterance_losses(Output(random_logits(3, CLASSES), auxiliary_loss=own), batch(), "cross_entropy", WEIGHTS)
    without = utterance_losses(Output(random_logits(3, CLASSES)), batch(), "cross_entropy", WEIGHTS)
    torch.testing.assert_close(with_it - without, WEIGHTS[LABELS] * own)


@pytest.mark.parametrize("kind", ["cross_entropy", "focal"])
def test_a_mixed_utterance_has_both_labels_losses_in_their_shares(kind: Any) -> None:
    logits = random_logits(3, CLASSES)
    mixture = Mixture(partner=torch.tensor([1, 2, 0]), weight=torch.tensor([1.0, 0.7, 0.0]))
    mixed = utterance_losses(Output(logits), batch(mixture), kind, WEIGHTS)

    def of(position: int, label: int) -> Tensor:
        one = Batch(**{**vars(batch()), "labels": torch.tensor([label]), "word_counts": COUNTS[[position]]})
        return utterance_losses(Output(logits[[position]]), one, kind, WEIGHTS)

    expected = torch.cat([of(0, 2), 0.7 * of(1, 0) + 0.3 * of(1, 3), of(2, 2)])
    torch.testing.assert_close(mixed, expected)


@pytest.mark.parametrize("kind", ["cross_entropy", "focal", "ctc"])
def test_losses_are_float32_whatever_the_model_computes_in(kind: Any) -> None:
    half = Output(random_logits(3, CLASSES).bfloat16(), random_logits(int(COUNTS.sum()), CLASSES + 1).bfloat16())
    exact = Output(half.logits.float(), half.word_logits.float() if half.word_logits is not None else None)
    losses = utterance_losses(half, batch(), kind, WEIGHTS)
    assert losses.dtype == torch.float32
    torch.testing.assert_close(losses, utterance_losses(exact, batch(), kind, WEIGHTS), rtol=0, atol=0)


def test_balanced_weights_give_every_class_the_same_total_weight() -> None:
    labels = np.array([0, 0, 0, 0, 0, 0, 1, 1, 2])
    weights = balanced_class_weights(labels, classes=3)
    np.testing.assert_allclose(np.bincount(labels, weights[labels]), 3.0)
    assert weights[labels].sum() == pytest.approx(len(labels))


def test_a_class_without_utterances_has_weight_0() -> None:
    np.testing.assert_allclose(balanced_class_weights(np.array([0, 0, 2, 2]), classes=3), [2 / 3, 0, 2 / 3])


NAN = float("nan")


def slow_concordance_loss(values: list[list[float]], ratings: list[list[float]]) -> float:
    """1 - CCC (Lin 1989), rating by rating in double precision; the mean over dimensions that anybody rated."""
    losses = []
    for column in range(len(values[0])):
        pairs = [(row[column], rated[column]) for row, rated in zip(values, ratings, strict=True)]
        pairs = [(x, y) for x, y in pairs if not math.isnan(y)]
        if not pairs:
            continue
        count = len(pairs)
        mean_x, mean_y = sum(x for x, _ in pairs) / count, sum(y for _, y in pairs) / count
        variances = sum((x - mean_x) ** 2 + (y - mean_y) ** 2 for x, y in pairs) / count
        covariance = sum((x - mean_x) * (y - mean_y) for x, y in pairs) / count
        losses.append(1 - 2 * covariance / (variances + (mean_x - mean_y) ** 2))
    return sum(losses) / len(losses)


@pytest.mark.parametrize("seed", range(12))
def test_a_concordance_loss_and_its_gradient_are_those_of_a_double_in_float64(seed: int) -> None:
    generator = np.random.default_rng(seed)
    rows, columns = int(generator.integers(2, 40)), int(generator.integers(1, 4))
    values, ratings = generator.normal(0.4, 0.3, (rows, columns)), generator.uniform(size=(rows, columns))
    ratings[generator.uniform(size=ratings.shape) < 0.2] = NAN
    ratings[:2] = [[0.2] * columns, [0.9] * columns]
    exact = torch.tensor(values, requires_grad=True)
    loss = concordance_loss(exact, torch.tensor(ratings))
    assert float(loss.detach()) == pytest.approx(slow_concordance_loss(values.tolist(), ratings.tolist()), rel=1e-12)
    loss.backward()
    assert exact.grad is not None
    step = 1e-6
    for row, column in [(0, 0), (rows - 1, columns - 1), (rows // 2, 0)]:
        nearby = []
        for sign in (1, -1):
            moved = values.copy()
            moved[row, column] += sign * step
            nearby.append(slow_concordance_loss(moved.tolist(), ratings.tolist()))
        assert float(exact.grad[row, column]) == pytest.approx((nearby[0] - nearby[1]) / (2 * step), abs=1e-8)
    single = torch.tensor(values, dtype=torch.float32, requires_grad=True)
    concordance_loss(single, torch.tensor(ratings, dtype=torch.float32)).backward()
    torch.testing.assert_close(single.grad, exact.grad.float(), rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize(
    "ratings",
    [
        [[0.3], [0.3], [0.3]],
        [[NAN], [0.3], [NAN]],
        [[NAN], [NAN], [NAN]],
    ],
)
def test_ratings_that_are_alike_or_missing_teach_nothing_and_break_nothing(ratings: list[list[float]]) -> None:
    for values in ([[0.1], [0.5], [0.7]], [[0.3], [0.3], [0.3]]):
        given = torch.tensor(values, requires_grad=True)
        loss = concordance_loss(given, torch.tensor(ratings))
        loss.backward()
        assert float(loss.detach()) == pytest.approx(0.0 if all(math.isnan(each) for (each,) in ratings) else 1.0)
        assert given.grad is not None
        torch.testing.assert_close(given.grad, torch.zeros(3, 1), rtol=0, atol=1e-5)


def test_who_has_no_rating_of_a_dimension_takes_no_part_in_its_loss() -> None:
    values = torch.tensor([[0.1, 0.2], [0.5, 0.9], [0.7, 0.4]], requires_grad=True)
    concordance_loss(values, torch.tensor([[0.0, NAN], [0.4, 0.8], [1.0, 0.1]])).backward()
    assert values.grad is not None
    assert float(values.grad[0, 1]) == 0
    assert (values.grad != 0).sum() == 5
    # A dimension that nobody rated leaves the other's loss as it is.
    alone = concordance_loss(values[:, :1], torch.tensor([[0.0], [0.4], [1.0]]))
    beside = concordance_loss(values, torch.tensor([[0.0, NAN], [0.4, NAN], [1.0, NAN]]))
    torch.testing.assert_close(alone, beside)


def test_a_concordance_loss_of_half_precision_is_computed_in_single_precision() -> None:
    values = torch.tensor([[0.1], [0.5], [0.7]], dtype=torch.bfloat16)
    assert concordance_loss(values, torch.tensor([[0.0], [0.4], [1.0]])).dtype == torch.float32


def slow_soft_cross_entropy(logits: np.ndarray, shares: np.ndarray, weights: np.ndarray, smoothing: float) -> float:
    """The sum over utterances, class by class in double precision."""
    total = 0.0
    for row, share in zip(logits.astype(np.float64), shares, strict=True):
        log_sum = math.log(sum(math.exp(value - row.max()) for value in row)) + row.max()
        for value, part, weight in zip(row, share, weights, strict=True):
            total -= weight * ((1 - smoothing) * part + smoothing / len(row)) * (value - log_sum)
    return total


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("seed", range(6))
def test_a_soft_cross_entropy_and_its_gradient_are_those_of_a_double_in_float64(seed: int, smoothing: float) -> None:
    generator = np.random.default_rng(seed)
    rows, classes = int(generator.integers(1, 9)), int(generator.integers(2, 6))
    logits = generator.normal(0, 2, (rows, classes)).astype(np.float32)
    votes = generator.multinomial(4, np.full(classes, 1 / classes), rows)
    shares, weights = votes / 4, generator.uniform(0.2, 2, classes)
    given = torch.tensor(logits, requires_grad=True)
    as_single = [torch.tensor(each, dtype=torch.float32) for each in (shares, weights)]
    loss = soft_cross_entropy(given, *as_single, smoothing).sum()
    loss.backward()
    assert given.grad is not None
    assert float(loss.detach()) == pytest.approx(slow_soft_cross_entropy(logits, shares, weights, smoothing), rel=1e-5)
    for row in range(rows):
        for column in range(classes):
            nearby = []
            for sign in (1, -1):
                moved = logits.astype(np.float64)
                moved[row, column] += sign * 1e-6
                nearby.append(slow_soft_cross_entropy(moved, shares, weights, smoothing))
            expected = (nearby[0] - nearby[1]) / 2e-6
            assert float(given.grad[row, column]) == pytest.approx(expected, abs=2e-5)


def test_shares_of_raters_take_the_place_of_labels_and_are_mixed_as_they_are() -> None:
    shares = torch.tensor([[0.5, 0.5, 0, 0], [1, 0, 0, 0], [0, 0.25, 0.25, 0.5]])
    logits = random_logits(3, CLASSES)
    losses = utterance_losses(Output(logits), replace(batch(), shares=shares), "cross_entropy", WEIGHTS)
    torch.testing.assert_close(losses, soft_cross_entropy(logits, shares, WEIGHTS))
    mixture = Mixture(torch.tensor([1, 2, 0]), torch.tensor([0.3, 1.0, 0.8]))
    mixed = utterance_losses(Output(logits), replace(batch(mixture), shares=shares), "cross_entropy", WEIGHTS)
    partners = soft_cross_entropy(logits, shares[mixture.partner], WEIGHTS)
    torch.testing.assert_close(mixed, mixture.weight * losses + (1 - mixture.weight) * partners)
    # Raters of one mind are a label.
    sure = torch.eye(CLASSES)[LABELS]
    torch.testing.assert_close(
        soft_cross_entropy(logits, sure, WEIGHTS), utterance_losses(Output(logits), batch(), "cross_entropy", WEIGHTS)
    )
