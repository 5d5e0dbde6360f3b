"""FG-CME: the whole model, put together from its parts."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from fgcme.data import Batch, Mixture, ranges_from_counts
from fgcme.model.encoders import Standardise
from fgcme.model.excitement import Excitement
from fgcme.model.pooling import Pooling
from fgcme.model.recurrent import RaggedLSTM


@dataclass(frozen=True)
class Output:
    """What a model says of a batch.

    Attributes:
        logits: [B, K], one row an utterance.
        word_logits: [W, K] the classifier applied to each word's own fusion output, before the readout; [W, K + 1] with
            the blank last for a model trained by CTC; None for a model that does not go by words.
        semantic_gate, acoustic_gate: [W, D] gates in (0, 1), or None where the form has none.
        decisions: the [B, K] logits to be trained each by itself, where a model decides more than once.
        auxiliary: [B] a loss that the model brings itself, to be added to the loss of its logits.
    """

    logits: Tensor
    word_logits: Tensor | None = None
    semantic_gate: Tensor | None = None
    acoustic_gate: Tensor | None = None
    modality_logits: tuple[Tensor, ...] = ()
    auxiliary_loss: Tensor | None = None


class Network(nn.Module):
    """Any model over ragged batches: frames are standardised, then read by its core.

    Args:
        standardise: the frames.
        core: FG-CME or a baseline, from a batch to an `Output`.
    """

    def __init__(self, standardise: Standardise, core: nn.Module) -> None:
        super().__init__()
        self.standardise = standardise
        self.core = core

    def forward(self, batch: Batch) -> Output:
        """Classify every utterance of a batch."""
        output: Output = self.core(replace(batch, frames=self.standardise(batch.frames)))
        return output


class FineGrainedExcitement(nn.Module):
    """FG-CME (Li et al., Interspeech 2021), or one of its modalities alone.

    Args:
        acoustic: from a batch and its words' features to `WordAcoustics`; None leaves the acoustics out.
        semantic: from a batch to its words' features; None leaves the words out.
        excite_semantic: recalibrates the words' features, driven by the acoustic ones.
        excite_acoustic: recalibrates the acoustic features, driven by the words' features or by the words themselves.
        driven_by_word: whether `excite_acoustic` takes word indices.
        sequence: over the words.
        readout: from the sequence to one vector an utterance; a model with a blank has no use for it.
        classes: number of emotions, K.
        dropout: on what enters the classifier.
        blank: whether it is trained by CTC: the classifier has one more class, and the utterance's logits are the mean
            of its words' (the published code).
    """

    def __init__(
        self,
        acoustic: nn.Module | None,
        semantic: nn.Module | None,
        excite_semantic: Excitement,
        excite_acoustic: Excitement,
        driven_by_word: bool,
        sequence: RaggedLSTM,
        readout: Pooling,
        classes: int,
        dropout: float = 0.0,
        blank: bool = False,
    ) -> None:
        super().__init__()
        self.acoustic = acoustic
        self.semantic = semantic
        self.excite_semantic = excite_semantic
        self.excite_acoustic = excite_acoustic
        self.driven_by_word = driven_by_word
        self.sequence = sequence
        self.readout = Pooling("mean", classes + 1) if blank else readout
        self.dropout = nn.Dropout(dropout)
        self.classify = nn.Linear(sequence.size, classes + blank)
        self.blank = blank

    def forward(self, batch: Batch) -> Output:
        """Classify every utterance of a batch."""
        features: list[Tensor] = []
        sounds = semantic_gate = acoustic_gate = auxiliary = None
        words = self.semantic(batch) if self.semantic is not None else None
        if self.acoustic is not None:
            sounds, auxiliary = self.acoustic(batch, words)
        if words is not None:
            excited, semantic_gate = self.excite_semantic(words, words if sounds is None else sounds)
            features.append(excited)
        if sounds is not None:
            driver = batch.words if self.driven_by_word else (sounds if words is None else words)
            excited, acoustic_gate = self.excite_acoustic(sounds, driver)
            features.append(excited)
        sequence = self.sequence(torch.cat(features, dim=1), batch.word_counts)
        utterances = ranges_from_counts(batch.word_counts).to(sequence.device)
        if self.blank:
            word_logits = self.classify(self.dropout(sequence))
            logits = self.readout(word_logits, utterances)[:, :-1]
        else:
            word_logits = self.classify(sequence)
            logits = self.classify(self.dropout(mix_features(self.readout(sequence, utterances), batch.mixture)))
        return Output(logits, word_logits, semantic_gate, acoustic_gate, auxiliary_loss=auxiliary)


def mix_features(features: Tensor, mixture: Mixture | None) -> Tensor:
    """[B, D] features of utterances, mixed in pairs (Verma et al., "Manifold mixup", 2019)."""
    if mixture is None:
        return features
    weight = mixture.weight.unsqueeze(1)
    return weight * features + (1 - weight) * features.index_select(0, mixture.partner)
