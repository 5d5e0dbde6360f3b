"""Temporal-alignment pooling: the frames that a word reads become one vector.

Words are ranges of one long signal; they may overlap and may be empty. Each is reduced where it lies, O(rows read x
channels), where the masked form of the published code multiplies a tensor of words x frames x channels. With h_j the
rows of a range, j one of n:

    mean        1/n sum_j h_j
    max         max_j h_j, per channel
    mean_max    [mean ; max]                                    the paper
    softmax     sum_j w_j h_j, w the softmax of m_j over the range; m_j is how much of what output j sees lies in the
                word's span                                     an earlier form in the published code
    lse         t log(1/n sum_j exp(h_j / t)), per channel: between mean and max (Pinheiro and Collobert, CVPR 2015)
    attention   sum_j w_j h_j, w the softmax of h_j . q / sqrt(C) over the range, q learned
    statistics  [mean ; standard deviation] (Snyder et al., Interspeech 2017)
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from fgcme.data import Ranges

PoolingKind = Literal["mean_max", "mean", "max", "softmax", "lse", "attention", "statistics"]

# How PyTorch numbers the reduction of an embedding bag.
_MAX = 2
# Keeps the gradient of a standard deviation finite where rows are equal; they then deviate by 1e-4.
_LEAST_VARIANCE = 1e-8


class Bags(NamedTuple):
    """Ranges as embedding bags take them.

    Attributes:
        rows: [R] the rows of every range, one range after another.
        starts: [S] where each range starts among them.
        lengths: [S] how many are its own.
        empty: [S, 1] whether a range has none.
    """

    rows: Tensor
    starts: Tensor
    lengths: Tensor
    empty: Tensor

    @classmethod
    def from_ranges(cls, ranges: Ranges) -> Bags:
        """The same ranges."""
        lengths = ranges.end - ranges.begin
        starts = lengths.cumsum(0) - lengths
        count = int(ranges.lengths.sum())
        first = torch.repeat_interleave(ranges.begin - starts, lengths, output_size=count)
        return cls(first + torch.arange(count, device=first.device), starts, lengths, (lengths == 0).unsqueeze(1))

    def repeat(self, values: Tensor) -> Tensor:
        """[S, ...] a value of each range -> [R, ...] that value for each of its rows."""
        return torch.repeat_interleave(values, self.lengths, dim=0, output_size=len(self.rows))

    def mean(self, values: Tensor) -> Tensor:
        """[R, C] values of the rows -> [S, C] their mean over each range, 0 for an empty one."""
        places = torch.arange(len(values), device=values.device)
        return functional.embedding_bag(places, values, self.starts, mode="mean")


class Pooling(nn.Module):
    """Reduce each range of rows to one vector: a word's frames (paper, "temporal alignment"), or an utterance's words.

    Computes in float32 at least, in float64 on float64 rows.

    Args:
        kind: see the module's table.
        channels: values of a row, C.
        kernels: of the convolutions that made the rows; they decide how much of a span a row sees (kind: softmax).
        temperature: of log-sum-exp; float32 tells no two apart beyond 1e-20 and 1e20 (kind: lse).
    """

    def __init__(self, kind: PoolingKind, channels: int, kernels: Sequence[int] = (), temperature: float = 1.0) -> None:
        super().__init__()
        self.kind = kind
        self.size = 2 * channels if kind in ("mean_max", "statistics") else channels
        self.temperature = min(max(temperature, 1e-20), 1e20)
        if kind == "attention":
            # Training starts from the mean.
            self.query = nn.Parameter(torch.zeros(channels))
        if kind == "softmax":
            self.before: Tensor
            self.register_buffer("before", cumulative_coverage(kernels), persistent=False)

    def forward(self, hidden: Tensor, reads: Ranges, spans: Tensor | None = None) -> Tensor:
        """Reduce.

        Args:
            hidden: [N, C] rows.
            reads: [S] the rows of each segment.
            spans: [S, 2] the frames of each segment, counted in the same way (kind: softmax).

        Returns:
            [S, self.size]. A segment without rows gives zeros (the published code gives 0 and -1e6).
        """
        # Sums of many terms, and differences of close ones, need more than the 8 bits of bfloat16.
        with torch.autocast(hidden.device.type, enabled=False):
            return self._reduce(hidden.to(torch.promote_types(hidden.dtype, torch.float32)), reads, spans)

    def _reduce(self, hidden: Tensor, reads: Ranges, spans: Tensor | None) -> Tensor:
        match self.kind:
            case "softmax":
                if spans is None:
                    raise ValueError("softmax pooling goes by the spans of the segments")
                bags = Bags.from_ranges(reads)
                return softmax_weighted_mean(hidden, bags, span_coverage(self.before, bags, spans).to(hidden.dtype))
            case "attention":
                bags = Bags.from_ranges(reads)
                scores = hidden @ self.query / math.sqrt(hidden.shape[1])
                return softmax_weighted_mean(hidden, bags, scores.index_select(0, bags.rows))
            case "lse":
                return log_mean_exp(hidden, Bags.from_ranges(reads), self.temperature)
            case "statistics":
                return mean_and_deviation(hidden, Bags.from_ranges(reads))
            case kind:
                return pool(hidden, reads, kind)


def pool(hidden: Tensor, reads: Ranges, kind: Literal["mean_max", "mean", "max"]) -> Tensor:
    """Reduce each range of `hidden` to its mean, its maximum, or both side by side.

    Args:
        hidden: [N, C] rows.
        reads: [S] ranges of them.
        kind: which.

    Returns:
        [S, C], or [S, 2 C] for `mean_max`. An empty range gives zeros.

    >>> hidden = torch.tensor([[1.0], [3.0], [8.0]])
    >>> both = Ranges(torch.tensor([0, 1]), torch.tensor([2, 3]), torch.tensor([2, 2]))
    >>> pool(hidden, both, "mean_max").tolist()
    [[2.0, 3.0], [5.5, 8.0]]
    """
    bags = Bags.from_ranges(reads)
    parts = []
    if kind != "max":
        parts.append(functional.embedding_bag(bags.rows, hidden, bags.starts, mode="mean"))
    if kind != "mean":
        parts.append(_maxima(hidden, bags).masked_fill(bags.empty, 0))
    return torch.cat(parts, dim=1)


def _maxima(hidden: Tensor, bags: Bags) -> Tensor:
    """[S, C] maximum of each bag; anything finite for an empty bag.

    Found without a gradient, and taken from where they are: the gradient of the bag itself goes word by word.
    """
    places = torch.embedding_bag(hidden.detach(), bags.rows, bags.starts, mode=_MAX)[3]
    # An empty bag has no place.
    return hidden.gather(0, places.clamp(0, len(hidden) - 1))


def softmax_weighted_mean(hidden: Tensor, bags: Bags, scores: Tensor) -> Tensor:
    """[N, C] rows and [R] scores -> [S, C] mean of each range, weighted by the softmax of its scores."""
    highest = torch.segment_reduce(scores.detach(), "max", lengths=bags.lengths, unsafe=True)
    weights = torch.exp(scores - bags.repeat(highest))
    # At least the 1 of the highest score, but for an empty range.
    total = torch.segment_reduce(weights, "sum", lengths=bags.lengths, unsafe=True).clamp(min=1)
    sums = functional.embedding_bag(bags.rows, hidden, bags.starts, mode="sum", per_sample_weights=weights)
    return sums / total.unsqueeze(1)


def log_mean_exp(hidden: Tensor, bags: Bags, temperature: float) -> Tensor:
    """[N, C] rows -> [S, C] t log(mean(exp(h / t))) over each range.

    >>> pair = Bags.from_ranges(Ranges(torch.tensor([0]), torch.tensor([2]), torch.tensor([2])))
    >>> [round(log_mean_exp(torch.tensor([[0.0], [1.0]]), pair, t).item(), 3) for t in (0.01, 1, 100)]
    [0.993, 0.62, 0.501]
    """
    highest = _maxima(hidden.detach(), bags)
    below = (_rows(hidden, bags) - bags.repeat(highest)) / temperature
    # Close to 1 an exponential has no digits left to tell a high temperature's differences.
    logarithm = torch.log1p(bags.mean(torch.expm1(below)))
    return (highest + temperature * logarithm).masked_fill(bags.empty, 0)


def mean_and_deviation(hidden: Tensor, bags: Bags) -> Tensor:
    """[N, C] rows -> [S, 2 C] mean and standard deviation sqrt(v + 1e-8) of each range, v the biased variance."""
    mean = functional.embedding_bag(bags.rows, hidden, bags.starts, mode="mean")
    # Deviations sum to zero, and so does what they would pass on to the mean.
    deviations = _rows(hidden, bags) - bags.repeat(mean.detach())
    deviation = torch.sqrt(bags.mean(deviations.square()) + _LEAST_VARIANCE)
    return torch.cat([mean, deviation.masked_fill(bags.empty, 0)], dim=1)


def _rows(hidden: Tensor, bags: Bags) -> Tensor:
    """[R, C] the rows of every range; the gradient of an embedding is faster than that of an index."""
    return functional.embedding(bags.rows, hidden)


def span_coverage(before: Tensor, bags: Bags, spans: Tensor) -> Tensor:
    """[R] how much of what each row sees lies in the span of the range that it is read by.

    It is what average pooling by the encoder's kernels makes of a mask of the span's frames, without the mask.

    Args:
        before: what `cumulative_coverage` says of the kernels.
        bags: the rows of each range.
        spans: [S, 2] frames, counted as rows are.
    """
    begin, end = (bags.repeat(edge) - bags.rows for edge in spans.unbind(1))
    return before[end.clamp(0, len(before) - 1)] - before[begin.clamp(0, len(before) - 1)]


def cumulative_coverage(kernels: Sequence[int]) -> Tensor:
    """[reach + 2] how much of what an output sees lies before each frame of its receptive field, and before its end.

    Averages over kernels, one after another, weigh the frames by the convolution of their boxes.

    >>> cumulative_coverage([2, 2]).tolist()
    [0.0, 0.25, 0.75, 1.0]
    """
    boxes = (np.full(kernel, 1 / kernel) for kernel in kernels)
    weights = functools.reduce(np.convolve, boxes, np.ones(1))
    return torch.from_numpy(np.concatenate([[0.0], weights.cumsum()]))
