"""An LSTM over packed utterances equals an LSTM over each utterance alone."""

from __future__ import annotations

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_sequence, unpack_sequence

from fgcme.model.recurrent import BlockwiseLSTM, RaggedLSTM, final_states, packing_order, stack_frames, step_counts

any_counts = st.lists(st.integers(1, 9), min_size=1, max_size=6).map(torch.tensor)


def rows_of(counts: Tensor, size: int = 3) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(int(counts.sum()), size, generator=generator, dtype=torch.float64, requires_grad=True)


def run_alone(lstm: nn.LSTM, rows: Tensor) -> Tensor:
    outputs: Tensor = lstm(rows)[0]
    return outputs


def assert_same(output: Tensor, expected: Tensor, leaves: list[Tensor]) -> None:
    """Assert equal values and equal gradients of every leaf."""
    torch.testing.assert_close(output, expected)
    weight = torch.randn_like(expected)
    for gradient, expected_gradient in zip(
        torch.autograd.grad((output * weight).sum(), leaves),
        torch.autograd.grad((expected * weight).sum(), leaves),
        strict=True,
    ):
        torch.testing.assert_close(gradient, expected_gradient)


def test_the_packing_order_has_first_rows_first_and_long_utterances_first() -> None:
    order, batch_sizes = packing_order(torch.tensor([2, 4, 1, 4]))
    #            rows of the utterances:  0 1 | 2 3 4 5 | 6 | 7 8 9 10
    assert order.tolist() == [2, 7, 0, 6, 3, 8, 1, 4, 9, 5, 10]
    assert batch_sizes.tolist() == [4, 3, 2, 2]


@settings(max_examples=50)
@given(any_counts)
@example(torch.tensor([1]))
@example(torch.tensor([5, 5, 5]))
@example(torch.tensor([1, 9]))
def test_a_ragged_lstm_equals_an_lstm_over_each_utterance(counts: Tensor) -> None:
    torch.manual_seed(0)
    ragged, rows = RaggedLSTM(3, 4).double(), rows_of(counts)
    expected = torch.cat([run_alone(ragged.lstm, utterance) for utterance in rows.split(counts.tolist())])
    assert ragged.size == expected.shape[1] == 8
    assert_same(ragged(rows, counts), expected, [rows, *ragged.parameters()])


@settings(max_examples=50)
@given(any_counts, st.booleans(), st.integers(1, 2))
@example(torch.tensor([1]), True, 1)
@example(torch.tensor([5, 5, 5]), True, 2)
@example(torch.tensor([1, 9]), True, 1)
@example(torch.tensor([3, 9, 4, 9, 1, 4]), True, 2)
def test_a_blockwise_lstm_equals_an_lstm_over_each_utterance_in_both_directions(
    counts: Tensor, bidirectional: bool, layers: int
) -> None:
    torch.manual_seed(0)
    blockwise, rows = BlockwiseLSTM(3, 4, layers, bidirectional).double(), rows_of(counts)

    def run_directions(utterance: Tensor) -> Tensor:
        forwards = run_alone(blockwise.forwards, utterance)
        if blockwise.backwards is None:
            return forwards
        return torch.cat([forwards, run_alone(blockwise.backwards, utterance.flip(0)).flip(0)], dim=1)

    expected = torch.cat([run_directions(utterance) for utterance in rows.split(counts.tolist())])
    assert blockwise.size == expected.shape[1] == (8 if bidirectional else 4)
    assert_same(blockwise(rows, counts), expected, [rows, *blockwise.parameters()])


def test_a_blockwise_lstm_equals_a_packed_one_with_the_same_weights() -> None:
    counts = torch.tensor([4, 30, 1, 17])
    rows = rows_of(counts)
    packed, blockwise = nn.LSTM(3, 4, bidirectional=True).double(), BlockwiseLSTM(3, 4).double()
    assert blockwise.backwards is not None
    with torch.no_grad():
        for name, value in packed.named_parameters():
            direction = blockwise.backwards if name.endswith("_reverse") else blockwise.forwards
            getattr(direction, name.removesuffix("_reverse")).copy_(value)
    sequences = pack_sequence(list(rows.split(counts.tolist())), enforce_sorted=False)
    expected = torch.cat(unpack_sequence(packed(sequences)[0]))
    torch.testing.assert_close(blockwise(rows, counts), expected)


