"""Each kind of pooling follows its equation, forward and backward."""

from __future__ import annotations

import math
from typing import Literal, get_args

import numpy as np
import pytest
import torch
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from torch import Tensor

from fgcme.data import Ranges
from fgcme.model.pooling import Pooling, PoolingKind, cumulative_coverage, pool
from tests.fgcme.model.masked import masked_pool
from tests.fgcme.model.reference import averaged_mask, outputs_read, pool_rows

Span = tuple[int, int]

KINDS: tuple[PoolingKind, ...] = get_args(PoolingKind)
# Kinds that reduce equal rows to that row.
AVERAGES: tuple[PoolingKind, ...] = ("mean", "max", "softmax", "lse", "attention")
CHANNELS, FRAMES, KERNELS = 5, 20, (5, 2, 2)
LOOKAHEAD = 6
# Empty at the beginning, in the middle and at the end; one frame; overlapping; the whole signal; out of order.
SPANS = [(4, 4), (0, 7), (3, 4), (5, 5), (9, 20), (0, 20), (8, 12), (12, 12)]


def signal(rows: int = FRAMES - LOOKAHEAD, channels: int = CHANNELS, seed: int = 0) -> Tensor:
    return torch.randn(rows, channels, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def ranges(bounds: list[Span]) -> Ranges:
    begin, end = torch.tensor(bounds).reshape(-1, 2).unbind(1)
    return Ranges(begin, end, end - begin)


def reads(spans: list[Span], frame_count: int = FRAMES) -> Ranges:
    """Range of outputs that read each span."""
    read = [outputs_read(*span, frame_count, LOOKAHEAD) for span in spans]
    return ranges([(outputs[0], outputs[-1] + 1) if outputs else (0, 0) for outputs in read])


def pooling(kind: PoolingKind, temperature: float = 0.7) -> Pooling:
    module = Pooling(kind, CHANNELS, KERNELS, temperature).double()
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter, generator=torch.Generator().manual_seed(1))
    return module


def reduce_by_loops(module: Pooling, hidden: Tensor, spans: list[Span], frame_count: int = FRAMES) -> Tensor:
    query = getattr(module, "query", None)
    return torch.stack(
        [
            pool_rows(
                module.kind,
                hidden,
                outputs_read(*span, frame_count, LOOKAHEAD),
                averaged_mask(span, frame_count, list(KERNELS)),
                module.temperature,
                query,
            )
            for span in spans
        ]
    )


def gradients(module: Pooling, outputs: Tensor, hidden: Tensor) -> tuple[Tensor, ...]:
    weight = torch.randn(outputs.shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    return torch.autograd.grad((outputs * weight).sum(), [hidden, *module.parameters()])


def assert_equal(module: Pooling, hidden: Tensor, outputs: Tensor, expected: Tensor) -> None:
    """Assert equal outputs and, where any row is read, equal gradients."""
    torch.testing.assert_close(outputs, expected, rtol=0, atol=1e-12)
    if expected.requires_grad:
        pairs = zip(gradients(module, outputs, hidden), gradients(module, expected, hidden), strict=True)
        for gradient, expected_gradient in pairs:
            torch.testing.assert_close(gradient, expected_gradient, rtol=0, atol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_pooling_and_its_gradient_follow_the_equation(kind: PoolingKind) -> None:
    module, hidden = pooling(kind), signal().requires_grad_()
    outputs = module(hidden, reads(SPANS), torch.tensor(SPANS))
    assert outputs.shape == (len(SPANS), module.size)
    assert_equal(module, hidden, outputs, reduce_by_loops(module, hidden, SPANS))


@settings(max_examples=150)
@given(
    st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)).map(sorted).map(tuple), min_size=1, max_size=10),
    st.integers(1, 30),
    st.sampled_from(KINDS),
)
def test_pooling_of_any_spans_follows_the_equation(spans: list[Span], frame_count: int, kind: PoolingKind) -> None:
    module = pooling(kind)
    hidden = signal(max(frame_count - LOOKAHEAD, 1)).requires_grad_()
    outputs = module(hidden, reads(spans, frame_count), torch.tensor(spans).clamp(max=frame_count))
    assert_equal(module, hidden, outputs, reduce_by_loops(module, hidden, spans, frame_count))


