"""Which frames are read, and how utterances are laid end to end."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fgcme.model import Reads, plan_reads
from tests.fgcme.model.masked import Utterance, outputs_read, ragged

Span = tuple[int, int]


@st.composite
def utterances(draw: st.DrawFn) -> tuple[list[Span], int, int]:
    """Spans in any order, overlapping, empty, or past the end; frames of the utterance; reach of the encoder."""
    frame_count = draw(st.integers(0, 60))
    # A cut utterance keeps the spans of the words that were cut away.
    spans = draw(st.lists(st.tuples(st.integers(0, 70), st.integers(-3, 30)), min_size=1, max_size=8))
    return [(begin, max(begin + length, 0)) for begin, length in spans], frame_count, draw(st.integers(0, 8))


def plan(spans: list[Span], frame_count: int, reach: int) -> Reads:
    begin, end = np.array(spans, np.int32).T
    return plan_reads(begin, end, frame_count, reach)


def inputs_of_outputs(reads: Reads, reach: int) -> dict[int, int]:
    """For every output of the packed runs whose inputs all lie in one run: the utterance's output that it is."""
    frames = np.concatenate([np.arange(first, last) for first, last in reads.runs] or [np.zeros(0, int)])
    return {
        output: int(frames[output])
        for output in range(len(frames) - reach)
        if frames[output + reach] - frames[output] == reach
    }


@settings(deadline=None, max_examples=300)
@given(utterances())
@example(([(0, 20)], 20, 6))  # one word, touching both ends
@example(([(5, 5)], 20, 6))  # an empty span
@example(([(9, 10)], 20, 6))  # a span of one frame
@example(([(0, 3), (17, 20)], 20, 6))  # both ends
@example(([(0, 12), (8, 20), (2, 4)], 20, 6))  # overlapping, and out of order
@example(([(0, 6)], 6, 6))  # an utterance too short for a single output
@example(([(0, 4)], 4, 6))
@example(([(1, 2), (30, 31), (16, 17)], 60, 6))
@example(([(25, 30)], 20, 6))  # cut away
@example(([(3, 9), (12, 15)], 20, 0))  # an encoder that sees one frame at a time
def test_each_word_reads_exactly_the_outputs_that_see_its_span(case: tuple[list[Span], int, int]) -> None:
    spans, frame_count, reach = case
    reads = plan(spans, frame_count, reach)
    original = inputs_of_outputs(reads, reach)
    for (begin, end), first, last in zip(spans, reads.begin, reads.end, strict=True):
        assert [original[output] for output in range(first, last)] == outputs_read(begin, end, frame_count, reach)


@settings(deadline=None, max_examples=300)
@given(utterances())
def test_runs_hold_the_frames_that_are_needed_and_little_else(case: tuple[list[Span], int, int]) -> None:
    spans, frame_count, reach = case
    reads = plan(spans, frame_count, reach)
    needed = {
        frame
        for begin, end in spans
        for output in outputs_read(begin, end, frame_count, reach)
        for frame in range(output, output + reach + 1)
    }
    kept = [frame for first, last in reads.runs for frame in range(first, last)]
    # Runs ascend and never share a frame; they hold what is needed and nothing more.
    assert kept == sorted(needed)
    assert reads.length == len(kept)


def test_words_far_apart_are_two_runs_and_close_ones_are_one() -> None:
    assert plan([(10, 12), (30, 33)], 50, 6).runs.tolist() == [[4, 18], [24, 39]]
    assert plan([(10, 12), (20, 23)], 50, 6).runs.tolist() == [[4, 29]]


def test_a_word_that_reads_nothing_has_an_empty_range() -> None:
    reads = plan([(10, 10), (10, 12), (80, 90)], 50, 6)
    assert (reads.end - reads.begin).tolist() == [0, 8, 0]


def utterance(frame_count: int, spans: list[Span], label: int = 0) -> Utterance:
    begin, end = np.array(spans, np.int32).T
    frames = np.arange(frame_count, dtype=np.float32).repeat(2).reshape(-1, 2)
    return Utterance(frames, begin, end, np.arange(2, 2 + len(spans)), label)


def test_a_batch_holds_the_frames_that_words_read_and_no_others() -> None:
    batch = ragged([utterance(50, [(10, 12), (30, 33)]), utterance(20, [(0, 5)])], reach=6)
    expected = [*range(4, 18), *range(24, 39), *range(11)]
    assert batch.frames[:, 0].tolist() == expected
    assert batch.begin.tolist() == [0, 14, 29]
    assert batch.end.tolist() == [8, 23, 34]


def test_a_batch_keeps_words_counts_and_labels_in_the_order_of_its_utterances() -> None:
    batch = ragged([utterance(50, [(10, 12), (30, 33)], label=3), utterance(20, [(0, 5)], label=-1)], reach=6)
    assert batch.words.tolist() == [2, 3, 2]
    assert batch.word_counts.tolist() == [2, 1]
    assert batch.labels.tolist() == [3, -1]
    assert len(batch) == 2


def test_a_batch_in_which_nothing_is_read_still_feeds_the_encoder() -> None:
    batch = ragged([utterance(50, [(10, 10)])], reach=6)
    assert batch.frames.tolist() == torch.zeros(7, 2).tolist()
    assert batch.begin.tolist() == batch.end.tolist()


def test_a_batch_moves_to_a_device_but_for_its_word_counts() -> None:
    moved = ragged([utterance(50, [(10, 12)])], reach=6).to("meta")
    assert {moved.frames.device.type, moved.begin.device.type, moved.words.device.type} == {"meta"}
    assert moved.word_counts.device.type == "cpu"


def test_every_utterance_brings_its_own_reads() -> None:
    from fgcme.model import collate

    one = utterance(50, [(10, 12)])
    with pytest.raises(ValueError, match="shorter"):
        collate([one.frames, one.frames], [plan([(10, 12)], 50, 6)], [one.words, one.words], [0, 0], 7)
