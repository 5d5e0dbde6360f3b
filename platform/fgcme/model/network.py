"""FG-CME, joined from its parts (Li et al., Interspeech 2021, arXiv 2010.12733).

With z^s_i and z^a_i the semantic and acoustic features of word i:

    z^s_i       linear map of the embedding of word i           `SemanticEncoder`
    z^a_i       pooled frames of word i                         `SpanPooling`
    excited     each side, driven by the other                  `Excitement`
    g_i         [excited z^s_i ; excited z^a_i] -> BiLSTM       `RaggedLSTM`
    utterance   max_i g_i -> linear classifier                  `Pooling`, `classify`
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from fgcme.data import Batch, Mixture, ranges_from_counts
from fgcme.model.encoders import LayerMix, Standardise
from fgcme.model.excitement import Excitement
from fgcme.model.pooling import Pooling, PoolsFrames
from fgcme.model.recurrent import RaggedLSTM, Wordwise
from fgcme.model.trained_layers import TrainedLayers


@dataclass(frozen=True)
class Output:
    """What a model computes for a batch.

    Attributes:
        logits: [B, K], one row an utterance.
        word_logits: [W, K + 1] of each word, the blank last, which a model trained by CTC learns; None for any other.
        modality_logits: [B, K] logits of each modality, where each is classified and trained by itself (late fusion).
        auxiliary_loss: [B] a loss of the model's own, added to the loss of its logits (CTC alignment).
        sides: of a core that goes by words, [W, values] what each side says of each word before they are fused, the
            semantic one first.
    """

    logits: Tensor
    word_logits: Tensor | None = None
    modality_logits: tuple[Tensor, ...] = ()
    auxiliary_loss: Tensor | None = None
    sides: tuple[Tensor, ...] = ()

    @property
    def answer(self) -> Tensor:
        """[K] logits of the utterance whose recordings alone are the batch: their mean."""
        return self.logits.float().mean(0)


@dataclass(frozen=True)
class FusedWords:
    """What a model has of a batch when each word has its features of both sides, and nothing has joined the words yet.

    Attributes:
        features: [W, D] of the words.
        word_counts: [B] words of each utterance, on the CPU.
        overall: [B, values] what an utterance has beside its words, or None.
        auxiliary_loss, sides: see `Output`.
    """

    features: Tensor
    word_counts: Tensor
    overall: Tensor | None = None
    auxiliary_loss: Tensor | None = None
    sides: tuple[Tensor, ...] = ()


class FusesWords(ABC):
    """A core that goes by words: it fuses the sides of each word, then concludes from the words."""

    @property
    @abstractmethod
    def side_sizes(self) -> tuple[int, ...]:
        """Values of a word on each side before they are fused, the semantic one first; see `Output.sides`."""

    @abstractmethod
    def fuse(self, batch: Batch) -> FusedWords:
        """Fuse the sides of each word of a batch."""

    @abstractmethod
    def conclude(self, fused: FusedWords, mixture: Mixture | None = None) -> Output:
        """Classify every utterance by its words, which are mixed with those of others if there is a mixture."""


class Network(nn.Module):
    """Any model over ragged batches: frames are standardised, their layers mixed, then classified by the core.

    Args:
        standardise: from frames to standardised frames.
        core: FG-CME or a baseline, from a batch to an `Output`.
        mix: mixes the layers of an encoder; None leaves frames as they are.
        trained: the encoder's last layers, which add their hidden states before the mix; None for a frozen encoder.

    Attributes:
        average_word: [D] the mean of the fused features of the training part's words, which a fitted model keeps; None
            before, and for a core that does not go by words.
    """

    def __init__(
        self,
        standardise: Standardise,
        core: nn.Module,
        mix: LayerMix | None = None,
        trained: TrainedLayers | None = None,
    ) -> None:
        super().__init__()
        self.standardise = standardise
        self.core = core
        self.mix = mix
        self.trained = trained
        self.average_word: Tensor | None
        self.register_buffer("average_word", None)

    def forward(self, batch: Batch) -> Output:
        """Classify every utterance of a batch."""
        output: Output = self.core(self._heard(batch))
        return output

    @property
    def goes_by_words(self) -> bool:
        """Whether the core fuses the sides of each word."""
        return isinstance(self.core, FusesWords)

    @property
    def side_sizes(self) -> tuple[int, ...]:
        """See `FusesWords.side_sizes`; none where the core does not go by words."""
        return self.core.side_sizes if isinstance(self.core, FusesWords) else ()

    def fuse(self, batch: Batch) -> FusedWords:
        """The fused words of a batch, of a network that goes by words."""
        assert isinstance(self.core, FusesWords)
        return self.core.fuse(self._heard(batch))

    def conclude(self, fused: FusedWords) -> Output:
        """Classify every utterance by its fused words: what `forward` makes of `fuse`."""
        assert isinstance(self.core, FusesWords)
        return self.core.conclude(fused)

    def _heard(self, batch: Batch) -> Batch:
        """A batch with the frames that the core reads."""
        frames = self.standardise(batch.frames)
        if self.trained is not None:
            assert batch.frame_counts is not None, "batches of whole recordings know their frames"
            frames = self.trained(frames, batch.frame_counts)
        return replace(batch, frames=frames if self.mix is None else self.mix(frames))

    @property
    def fixed_pooling(self) -> PoolsFrames | None:
        """The part that pools frames, where nothing in that is trained; None for any other model."""
        if self.mix is not None or self.trained is not None:
            return None
        parts = (part for part in self.core.modules() if isinstance(part, PoolsFrames))
        return next((part for part in parts if part.poolings() and part.is_fixed), None)


class FineGrainedExcitement(nn.Module, FusesWords):
    """FG-CME (Li et al., Interspeech 2021), or one of its modalities alone.

    With modality dropout an utterance may lack its words, which are then unknown ones over even parts of its speech, or
    its sound: its words then have no frames, and acoustic features of zero (`fgcme.data.missing`).

    The paper's figure drives the acoustic side by the words' features, the published code by the words themselves.

    Args:
        acoustic: from a batch and the words' semantic features to `WordAcoustics`; None leaves the modality out.
        semantic: from a batch to the words' features, [W, D]; None leaves the modality out.
        excite_semantic: recalibrates the semantic features, driven by the acoustic ones.
        excite_acoustic: recalibrates the acoustic features, driven by the semantic ones or by word indices.
        driven_by_word: whether `excite_acoustic` takes word indices.
        sequence: over the words of each utterance.
        readout: from the sequence to one vector an utterance; not used with a blank.
        classes: number of emotions, K.
        dropout: on the classifier's input.
        blank: whether the model is trained by CTC over the words: the classifier has one more class, and the logits of
            an utterance are the mean of its words' without the blank's.
        overall: from the acoustic side's vector of an utterance to what is classified beside its words; None where the
            acoustic side has no such vector.
    """

    def __init__(
        self,
        acoustic: nn.Module | None,
        semantic: nn.Module | None,
        excite_semantic: Excitement,
        excite_acoustic: Excitement,
        driven_by_word: bool,
        sequence: RaggedLSTM | Wordwise,
        readout: Pooling,
        classes: int,
        dropout: float = 0.0,
        blank: bool = False,
        overall: Wordwise | None = None,
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
        self.overall = overall
        self.classify = nn.Linear(sequence.size + (0 if overall is None else overall.size), classes + blank)
        self.blank = blank

    def forward(self, batch: Batch) -> Output:
        """Classify every utterance of a batch."""
        return self.conclude(self.fuse(batch), batch.mixture)

    @property
    def side_sizes(self) -> tuple[int, ...]:
        """Values of a word on each side that there is, before they excite each other."""
        sides: tuple[Any, ...] = (self.semantic, self.acoustic)
        return tuple(side.size for side in sides if side is not None)

    def fuse(self, batch: Batch) -> FusedWords:
        """Join the excited sides of each word."""
        features: list[Tensor] = []
        acoustic = auxiliary_loss = overall = None
        semantic = self.semantic(batch) if self.semantic is not None else None
        if self.acoustic is not None:
            acoustic, auxiliary_loss, overall = self.acoustic(batch, semantic)
            if self.overall is not None:
                overall = self.overall(overall)
        if semantic is not None:
            features.append(self.excite_semantic(semantic, semantic if acoustic is None else acoustic))
        if acoustic is not None:
            driver = batch.words if self.driven_by_word else (acoustic if semantic is None else semantic)
            features.append(self.excite_acoustic(acoustic, driver))
        sides = tuple(side for side in (semantic, acoustic) if side is not None)
        return FusedWords(torch.cat(features, dim=1), batch.word_counts, overall, auxiliary_loss, sides)

    def conclude(self, fused: FusedWords, mixture: Mixture | None = None) -> Output:
        """Classify every utterance by the sequence of its words."""
        counts, overall = fused.word_counts, fused.overall
        sequence = self.sequence(fused.features, counts)
        utterances = ranges_from_counts(counts).to(sequence.device)
        if self.blank:
            word_logits = self.classify(self.dropout(beside(sequence, overall, counts)))
            logits = self.readout(word_logits, utterances)[:, :-1]
            return Output(logits, word_logits, auxiliary_loss=fused.auxiliary_loss, sides=fused.sides)
        summary = beside(self.readout(sequence, utterances), overall)
        logits = self.classify(self.dropout(mix_features(summary, mixture)))
        return Output(logits, auxiliary_loss=fused.auxiliary_loss, sides=fused.sides)


def beside(rows: Tensor, overall: Tensor | None, counts: Tensor | None = None) -> Tensor:
    """Rows with what belongs to their utterance beside them.

    Args:
        rows: [N, D] rows of utterances, end to end.
        overall: [B, values] of each utterance; None leaves the rows as they are.
        counts: [B] rows of each utterance, on the CPU; None for one each.

    >>> beside(torch.tensor([[1], [2], [3]]), torch.tensor([[7], [8]]), torch.tensor([2, 1])).tolist()
    [[1, 7], [2, 7], [3, 8]]
    """
    if overall is None:
        return rows
    if counts is not None:
        utterance = torch.repeat_interleave(torch.arange(len(counts)), counts)
        overall = overall.index_select(0, utterance.to(overall.device, non_blocking=True))
    return torch.cat([rows, overall], dim=1)


def mix_features(features: Tensor, mixture: Mixture | None) -> Tensor:
    """Mix the features of utterances in pairs, [B, D] -> [B, D] (Verma et al., "Manifold mixup", ICML 2019)."""
    if mixture is None:
        return features
    weight = mixture.weight.unsqueeze(1)
    return weight * features + (1 - weight) * features.index_select(0, mixture.partner)
