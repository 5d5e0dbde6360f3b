"""Baselines that FG-CME is compared with, each a core of a `Network`.

Two more need no core of their own: learned alignment and CTC alignment are `FineGrainedExcitement` without excitement,
with other word acoustics (`fgcme.model.word_acoustics`).
"""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor, nn

from fgcme.data import Batch, Mixture, Ranges, ranges_from_counts, segment_positions
from fgcme.model.encoders import EncodedWords, StandardisePooled, WordEmbedding, embed_words
from fgcme.model.network import FusedWords, FusesWords, Output, mix_features
from fgcme.model.pooling import Bags, Pooling, PoolsFrames, pool, softmax_weighted_mean
from fgcme.model.recurrent import FrameLSTM, RaggedLSTM, WordLSTM, final_states
from fgcme.model.word_acoustics import SpanPooling


class AttentiveLSTM(nn.Module):
    """One modality alone: BiLSTM and attention by one learned query (published code of Li et al., Interspeech 2021).

    Args:
        encoder: of the frames or of the words.
        readout: from the encoder's outputs to one vector an utterance.
        classes: number of emotions, K.
        dropout: on the classifier's input.
    """

    def __init__(self, encoder: FrameLSTM | WordLSTM, readout: Pooling, classes: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.encoder = encoder
        self.readout = readout
        self.dropout = nn.Dropout(dropout)
        self.classify = nn.Linear(readout.size, classes)

    def forward(self, batch: Batch) -> Output:
        """Classify every utterance of a batch."""
        outputs = self.encoder(batch)
        utterances = ranges_from_counts(self.encoder.counts(batch)).to(outputs.device)
        return Output(self.classify(self.dropout(mix_features(self.readout(outputs, utterances), batch.mixture))))


class LateFusion(nn.Module):
    """Late (decision) fusion: the probabilities of an utterance are the mean of two models of one modality each.

    Each model is trained on its own logits, as it would be alone.

    Args:
        acoustic, semantic: models of one modality.
    """

    def __init__(self, acoustic: AttentiveLSTM, semantic: AttentiveLSTM) -> None:
        super().__init__()
        self.acoustic = acoustic
        self.semantic = semantic

    def forward(self, batch: Batch) -> Output:
        """Classify every utterance of a batch; the logits are the logarithms of the mean probabilities."""
        modality_logits = (self.acoustic(batch).logits, self.semantic(batch).logits)
        logits = torch.stack(modality_logits)
        log_probabilities = logits.log_softmax(2, dtype=torch.promote_types(logits.dtype, torch.float32))
        mean = log_probabilities.logsumexp(0) - math.log(len(modality_logits))
        return Output(mean, modality_logits=modality_logits)


class MultiHopAttention(nn.Module):
    """Multi-hop attention with two hops, MHA-2 (Yoon et al., ICASSP 2019).

    The acoustic LSTM's final states attend to the words; the result attends back to the frames. Attention weights are
    the softmax of dot products, not scaled. The published code of Li et al. (2021) mixes up the final states of
    neighbouring utterances of a batch (`h_n.view`); for an utterance alone it agrees with this one.

    Args:
        acoustic, semantic: encoders of the same size, D.
        classes: number of emotions, K.
        dropout: on the classifier's input.
    """

    def __init__(self, acoustic: FrameLSTM, semantic: WordLSTM, classes: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.acoustic = acoustic
        self.semantic = semantic
        self.dropout = nn.Dropout(dropout)
        self.classify = nn.Linear(3 * acoustic.size, classes)

    def forward(self, batch: Batch) -> Output:
        """Classify every utterance of a batch."""
        acoustic, steps = self.acoustic(batch), self.acoustic.counts(batch)
        semantic = self.semantic(batch)
        summary = final_states(acoustic, steps)
        first_hop = attend(summary, semantic, batch.word_counts)
        second_hop = attend(first_hop, acoustic, steps)
        features = torch.cat([summary, first_hop, second_hop], dim=1)
        return Output(self.classify(self.dropout(mix_features(features, batch.mixture))))


class CrossAttention(nn.Module, FusesWords):
    """Cross attention network, CAN (Lee, Yoon and Jung, Interspeech 2020), on the steps that words are.

    Both sides have the same steps, so that the weights by which one side attends to its own steps can be applied to the
    other side's: a_i and t_i the steps, and alpha = softmax(a . q_a / sqrt(D)), beta = softmax(t . q_t / sqrt(D)), give
    [sum alpha a ; sum alpha t ; sum beta a ; sum beta t].

    Args:
        acoustic: pools the frames of each step.
        acoustic_sequence: over the acoustic steps.
        semantic: over the words, of the same size D.
        classes: number of emotions, K.
        dropout: on the classifier's input.
    """

    def __init__(
        self,
        acoustic: SpanPooling,
        acoustic_sequence: RaggedLSTM,
        semantic: WordLSTM,
        classes: int,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.acoustic = acoustic
        self.acoustic_sequence = acoustic_sequence
        self.semantic = semantic
        # Zero queries weigh all steps alike: training starts from the mean.
        self.acoustic_query = nn.Parameter(torch.zeros(acoustic_sequence.size))
        self.semantic_query = nn.Parameter(torch.zeros(semantic.size))
        self.dropout = nn.Dropout(dropout)
        self.classify = nn.Linear(4 * semantic.size, classes)

    def forward(self, batch: Batch) -> Output:
        """Classify every utterance of a batch."""
        return self.conclude(self.fuse(batch), batch.mixture)

    @property
    def side_sizes(self) -> tuple[int, ...]:
        """Values of a word's embedding, and of its pooled frames."""
        return self.semantic.embedding.size, self.acoustic.size

    def fuse(self, batch: Batch) -> FusedWords:
        """Lay the pooled frames of each step beside its word's embedding."""
        acoustic, semantic = self.acoustic(batch, None).features, embed_words(self.semantic.embedding, batch)
        return FusedWords(torch.cat([acoustic, semantic], dim=1), batch.word_counts, sides=(semantic, acoustic))

    def conclude(self, fused: FusedWords, mixture: Mixture | None = None) -> Output:
        """Classify every utterance by the steps of both sides."""
        counts = fused.word_counts
        acoustic, semantic = torch.split(fused.features, [self.acoustic.size, self.semantic.embedding.size], dim=1)
        sides = (self.acoustic_sequence(acoustic, counts), self.semantic.lstm(semantic, counts))
        sides = tuple(side.to(torch.promote_types(side.dtype, torch.float32)) for side in sides)
        bags = Bags.from_ranges(ranges_from_counts(counts).to(sides[0].device))
        queries = (self.acoustic_query, self.semantic_query)
        scores = [(side * query).sum(1) / math.sqrt(len(query)) for side, query in zip(sides, queries, strict=True)]
        features = torch.cat([softmax_weighted_mean(side, bags, own) for own in scores for side in sides], dim=1)
        return Output(self.classify(self.dropout(mix_features(features, mixture))), sides=fused.sides)


class FramewiseText(nn.Module):
    """Frame-wise text (Tamir et al., Interspeech 2025): a word's embedding stands beside each of its frames.

    A frame of no word has zeros beside it, one of several words the last of them. An LSTM reads both, and one learned
    query attends to its outputs, as in `AttentiveLSTM`.

    Args:
        embedding: of the words.
        frames: encoder of the frames with what is beside them.
        readout: from the encoder's outputs to one vector an utterance.
        classes: number of emotions, K.
        dropout: on the classifier's input.
    """

    def __init__(
        self,
        embedding: WordEmbedding | EncodedWords,
        frames: FrameLSTM,
        readout: Pooling,
        classes: int,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.embedding = embedding
        self.frames = frames
        self.readout = readout
        self.dropout = nn.Dropout(dropout)
        self.classify = nn.Linear(readout.size, classes)

    def forward(self, batch: Batch) -> Output:
        """Classify every utterance of a batch, whose segments are words and recordings."""
        words_at, recordings_at = segment_positions(batch)
        words = embed_words(self.embedding, batch)
        embedded = spoken_words(len(batch.frames), batch.reads.take(words_at), words)
        frames = torch.cat([batch.frames, embedded.to(batch.frames.dtype)], dim=1)
        joined = replace(batch, frames=frames, reads=batch.reads.take(recordings_at))
        outputs = self.frames(joined)
        utterances = ranges_from_counts(self.frames.counts(joined)).to(outputs.device)
        return Output(self.classify(self.dropout(mix_features(self.readout(outputs, utterances), batch.mixture))))


def spoken_words(frame_count: int, spans: Ranges, words: Tensor) -> Tensor:
    """What stands for the word of each of N frames: 0 where none is spoken, and that of the last where several are.

    Args:
        frame_count: N.
        spans: [W] frames of each word.
        words: [W] or [W, D] what stands for each word.

    >>> spans = Ranges(torch.tensor([1, 2]), torch.tensor([3, 4]), torch.tensor([2, 2]))
    >>> spoken_words(5, spans, torch.tensor([7, 8])).tolist()
    [0, 7, 8, 8, 0]
    """
    bags = Bags.from_ranges(spans)
    # Counted from 1; of several words the highest number.
    number = torch.zeros(frame_count, dtype=torch.int64, device=words.device)
    numbers = bags.repeat(torch.arange(1, len(words) + 1, device=words.device))
    number = number.scatter_reduce(0, bags.rows, numbers, "amax")
    return torch.cat([torch.zeros_like(words[:1]), words])[number]


class PooledStatistics(nn.Module, PoolsFrames):
    """The simplest baseline: a linear classifier of the frames' mean and deviation and the mean word embedding.

    Args:
        frames: pools the frames of an utterance; None leaves the modality out.
        words: embeds its words; None leaves the modality out.
        classes: number of emotions, K.
        dropout: on the classifier's input.
    """

    def __init__(
        self,
        frames: Pooling | None,
        words: WordEmbedding | EncodedWords | None,
        classes: int,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.frames = frames
        self.words = words
        self.dropout = nn.Dropout(dropout)
        self.classify = nn.Linear(sum(side.size for side in (frames, words) if side is not None), classes)

    def forward(self, batch: Batch) -> Output:
        """Classify every utterance of a batch."""
        features: list[Tensor] = []
        if self.frames is not None:
            features.extend(self.pooled(batch))
        if self.words is not None:
            embedded = embed_words(self.words, batch)
            features.append(pool(embedded, ranges_from_counts(batch.word_counts).to(embedded.device), "mean"))
        return Output(self.classify(self.dropout(mix_features(torch.cat(features, dim=1), batch.mixture))))

    def poolings(self) -> tuple[Pooling, ...]:
        """Of the utterance's frames, if it reads them."""
        return () if self.frames is None else (self.frames,)

    def pool(self, batch: Batch) -> tuple[Tensor, ...]:
        """Mean and deviation of each utterance's frames, if it reads them."""
        return tuple(pooling(batch.frames, batch.reads) for pooling in self.poolings())


class LinearProbe(nn.Module, PoolsFrames):
    """A linear classifier of an utterance's statistics: mean and deviation of each value of its frames, standardised.

    What features of speech are compared by (Yang et al., "SUPERB", Interspeech 2021). With weight decay by Adam it is a
    logistic regression: the decay is the penalty of half the squared weights, 1 / (C x utterances) in terms of its C.

    Args:
        frames: pools the frames of an utterance.
        classes: number of emotions, K.
        dropout: on the classifier's input.
    """

    def __init__(self, frames: Pooling, classes: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.frames = frames
        self.standardise = StandardisePooled(frames.size)
        self.dropout = nn.Dropout(dropout)
        self.classify = nn.Linear(frames.size, classes)

    def forward(self, batch: Batch) -> Output:
        """Classify every utterance of a batch."""
        (statistics,) = self.pooled(batch)
        standardised = self.standardise(statistics, batch.speakers)
        return Output(self.classify(self.dropout(mix_features(standardised, batch.mixture))))

    def poolings(self) -> tuple[Pooling, ...]:
        """Of the utterance's frames."""
        return (self.frames,)

    def pool(self, batch: Batch) -> tuple[Tensor, ...]:
        """Mean and deviation of each utterance's frames."""
        return (self.frames(batch.frames, batch.reads),)


def attend(queries: Tensor, rows: Tensor, counts: Tensor) -> Tensor:
    """Each utterance's query attends to the utterance's own rows, by the softmax of dot products.

    Args:
        queries: [B, D].
        rows: [N, D] rows of utterances, end to end.
        counts: [B] rows of each, at least one each, on the CPU.

    Returns:
        [B, D] in float32 at least.

    >>> attend(torch.zeros(2, 1), torch.tensor([[1.0], [3.0], [5.0]]), torch.tensor([2, 1])).tolist()
    [[2.0], [5.0]]
    """
    rows = rows.to(torch.promote_types(rows.dtype, torch.float32))
    utterances = ranges_from_counts(counts).to(rows.device)
    lengths = utterances.end - utterances.begin
    bags = Bags(torch.arange(len(rows), device=rows.device), utterances.begin, lengths, (lengths == 0).unsqueeze(1))
    return softmax_weighted_mean(rows, bags, (rows * bags.repeat(queries)).sum(1))
