"""Which frames are read, and how utterances are packed end to end."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fgcme.data import Mixture, collate, layout_frames, ranges_from_counts, segment_positions
from fgcme.data.batch import FrameLayout, Segments, SegmentScheme
from tests.fgcme.model.masked import Utterance, ragged_batch
from tests.fgcme.model.reference import outputs_read

Span = tuple[int, int]


@st.composite
def utterances(draw: st.DrawFn) -> tuple[list[Span], int, int]:
    """Spans in any order, overlapping, empty, or past the end; frames of the utterance; lookahead of the encoder."""
    frame_count = draw(st.integers(0, 60))
    # An utterance cut at the frame limit keeps the spans of all words.
    spans = draw(st.lists(st.tuples(st.integers(0, 70), st.integers(-3, 30)), min_size=1, max_size=8))
    return [(begin, max(begin + length, 0)) for begin, length in spans], frame_count, draw(st.integers(0, 8))


def layout_of(
    spans: list[Span],
    frame_count: int,
    lookahead: int,
    segments: Segments = "words",
    margin: int = 0,
    speech: Span | None = None,
    seed: int | None = None,
) -> FrameLayout:
    begin, end = np.array(spans, np.int32).T
    generator = None if seed is None else np.random.default_rng(seed)
    return layout_frames(SegmentScheme(segments, lookahead, margin), begin, end, frame_count, speech, generator)


def inputs_of_outputs(layout: FrameLayout, lookahead: int) -> dict[int, int]:
    """For every output of the packed runs whose inputs all lie in one run: the utterance's output that it is."""
    frames = np.concatenate([np.arange(first, last) for first, last in layout.runs] or [np.zeros(0, int)])
    return {
        output: int(frames[output])
        for output in range(len(frames) - lookahead)
        if frames[output + lookahead] - frames[output] == lookahead
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
    spans, frame_count, lookahead = case
    layout = layout_of(spans, frame_count, lookahead)
    original = inputs_of_outputs(layout, lookahead)
    for (begin, end), first, last in zip(spans, layout.begin, layout.end, strict=True):
        assert [original[output] for output in range(first, last)] == outputs_read(begin, end, frame_count, lookahead)


@settings(deadline=None, max_examples=300)
@given(utterances())
def test_runs_hold_the_frames_that_are_needed_and_no_others(case: tuple[list[Span], int, int]) -> None:
    spans, frame_count, lookahead = case
    layout = layout_of(spans, frame_count, lookahead)
    needed = {
        frame
        for begin, end in spans
        for output in outputs_read(begin, end, frame_count, lookahead)
        for frame in range(output, output + lookahead + 1)
    }
    kept = [frame for first, last in layout.runs for frame in range(first, last)]
    # Ascending, and without a frame twice.
    assert kept == sorted(needed)
    assert layout.length == len(kept)


@settings(deadline=None, max_examples=200)
@given(utterances())
def test_spans_count_frames_along_the_runs(case: tuple[list[Span], int, int]) -> None:
    spans, frame_count, lookahead = case
    layout = layout_of(spans, frame_count, lookahead)
    frames = np.concatenate([np.arange(first, last) for first, last in layout.runs] or [np.zeros(0, int)])
    for (begin, end), first, last, read in zip(
        spans, layout.spans[:, 0], layout.spans[:, 1], layout.end > layout.begin, strict=True
    ):
        # A word that reads nothing has an empty span.
        assert frames[first:last].tolist() == (list(range(begin, min(end, frame_count))) if read else [])


@settings(deadline=None, max_examples=200)
@given(utterances(), st.integers(0, 10))
def test_a_margin_widens_every_span_except_empty_ones(case: tuple[list[Span], int, int], margin: int) -> None:
    spans, frame_count, lookahead = case
    wider = [(max(begin - margin, 0), end + margin) if begin < end else (begin, begin) for begin, end in spans]
    ours, theirs = layout_of(spans, frame_count, lookahead, margin=margin), layout_of(wider, frame_count, lookahead)
    for name in ("runs", "begin", "end", "spans"):
        np.testing.assert_array_equal(getattr(ours, name), getattr(theirs, name))


@given(st.integers(1, 12), st.integers(0, 60))
def test_an_even_split_gives_each_word_equally_many_frames(words: int, frame_count: int) -> None:
    layout = layout_of([(0, 0)] * words, frame_count, 0, "even")
    lengths = layout.end - layout.begin
    assert lengths.sum() == frame_count == layout.length
    assert set(lengths) <= {frame_count // words, frame_count // words + 1}
    assert (np.diff(layout.begin[lengths > 0]) > 0).all()


@given(st.integers(1, 12), st.integers(1, 60), st.integers(0, 80), st.integers(0, 30))
def test_an_even_split_of_the_speech_is_that_of_a_recording_that_holds_nothing_else(
    words: int, frame_count: int, first: int, length: int
) -> None:
    layout = layout_of([(0, 0)] * words, frame_count, 0, "even_speech", speech=(first, first + length))
    # A recording that is cut before its speech counts as speech.
    begin, end = (first, min(first + length, frame_count)) if first < frame_count else (0, frame_count)
    alone = layout_of([(0, 0)] * words, end - begin, 0, "even")
    np.testing.assert_array_equal(layout.begin, alone.begin)
    np.testing.assert_array_equal(layout.end, alone.end)
    np.testing.assert_array_equal(layout.runs, alone.runs + begin if alone.length else alone.runs)


def test_the_speech_is_one_segment_with_its_margin() -> None:
    layout = layout_of([(3, 5), (30, 40)], 50, 6, "speech", margin=2, speech=(20, 44))
    assert layout.runs.tolist() == [[12, 50]]
    assert (layout.begin.tolist(), layout.end.tolist(), layout.spans.tolist()) == ([0], [32], [[6, 34]])


@given(st.integers(1, 12), st.integers(1, 60), st.integers(0, 30), st.integers(1, 40), st.integers(0, 6))
def test_random_segments_divide_the_speech_and_read_the_frames_that_even_ones_read(
    words: int, frame_count: int, first: int, length: int, margin: int
) -> None:
    speech = (first, first + length)
    even, one, other = (
        layout_of([(0, 0)] * words, frame_count, 6, "random", margin, speech, seed) for seed in (None, 1, 2)
    )
    for drawn in (one, other):
        # So frames that are kept on a device serve all epochs.
        np.testing.assert_array_equal(drawn.runs, even.runs)
    plain = layout_of([(0, 0)] * words, frame_count, 0, "random", 0, speech, seed=1)
    covered = plain.spans[plain.end > plain.begin]
    assert (covered[1:, 0] == covered[:-1, 1]).all() and np.diff(covered).sum() == plain.length
    cut = min(first + length, frame_count) - first if first < frame_count else frame_count
    assert plain.length == cut and (len(covered) == words or cut < words)


def test_random_segments_are_of_uneven_length_and_differ_from_draw_to_draw() -> None:
    drawn = [layout_of([(0, 0)] * 5, 200, 0, "random", speech=(20, 180), seed=seed).begin for seed in range(200)]
    assert len({tuple(begin) for begin in drawn}) == 200
    # Each inner boundary is as likely early as late: the mean of the k-th of four is at k fifths of the speech.
    np.testing.assert_allclose(np.mean(drawn, axis=0), [0, 32, 64, 96, 128], atol=7)


@pytest.mark.parametrize(("segments", "words", "at_end"), [("words", [0, 1, 3], [2, 4]), ("recording", [0, 2], [1, 3])])
def test_an_overall_segment_comes_after_the_words_segments_and_reads_the_recording(
    segments: Segments, words: list[int], at_end: list[int]
) -> None:
    utterances = [utterance(50, [(10, 12), (30, 33)]), utterance(20, [(0, 5)])]
    batch = ragged_batch(utterances, SegmentScheme(segments, 6, overall="recording"))
    words_at, recordings_at = segment_positions(batch)
    assert (words_at.tolist(), recordings_at.tolist()) == (words, at_end)
    recordings = batch.reads.take(recordings_at)
    assert len(batch.frames) == 70
    assert (recordings.begin.tolist(), recordings.end.tolist()) == ([0, 50], [44, 64])
    assert recordings.lengths.tolist() == [44, 14]
    plain = ragged_batch(utterances, SegmentScheme(segments, 6))
    assert batch.reads.take(words_at).lengths.tolist() == plain.reads.lengths.tolist()


@pytest.mark.parametrize("segments", ["even_speech", "random", "speech"])
def test_segments_of_the_speech_need_to_know_where_it_is(segments: Segments) -> None:
    with pytest.raises(ValueError, match="where the speech is"):
        layout_of([(3, 5)], 50, 6, segments)


def test_an_utterance_is_one_segment_whatever_its_words() -> None:
    layout = layout_of([(3, 5), (5, 5), (30, 40)], 50, 6, "recording")
    assert layout.runs.tolist() == [[0, 50]]
    assert (layout.begin.tolist(), layout.end.tolist(), layout.spans.tolist()) == ([0], [44], [[0, 50]])


def test_a_model_of_words_alone_reads_no_frame() -> None:
    layout = layout_of([(3, 5), (30, 40)], 50, 0, "none")
    assert (layout.length, len(layout.runs), len(layout.begin), layout.spans.shape) == (0, 0, 0, (0, 2))


def test_words_far_apart_are_two_runs_and_close_ones_are_one() -> None:
    assert layout_of([(10, 12), (30, 33)], 50, 6).runs.tolist() == [[4, 18], [24, 39]]
    assert layout_of([(10, 12), (20, 23)], 50, 6).runs.tolist() == [[4, 29]]


def test_a_word_that_reads_nothing_has_an_empty_range() -> None:
    layout = layout_of([(10, 10), (10, 12), (80, 90)], 50, 6)
    assert (layout.end - layout.begin).tolist() == [0, 8, 0]


WORDS = SegmentScheme("words", lookahead=6)


def utterance(frame_count: int, spans: list[Span], label: int = 0) -> Utterance:
    begin, end = np.array(spans, np.int32).T
    frames = np.arange(frame_count, dtype=np.float32).repeat(2).reshape(-1, 2)
    return Utterance(frames, begin, end, np.arange(2, 2 + len(spans)), label)


def test_a_batch_holds_the_frames_that_words_read_and_no_others() -> None:
    batch = ragged_batch([utterance(50, [(10, 12), (30, 33)]), utterance(20, [(0, 5)])], WORDS)
    expected = [*range(4, 18), *range(24, 39), *range(11)]
    assert batch.frames[:, 0].tolist() == expected
    assert batch.reads.begin.tolist() == [0, 14, 29]
    assert batch.reads.end.tolist() == [8, 23, 34]
    assert batch.reads.lengths.tolist() == [8, 9, 5]
    assert batch.spans.tolist() == [[6, 8], [20, 23], [29, 34]]


def test_a_batch_keeps_words_counts_and_labels_in_the_order_of_its_utterances() -> None:
    batch = ragged_batch([utterance(50, [(10, 12), (30, 33)], label=3), utterance(20, [(0, 5)], label=-1)], WORDS)
    assert batch.words.tolist() == [2, 3, 2]
    assert batch.word_counts.tolist() == [2, 1]
    assert batch.labels.tolist() == [3, -1]
    assert len(batch) == 2


def test_a_batch_that_reads_nothing_is_padded_to_the_encoder_s_shortest_signal() -> None:
    batch = ragged_batch([utterance(50, [(10, 10)])], WORDS)
    assert batch.frames.tolist() == torch.zeros(7, 2).tolist()
    assert batch.reads.lengths.tolist() == [0]


def test_a_batch_of_words_alone_has_no_segment() -> None:
    batch = ragged_batch([utterance(50, [(10, 12)]), utterance(20, [(0, 5)])], SegmentScheme("none"))
    assert batch.frames.shape == (1, 2) and batch.spans.shape == (0, 2) and len(batch.reads.begin) == 0
    assert batch.words.tolist() == [2, 2]


def test_a_batch_of_whole_utterances_has_a_segment_for_each() -> None:
    batch = ragged_batch([utterance(50, [(10, 12), (20, 30)]), utterance(20, [(0, 5)])], SegmentScheme("recording", 6))
    assert batch.reads.begin.tolist() == [0, 50] and batch.reads.lengths.tolist() == [44, 14]
    assert batch.spans.tolist() == [[0, 50], [50, 70]]


def test_a_batch_moves_to_a_device_except_its_counts() -> None:
    batch = ragged_batch([utterance(50, [(10, 12)])], WORDS)
    mixture = Mixture(torch.tensor([0]), torch.tensor([0.5]))
    moved = dataclasses.replace(batch, mixture=mixture).to("meta")
    assert moved.mixture is not None
    there = [moved.frames, moved.reads.begin, moved.reads.end, moved.spans, moved.words, moved.labels, *moved.mixture]
    assert {tensor.device.type for tensor in there} == {"meta"}
    assert moved.word_counts.device.type == moved.reads.lengths.device.type == "cpu"
    assert batch.to("meta").mixture is None


def test_a_batch_needs_a_layout_for_each_utterance() -> None:
    one = utterance(50, [(10, 12)])
    with pytest.raises(ValueError, match="shorter"):
        collate([one.frames, one.frames], [layout_of([(10, 12)], 50, 6)], [one.words, one.words], [0, 0], 7)


@given(st.lists(st.integers(0, 5), min_size=1, max_size=6))
def test_ranges_from_counts_cover_every_row_once(counts: list[int]) -> None:
    ranges = ranges_from_counts(torch.tensor(counts))
    rows = [
        row for begin, end in zip(ranges.begin.tolist(), ranges.end.tolist(), strict=True) for row in range(begin, end)
    ]
    assert rows == list(range(sum(counts))) and ranges.lengths.tolist() == counts


@settings(deadline=None, max_examples=100)
@given(utterances())
def test_a_whole_recording_is_in_the_batch_and_its_segments_read_what_they_would_else(
    drawn: tuple[list[Span], int, int],
) -> None:
    """Layers of an encoder attend to all frames, also to those that no segment reads."""
    spans, frame_count, lookahead = drawn
    begin, end = np.array(spans).T
    cut, whole = (
        layout_frames(SegmentScheme("words", lookahead, 1, whole=whole), begin, end, frame_count)
        for whole in (False, True)
    )
    kept = frame_count if frame_count > lookahead else 0
    assert whole.length == kept and whole.runs.tolist() == ([[0, kept]] if kept else [])
    # In a run that begins with the recording, frames count as in the recording.
    read = np.concatenate([np.arange(*run) for run in cut.runs] or [np.zeros(0, int)])
    for own, other in ((cut.begin, whole.begin), (cut.spans[:, 0], whole.spans[:, 0])):
        is_read = cut.end > cut.begin
        np.testing.assert_array_equal(read[own[is_read]], other[is_read])
    np.testing.assert_array_equal(cut.end - cut.begin, whole.end - whole.begin)
    np.testing.assert_array_equal(np.diff(cut.spans), np.diff(whole.spans))


def test_a_batch_knows_how_many_frames_each_utterance_has() -> None:
    counts = (9, 0, 4)
    batch = ragged_batch(
        [Utterance(np.zeros((count, 2), np.float32), np.array([1]), np.array([3]), np.array([2])) for count in counts],
        SegmentScheme("words", whole=True),
    )
    assert batch.frame_counts is not None and batch.frame_counts.tolist() == list(counts)
    assert batch.to("cpu").frame_counts is batch.frame_counts
