"""Baselines that FG-CME is compared with, each a core of a `Network`.

Two more need no core of their own: learned alignment and CTC alignment are `FineGrainedExcitement` without excitement,
with another way of listening (`fgcme.model.word_acoustics`).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from fgcme.data import Batch, ranges_from_counts
from fgcme.model.encoders import WordEmbedding
from fgcme.model.network import Output, mix_features
from fgcme.model.pooling import Bags, Pooling, pool, softmax_weighted_mean
from fgcme.model.recurrent import FrameLSTM, WordLSTM, final_states


class AttentiveLSTM(nn.Module):
    """One modality alone: LSTM and attention by one learned query (Li et al., 2021, published code).

    Args:
        encoder: of the frames or of the words.
        readout: from the encoder's outputs to one vector an utterance.
        classes: number of emotions, K.
        dropout: on what enters the classifier.
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
    """Both modalities by themselves: the utterance's probabilities are the mean of the two models' (decision fusion).

    Each is trained on its own decision, as it would be alone.

    Args:
        acoustic, semantic: models of one modality.
    """

    def __init__(self, acoustic: AttentiveLSTM, semantic: AttentiveLSTM) -> None:
        super().__init__()
        self.acoustic = acoustic
        self.semantic = semantic

    def forward(self, batch: Batch) -> Output:
        """Classify every utterance of a batch; the logits are the logarithms of the mean probabilities."""
        decisions = (self.acoustic(batch).logits, self.semantic(batch).logits)
        logits = torch.stack(decisions)
        logarithms = logits.log_softmax(2, dtype=torch.promote_types(logits.dtype, torch.float32))
        return Output(logarithms.logsumexp(0) - math.log(len(decisions)), modality_logits=decisions)


class MultiHopAttention(nn.Module):
    """Multi-hop attention, two hops: MHA-2 (Yoon et al., "Speech emotion recognition using multi-hop attention", 2019).

    How the utterance sounds, the LSTM's final states, attends to the words; what it finds attends back to the frames.
    Attention is the softmax of dot products, not scaled.

    Args:
        acoustic, semantic: encoders of one size.
        classes: number of emotions, K.
        dropout: on what enters the classifier.
    """

    def __init__(self, acoustic: FrameLSTM, semantic: WordLSTM, classes: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.acoustic = acoustic
        self.semantic = semantic
        self.dropout = nn.Dropout(dropout)
        self.classify = nn.Linear(3 * acoustic.size, classes)

    def forward(self, batch: Batch) -> Output:
        """Classify every utterance of a batch."""
        sounds, steps = self.acoustic(batch), self.acoustic.counts(batch)
        words = self.semantic(batch)
        whole = final_states(sounds, steps)
        said = attend(whole, words, batch.word_counts)
        heard = attend(said, sounds, steps)
        features = torch.cat([whole, said, heard], dim=1)
        return Output(self.classify(self.dropout(mix_features(features, batch.mixture))))


class PooledStatistics(nn.Module):
    """The floor: one linear map from what needs no sequence model, statistics of the frames and mean word embedding.

    Args:
        frames: pools the frames of an utterance; None leaves the acoustics out.
        words: embeds its words; None leaves the words out.
        classes: number of emotions, K.
        dropout: on what enters the classifier.
    """

    def __init__(self, frames: Pooling | None, words: WordEmbedding | None, classes: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.frames = frames
        self.words = words
        self.dropout = nn.Dropout(dropout)
        self.classify = nn.Linear(sum(part.size for part in (frames, words) if part is not None), classes)

    def forward(self, batch: Batch) -> Output:
        """Classify every utterance of a batch."""
        features: list[Tensor] = []
        if self.frames is not None:
            features.append(self.frames(batch.frames, batch.reads))
        if self.words is not None:
            embedded = self.words(batch.words)
            features.append(pool(embedded, ranges_from_counts(batch.word_counts).to(embedded.device), "mean"))
        return Output(self.classify(self.dropout(mix_features(torch.cat(features, dim=1), batch.mixture))))


def attend(queries: Tensor, rows: Tensor, counts: Tensor) -> Tensor:
    """Each utterance's query attends to the utterance's own rows, by the softmax of dot products.

    Args:
        queries: [B, D].
        rows: [R, D] rows of utterances laid end to end.
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
