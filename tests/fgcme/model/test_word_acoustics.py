"""Acoustic features of words, by each kind of alignment."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from fgcme.data import Batch
from fgcme.data.batch import SegmentScheme
from fgcme.model.encoders import AcousticEncoder
from fgcme.model.pooling import Pooling
from fgcme.model.recurrent import FrameLSTM
from fgcme.model.word_acoustics import AttentionAlignment, CtcAlignment, SpanPooling
from tests.fgcme.model.masked import ragged_batch
from tests.fgcme.model.reference_baselines import ctc_loss, ctc_loss_by_paths, draw_utterance, in_float64, softmax

FRAME_SIZE = 3


def batch_of(counts: list[tuple[int, int]], scheme: SegmentScheme | None = None) -> Batch:
    """A batch of utterances with the given (frames, words)."""
    utterances = [draw_utterance(index, *pair, FRAME_SIZE, 9, 2) for index, pair in enumerate(counts)]
    return ragged_batch(utterances, scheme or SegmentScheme("recording"))


def ctc_alignment(positions: int, stack: int = 1) -> CtcAlignment:
    torch.manual_seed(0)
    return CtcAlignment(FRAME_SIZE, positions, stack)


def features_and_segments(scheme: SegmentScheme, counts: list[tuple[int, int]]) -> tuple[Tensor, Tensor]:
    """Features of the words, and pooled segments."""
    torch.manual_seed(0)
    alignment = SpanPooling(AcousticEncoder(FRAME_SIZE, [4], [scheme.lookahead + 1]), Pooling("mean_max", 4))
    batch = batch_of(counts, scheme)
    assert alignment.size == 8
    return alignment(batch, None).features, alignment.pooling(alignment.encoder(batch.frames), batch.reads)


def test_the_features_of_an_aligned_word_are_its_pooled_frames() -> None:
    features, pooled = features_and_segments(SegmentScheme("words", lookahead=2), [(20, 3), (9, 1)])
    assert torch.equal(features, pooled)


def test_with_one_segment_an_utterance_all_its_words_have_its_features() -> None:
    features, pooled = features_and_segments(SegmentScheme("recording", lookahead=2), [(20, 3), (9, 1), (12, 2)])
    assert len(pooled) == 3
    assert torch.equal(features, pooled[[0, 0, 0, 1, 2, 2]])


def test_with_one_word_an_utterance_the_word_has_its_features() -> None:
    features, pooled = features_and_segments(SegmentScheme("recording", lookahead=2), [(20, 1), (9, 1)])
    assert torch.equal(features, pooled)


def test_words_attend_only_to_frames_of_their_own_utterance() -> None:
    torch.manual_seed(0)
    alignment = AttentionAlignment(FrameLSTM(FRAME_SIZE, 4), 8, heads=2)
    batch = batch_of([(20, 3), (2, 2)])
    words = torch.randn(5, 8)
    before = alignment(batch, words).features
    batch.frames[20:] += 1
    after = alignment(batch, words).features
    assert torch.equal(before[:3], after[:3])
    assert (before[3:] != after[3:]).any(1).all()


def test_attention_saves_no_tensor_of_words_by_frames() -> None:
    words, frames = 60, 500
    alignment = AttentionAlignment(FrameLSTM(FRAME_SIZE, 4), 8, heads=2).double()
    batch = in_float64(batch_of([(frames, words)]))
    saved: list[int] = []

    def record(tensor: Tensor) -> Tensor:
        saved.append(tensor.numel())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(record, lambda tensor: tensor):
        alignment(batch, torch.randn(words, 8, dtype=torch.float64, requires_grad=True))
    # The largest saved tensor holds the gates of the frames.
    assert max(saved) <= frames * 4 * 8 < words * frames


def test_no_shape_of_attention_depends_on_values_of_the_device() -> None:
    # A tensor on this device has no values: reading one fails.
    batch = batch_of([(20, 3), (2, 2)]).to("meta")
    alignment = AttentionAlignment(FrameLSTM(FRAME_SIZE, 4, stack=3), 8, heads=2).to("meta")
    features = alignment(batch, torch.empty(5, 8, device="meta")).features
    torch.autograd.backward(features.sum())
    assert features.shape == (5, 8)


def test_ctc_features_are_frames_weighted_by_the_probability_of_the_word_s_position() -> None:
    alignment, batch = ctc_alignment(positions=4), batch_of([(6, 3), (5, 2)])
    features = alignment(batch, None).features
    logits = alignment.locate(batch.frames, torch.tensor([6, 5]))
    # The blank is first.
    weights = logits.softmax(1)[:, 1:]
    expected = [weights[:6, word] @ batch.frames[:6] for word in range(3)]
    expected += [weights[6:, word] @ batch.frames[6:] for word in range(2)]
    torch.testing.assert_close(features, torch.stack(expected))


def test_words_beyond_the_last_position_share_it() -> None:
    alignment = ctc_alignment(positions=3)
    features = alignment(batch_of([(9, 6), (9, 2)]), None).features
    assert torch.equal(features[2:6], features[2].expand(4, -1))
    assert not torch.equal(features[1], features[2])


@pytest.mark.parametrize(("frames", "words"), [(1, 1), (2, 2), (4, 1), (4, 2), (5, 3), (4, 4)])
def test_the_ctc_loss_sums_over_all_paths_and_is_divided_by_the_positions(frames: int, words: int) -> None:
    alignment, batch = ctc_alignment(positions=3).double(), in_float64(batch_of([(frames, words)]))
    loss = alignment(batch, None).auxiliary_loss
    probabilities = [softmax(row) for row in alignment.locate(batch.frames, torch.tensor([frames]))]
    expected = ctc_loss_by_paths(probabilities, min(words, 3))
    torch.testing.assert_close(loss, expected.unsqueeze(0) / min(words, 3))
    torch.testing.assert_close(ctc_loss(probabilities, min(words, 3)), expected)


@settings(max_examples=40)
@given(st.integers(1, 5), st.integers(1, 3), st.integers(0, 1000))
def test_the_ctc_recursion_of_the_reference_equals_the_sum_over_all_paths(
    steps: int, label_count: int, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    probabilities = list(torch.randn(steps, 4, generator=generator, dtype=torch.float64).softmax(1))
    if label_count <= steps:
        torch.testing.assert_close(ctc_loss(probabilities, label_count), ctc_loss_by_paths(probabilities, label_count))
    else:
        assert ctc_loss_by_paths(probabilities, label_count).isinf() and not ctc_loss(probabilities, label_count)


@pytest.mark.parametrize("stack", [1, 3])
def test_an_utterance_of_more_words_than_steps_has_no_ctc_loss_and_no_gradient(stack: int) -> None:
    alignment = ctc_alignment(positions=8, stack=stack)
    batch = batch_of([(2 * stack, 5), (6 * stack, 5)])
    loss = alignment(batch, None).auxiliary_loss
    assert loss is not None
    assert loss[0] == 0 and loss[1] > 0
    gradient = torch.autograd.grad(loss.sum(), list(alignment.parameters()), retain_graph=True)
    assert all(value.isfinite().all() and value.any() for value in gradient)
    impossible = torch.autograd.grad(loss[0], list(alignment.parameters()))
    assert not any(value.any() for value in impossible)


def test_training_the_ctc_alignment_puts_the_positions_in_order() -> None:
    alignment, batch = ctc_alignment(positions=3), batch_of([(12, 3)])
    optimiser = torch.optim.Adam(alignment.parameters(), lr=0.05)
    for _ in range(150):
        loss = alignment(batch, None).auxiliary_loss
        assert loss is not None
        optimiser.zero_grad()
        torch.autograd.backward(loss.sum())
        optimiser.step()
    weights = alignment.locate(batch.frames, torch.tensor([12])).softmax(1)[:, 1:]
    centres = (torch.arange(12.0) @ weights / weights.sum(0)).tolist()
    assert centres == sorted(centres)