@pytest.mark.parametrize("kind", KINDS)
def test_the_gradient_agrees_with_finite_differences(kind: PoolingKind) -> None:
    module, spans = pooling(kind), torch.tensor(SPANS)
    assert torch.autograd.gradcheck(lambda hidden: module(hidden, reads(SPANS), spans), (signal().requires_grad_(),))


@pytest.mark.parametrize("kind", ["mean_max", "mean", "max"])
def test_the_gradient_agrees_with_the_masked_form(kind: Literal["mean_max", "mean", "max"]) -> None:
    bounds = ranges(SPANS)
    frame = torch.arange(FRAMES)
    mask = (bounds.begin.unsqueeze(1) <= frame) & (frame < bounds.end.unsqueeze(1))
    hidden = signal(FRAMES).requires_grad_()
    outputs, masked = pool(hidden, bounds, kind), masked_pool(hidden.unsqueeze(0), mask.unsqueeze(0), kind).squeeze(0)
    weight = torch.randn_like(outputs)
    torch.testing.assert_close(
        torch.autograd.grad((outputs * weight).sum(), hidden), torch.autograd.grad((masked * weight).sum(), hidden)
    )


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("spans", [[(0, 0), (9, 9)], [(3, 3), (2, 8)]], ids=["nothing is read", "something is read"])
def test_words_without_frames_give_zeros_and_no_gradient(kind: PoolingKind, spans: list[Span]) -> None:
    module, hidden = pooling(kind), signal().requires_grad_()
    outputs = module(hidden, reads(spans), torch.tensor(spans))
    for gradient in torch.autograd.grad(outputs[0].sum(), [hidden, *module.parameters()]):
        assert not gradient.any()
    assert not outputs[0].any()


@pytest.mark.parametrize("kind", AVERAGES)
def test_pooling_a_single_row_gives_that_row(kind: PoolingKind) -> None:
    hidden = signal()
    outputs = pooling(kind)(hidden, ranges([(3, 4)]), torch.tensor([[3, 4]]))
    torch.testing.assert_close(outputs, hidden[3:4])


def test_the_deviation_of_equal_rows_is_1e_4_and_its_gradient_finite() -> None:
    hidden = torch.full((4, 2), 3.0, requires_grad=True)
    statistics = Pooling("statistics", 2)(hidden, ranges([(0, 4), (1, 2)]))
    (gradient,) = torch.autograd.grad(statistics[:, 2:].sum(), hidden)
    torch.testing.assert_close(statistics, torch.tensor([[3.0, 3.0, 1e-4, 1e-4]]).expand(2, 4))
    assert not gradient.any()


def test_a_large_mean_does_not_round_the_deviation() -> None:
    hidden = torch.tensor([[10000.0], [10002.0]])
    torch.testing.assert_close(Pooling("statistics", 1)(hidden, ranges([(0, 2)])), torch.tensor([[10001.0, 1.0]]))


@settings(max_examples=100)
@given(
    st.lists(st.floats(-50, 50, width=32), min_size=1, max_size=30),
    st.floats(1e-3, 1e3),
    st.floats(1.0, 10.0),
)
@example([0.0, 1.0], 1.0, 2.0)
def test_lse_lies_between_mean_and_maximum_and_falls_with_temperature(
    values: list[float], temperature: float, factor: float
) -> None:
    hidden, all_rows = torch.tensor(values).unsqueeze(1), ranges([(0, len(values))])
    cold, warm = (Pooling("lse", 1, (), t)(hidden, all_rows).item() for t in (temperature, factor * temperature))
    mean, highest = pool(hidden, all_rows, "mean_max").squeeze(0).tolist()
    tolerance = 1e-4 * max(1.0, temperature / 100)
    assert mean - tolerance <= warm <= cold + tolerance <= highest + 2 * tolerance


@pytest.mark.parametrize("temperature", [1e-320, 1e-30, 1e-6])
def test_lse_at_a_low_temperature_is_the_maximum(temperature: float) -> None:
    hidden = signal().float().requires_grad_()
    outputs = Pooling("lse", CHANNELS, (), temperature)(hidden, ranges([(0, 9), (4, 12)]))
    expected = pool(hidden, ranges([(0, 9), (4, 12)]), "max")
    torch.testing.assert_close(outputs, expected, rtol=0, atol=1e-5)
    torch.testing.assert_close(
        torch.autograd.grad(outputs.sum(), hidden), torch.autograd.grad(expected.sum(), hidden), rtol=0, atol=1e-5
    )


