"""FG-CME, joined from its parts (Li et al., Interspeech 2021, arXiv 2010.12733).

With z^s_i and z^a_i the semantic and acoustic features of word i:

    z^s_i       linear map of the embedding of word i           `SemanticEncoder`
    z^a_i       pooled frames of word i                         `SpanPooling`
    excited     each side, driven by the other                  `Excitement`
    g_i         [excited z^s_i ; excited z^a_i] -> BiLSTM       `RaggedLSTM`
    utterance   max_i g_i -> linear classifier                  `Pooling`, `classify`
"""

from __future__ import annotations

from dataclasses import dataclass, replace

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
        word_logits: [W, K] the classifier applied to each word's output of the sequence model; [W, K + 1] with the
            blank last for a model trained by CTC; None for a model without a sequence of words.
        semantic_gate, acoustic_gate: [W, D] gates in (0, 1), or None where the form has none.
        modality_logits: [B, K] logits of each modality, where each is classified and trained by itself (late fusion).
        auxiliary_loss: [B] a loss of the model's own, added to the loss of its logits (CTC alignment).
    """

    logits: Tensor
    word_logits: Tensor | None = None
    semantic_gate: Tensor | None = None
    acoustic_gate: Tensor | None = None
    modality_logits: tuple[Tensor, ...] = ()
    auxiliary_loss: Tensor | None = None


class Network(nn.Module):
    """Any model over ragged batches: frames are standardised, their layers mixed, then classified by the core.

    Args:
        standardise: from frames to standardised frames.
        core: FG-CME or a baseline, from a batch to an `Output`.
        mix: mixes the layers of an encoder; None leaves frames as they are.
        trained: the encoder's last layers, which add their hidden states before the mix; None for a frozen encoder.
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

    def forward(self, batch: Batch) -> Output:
        """Classify every utterance of a batch."""
        frames = self.standardise(batch.frames)
        if self.trained is not None:
            assert batch.frame_counts is not None, "batches of whole recordings know their frames"
            frames = self.trained(frames, batch.frame_counts)
        output: Output = self.core(replace(batch, frames=frames if self.mix is None else self.mix(frames)))
        return output

    @property
    def fixed_pooling(self) -> PoolsFrames | None:
        """The part that pools frames, where nothing in that is trained; None for any other model."""
        if self.mix is not None or self.trained is not None:
            return None
        parts = (part for part in self.core.modules() if isinstance(part, PoolsFrames))
        return next((part for part in parts if part.poolings() and part.is_fixed), None)


class FineGrainedExcitement(nn.Module):
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
        features: list[Tensor] = []
        acoustic = semantic_gate = acoustic_gate = auxiliary_loss = overall = None
        semantic = self.semantic(batch) if self.semantic is not None else None
        if self.acoustic is not None:
            acoustic, auxiliary_loss, overall = self.acoustic(batch, semantic)
            if self.overall is not None:
                overall = self.overall(overall)
        if semantic is not None:
            excited, semantic_gate = self.excite_semantic(semantic, semantic if acoustic is None else acoustic)
            features.append(excited)
        if acoustic is not None:
            driver = batch.words if self.driven_by_word else (acoustic if semantic is None else semantic)
            excited, acoustic_gate = self.excite_acoustic(acoustic, driver)
            features.append(excited)
        sequence = self.sequence(torch.cat(features, dim=1), batch.word_counts)
        utterances = ranges_from_counts(batch.word_counts).to(sequence.device)
        by_word = beside(sequence, overall, batch.word_counts)
        if self.blank:
            word_logits = self.classify(self.dropout(by_word))
            logits = self.readout(word_logits, utterances)[:, :-1]
        else:
            word_logits = self.classify(by_word)
            summary = beside(self.readout(sequence, utterances), overall)
            logits = self.classify(self.dropout(mix_features(summary, batch.mixture)))
        return Output(logits, word_logits, semantic_gate, acoustic_gate, auxiliary_loss=auxiliary_loss)


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
