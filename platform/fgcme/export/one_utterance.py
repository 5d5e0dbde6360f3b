"""The parts of a model for one utterance, in operations that a graph holds whatever the utterance's size.

A batch packs utterances end to end, which needs lists of rows, padding and packed sequences. With one utterance none of
it is needed: sequences are whole, and the rows of all segments are gathered into one [G, longest, C] block. Each part
here takes its weights from the part of the model that it stands for, has the same `forward`, and so computes the same;
`stand_ins` puts them into a copy of a model.

A trace takes `len` of a tensor for a constant, and what comes of `shape` or of a tensor not.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn

from fgcme.data import Batch, Ranges
from fgcme.model import Network, Output
from fgcme.model.baselines import CrossAttention, FramewiseText, MultiHopAttention, PooledStatistics
from fgcme.model.encoders import AcousticEncoder, embed_words
from fgcme.model.network import FusedWords
from fgcme.model.pooling import Pooling
from fgcme.model.recurrent import BlockwiseLSTM, FrameLSTM, RaggedLSTM
from fgcme.model.word_acoustics import AttentionAlignment, CtcAlignment, SpanPooling, WordAcoustics

# As in `fgcme.model.pooling`.
_MIN_VARIANCE = 1e-8


def stand_ins(network: Network) -> Network:
    """A copy of a network, ready for evaluation, that takes batches of one utterance and can be traced."""
    return cast("Network", _replaced(copy.deepcopy(network).eval()))


def _replaced(module: nn.Module) -> nn.Module:
    for name, part in module.named_children():
        setattr(module, name, _replaced(part))
    make = _STAND_INS.get(type(module))
    return module if make is None else make(module)


class Window(NamedTuple):
    """The rows of some ranges as one block.

    Attributes:
        rows: [G, longest] number of each row; where a range is shorter, of any row.
        holds: [G, longest, 1] whether the range has the row.
        counts: [G, 1] rows of each range, at least 1.
        empty: [G, 1] whether a range has no rows.
    """

    rows: Tensor
    holds: Tensor
    counts: Tensor
    empty: Tensor

    @classmethod
    def of(cls, reads: Ranges, row_count: int) -> Window:
        """The window over ranges of so many rows."""
        lengths = reads.end - reads.begin
        # A number as a tensor, which a trace does not take for a constant.
        longest = cast("int", lengths.max().clamp(min=1))
        rows = reads.begin.unsqueeze(1) + torch.arange(longest).unsqueeze(0)
        holds = rows < reads.end.unsqueeze(1)
        counts = lengths.clamp(min=1).unsqueeze(1)
        return cls(rows.clamp(max=row_count - 1), holds.unsqueeze(2), counts, (lengths == 0).unsqueeze(1))


class OnePooling(nn.Module):
    """Stands for `Pooling`."""

    def __init__(self, pooling: Pooling) -> None:
        super().__init__()
        self.pooling = pooling
        self.size = pooling.size

    def forward(self, hidden: Tensor, reads: Ranges, spans: Tensor | None = None) -> Tensor:
        """Reduce each range of rows; see `Pooling`.

        Args:
            hidden: [N, C] rows.
            reads: [G] range of rows that each segment reads.
            spans: [G, 2] begin and end of each segment's frames (kind: softmax).

        Returns:
            [G, self.size].
        """
        window = Window.of(reads, hidden.shape[0])
        reduced = self._reduce(hidden, hidden[window.rows], window, spans).masked_fill(window.empty, 0)
        return reduced.repeat(1, 2) if self.pooling.is_repeated else reduced

    def _reduce(self, hidden: Tensor, block: Tensor, window: Window, spans: Tensor | None) -> Tensor:
        match self.pooling.kind:
            case "softmax":
                assert spans is not None
                return _weighted(block, self._coverage(window, spans).to(hidden.dtype), window)
            case "attention":
                scores = hidden @ self.pooling.query / math.sqrt(hidden.shape[1])
                return _weighted(block, scores[window.rows].unsqueeze(2), window)
            case "lse":
                temperature, highest = self.pooling.temperature, _maximum(block, window)
                shifted = torch.expm1((block - highest.unsqueeze(1)) / temperature)
                return highest + temperature * torch.log1p(_mean(shifted, window))
            case "statistics":
                mean = _mean(block, window)
                variance = _mean((block - mean.unsqueeze(1)).square(), window)
                return torch.cat([mean, torch.sqrt(variance + _MIN_VARIANCE)], dim=1)
            case "mean":
                return _mean(block, window)
            case "max":
                return _maximum(block, window)
            case _:
                return torch.cat([_mean(block, window), _maximum(block, window)], dim=1)

    def _coverage(self, window: Window, spans: Tensor) -> Tensor:
        """[G, longest, 1] share of each row's receptive field that lies in the span of its segment."""
        cumulative = self.pooling.cumulative_coverage
        begin, end = ((edge.unsqueeze(1) - window.rows).clamp(0, len(cumulative) - 1) for edge in spans.unbind(1))
        return (cumulative[end] - cumulative[begin]).unsqueeze(2)


