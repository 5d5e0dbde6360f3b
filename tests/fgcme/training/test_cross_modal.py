"""The losses of cross-modal alignment: equal to their slow doubles, and silent where nothing can be told apart."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from fgcme.experiment import CrossModalSettings
from fgcme.training.cross_modal import CrossModalAlignment, Gaussians, contrastive_losses, squared_wasserstein
from tests.fgcme.training import reference_cross_modal as reference

SIZES = (3, 5)
COUNTS = torch.tensor([2, 1, 4, 3, 2])
# The first and the fourth say the same; the third lacks a side.
TEXTS = torch.tensor([0, 1, -1, 0, 2])
BOTH = CrossModalSettings(distribution=0.7, instance=1.5)


@pytest.fixture(autouse=True)
def double() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def alignment_of(settings: CrossModalSettings, seed: int = 0) -> CrossModalAlignment:
    alignment = CrossModalAlignment.of(settings, SIZES, seed)
    assert alignment is not None
    return alignment.double()


def sides_of(counts: Tensor = COUNTS, seed: int = 1) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(int(counts.sum()), size, generator=generator).requires_grad_() for size in SIZES]


def gradients(loss: Tensor, *tensors: Tensor) -> list[Tensor]:
    return [
        torch.zeros_like(tensor) if gradient is None else gradient
        for gradient, tensor in zip(torch.autograd.grad(loss, tensors, allow_unused=True), tensors, strict=True)
    ]


@pytest.mark.parametrize(
    "settings",
    [
        CrossModalSettings(distribution=1.0),
        CrossModalSettings(instance=1.0),
        BOTH,
        CrossModalSettings(distribution=0.5, instance=0.5, temperature=0.5),
    ],
    ids=str,
)
@pytest.mark.parametrize("texts", [TEXTS, torch.arange(5)], ids=["some alike", "all different"])
def test_losses_and_gradients_are_those_of_the_slow_doubles(settings: CrossModalSettings, texts: Tensor) -> None:
    alignment, sides = alignment_of(settings), sides_of()
    found = alignment(sides, COUNTS, texts)
    by_utterance = tuple(list(side.split(COUNTS.tolist())) for side in sides)
    expected = reference.loss(alignment, by_utterance, texts.tolist())
    torch.testing.assert_close(found, expected)
    learnt = [*sides, *alignment.parameters()]
    mine, theirs = gradients(found, *learnt), gradients(expected, *learnt)
    torch.testing.assert_close(mine, theirs)
    assert all(gradient.abs().max() > 1e-6 for gradient in mine[:2])


def test_the_distance_of_gaussians_counts_means_and_deviations() -> None:
    rows = Gaussians(torch.tensor([[0.0, 1.0]]), torch.tensor([[1.0, 1.0]]))
    columns = Gaussians(torch.tensor([[0.0, 1.0], [3.0, 1.0]]), torch.tensor([[1.0, 1.0], [1.0, 5.0]]))
    assert squared_wasserstein(rows, columns).tolist() == [[0.0, 9.0 + 16.0]]


def test_utterances_that_say_the_same_are_neither_told_apart_nor_drawn_together() -> None:
    similarities = torch.randn(5, 5, generator=torch.Generator().manual_seed(0)).requires_grad_()
    (gradient,) = gradients(contrastive_losses(similarities, TEXTS).sum(), similarities)
    alike = {(0, 3), (3, 0)}
    others = {(row, column) for row in range(5) for column in range(5) if 2 not in (row, column)} - alike
    assert {(row, column) for row, column in gradient.nonzero().tolist()} == others


def test_an_utterance_without_a_side_takes_no_part() -> None:
    alignment, sides = alignment_of(BOTH), sides_of()
    loss = alignment(sides, COUNTS, TEXTS)
    for gradient in gradients(loss, *sides):
        assert [bool(own.any()) for own in gradient.split(COUNTS.tolist())] == [True, True, False, True, True]
    # Nor does it count in the mean.
    with_it = torch.arange(len(COUNTS)) != 2
    of_word = torch.repeat_interleave(with_it, COUNTS)
    without = alignment([side[of_word] for side in sides], COUNTS[with_it], TEXTS[with_it])
    torch.testing.assert_close(loss, without)


@pytest.mark.parametrize(
    "texts", [torch.zeros(5, dtype=torch.int64), torch.full((5,), -1), torch.tensor([-1, 3, -1, -1, -1])], ids=str
)
def test_nobody_to_be_told_from_is_a_loss_of_nothing_with_a_gradient_for_everything(texts: Tensor) -> None:
    # Workers that average gradients would wait forever for a missing one.
    alignment, sides = alignment_of(BOTH), sides_of()
    loss = alignment(sides, COUNTS, texts)
    assert loss.item() == 0
    found = torch.autograd.grad(loss, [*sides, *alignment.parameters()])
    assert not any(gradient.any() for gradient in found)


def test_an_utterance_without_frames_spoils_no_gradient() -> None:
    alignment, sides = alignment_of(BOTH), sides_of()
    # The third lost its sound: its acoustic features are zero.
    silent = sides[1].detach().clone()
    silent[3:7] = 0
    sides[1] = silent.requires_grad_()
    found = torch.autograd.grad(alignment(sides, COUNTS, TEXTS), [*sides, *alignment.parameters()])
    assert all(torch.isfinite(gradient).all() for gradient in found)


@pytest.mark.parametrize("name", ["distribution", "instance"])
def test_a_loss_is_learnt_until_partners_find_each_other(name: str) -> None:
    alignment = alignment_of(CrossModalSettings.model_validate({name: 1.0}))
    sides, texts = sides_of(), torch.arange(5)
    optimiser = torch.optim.Adam(alignment.parameters(), lr=1e-2)
    losses = []
    for _ in range(30):
        optimiser.zero_grad()
        loss = alignment(sides, COUNTS, texts)
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.2 * losses[0]


def test_half_precision_is_close() -> None:
    torch.set_default_dtype(torch.float32)
    alignment, sides = alignment_of(BOTH).float(), [side.float() for side in sides_of()]
    exact = alignment(sides, COUNTS, TEXTS)
    with torch.autocast("cpu", torch.bfloat16):
        half = alignment(sides, COUNTS, TEXTS)
    assert half.dtype == torch.float32
    torch.testing.assert_close(half, exact, rtol=0.03, atol=0.03)


def test_initial_weights_follow_from_the_seed_and_leave_other_draws_alone() -> None:
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    first, again, other = (alignment_of(BOTH, seed).state_dict() for seed in (0, 0, 1))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert all(torch.equal(again[name], weights) for name, weights in first.items())
    assert not torch.equal(first["vectors.0.weight"], other["vectors.0.weight"])


def test_a_loss_of_no_weight_has_no_part() -> None:
    assert CrossModalAlignment.of(CrossModalSettings(), SIZES, seed=0) is None
    for settings, part in (
        (CrossModalSettings(distribution=1.0), "gaussians"),
        (CrossModalSettings(instance=1.0), "vectors"),
    ):
        assert {name.split(".")[0] for name in alignment_of(settings).state_dict()} == {part}
