"""Baselines that FG-CME is compared with, each a core of a `Network`.

Two more need no core of their own: learned alignment and CTC alignment are `FineGrainedExcitement` without excitement,
with other word acoustics (`fgcme.model.word_acoustics`).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from fgcme.data import Batch, ranges_from_counts
from fgcme.model.encoders import StandardisePooled, WordEmbedding
from fgcme.model.network import Output, mix_features
from fgcme.model.pooling import Bags, Pooling, pool, softmax_weighted_mean
from fgcme.model.recurrent import FrameLSTM, WordLSTM, final_states


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


class PooledStatistics(nn.Module):
    """The simplest baseline: a linear classifier of the frames' mean and deviation and the mean word embedding.

    Args:
        frames: pools the frames of an utterance; None leaves the modality out.
        words: embeds its words; None leaves the modality out.
        classes: number of emotions, K.
        dropout: on the classifier's input.
    """

    def __init__(self, frames: Pooling | None, words: WordEmbedding | None, classes: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.frames = frames
        self.words = words
        self.dropout = nn.Dropout(dropout)
        self.classify = nn.Linear(sum(side.size for side in (frames, words) if side is not None), classes)

    def forward(self, batch: Batch) -> Output:
        """Classify every utterance of a batch."""
        features: list[Tensor] = []
        if self.frames is not None:
            features.append(self.frames(batch.frames, batch.reads))
        if self.words is not None:
            embedded = self.words(batch.words)
            features.append(pool(embedded, ranges_from_counts(batch.word_counts).to(embedded.device), "mean"))
        return Output(self.classify(self.dropout(mix_features(torch.cat(features, dim=1), batch.mixture))))


class LinearProbe(nn.Module):
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
        pooled = self.standardise(self.frames(batch.frames, batch.reads), batch.speakers)
        return Output(self.classify(self.dropout(mix_features(pooled, batch.mixture))))


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