@pytest.mark.parametrize("temperature", [1e4, 1e6, 1e30, 1e300])
def test_lse_at_a_high_temperature_is_the_mean(temperature: float) -> None:
    hidden = signal().float().requires_grad_()
    outputs = Pooling("lse", CHANNELS, (), temperature)(hidden, ranges([(0, 9), (4, 12)]))
    expected = pool(hidden, ranges([(0, 9), (4, 12)]), "mean")
    torch.testing.assert_close(outputs, expected, rtol=0, atol=1e-3)
    torch.testing.assert_close(
        torch.autograd.grad(outputs.sum(), hidden), torch.autograd.grad(expected.sum(), hidden), rtol=0, atol=1e-3
    )


@pytest.mark.parametrize("kind", AVERAGES)
def test_a_constant_added_to_every_row_is_added_to_the_result(kind: PoolingKind) -> None:
    module, spans = pooling(kind), torch.tensor(SPANS)
    read = reads(SPANS).lengths > 0
    before = module(signal(), reads(SPANS), spans)
    after = module(signal() + 3, reads(SPANS), spans)
    torch.testing.assert_close(after[read], before[read] + 3)


@settings(max_examples=100)
@given(
    st.tuples(st.integers(0, 40), st.integers(0, 40)),
    st.integers(1, 40),
    st.lists(st.integers(1, 5), min_size=1, max_size=4),
)
def test_the_weights_of_softmax_pooling_are_the_softmax_of_the_averaged_mask(
    span: Span, frame_count: int, kernels: list[int]
) -> None:
    reach = sum(kernels) - len(kernels)
    read = outputs_read(*span, frame_count, reach)
    assume(read)
    # Pooling the identity matrix gives the weights.
    rows = torch.eye(frame_count - reach, dtype=torch.float64)
    module = Pooling("softmax", len(rows), kernels)
    bounds = torch.tensor([span]).clamp(max=frame_count)
    weights = module(rows, ranges([(read[0], read[-1] + 1)]), bounds)[0].numpy()
    inside = np.exp(np.array(averaged_mask(span, frame_count, kernels))[read])
    np.testing.assert_allclose(weights[read], inside / inside.sum(), rtol=0, atol=1e-12)
    assert weights.sum() == pytest.approx(1) and np.count_nonzero(weights) == len(read)


def test_softmax_pooling_weighs_the_middle_of_a_word_more_than_its_edges() -> None:
    rows = torch.eye(40)
    weights = Pooling("softmax", 40, KERNELS)(rows, ranges([(4, 20)]), torch.tensor([[10, 20]]))[0, 4:20]
    torch.testing.assert_close(weights, weights.flip(0))
    assert (weights[:6].diff() > 0).all() and weights[6:10].diff().abs().max() < 1e-6


def test_softmax_pooling_without_spans_is_an_error() -> None:
    with pytest.raises(ValueError, match="spans"):
        Pooling("softmax", CHANNELS, KERNELS)(signal(), ranges([(0, 4)]))


@given(st.lists(st.integers(1, 7), max_size=4))
def test_the_cumulative_coverage_rises_from_0_to_1(kernels: list[int]) -> None:
    coverage = cumulative_coverage(kernels)
    assert len(coverage) == sum(kernels) - len(kernels) + 2
    assert coverage[0] == 0 and coverage[-1].item() == pytest.approx(1) and (coverage.diff() > 0).all()


def test_attention_is_initially_the_mean_and_a_long_query_selects_one_row() -> None:
    module, hidden = Pooling("attention", CHANNELS).double(), signal()
    torch.testing.assert_close(module(hidden, ranges([(2, 9)])), pool(hidden, ranges([(2, 9)]), "mean"))
    with torch.no_grad():
        module.query.copy_(1e4 * hidden[5])
    strongest = max(range(2, 9), key=lambda row: float(hidden[row] @ hidden[5]))
    torch.testing.assert_close(module(hidden, ranges([(2, 9)])), hidden[strongest : strongest + 1])


