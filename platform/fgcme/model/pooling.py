"""Temporal-alignment pooling: the rows of one word, encoded frames, become one vector.

A segment (a word, or what stands for it) reads a range of rows of one packed signal; ranges may overlap, or be empty.
Only the rows read are touched, O(rows read x channels); the published code multiplies words x frames x channels by a
mask. It pads a batch, so that there words within the last lookahead of a shorter utterance also read outputs that see
padding; here an utterance is the same in every batch. With h_j the n rows of a range:

    mean        1/n sum_j h_j
    max         max_j h_j, per channel
    mean_max    [mean ; max]                                    the paper (Li et al., Interspeech 2021)
    softmax     sum_j w_j h_j, w = softmax_j(m_j), m_j the share of the receptive field of row j that lies in the span,
                frames weighted as the kernels see them         an earlier form in the published code
    lse         t log(1/n sum_j exp(h_j / t)), per channel: between mean and max (Pinheiro and Collobert, CVPR 2015)
    attention   sum_j w_j h_j, w = softmax_j(h_j . q / sqrt(C)), q learned
    statistics  [mean ; standard deviation]                     Snyder et al., Interspeech 2017

mean_max and statistics have two values a channel, the others one, and both sides of a model are as wide as its pooling
(in the published sizes, words aside, 1.9 million parameters against 1.2). To compare kinds by models of one size, the
width `equal` gives the one value twice: [mean ; mean] in place of [mean ; max] leaves all else of a model as it is.
"""

from __future__ import annotations

import functools
import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from fgcme.data import Batch, Ranges

PoolingWidth = Literal["natural", "equal"]
PoolingKind = Literal["mean_max", "mean", "max", "softmax", "lse", "attention", "statistics"]

# PyTorch's number for the maximum of an embedding bag.
_MAX = 2
# Keeps the gradient of the deviation of equal rows finite; it is then 1e-4.
_MIN_VARIANCE = 1e-8


class PoolsFrames(ABC):
    """A part of a model that reads the frames of a batch only to pool them, segment by segment.

    Where nothing in that is trained it is done once for all epochs, and batches hold what it gave.
    """

    @property
    def is_fixed(self) -> bool:
        """Whether nothing that makes the vectors is trained."""
        return not any(True for pooling in self.poolings() for _ in pooling.parameters())

    @abstractmethod
    def poolings(self) -> tuple[Pooling, ...]:
        """Of the words' segments and, if there are any, of the overall ones."""

    @abstractmethod
    def pool(self, batch: Batch) -> tuple[Tensor, ...]:
        """Pool the frames of each segment: vectors of the words' segments and, if there are any, the overall ones."""

    def pooled(self, batch: Batch) -> tuple[Tensor, ...]:
        """What `pool` gives, or gave."""
        return batch.pooled or self.pool(batch)


class Bags(NamedTuple):
    """Ranges in the form that `torch.nn.functional.embedding_bag` takes.

    Attributes:
        rows: [rows read] the rows of each range, one range after another.
        starts: [G] where each range starts in `rows`.
        lengths: [G] rows of each range.
        empty: [G, 1] whether a range has no rows.
    """

    rows: Tensor
    starts: Tensor
    lengths: Tensor
    empty: Tensor

    @classmethod
    def from_ranges(cls, ranges: Ranges) -> Bags:
        """List the rows of ranges."""
        lengths = ranges.end - ranges.begin
        starts = lengths.cumsum(0) - lengths
        count = int(ranges.lengths.sum())
        first = torch.repeat_interleave(ranges.begin - starts, lengths, output_size=count)
        return cls(first + torch.arange(count, device=first.device), starts, lengths, (lengths == 0).unsqueeze(1))

    def repeat(self, values: Tensor) -> Tensor:
        """Repeat the value of each range for each of its rows, [G, ...] -> [rows read, ...]."""
        return torch.repeat_interleave(values, self.lengths, dim=0, output_size=len(self.rows))

    def mean(self, values: Tensor) -> Tensor:
        """Average values of the rows over each range, [rows read, C] -> [G, C], 0 for an empty one."""
        positions = torch.arange(len(values), device=values.device)
        return functional.embedding_bag(positions, values, self.starts, mode="mean")


