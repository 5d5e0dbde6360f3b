"""Acoustic features of each word, by a given alignment of words and frames or by a learned one.

A learned alignment relates every word to every frame of its utterance. Here alone words and frames are padded to the
longest of the batch; padding is masked or weighted by zero, so it changes no result.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from fgcme.data import Batch, ranges_from_counts, segment_positions
from fgcme.model.encoders import AcousticEncoder, LayerMix, StandardisePooled
from fgcme.model.pooling import Pooling, PoolsFrames
from fgcme.model.recurrent import BlockwiseLSTM, FrameLSTM, stack_frames, step_counts


class WordAcoustics(NamedTuple):
    """Acoustic features of the words of a batch.

    Attributes:
        features: [W, D].
        auxiliary_loss: [B] loss of each utterance's alignment, where it is trained by one of its own.
        overall: [B, D] of each utterance's overall segment, where it has one beside its words.
    """

    features: Tensor
    auxiliary_loss: Tensor | None = None
    overall: Tensor | None = None


class PooledSegments(nn.Module):
    """Each segment of encoded frames as one vector: pooled; standardised and an encoder's layers mixed where asked for.

    Args:
        pooling: of the rows of a segment.
        dropout: on the vectors.
        standardise: of the pooled values; None leaves them as they are.
        mix: of an encoder's layers, which lie side by side in what is pooled; None where they do not.
    """

    def __init__(
        self,
        pooling: Pooling,
        dropout: float = 0.0,
        standardise: StandardisePooled | None = None,
        mix: LayerMix | None = None,
    ) -> None:
        super().__init__()
        self.pooling = pooling
        self.standardise = standardise
        self.mix = mix
        self.dropout = nn.Dropout(dropout)
        self.size = pooling.size if mix is None else pooling.size // len(mix.weights)

    def refine(self, pooled: Tensor, speakers: Tensor | None) -> Tensor:
        """Turn pooled segments into vectors, [G, D] -> [G, self.size].

        Args:
            pooled: what `pooling` makes of each segment.
            speakers: [G] number of each segment's speaker, or None.
        """
        if self.standardise is not None:
            pooled = self.standardise(pooled, speakers)
        if self.mix is not None:
            pooled = self.mix(pooled)
        dropped: Tensor = self.dropout(pooled)
        return dropped


class SpanPooling(PooledSegments, PoolsFrames):
    """Temporal alignment (Li et al., Interspeech 2021): the encoded frames of a word's segment, pooled.

    Where the batch has one segment an utterance, all its words have the same features.

    Args:
        encoder: of the frames.
        pooling, dropout, standardise, mix: of the words' segments, see `PooledSegments`.
        overall: of the overall segment, the last of each utterance; None if there is none.
    """

    def __init__(
        self,
        encoder: AcousticEncoder,
        pooling: Pooling,
        dropout: float = 0.0,
        standardise: StandardisePooled | None = None,
        mix: LayerMix | None = None,
        overall: PooledSegments | None = None,
    ) -> None:
        super().__init__(pooling, dropout, standardise, mix)
        self.encoder = encoder
        self.overall = overall

    def forward(self, batch: Batch, words: Tensor | None) -> WordAcoustics:
        """Encode and pool the frames of each word; the words' features are not used.

        Returns:
            [W, self.size] features, no loss, and the [B, self.overall.size] vectors of the overall segments, if any.
        """
        of_words, *of_all = self.pooled(batch)
        overall = None if self.overall is None else self.overall.refine(of_all[0], batch.speakers)
        utterance = torch.repeat_interleave(torch.arange(len(batch)), batch.word_counts)
        utterance = utterance.to(of_words.device, non_blocking=True)
        by_word, speakers = len(of_words) == len(batch.words), batch.speakers
        of_each = speakers.index_select(0, utterance) if by_word and speakers is not None else speakers
        features = self.refine(of_words, of_each)
        return WordAcoustics(features if by_word else features.index_select(0, utterance), overall=overall)

    @property
    def is_fixed(self) -> bool:
        """Whether neither the encoder nor a pooling is trained."""
        return super().is_fixed and not any(True for _ in self.encoder.parameters())

    def poolings(self) -> tuple[Pooling, ...]:
        """Of the words' segments and, if there are any, of the overall ones."""
        overall = () if self.overall is None else (self.overall.pooling,)
        return self.pooling, *overall

    def pool(self, batch: Batch) -> tuple[Tensor, ...]:
        """Encode the frames; pool them by word and, if there are any, by overall segment."""
        hidden, reads, spans = self.encoder(batch.frames), batch.reads, batch.spans
        if self.overall is None:
            return (self.pooling(hidden, reads, spans),)
        words_at, overall_at = segment_positions(batch)
        return tuple(
            pooling(hidden, reads.take(at), spans[at.to(spans.device, non_blocking=True)])
            for pooling, at in zip(self.poolings(), (words_at, overall_at), strict=True)
        )