def _mean(block: Tensor, window: Window) -> Tensor:
    return torch.where(window.holds, block, torch.zeros(())).sum(1) / window.counts


def _maximum(block: Tensor, window: Window) -> Tensor:
    highest = torch.where(window.holds, block, torch.tensor(-math.inf)).amax(1)
    return torch.where(window.empty, torch.zeros(()), highest)


def _weighted(block: Tensor, scores: Tensor, window: Window) -> Tensor:
    """Mean of each range, by the softmax of its [G, longest, 1] scores."""
    # An empty range has weights of which none is a number; nobody reads them.
    weights = torch.where(window.holds | window.empty.unsqueeze(2), scores, torch.tensor(-math.inf)).softmax(1)
    return (weights * block).sum(1)


class OneEncoder(nn.Module):
    """Stands for `AcousticEncoder`: where its convolutions are linear, as the one that they make together."""

    def __init__(self, encoder: AcousticEncoder) -> None:
        super().__init__()
        self.convolution: nn.Module
        if encoder.is_linear and len(encoder.convolutions):
            with torch.no_grad():
                kernel, bias = encoder._composed_kernel()
            # [lookahead + 1, F, C]
            width, inputs, outputs = kernel.shape
            self.convolution = nn.Conv1d(inputs, outputs, width)
            self.convolution.load_state_dict({"weight": kernel.permute(2, 1, 0).contiguous(), "bias": bias})
        else:
            self.convolution = encoder
        self.composed = isinstance(self.convolution, nn.Conv1d)

    def forward(self, frames: Tensor) -> Tensor:
        """Encode frames, [N, F] -> [N - lookahead, C]."""
        encoded: Tensor
        if self.composed:
            encoded = self.convolution(frames.t().unsqueeze(0)).squeeze(0).t()
        else:
            encoded = self.convolution(frames)
        return encoded


class OneRaggedLSTM(nn.Module):
    """Stands for `RaggedLSTM`."""

    def __init__(self, ragged: RaggedLSTM) -> None:
        super().__init__()
        self.lstm = ragged.lstm
        self.size = ragged.size

    def forward(self, rows: Tensor, counts: Tensor) -> Tensor:
        """Run over the utterance, [N, size] -> [N, self.size]."""
        outputs: Tensor = self.lstm(rows.unsqueeze(1))[0].squeeze(1)
        return outputs


class OneBlockwiseLSTM(nn.Module):
    """Stands for `BlockwiseLSTM`."""

    def __init__(self, blockwise: BlockwiseLSTM) -> None:
        super().__init__()
        self.forwards, self.backwards = blockwise.forwards, blockwise.backwards
        self.size = blockwise.size

    def forward(self, rows: Tensor, counts: Tensor) -> Tensor:
        """Run over the utterance, [N, size] -> [N, self.size]."""
        outputs: Tensor = self.forwards(rows.unsqueeze(1))[0].squeeze(1)
        if self.backwards is None:
            return outputs
        backwards = self.backwards(rows.flip(0).unsqueeze(1))[0].squeeze(1).flip(0)
        return torch.cat([outputs, backwards], dim=1)