class Pooling(nn.Module):
    """Reduce each range of rows to one vector: the encoded frames of a word, or the words of an utterance.

    Computes in float32 at least, in float64 on float64 rows.

    Args:
        kind: see the module's table.
        channels: values of a row, C.
        kernels: of the convolutions that made the rows, for how much of a span each row sees (kind: softmax).
        temperature: t of the module's table, clamped to 1e-20 .. 1e20, enough for float32 (kind: lse).
        width: `equal` for two values a channel whatever the kind, see the module.
    """

    def __init__(
        self,
        kind: PoolingKind,
        channels: int,
        kernels: Sequence[int] = (),
        temperature: float = 1.0,
        width: PoolingWidth = "natural",
    ) -> None:
        super().__init__()
        self.kind = kind
        is_pair = kind in ("mean_max", "statistics")
        self.is_repeated = width == "equal" and not is_pair
        self.size = 2 * channels if is_pair or self.is_repeated else channels
        self.temperature = min(max(temperature, 1e-20), 1e20)
        if kind == "attention":
            # A zero query weighs all rows alike: training starts from the mean.
            self.query = nn.Parameter(torch.zeros(channels))
        if kind == "softmax":
            self.cumulative_coverage: Tensor
            self.register_buffer("cumulative_coverage", cumulative_coverage(kernels), persistent=False)

    def forward(self, hidden: Tensor, reads: Ranges, spans: Tensor | None = None) -> Tensor:
        """Reduce each range of rows.

        Args:
            hidden: [N, C] rows.
            reads: [G] range of rows that each segment reads.
            spans: [G, 2] begin and end of each segment's frames, counted along the same packed signal (kind: softmax).

        Returns:
            [G, self.size]. A segment without rows gives zeros (published code: mean 0, maximum -1e6).

        Raises:
            ValueError: softmax pooling gets no spans.
        """
        # Sums of many terms, and differences of close ones, need more than bfloat16's 8 bits.
        with torch.autocast(hidden.device.type, enabled=False):
            reduced = self._reduce(hidden.to(torch.promote_types(hidden.dtype, torch.float32)), reads, spans)
        return reduced.repeat(1, 2) if self.is_repeated else reduced

    def extra_repr(self) -> str:
        """All that tells this pooling from others."""
        parts = [self.kind, f"size={self.size}"]
        if self.kind == "lse":
            parts.append(f"temperature={self.temperature}")
        if self.kind == "softmax":
            parts.append(f"coverage={self.cumulative_coverage.tolist()}")
        return ", ".join(parts)

    def _reduce(self, hidden: Tensor, reads: Ranges, spans: Tensor | None) -> Tensor:
        match self.kind:
            case "softmax":
                if spans is None:
                    raise ValueError("softmax pooling needs the spans of the segments")
                bags = Bags.from_ranges(reads)
                coverage = span_coverage(self.cumulative_coverage, bags, spans)
                return softmax_weighted_mean(hidden, bags, coverage.to(hidden.dtype))
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
        reads: [G] ranges of rows.
        kind: of reduction.

    Returns:
        [G, C], or [G, 2 C] for `mean_max`. An empty range gives zeros.

    >>> hidden = torch.tensor([[1.0], [3.0], [8.0]])
    >>> reads = Ranges(torch.tensor([0, 1]), torch.tensor([2, 3]), torch.tensor([2, 2]))
    >>> pool(hidden, reads, "mean_max").tolist()
    [[2.0, 3.0], [5.5, 8.0]]
    """
    bags = Bags.from_ranges(reads)
    reduced = []
    if kind != "max":
        reduced.append(functional.embedding_bag(bags.rows, hidden, bags.starts, mode="mean"))
    if kind != "mean":
        reduced.append(_maxima(hidden, bags).masked_fill(bags.empty, 0))
    return torch.cat(reduced, dim=1)


def _maxima(hidden: Tensor, bags: Bags) -> Tensor:
    """[G, C] maximum of each range; some finite value for an empty one.

    Located without a gradient, then gathered: PyTorch's gradient of an embedding bag's maximum loops over the bags.
    """
    rows = torch.embedding_bag(hidden.detach(), bags.rows, bags.starts, mode=_MAX)[3]
    # An empty bag has no valid row.
    return hidden.gather(0, rows.clamp(0, len(hidden) - 1))


def softmax_weighted_mean(hidden: Tensor, bags: Bags, scores: Tensor) -> Tensor:
    """Average each range, weighted by the softmax of its scores over the range.

    Args:
        hidden: [N, C] rows.
        bags: rows of each range.
        scores: [rows read], in the order of `bags.rows`.

    Returns:
        [G, C], 0 for an empty range.
    """
    highest = torch.segment_reduce(scores.detach(), "max", lengths=bags.lengths, unsafe=True)
    weights = torch.exp(scores - bags.repeat(highest))
    # At least 1, from the highest score, except in an empty range.
    total = torch.segment_reduce(weights, "sum", lengths=bags.lengths, unsafe=True).clamp(min=1)
    sums = functional.embedding_bag(bags.rows, hidden, bags.starts, mode="sum", per_sample_weights=weights)
    return sums / total.unsqueeze(1)


def log_mean_exp(hidden: Tensor, bags: Bags, temperature: float) -> Tensor:
    """Reduce each range by t log(mean(exp(h / t))).

    Args:
        hidden: [N, C] rows.
        bags: rows of each range.
        temperature: t.

    Returns:
        [G, C], 0 for an empty range.

    >>> pair = Bags.from_ranges(Ranges(torch.tensor([0]), torch.tensor([2]), torch.tensor([2])))
    >>> [round(log_mean_exp(torch.tensor([[0.0], [1.0]]), pair, t).item(), 3) for t in (0.01, 1, 100)]
    [0.993, 0.62, 0.501]
    """
    highest = _maxima(hidden.detach(), bags)
    shifted = (_gather(hidden, bags) - bags.repeat(highest)) / temperature
    # At a high temperature exp() is close to 1, where differences would be rounded away.
    logarithm = torch.log1p(bags.mean(torch.expm1(shifted)))
    return (highest + temperature * logarithm).masked_fill(bags.empty, 0)


def mean_and_deviation(hidden: Tensor, bags: Bags) -> Tensor:
    """Reduce each range of [N, C] rows to [G, 2 C]: mean, and sqrt(v + 1e-8) with v the biased variance."""
    mean = functional.embedding_bag(bags.rows, hidden, bags.starts, mode="mean")
    # The gradient that the mean would get through the deviations is zero: they sum to zero.
    deviations = _gather(hidden, bags) - bags.repeat(mean.detach())
    deviation = torch.sqrt(bags.mean(deviations.square()) + _MIN_VARIANCE)
    return torch.cat([mean, deviation.masked_fill(bags.empty, 0)], dim=1)


def _gather(hidden: Tensor, bags: Bags) -> Tensor:
    """[rows read, C] rows of all ranges; the gradient of an embedding is faster than that of an index."""
    return functional.embedding(bags.rows, hidden)


def span_coverage(cumulative: Tensor, bags: Bags, spans: Tensor) -> Tensor:
    """Share of each row's receptive field that lies in the span of the segment reading it.

    Equal to average pooling of the span's frame mask by the encoder's kernels, without making the mask.

    Args:
        cumulative: [lookahead + 2] from `cumulative_coverage`.
        bags: rows of each segment.
        spans: [G, 2] begin and end of each segment's frames, counted along the same packed signal.

    Returns:
        [rows read] shares in [0, 1].
    """
    begin, end = (bags.repeat(edge) - bags.rows for edge in spans.unbind(1))
    last = len(cumulative) - 1
    return cumulative[end.clamp(0, last)] - cumulative[begin.clamp(0, last)]


def cumulative_coverage(kernels: Sequence[int]) -> Tensor:
    """[lookahead + 2] share of a receptive field that lies before each of its frames, and before its end (1).

    Averaging by one kernel after another weighs the frames by the convolution of the kernels' boxes.

    >>> cumulative_coverage([2, 2]).tolist()
    [0.0, 0.25, 0.75, 1.0]
    """
    boxes = (np.full(kernel, 1 / kernel) for kernel in kernels)
    weights = functools.reduce(np.convolve, boxes, np.ones(1))
    return torch.from_numpy(np.concatenate([[0.0], weights.cumsum()]))
