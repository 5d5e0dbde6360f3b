"""The frames that a word reads become one vector."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fgcme.model.pooling import PoolingKind, pool, pooled_size
from tests.fgcme.model.masked import masked_pool, pool_by_loops

KINDS: list[PoolingKind] = ["mean_max", "mean", "max"]
# Empty at the head, in the middle and at the tail; one frame; overlapping; touching both ends; out of order.
BEGIN, END = [4, 0, 3, 5, 9, 0, 12], [4, 7, 4, 5, 20, 20, 12]


def hidden(frames: int = 20, channels: int = 5) -> torch.Tensor:
    return torch.randn(frames, channels, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@pytest.mark.parametrize("kind", KINDS)
def test_pooling_is_the_mean_and_the_maximum_of_each_word(kind: PoolingKind) -> None:
    pooled = pool(hidden(), torch.tensor(BEGIN), torch.tensor(END), kind)
    np.testing.assert_allclose(pooled.numpy(), pool_by_loops(hidden().numpy(), BEGIN, END, kind), rtol=0, atol=1e-12)
    assert pooled.shape == (len(BEGIN), pooled_size(kind, 5))


@settings(deadline=None, max_examples=100)
@given(st.lists(st.tuples(st.integers(0, 20), st.integers(0, 20)), min_size=1, max_size=12), st.sampled_from(KINDS))
def test_pooling_of_any_segments_agrees_with_loops(segments: list[tuple[int, int]], kind: PoolingKind) -> None:
    begin, end = map(list, zip(*segments, strict=True))
    pooled = pool(hidden(), torch.tensor(begin), torch.tensor(end), kind)
    np.testing.assert_allclose(pooled.numpy(), pool_by_loops(hidden().numpy(), begin, end, kind), rtol=0, atol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_the_gradient_is_that_of_the_masked_form(kind: PoolingKind) -> None:
    frame = torch.arange(20)
    mask = (torch.tensor(BEGIN).unsqueeze(1) <= frame) & (frame < torch.tensor(END).unsqueeze(1))
    weight = torch.randn(len(BEGIN), pooled_size(kind, 5), dtype=torch.float64)
    one, other = hidden().requires_grad_(), hidden().requires_grad_()
    ours = (pool(one, torch.tensor(BEGIN), torch.tensor(END), kind) * weight).sum()
    theirs = (masked_pool(other.unsqueeze(0), mask.unsqueeze(0), kind).squeeze(0) * weight).sum()
    torch.testing.assert_close(torch.autograd.grad(ours, one), torch.autograd.grad(theirs, other))


@pytest.mark.parametrize("kind", KINDS)
def test_the_gradient_is_that_of_finite_differences(kind: PoolingKind) -> None:
    signal = hidden().requires_grad_()
    assert torch.autograd.gradcheck(lambda h: pool(h, torch.tensor(BEGIN), torch.tensor(END), kind), (signal,))


@pytest.mark.parametrize("kind", KINDS)
def test_words_that_read_nothing_give_zeros_and_no_gradient(kind: PoolingKind) -> None:
    signal = hidden().requires_grad_()
    pooled = pool(signal, torch.tensor([0, 9]), torch.tensor([0, 9]), kind)
    (gradient,) = torch.autograd.grad(pooled.sum(), signal)
    assert not pooled.any() and not gradient.any()


@pytest.mark.parametrize("kind", KINDS)
def test_an_end_before_its_begin_reads_nothing(kind: PoolingKind) -> None:
    pooled = pool(hidden(), torch.tensor([7, 0]), torch.tensor([3, 2]), kind)
    assert not pooled[0].any()
    torch.testing.assert_close(pooled[1:], pool(hidden(), torch.tensor([0]), torch.tensor([2]), kind))


def test_of_equal_maxima_the_gradient_reaches_one() -> None:
    signal = torch.ones(4, 1, requires_grad=True)
    (gradient,) = torch.autograd.grad(pool(signal, torch.tensor([0]), torch.tensor([4]), "max").sum(), signal)
    assert sorted(gradient.flatten().tolist()) == [0, 0, 0, 1]


def test_pooling_allocates_no_tensor_of_words_by_frames() -> None:
    words, frames, channels = 200, 2000, 16
    begin = torch.arange(words) * 10
    saved: list[int] = []

    def note(tensor: torch.Tensor) -> torch.Tensor:
        saved.append(tensor.numel())
        return tensor

    signal = torch.randn(frames, channels, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        pool(signal, begin, begin + 10, "mean_max")
    assert max(saved) <= frames * channels