@pytest.mark.parametrize("kind", KINDS)
def test_the_order_of_words_does_not_change_their_vectors(kind: PoolingKind) -> None:
    module, order = pooling(kind), [3, 0, 7, 5, 1, 6, 4, 2]
    shuffled = [SPANS[index] for index in order]
    before = module(signal(), reads(SPANS), torch.tensor(SPANS))
    after = module(signal(), reads(shuffled), torch.tensor(shuffled))
    torch.testing.assert_close(after, before[order], rtol=0, atol=1e-13)


@pytest.mark.parametrize("kind", KINDS)
def test_the_position_in_the_packed_signal_does_not_change_a_vector(kind: PoolingKind) -> None:
    module, bounds, spans = pooling(kind), reads(SPANS), torch.tensor(SPANS)
    longer = torch.cat([signal(11, seed=3), signal(), signal(4, seed=4)])
    moved = Ranges(bounds.begin + 11, bounds.end + 11, bounds.lengths)
    torch.testing.assert_close(module(longer, moved, spans + 11), module(signal(), bounds, spans), rtol=0, atol=1e-13)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "softmax"])
def test_all_kinds_but_softmax_ignore_the_order_of_rows(kind: PoolingKind) -> None:
    module, all_rows = pooling(kind), ranges([(0, 14)])
    order = torch.randperm(14, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(module(signal()[order], all_rows), module(signal(), all_rows), rtol=0, atol=1e-13)


@pytest.mark.filterwarnings("ignore:Anomaly Detection")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("scale", [0.0, 1e-30, 1e4, 1e8])
def test_pooling_is_finite_forward_and_backward_at_any_scale(kind: PoolingKind, scale: float) -> None:
    module = pooling(kind, temperature=1e-3).float()
    hidden = (scale * signal().float()).requires_grad_()
    with torch.autograd.detect_anomaly(check_nan=True):
        outputs = module(hidden, reads(SPANS), torch.tensor(SPANS))
        gradients = torch.autograd.grad(outputs.mean(), [hidden, *module.parameters()])
    assert outputs.isfinite().all() and all(gradient.isfinite().all() for gradient in gradients)


@pytest.mark.parametrize("kind", KINDS)
def test_rows_of_half_precision_are_pooled_in_single_precision(kind: PoolingKind) -> None:
    module, spans = pooling(kind).float(), torch.tensor(SPANS)
    hidden = signal().bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        outputs = module(hidden, reads(SPANS), spans)
    assert outputs.dtype == torch.float32
    torch.testing.assert_close(outputs, module(hidden.float(), reads(SPANS), spans))


def test_the_gradient_of_equal_maxima_goes_to_one_of_them() -> None:
    hidden = torch.ones(4, 1, requires_grad=True)
    (gradient,) = torch.autograd.grad(pool(hidden, ranges([(0, 4)]), "max").sum(), hidden)
    assert sorted(gradient.flatten().tolist()) == [0, 0, 0, 1]


@pytest.mark.parametrize("kind", KINDS)
def test_pooling_saves_no_tensor_of_words_by_frames(kind: PoolingKind) -> None:
    words, frames, channels, read = 200, 2000, 16, 12
    begin = torch.arange(words) * (frames // words)
    spans = torch.stack([begin + 2, begin + 8], dim=1).clamp(max=frames - read)
    saved: list[int] = []

    def record(tensor: Tensor) -> Tensor:
        saved.append(tensor.numel())
        return tensor

    hidden = torch.randn(frames, channels, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(record, lambda tensor: tensor):
        end = (begin + read).clamp(max=frames)
        Pooling(kind, channels, KERNELS)(hidden, Ranges(begin, end, end - begin), spans)
    # The largest saved tensor holds the rows that are read.
    assert max(saved) <= words * read * channels < words * frames


def test_kinds_with_two_statistics_are_twice_as_wide() -> None:
    assert {kind: Pooling(kind, 4).size for kind in KINDS if Pooling(kind, 4).size != 4} == {
        "mean_max": 8,
        "statistics": 8,
    }


def test_lse_of_two_values() -> None:
    hidden = torch.tensor([[0.0], [1.0]])
    outputs = Pooling("lse", 1, (), 0.5)(hidden, ranges([(0, 2)]))
    assert outputs.item() == pytest.approx(0.5 * math.log((1 + math.exp(2)) / 2))
