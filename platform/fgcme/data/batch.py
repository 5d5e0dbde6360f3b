"""Ragged batches: which frames an utterance's segments read, and utterances packed end to end.

A stack of unpadded convolutions turns A frames into A' = A - lookahead outputs, where `lookahead` is the sum of
(kernel - 1), and output j sees the inputs j .. j + lookahead. A segment reads the outputs whose receptive field meets
its span [b, e): j in [b - lookahead, e), cut to [0, A'). Frames that no segment reads are left out before the
convolution: the others are a few *runs* of consecutive frames, packed end to end with the runs of the other utterances
into one long signal. An output that straddles two runs is computed and never read.

A segment is a word, a part of the recording that stands for a word, or one piece that stands for all words.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

Segments = Literal["words", "even", "even_speech", "random", "recording", "speech", "none"]
Overall = Literal["none", "recording", "speech"]
# Segments that begin and end where the speech does.
_OF_SPEECH = ("even_speech", "random", "speech")
Stretch = tuple[int, int]
"""First frame of a stretch, and the frame after its last."""


@dataclass(frozen=True)
class SegmentScheme:
    """How a model reads the frames of an utterance.

    Attributes:
        segments: the words' spans; as many even parts of the recording, or of its speech; as many parts of the speech
            with random boundaries; the recording or its speech as one segment; or no frame at all.
        lookahead: how many frames past its own an output of the encoder sees, A - A'.
        margin: frames of context on either side of a segment.
        overall: one more segment of each utterance, after those of its words: the recording, its speech, or none.
        whole: whether all frames are in the batch, read by a segment or not: layers of an encoder attend to them.
    """

    segments: Segments = "words"
    lookahead: int = 0
    margin: int = 0
    overall: Overall = "none"
    whole: bool = False

    @property
    def has_shared_segment(self) -> bool:
        """Whether one segment stands for all words of an utterance."""
        return self.segments in ("recording", "speech")

    @property
    def reads_recording(self) -> bool:
        """Whether all frames of an utterance are read."""
        return self.whole or "recording" in (self.segments, self.overall)

    @property
    def needs_speech(self) -> bool:
        """Whether it must be known where the speech is."""
        return self.segments in _OF_SPEECH or self.overall == "speech"


@dataclass(frozen=True)
class FrameLayout:
    """Which frames and outputs the segments of one utterance read.

    Attributes:
        runs: [runs, 2] begin and end (exclusive) of each run of input frames.
        begin, end: [G] outputs that each segment reads, counted along the packed runs, end exclusive. An empty range
            where the segment reads nothing.
        spans: [G, 2] begin and end (exclusive) of the segment's own frames, counted the same way.
        length: number of frames in all runs together.
    """

    runs: np.ndarray
    begin: np.ndarray
    end: np.ndarray
    spans: np.ndarray
    length: int


def layout_frames(
    scheme: SegmentScheme,
    begin: np.ndarray,
    end: np.ndarray,
    frame_count: int,
    speech: Stretch | None = None,
    generator: np.random.Generator | None = None,
) -> FrameLayout:
    """Find which frames a model reads of one utterance.

    Args:
        scheme: how the model reads frames.
        begin: [W] first frame of each word.
        end: [W] frame after the last of each word.
        frame_count: frames of the utterance, A.
        speech: where the speech is; the recording counts as speech where it is cut before the speech.
        generator: draws the boundaries of random parts; without it they are even, as for evaluation.

    Raises:
        ValueError: the scheme needs to know where the speech is, and does not.

    >>> layout = layout_frames(SegmentScheme("even"), np.array([4, 5]), np.array([5, 9]), frame_count=20)
    >>> layout.begin.tolist(), layout.end.tolist()
    ([0, 10], [10, 20])
    """
    begin, end = np.asarray(begin, np.int64), np.asarray(end, np.int64)
    if scheme.segments == "none":
        begin = end = np.zeros(0, np.int64)
    elif scheme.segments != "words":
        edges = _edges(scheme, len(begin), frame_count, speech, generator)
        begin, end = edges[:-1], edges[1:]
    # An empty span gets no context.
    margin = np.where(end > begin, scheme.margin, 0)
    begin, end = np.maximum(begin - margin, 0), end + margin
    if scheme.overall != "none":
        first, last = _stretch(scheme.overall == "speech", frame_count, speech)
        begin, end = np.append(begin, first), np.append(end, last)
    if not scheme.whole:
        return layout_spans(begin, end, frame_count, scheme.lookahead)
    # As if one more segment read everything.
    layout = layout_spans(np.append(begin, 0), np.append(end, frame_count), frame_count, scheme.lookahead)
    return replace(layout, begin=layout.begin[:-1], end=layout.end[:-1], spans=layout.spans[:-1])


def _edges(
    scheme: SegmentScheme,
    words: int,
    frame_count: int,
    speech: Stretch | None,
    generator: np.random.Generator | None,
) -> np.ndarray:
    """Boundaries of adjacent segments, one more than there are segments; see `layout_frames`."""
    first, last = _stretch(scheme.segments in _OF_SPEECH, frame_count, speech)
    if scheme.has_shared_segment:
        return np.array([first, last])
    if scheme.segments == "random" and generator is not None and last - first >= words:
        # No part is empty.
        inner = first + 1 + generator.choice(last - first - 1, words - 1, replace=False)
        return np.concatenate([[first], np.sort(inner), [last]])
    return first + np.arange(words + 1) * (last - first) // words


def _stretch(of_speech: bool, frame_count: int, speech: Stretch | None) -> Stretch:
    """The recording or its speech; see `layout_frames`."""
    if not of_speech:
        return 0, frame_count
    if speech is None:
        raise ValueError("segments of the speech need to know where the speech is")
    return (speech[0], min(speech[1], frame_count)) if speech[0] < frame_count else (0, frame_count)


def layout_spans(begin: np.ndarray, end: np.ndarray, frame_count: int, lookahead: int) -> FrameLayout:
    """Find the frames that the segments of one utterance read.

    Args:
        begin: [G] first frame of each segment.
        end: [G] frame after the last of each segment.
        frame_count: frames of the utterance, A.
        lookahead: how many frames past its own an output of the encoder sees, A - A'.

    >>> layout_spans(np.array([10, 30]), np.array([12, 33]), frame_count=50, lookahead=6).runs.tolist()
    [[4, 18], [24, 39]]
    """
    begin, end = np.asarray(begin, np.int64), np.asarray(end, np.int64)
    output_count = max(frame_count - lookahead, 0)
    low = np.clip(begin - lookahead, 0, output_count)
    high = np.clip(end, 0, output_count)
    empty = (high <= low) | (end <= begin)
    order = np.argsort(low[~empty], kind="stable")
    lows, highs = low[~empty][order], high[~empty][order]
    if not len(lows):
        nothing = np.zeros(len(low), np.int64)
        return FrameLayout(np.zeros((0, 2), np.int64), nothing, nothing, np.zeros((len(low), 2), np.int64), 0)
    furthest = np.maximum.accumulate(highs)
    # Outputs up to `lookahead` apart share input frames: one run costs no more than two.
    starts = np.flatnonzero(np.concatenate([[True], lows[1:] > furthest[:-1] + lookahead]))
    run_begin = lows[starts]
    run_end = furthest[np.concatenate([starts[1:] - 1, [len(furthest) - 1]])] + lookahead
    offset = np.concatenate([[0], np.cumsum(run_end - run_begin)])
    run_of_segment = np.clip(np.searchsorted(run_begin, low, side="right") - 1, 0, None)
    shift = offset[run_of_segment] - run_begin[run_of_segment]
    return FrameLayout(
        runs=np.stack([run_begin, run_end], axis=1),
        begin=np.where(empty, 0, low + shift),
        end=np.where(empty, 0, high + shift),
        spans=np.where(empty, 0, np.clip([begin, end], 0, frame_count) + shift).T,
        length=int(offset[-1]),
    )


def lookahead(kernels: Sequence[int]) -> int:
    """How many frames past its own an output of the encoder sees: the receptive field less one.

    Args:
        kernels: widths of the stacked convolutions.

    >>> lookahead([5, 2, 2])
    6
    """
    return sum(kernel - 1 for kernel in kernels)


class Ranges(NamedTuple):
    """Ranges of rows of one long signal, which may overlap and may be empty.

    Attributes:
        begin, end: [G] first row of each range, and the row after its last.
        lengths: [G] end - begin, on the CPU, so that nothing waits for a device to learn them.
    """

    begin: Tensor
    end: Tensor
    lengths: Tensor

    def to(self, device: torch.device | str) -> Ranges:
        """The same ranges, of rows on a device."""
        return Ranges(self.begin.to(device, non_blocking=True), self.end.to(device, non_blocking=True), self.lengths)

    def take(self, positions: Tensor) -> Ranges:
        """Some of the ranges, by their positions, which are on the CPU."""
        there = positions.to(self.begin.device, non_blocking=True)
        return Ranges(self.begin[there], self.end[there], self.lengths[positions])


def ranges_from_counts(counts: Tensor) -> Ranges:
    """Ranges of so many rows each, end to end.

    >>> ranges_from_counts(torch.tensor([2, 3])).begin.tolist()
    [0, 2]
    """
    end = counts.cumsum(0)
    return Ranges(end - counts, end, counts)


class Mixture(NamedTuple):
    """Which utterances of a batch are mixed, by Zhang et al. (2018) and, of hidden features, Verma et al. (2019).

    Attributes:
        partner: [B] position in the batch of the utterance that each is mixed with.
        weight: [B] share of the utterance itself, in [0, 1].
    """

    partner: Tensor
    weight: Tensor


@dataclass(frozen=True)
class Batch:
    """Utterances packed end to end.

    Attributes:
        frames: [N, F] float32, the frames that segments read; none where `pooled` stands for them.
        reads: [G] the encoder's outputs that each segment reads.
        spans: [G, 2] each segment's own frames, counted in the same way, end exclusive.
        words: [W] vocabulary indices of all words.
        word_counts: [B] words of each utterance, at least one each, on the CPU.
        labels: [B] class indices, or -1 where unknown.
        mixture: which utterances are mixed in training, or None.
        speakers: [B] number of each utterance's speaker in the corpus, for a model that tells them apart, or None.
        word_features: [W, values] what a text encoder says of each word, zeros of an unknown one, for a model that
            reads it, or None.
        frame_counts: [B] frames of each utterance, on the CPU; where a model wants none of them, None.
        pooled: vectors of the words' segments, and [B] of the overall ones, made once by poolings that are not trained.
        ratings: [B, D] of each utterance, from 0 to 1, NaN where nobody rated; None where none are learnt.
        shares: [B, K] share of raters who gave each class; None where they are not learnt.
    """

    frames: Tensor
    reads: Ranges
    spans: Tensor
    words: Tensor
    word_counts: Tensor
    labels: Tensor
    mixture: Mixture | None = None
    speakers: Tensor | None = None
    word_features: Tensor | None = None
    frame_counts: Tensor | None = None
    pooled: tuple[Tensor, ...] = ()
    ratings: Tensor | None = None
    shares: Tensor | None = None

    def __len__(self) -> int:
        return len(self.word_counts)

    def to(self, device: torch.device | str) -> Batch:
        """The same batch on a device. Counts stay on the CPU, where sequence models want them."""

        def move(tensor: Tensor) -> Tensor:
            return tensor.to(device, non_blocking=True)

        return Batch(
            frames=move(self.frames),
            reads=self.reads.to(device),
            spans=move(self.spans),
            words=move(self.words),
            word_counts=self.word_counts,
            labels=move(self.labels),
            mixture=None if self.mixture is None else Mixture(*map(move, self.mixture)),
            speakers=None if self.speakers is None else move(self.speakers),
            word_features=None if self.word_features is None else move(self.word_features),
            frame_counts=self.frame_counts,
            pooled=tuple(map(move, self.pooled)),
            ratings=None if self.ratings is None else move(self.ratings),
            shares=None if self.shares is None else move(self.shares),
        )


def segment_positions(batch: Batch) -> tuple[Tensor, Tensor]:
    """Where the segments of words and the overall ones are among the segments of a batch that has both.

    Returns:
        Positions on the CPU: of the segments that stand for words, and [B] of the overall ones.
    """
    utterances = torch.arange(len(batch))
    # Words of an utterance share one segment, or each has its own.
    is_shared = len(batch.reads.lengths) == 2 * len(batch)
    counts = torch.ones_like(utterances) if is_shared else batch.word_counts
    words = torch.arange(int(counts.sum())) + torch.repeat_interleave(utterances, counts)
    return words, counts.cumsum(0) + utterances


def collate(
    frames: Sequence[np.ndarray],
    layouts: Sequence[FrameLayout],
    words: Sequence[np.ndarray],
    labels: Sequence[int],
    min_length: int,
) -> Batch:
    """Pack utterances end to end.

    Args:
        frames: each utterance's frames, [A, F].
        layouts: which frames each utterance's segments read.
        words: each utterance's vocabulary indices, [W].
        labels: [B] class indices, or -1 where unknown.
        min_length: the shortest signal that the encoder takes, lookahead + 1; zeros fill up a shorter one.
    """
    pieces = [
        signal[first:last]
        for signal, layout in zip(frames, layouts, strict=True)
        for first, last in layout.runs.tolist()
    ]
    return pack(torch.from_numpy(np.concatenate(pieces or [frames[0][:0]])), layouts, words, labels, min_length)


def pack(
    frames: Tensor, layouts: Sequence[FrameLayout], words: Sequence[np.ndarray], labels: Sequence[int], min_length: int
) -> Batch:
    """Make a batch of frames that are end to end already.

    Args:
        frames: [N, F] the runs of all utterances, on any device; everything else is on the CPU.
        layouts: which frames each utterance's segments read.
        words: each utterance's vocabulary indices, [W].
        labels: [B] class indices, or -1 where unknown.
        min_length: the shortest signal that the encoder takes; zeros fill up a shorter one.
    """
    if len(frames) < min_length:
        frames = functional.pad(frames, (0, 0, 0, min_length - len(frames)))
    starts = np.cumsum([0] + [layout.length for layout in layouts[:-1]])
    shift = np.repeat(starts, [len(layout.begin) for layout in layouts])
    begin, end = (np.concatenate([getattr(layout, edge) for layout in layouts]) + shift for edge in ("begin", "end"))
    return Batch(
        frames=frames,
        reads=Ranges(*map(torch.from_numpy, (begin, end, end - begin))),
        spans=torch.from_numpy(np.concatenate([layout.spans for layout in layouts]) + shift[:, None]),
        words=torch.from_numpy(np.concatenate(words).astype(np.int64)),
        word_counts=torch.tensor([len(utterance) for utterance in words]),
        labels=torch.tensor(labels, dtype=torch.int64),
        frame_counts=torch.tensor([layout.length for layout in layouts]),
    )