def _stacked(frames: Tensor, stack: int) -> Tensor:
    """[A, F] frames as [steps, stack * F]; the last step is filled with the last frame."""
    if stack == 1:
        return frames
    count = frames.shape[0]
    filled = frames[torch.arange((count + stack - 1) // stack * stack).clamp(max=count - 1)]
    return filled.reshape(-1, stack * frames.shape[1])


def count_of(rows: Tensor) -> Tensor:
    """[1] how many rows there are, as a tensor."""
    column = rows if rows.dim() == 1 else rows[:, 0]
    return torch.ones_like(column, dtype=torch.int64).sum().reshape(1)


def numbers_of(rows: Tensor) -> Tensor:
    """The number of each row, [N], from 0."""
    column = rows if rows.dim() == 1 else rows[:, 0]
    return torch.cumsum(torch.ones_like(column, dtype=torch.int64), 0) - 1


def _all_rows(rows: Tensor) -> Ranges:
    count = count_of(rows)
    return Ranges(torch.zeros_like(count), count, count)


class OneFrameLSTM(nn.Module):
    """Stands for `FrameLSTM`."""

    def __init__(self, frames: FrameLSTM) -> None:
        super().__init__()
        self.lstm, self.stack, self.size = frames.lstm, frames.stack, frames.size

    def counts(self, batch: Batch) -> Tensor:
        """[1] steps of the utterance."""
        return (count_of(batch.frames) + self.stack - 1) // self.stack

    def forward(self, batch: Batch) -> Tensor:
        """Encode the utterance: [steps, self.size]."""
        outputs: Tensor = self.lstm(_stacked(batch.frames, self.stack), torch.zeros(0))
        return outputs


class OneSpanPooling(nn.Module):
    """Stands for `SpanPooling`; the overall segment is the last one."""

    def __init__(self, spans: SpanPooling) -> None:
        super().__init__()
        self.spans = spans
        self.size = spans.size

    def forward(self, batch: Batch, words: Tensor | None) -> WordAcoustics:
        """Encode and pool the frames of each word; see `SpanPooling`."""
        spans, hidden = self.spans, self.spans.encoder(batch.frames)
        reads, own = batch.reads, batch.spans
        overall = None
        if spans.overall is not None:
            last = Ranges(*(edge[-1:] for edge in reads))
            overall = spans.overall.refine(spans.overall.pooling(hidden, last, own[-1:]), None)
            reads, own = Ranges(*(edge[:-1] for edge in reads)), own[:-1]
        features = spans.refine(spans.pooling(hidden, reads, own), None)
        # One segment that stands for all words is repeated; a segment a word stays.
        nothing = torch.zeros_like(batch.words, dtype=features.dtype).unsqueeze(1)
        return WordAcoustics(features + nothing, overall=overall)


class OneAttentionAlignment(nn.Module):
    """Stands for `AttentionAlignment`."""

    def __init__(self, alignment: AttentionAlignment) -> None:
        super().__init__()
        self.alignment = alignment
        self.size = alignment.size

    def forward(self, batch: Batch, words: Tensor) -> WordAcoustics:
        """Attend from words to frames."""
        part = self.alignment
        frames = part.frames(batch)
        query, key, value = (
            side.reshape(-1, part.heads, part.size // part.heads).transpose(0, 1)
            for side in (part.query(words), part.key(frames), part.value(frames))
        )
        weights = (query @ key.transpose(1, 2) / math.sqrt(part.size // part.heads)).softmax(2)
        return WordAcoustics(part.join((weights @ value).transpose(0, 1).reshape(-1, part.size)))


class OneCtcAlignment(nn.Module):
    """Stands for `CtcAlignment`, without its loss."""

    def __init__(self, alignment: CtcAlignment) -> None:
        super().__init__()
        self.alignment = alignment
        self.size = alignment.size

    def forward(self, batch: Batch, words: Tensor | None) -> WordAcoustics:
        """Sum the frames of each word's position."""
        frames = _stacked(batch.frames, self.alignment.stack)
        weights = self.alignment.locate(frames, torch.zeros(0)).softmax(1)[:, 1:]
        position = numbers_of(batch.words).clamp(max=self.alignment.positions - 1)
        return WordAcoustics((weights.t() @ frames)[position])


class OneMultiHopAttention(nn.Module):
    """Stands for `MultiHopAttention`."""

    def __init__(self, core: MultiHopAttention) -> None:
        super().__init__()
        self.core = core

    def forward(self, batch: Batch) -> Output:
        """Classify the utterance."""
        acoustic, semantic = self.core.acoustic(batch), self.core.semantic(batch)
        hidden = acoustic.shape[1] // 2
        summary = torch.cat([acoustic[-1:, :hidden], acoustic[:1, hidden:]], dim=1)
        first_hop = _attend(summary, semantic)
        second_hop = _attend(first_hop, acoustic)
        return Output(self.core.classify(torch.cat([summary, first_hop, second_hop], dim=1)))


def _attend(query: Tensor, rows: Tensor) -> Tensor:
    return (rows @ query.t()).softmax(0).t() @ rows


class OneCrossAttention(nn.Module):
    """Stands for `CrossAttention`."""

    def __init__(self, core: CrossAttention) -> None:
        super().__init__()
        self.core = core

    def forward(self, batch: Batch) -> Output:
        """Classify the utterance."""
        core = self.core
        fused: FusedWords = core.fuse(batch)
        acoustic, semantic = torch.split(fused.features, [core.acoustic.size, core.semantic.embedding.size], dim=1)
        sides = core.acoustic_sequence(acoustic, fused.word_counts), core.semantic.lstm(semantic, fused.word_counts)
        queries = core.acoustic_query, core.semantic_query
        weights = [
            (side @ query / math.sqrt(len(query))).softmax(0) for side, query in zip(sides, queries, strict=True)
        ]
        return Output(core.classify(torch.cat([own @ side for own in weights for side in sides]).unsqueeze(0)))


class OneFramewiseText(nn.Module):
    """Stands for `FramewiseText`; the segment of the recording is the last one."""

    def __init__(self, core: FramewiseText) -> None:
        super().__init__()
        self.core = core

    def forward(self, batch: Batch) -> Output:
        """Classify the utterance."""
        words = embed_words(self.core.embedding, batch)
        frame = numbers_of(batch.frames)
        begin, end = batch.reads.begin[:-1].unsqueeze(1), batch.reads.end[:-1].unsqueeze(1)
        number = numbers_of(batch.words).unsqueeze(1) + 1
        spoken = torch.where((frame >= begin) & (frame < end), number, torch.zeros_like(number)).amax(0)
        beside = torch.cat([torch.zeros_like(words[:1]), words])[spoken]
        frames = torch.cat([batch.frames, beside], dim=1)
        outputs = self.core.frames.lstm(_stacked(frames, self.core.frames.stack), torch.zeros(0))
        return Output(self.core.classify(self.core.readout(outputs, _all_rows(outputs))))


class OnePooledStatistics(nn.Module):
    """Stands for `PooledStatistics`."""

    def __init__(self, core: PooledStatistics) -> None:
        super().__init__()
        self.core = core

    def forward(self, batch: Batch) -> Output:
        """Classify the utterance."""
        features = [] if self.core.frames is None else [self.core.frames(batch.frames, batch.reads)]
        if self.core.words is not None:
            features.append(embed_words(self.core.words, batch).mean(0, keepdim=True))
        return Output(self.core.classify(torch.cat(features, dim=1)))


_STAND_INS: dict[type[nn.Module], Callable[[Any], nn.Module]] = {
    Pooling: OnePooling,
    AcousticEncoder: OneEncoder,
    RaggedLSTM: OneRaggedLSTM,
    BlockwiseLSTM: OneBlockwiseLSTM,
    FrameLSTM: OneFrameLSTM,
    SpanPooling: OneSpanPooling,
    AttentionAlignment: OneAttentionAlignment,
    CtcAlignment: OneCtcAlignment,
    MultiHopAttention: OneMultiHopAttention,
    CrossAttention: OneCrossAttention,
    FramewiseText: OneFramewiseText,
    PooledStatistics: OnePooledStatistics,
}
