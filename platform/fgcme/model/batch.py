"""Ragged batches: which frames the words of an utterance read, and utterances laid end to end.

A stack of unpadded convolutions turns A frames into A' = A - reach frames, where `reach` is the sum of (kernel - 1),
and output j sees the inputs j .. j + reach. Word i reads the outputs whose receptive field meets its span [b_i, e_i):
j in [b_i - reach, e_i), cut to [0, A'). Frames that no word reads are left out before the convolution: what is read is
kept as a few *runs* of consecutive frames, laid end to end with the runs of the other utterances into one long signal.
An output that straddles two runs is computed and never read.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class Reads:
    """What the words of one utterance read.

    Attributes:
        runs: [R, 2] begin and end (exclusive) of each run of input frames.
        begin, end: [T] outputs that each word reads, counted along the packed runs, end exclusive. An empty range where
            the word reads nothing.
        length: number of frames in all runs together.
    """

    runs: np.ndarray
    begin: np.ndarray
    end: np.ndarray
    length: int


def plan_reads(begin: np.ndarray, end: np.ndarray, frame_count: int, reach: int) -> Reads:
    """Find the frames that the words of one utterance read.

    Args:
        begin: [T] first frame of each word.
        end: [T] frame after the last of each word.
        frame_count: frames of the utterance, A.
        reach: how many frames past its own an output of the encoder sees, A - A'.

    >>> plan_reads(np.array([10, 30]), np.array([12, 33]), frame_count=50, reach=6).runs.tolist()
    [[4, 18], [24, 39]]
    """
    output_count = max(frame_count - reach, 0)
    low = np.clip(np.asarray(begin, np.int64) - reach, 0, output_count)
    high = np.clip(np.asarray(end, np.int64), 0, output_count)
    empty = (high <= low) | (np.asarray(end) <= np.asarray(begin))
    order = np.argsort(low[~empty], kind="stable")
    lows, highs = low[~empty][order], high[~empty][order]
    if not len(lows):
        nothing = np.zeros(len(low), np.int64)
        return Reads(np.zeros((0, 2), np.int64), nothing, nothing, 0)
    furthest = np.maximum.accumulate(highs)
    # Two stretches of outputs up to `reach` apart share input frames: one run costs no more than two.
    starts = np.flatnonzero(np.concatenate([[True], lows[1:] > furthest[:-1] + reach]))
    run_begin = lows[starts]
    run_end = furthest[np.concatenate([starts[1:] - 1, [len(furthest) - 1]])] + reach
    offset = np.concatenate([[0], np.cumsum(run_end - run_begin)])
    run_of_word = np.clip(np.searchsorted(run_begin, low, side="right") - 1, 0, None)
    shift = offset[run_of_word] - run_begin[run_of_word]
    return Reads(
        runs=np.stack([run_begin, run_end], axis=1),
        begin=np.where(empty, 0, low + shift),
        end=np.where(empty, 0, high + shift),
        length=int(offset[-1]),
    )


@dataclass(frozen=True)
class Batch:
    """Utterances laid end to end.

    Attributes:
        frames: [N, F] the frames that words read, float32.
        begin, end: [W] the encoder's outputs that each word reads, end exclusive.
        words: [W] vocabulary indices.
        word_counts: [B] words of each utterance, at least one each.
        labels: [B] class indices, or -1 where unknown.
    """

    frames: Tensor
    begin: Tensor
    end: Tensor
    words: Tensor
    word_counts: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.word_counts)

    def to(self, device: torch.device | str) -> Batch:
        """The same batch on a device. Word counts stay on the CPU, where the sequence model wants them."""

        def move(tensor: Tensor) -> Tensor:
            return tensor.to(device, non_blocking=True)

        return Batch(
            move(self.frames),
            move(self.begin),
            move(self.end),
            move(self.words),
            self.word_counts,
            move(self.labels),
        )


def collate(
    frames: Sequence[np.ndarray],
    reads: Sequence[Reads],
    words: Sequence[np.ndarray],
    labels: Sequence[int],
    minimum: int,
) -> Batch:
    """Lay utterances end to end.

    Args:
        frames: each utterance's frames, [A, F].
        reads: what each utterance's words read.
        words: each utterance's vocabulary indices, [T].
        labels: class indices.
        minimum: the shortest signal that the encoder takes, reach + 1; a batch with less is filled with zeros.
    """
    pieces = [
        signal[first:last] for signal, read in zip(frames, reads, strict=True) for first, last in read.runs.tolist()
    ]
    total = sum(read.length for read in reads)
    if total < minimum:
        pieces.append(np.zeros((minimum - total, frames[0].shape[1]), np.float32))
    starts = np.cumsum([0] + [read.length for read in reads[:-1]])
    return Batch(
        frames=torch.from_numpy(np.concatenate(pieces)),
        begin=torch.from_numpy(np.concatenate([read.begin + start for read, start in zip(reads, starts, strict=True)])),
        end=torch.from_numpy(np.concatenate([read.end + start for read, start in zip(reads, starts, strict=True)])),
        words=torch.from_numpy(np.concatenate(words).astype(np.int64)),
        word_counts=torch.tensor([len(utterance) for utterance in words]),
        labels=torch.tensor(labels, dtype=torch.int64),
    )