def count_gradient_values(output: Tensor) -> int:
    """How many values all gradients of a backward pass have."""
    sizes: list[int] = []

    def record(gradients: tuple[Tensor | None, ...], _: object) -> None:
        sizes.extend(gradient.numel() for gradient in gradients if gradient is not None)

    nodes, waiting = set(), [output.grad_fn]
    while waiting:
        node = waiting.pop()
        if node is not None and node not in nodes:
            nodes.add(node)
            node.register_hook(record)
            waiting += [earlier for earlier, _ in node.next_functions]
    torch.autograd.backward(output.sum())
    return sum(sizes)


@pytest.mark.parametrize("bidirectional", [True, False])
def test_the_gradient_of_a_blockwise_lstm_is_linear_in_the_steps(bidirectional: bool) -> None:
    def work(steps: int) -> int:
        counts = torch.tensor([steps, steps // 2])
        return count_gradient_values(BlockwiseLSTM(3, 4, bidirectional=bidirectional).double()(rows_of(counts), counts))

    assert work(200) < 2.1 * work(100)


def test_final_states_are_those_of_each_direction() -> None:
    counts = torch.tensor([3, 1, 6])
    rows, lstm = rows_of(counts), nn.LSTM(3, 4, bidirectional=True).double()
    outputs, states = zip(
        *((output, final[0]) for output, final in map(lstm, rows.split(counts.tolist()))), strict=True
    )
    expected = torch.stack([state.flatten() for state in states])
    torch.testing.assert_close(final_states(torch.cat(outputs), counts), expected)


@given(st.lists(st.integers(1, 9), min_size=1, max_size=5), st.integers(1, 5))
def test_stacked_frames_are_consecutive_and_the_last_step_repeats_the_last_frame(
    lengths: list[int], stack: int
) -> None:
    counts = torch.tensor(lengths)
    frames = torch.stack([torch.arange(sum(lengths)), -torch.arange(sum(lengths))], dim=1)
    expected = []
    for utterance in frames.split(lengths):
        for first in range(0, len(utterance), stack):
            step = utterance[first : first + stack]
            expected.append(torch.cat([step, utterance[-1:].expand(stack - len(step), 2)]).flatten())
    assert torch.equal(stack_frames(frames, counts, stack), torch.stack(expected))
    assert step_counts(counts, stack).tolist() == [len(range(0, length, stack)) for length in lengths]


@pytest.mark.parametrize("stack", [1, 3])
def test_no_shape_depends_on_values_of_the_device(stack: int) -> None:
    counts = torch.tensor([7, 2, 12])
    # A tensor on this device has no values: reading one fails.
    frames = torch.empty(21, 3, device="meta", requires_grad=True)
    steps = step_counts(counts, stack)
    outputs = BlockwiseLSTM(3 * stack, 4).to("meta")(stack_frames(frames, counts, stack), steps)
    states = final_states(RaggedLSTM(8, 4).to("meta")(outputs, steps), steps)
    torch.autograd.backward(states.sum())
    assert states.shape == (3, 8) and frames.grad is not None


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
@pytest.mark.parametrize("kind", [RaggedLSTM, BlockwiseLSTM])
def test_a_gpu_computes_what_the_cpu_does(kind: type[RaggedLSTM] | type[BlockwiseLSTM]) -> None:
    counts = torch.tensor([30, 3, 17])
    rows, lstm = rows_of(counts).float(), kind(3, 4)
    on_cpu = lstm(rows, counts)
    torch.testing.assert_close(lstm.to("cuda")(rows.to("cuda"), counts).cpu(), on_cpu, rtol=1e-3, atol=1e-4)
