"""What a model hears of each word."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from fgcme.data import Batch, collate, layout_frames
from fgcme.data.batch import SegmentScheme
from fgcme.model.encoders import AcousticEncoder
from fgcme.model.pooling import Pooling
from fgcme.model.recurrent import FrameLSTM
from fgcme.model.word_acoustics import AttentionAlignment, CtcAlignment, SpanPooling
from tests.fgcme.model.reference_baselines import ctc_loss, ctc_loss_by_paths, draw_utterance, in_float64, softmax

FRAME_SIZE = 3


def batch_of(counts: list[tuple[int, int]], reading: SegmentScheme | None = None) -> Batch:
    """Utterances of so many frames and words."""
    read = reading or SegmentScheme("utterance")
    drawn = [draw_utterance(index, *pair, FRAME_SIZE, 9, 2) for index, pair in enumerate(counts)]
    return collate(
        [one.frames for one in drawn],
        [layout_frames(read, one.begin, one.end, len(one.frames)) for one in drawn],
        [one.words for one in drawn],
        [one.label for one in drawn],
        read.lookahead + 1,
    )


def positional(positions: int, stack: int = 1) -> CtcAlignment:
    torch.manual_seed(0)
    return CtcAlignment(FRAME_SIZE, positions, stack)


def aligned(reading: SegmentScheme, counts: list[tuple[int, int]]) -> tuple[Tensor, Tensor]:
    """What words hear, and what pooling makes of the segments."""
    torch.manual_seed(0)
    listening = SpanPooling(AcousticEncoder(FRAME_SIZE, [4], [reading.lookahead + 1]), Pooling("mean_max", 4))
    batch = batch_of(counts, reading)
    assert listening.size == 8
    return listening(batch, None).features, listening.pooling(listening.encoder(batch.frames), batch.reads)


def test_an_aligned_word_hears_its_own_frames() -> None:
    heard, pooled = aligned(SegmentScheme("words", lookahead=2), [(20, 3), (9, 1)])
    assert torch.equal(heard, pooled)


def test_where_an_utterance_is_one_segment_all_its_words_hear_the_same() -> None:
    heard, pooled = aligned(SegmentScheme("utterance", lookahead=2), [(20, 3), (9, 1), (12, 2)])
    assert len(pooled) == 3
    assert torch.equal(heard, pooled[[0, 0, 0, 1, 2, 2]])


def test_where_each_utterance_has_one_word_it_hears_the_whole_utterance() -> None:
    heard, pooled = aligned(SegmentScheme("utterance", lookahead=2), [(20, 1), (9, 1)])
    assert torch.equal(heard, pooled)


def test_attention_looks_at_frames_of_the_word_s_own_utterance_alone() -> None:
    torch.manual_seed(0)
    listening = AttentionAlignment(FrameLSTM(FRAME_SIZE, 4), 8, heads=2)
    batch = batch_of([(20, 3), (2, 2)])
    words = torch.randn(5, 8)
    before = listening(batch, words).features
    batch.frames[20:] += 1
    after = listening(batch, words).features
    assert torch.equal(before[:3], after[:3])
    assert (before[3:] != after[3:]).any(1).all()


def test_attention_holds_no_score_of_every_word_by_every_frame() -> None:
    words, frames = 60, 500
    listening = AttentionAlignment(FrameLSTM(FRAME_SIZE, 4), 8, heads=2).double()
    batch = in_float64(batch_of([(frames, words)]))
    saved: list[int] = []

    def note(tensor: Tensor) -> Tensor:
        saved.append(tensor.numel())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        listening(batch, torch.randn(words, 8, dtype=torch.float64, requires_grad=True))
    # At most the gates of the frames.
    assert max(saved) <= frames * 4 * 8 < words * frames


def test_attention_waits_for_no_device_to_learn_how_much_there_is() -> None:
    # A tensor on this device has a shape and no values: whatever asks for one fails.
    batch = batch_of([(20, 3), (2, 2)]).to("meta")
    listening = AttentionAlignment(FrameLSTM(FRAME_SIZE, 4, stack=3), 8, heads=2).to("meta")
    heard = listening(batch, torch.empty(5, 8, device="meta")).features
    torch.autograd.backward(heard.sum())
    assert heard.shape == (5, 8)


def test_a_word_hears_the_frames_weighted_by_the_probability_of_its_position() -> None:
    listening, batch = positional(positions=4), batch_of([(6, 3), (5, 2)])
    heard = listening(batch, None).features
    logits = listening.locate(batch.frames, torch.tensor([6, 5]))
    # Blank comes first.
    shares = logits.softmax(1)[:, 1:]
    expected = [shares[:6, word] @ batch.frames[:6] for word in range(3)]
    expected += [shares[6:, word] @ batch.frames[6:] for word in range(2)]
    torch.testing.assert_close(heard, torch.stack(expected))


def test_words_beyond_the_positions_share_the_last_one() -> None:
    listening = positional(positions=3)
    heard = listening(batch_of([(9, 6), (9, 2)]), None).features
    assert torch.equal(heard[2:6], heard[2].expand(4, -1))
    assert not torch.equal(heard[1], heard[2])


@pytest.mark.parametrize(("frames", "words"), [(1, 1), (2, 2), (4, 1), (4, 2), (5, 3), (4, 4)])
def test_the_loss_of_an_alignment_sums_over_all_paths_and_is_by_position(frames: int, words: int) -> None:
    listening, batch = positional(positions=3).double(), in_float64(batch_of([(frames, words)]))
    loss = listening(batch, None).auxiliary_loss
    probabilities = [softmax(row) for row in listening.locate(batch.frames, torch.tensor([frames]))]
    expected = ctc_loss_by_paths(probabilities, min(words, 3))
    torch.testing.assert_close(loss, expected.unsqueeze(0) / min(words, 3))
    torch.testing.assert_close(ctc_loss(probabilities, min(words, 3)), expected)


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 5), st.integers(1, 3), st.integers(0, 1000))
def test_the_reference_s_recursion_is_the_sum_over_all_paths(steps: int, turns: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    probabilities = list(torch.randn(steps, 4, generator=generator, dtype=torch.float64).softmax(1))
    if turns <= steps:
        torch.testing.assert_close(ctc_loss(probabilities, turns), ctc_loss_by_paths(probabilities, turns))
    else:
        assert ctc_loss_by_paths(probabilities, turns).isinf() and not ctc_loss(probabilities, turns)


@pytest.mark.parametrize("stack", [1, 3])
def test_an_alignment_of_more_words_than_steps_costs_nothing_and_spoils_nothing(stack: int) -> None:
    listening = positional(positions=8, stack=stack)
    batch = batch_of([(2 * stack, 5), (6 * stack, 5)])
    auxiliary = listening(batch, None).auxiliary_loss
    assert auxiliary is not None
    assert auxiliary[0] == 0 and auxiliary[1] > 0
    gradient = torch.autograd.grad(auxiliary.sum(), list(listening.parameters()), retain_graph=True)
    assert all(value.isfinite().all() and value.any() for value in gradient)
    spared = torch.autograd.grad(auxiliary[0], list(listening.parameters()))
    assert not any(value.any() for value in spared)


def test_learning_the_alignment_brings_the_positions_into_their_order() -> None:
    listening, batch = positional(positions=3), batch_of([(12, 3)])
    optimiser = torch.optim.Adam(listening.parameters(), lr=0.05)
    for _ in range(150):
        loss = listening(batch, None).auxiliary_loss
        assert loss is not None
        optimiser.zero_grad()
        torch.autograd.backward(loss.sum())
        optimiser.step()
    shares = listening.locate(batch.frames, torch.tensor([12])).softmax(1)[:, 1:]
    centres = (torch.arange(12.0) @ shares / shares.sum(0)).tolist()
    print(centres, loss, shares)
    assert centres == sorted(centres)