class AttentionAlignment(nn.Module):
    """Learned alignment: each word attends to all frames of its utterance (Xu et al., Interspeech 2019).

    Multi-head attention by scaled dot products from the words to an LSTM over the frames, as in the published code of
    Li et al. (2021), but without its dropout of 0.5 on the attention and its start by Xavier's rule, and with padding
    masked, which it is not there.
    PyTorch's fused attention works in blocks, so no words x frames scores are stored.

    Args:
        frames: encoder of the frames that the words attend to.
        size: values of a word's feature, D; a multiple of `heads`.
        heads: of the attention.
    """

    def __init__(self, frames: FrameLSTM, size: int, heads: int) -> None:
        super().__init__()
        self.frames = frames
        self.heads = heads
        self.query = nn.Linear(size, size)
        # No bias: it would add the same to all scores of a word.
        self.key = nn.Linear(frames.size, size, bias=False)
        self.value = nn.Linear(frames.size, size)
        self.join = nn.Linear(size, size)
        self.size = size

    def forward(self, batch: Batch, words: Tensor) -> WordAcoustics:
        """Attend from words to frames.

        Args:
            batch: whose segments are whole utterances.
            words: [W, D] semantic features.

        Returns:
            [W, D] features, no loss.
        """
        frames, steps = self.frames(batch), self.frames.counts(batch)
        is_step = torch.arange(int(steps.max())) < steps.unsqueeze(1)
        attended = functional.scaled_dot_product_attention(
            self._split_heads(self.query(words), batch.word_counts),
            self._split_heads(self.key(frames), steps),
            self._split_heads(self.value(frames), steps),
            attn_mask=is_step[:, None, None].to(words.device, non_blocking=True),
        )
        positions = _padded_positions(batch.word_counts).to(words.device, non_blocking=True)
        return WordAcoustics(self.join(attended.transpose(1, 2).reshape(-1, self.size).index_select(0, positions)))

    def _split_heads(self, rows: Tensor, counts: Tensor) -> Tensor:
        """[N, D] rows of utterances -> [B, heads, longest, D / heads]."""
        padded = _pad(rows, counts)
        return padded.view(*padded.shape[:2], self.heads, -1).transpose(1, 2)


class CtcAlignment(nn.Module):
    """CTC alignment: the CTC module of the multimodal transformer, MulT (Tsai et al., ACL 2019), on raw frames.

    A two-layer LSTM, whose outputs are the logits, gives each frame a distribution over the positions of words in an
    utterance, and a blank. A word's features are the sum of the frames, each weighted by the probability of the word's
    position. The distribution is trained by connectionist temporal classification (Graves et al., ICML 2006) on the
    labels 1, 2, ..., the positions of the words. The published code of Li et al. (2021) aligns the
    outputs of the convolutions instead, as 256 values, and excites both sides additively.

    In an utterance of more words than positions the last words share the last position.

    Args:
        frame_size: values of a frame, F.
        positions: word positions that can be distinguished.
        stack: consecutive frames that are concatenated into one step, which then takes a frame's place.
    """

    def __init__(self, frame_size: int, positions: int, stack: int = 1) -> None:
        super().__init__()
        self.positions = positions
        self.stack = stack
        # The first output is the blank.
        self.locate = BlockwiseLSTM(stack * frame_size, positions + 1, layers=2, bidirectional=False)
        self.size = stack * frame_size

    def forward(self, batch: Batch, words: Tensor | None) -> WordAcoustics:
        """Align frames to word positions; the words' features are not used.

        Args:
            batch: whose segments are whole utterances.
            words: not used.

        Returns:
            [W, self.size] features, and the [B] CTC loss of each utterance.
        """
        steps = step_counts(batch.reads.lengths, self.stack)
        frames = stack_frames(batch.frames, batch.reads.lengths, self.stack)
        logits = self.locate(frames, steps)
        log_probabilities = logits.log_softmax(1, dtype=torch.promote_types(logits.dtype, torch.float32))
        position_counts = batch.word_counts.clamp(max=self.positions)
        longest = int(position_counts.max())
        weights = _pad(log_probabilities[:, 1 : longest + 1].exp(), steps)
        aligned = weights.transpose(1, 2) @ _pad(frames, steps)
        # Index of each word's position among the padded positions of all utterances.
        utterance = torch.repeat_interleave(torch.arange(len(batch)), batch.word_counts)
        position = torch.arange(len(batch.words)) - ranges_from_counts(batch.word_counts).begin[utterance]
        indices = utterance * longest + position.clamp(max=longest - 1)
        return WordAcoustics(
            features=aligned.flatten(0, 1).index_select(0, indices.to(aligned.device, non_blocking=True)),
            auxiliary_loss=_alignment_loss(_pad(log_probabilities, steps), steps, position_counts),
        )


def _alignment_loss(log_probabilities: Tensor, steps: Tensor, position_counts: Tensor) -> Tensor:
    """CTC loss of the labels 1, 2, ..., divided by their number.

    Args:
        log_probabilities: [B, longest, positions + 1], blank first.
        steps: [B] of each utterance, on the CPU.
        position_counts: [B] labels of each utterance, on the CPU.

    Returns:
        [B]; 0 for an utterance of more labels than steps.
    """
    labels = torch.arange(1, int(position_counts.max()) + 1, device=log_probabilities.device)
    loss = functional.ctc_loss(
        log_probabilities.transpose(0, 1),
        labels.expand(len(position_counts), -1),
        steps,
        position_counts,
        reduction="none",
        zero_infinity=True,
    )
    return loss / position_counts.to(loss.device, non_blocking=True)


def _pad(rows: Tensor, counts: Tensor) -> Tensor:
    """[N, D] rows and [B] rows of each utterance -> [B, longest, D], zeros after an utterance's last."""
    longest = int(counts.max())
    padded = rows.new_zeros(len(counts) * longest, rows.shape[1])
    positions = _padded_positions(counts).to(rows.device, non_blocking=True)
    return padded.index_copy(0, positions, rows).view(len(counts), longest, -1)


def _padded_positions(counts: Tensor) -> Tensor:
    """[N] positions of the rows of utterances among [B * longest] padded rows.

    >>> _padded_positions(torch.tensor([1, 2])).tolist()
    [0, 2, 3]
    """
    rows = ranges_from_counts(counts)
    first = torch.arange(len(counts)) * counts.max()
    return torch.repeat_interleave(first - rows.begin, counts) + torch.arange(int(counts.sum()))
