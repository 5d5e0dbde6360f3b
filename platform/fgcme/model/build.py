"""From settings to a model: the one place where the two meet."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import ParamSpec, TypeVar

import torch
from torch import nn

from fgcme.data import has_acoustics, has_words
from fgcme.experiment import ExcitementForm, ModelKind, ModelSettings
from fgcme.model.baselines import AttentiveLSTM, LateFusion, MultiHopAttention, PooledStatistics
from fgcme.model.encoders import AcousticEncoder, SemanticEncoder, Standardise, WordEmbedding
from fgcme.model.excitement import Excitement, feature_driver, word_driver
from fgcme.model.network import FineGrainedExcitement, Network
from fgcme.model.pooling import Pooling
from fgcme.model.recurrent import FrameLSTM, RaggedLSTM, WordLSTM
from fgcme.model.word_acoustics import AttentionAlignment, CtcAlignment, SpanPooling

_Arguments = ParamSpec("_Arguments")
_Part = TypeVar("_Part", bound=nn.Module)


def build_model(
    settings: ModelSettings, frame_size: int, vocabulary_size: int, classes: int, blank: bool = False
) -> Network:
    """Make an untrained model. Draw from `torch.manual_seed` beforehand to repeat it.

    Whatever parts two models have in common start alike where they are drawn from the same seed.

    Args:
        settings: the `model` section of an experiment.
        frame_size: values of a frame.
        vocabulary_size: rows of the word table, the padding and unknown rows included.
        classes: number of emotions.
        blank: whether it is trained by CTC and needs a class for the blank.
    """
    draft = _Builder(settings, frame_size, vocabulary_size, classes, blank, seed=int(torch.randint(2**62, ())))
    return Network(Standardise(frame_size), _CORES[settings.kind](draft))


@dataclass(frozen=True)
class _Builder:
    """What a model is made from: the arguments of `build`, and a seed."""

    settings: ModelSettings
    frame_size: int
    vocabulary_size: int
    classes: int
    blank: bool
    seed: int

    def part(
        self, name: str, make: Callable[_Arguments, _Part], *args: _Arguments.args, **kwargs: _Arguments.kwargs
    ) -> _Part:
        """Make a part, its weights drawn by its name: they are the same whatever else the model has."""
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(self.seed ^ zlib.crc32(name.encode()))
            return make(*args, **kwargs)


def _fgcme(draft: _Builder) -> FineGrainedExcitement:
    settings = draft.settings
    kind = settings.pooling.kind
    pooling = Pooling(
        "mean_max" if kind == "utterance" or kind == "uniform" else kind,
        settings.acoustic.channels[-1],
        settings.acoustic.kernels,
        settings.pooling.temperature,
    )
    return _fused(
        draft,
        acoustic=SpanPooling(_acoustic_encoder(draft), pooling) if has_acoustics(settings) else None,
        semantic=_semantic_encoder(draft, pooling.size) if has_words(settings) else None,
        # Excitement crosses modalities: with one of them there is nothing to cross.
        excited=pooling.size if has_acoustics(settings) and has_words(settings) else None,
    )


def _learned_alignment(draft: _Builder) -> FineGrainedExcitement:
    words = _word_lstm(draft)
    listening = draft.part(
        "listening", AttentionAlignment, _frame_lstm(draft), words.size, draft.settings.baseline.heads
    )
    return _fused(draft, listening, words)


def _ctc_alignment(draft: _Builder) -> FineGrainedExcitement:
    baseline = draft.settings.baseline
    listening = draft.part("listening", CtcAlignment, draft.frame_size, baseline.positions, baseline.stack)
    return _fused(draft, listening, _semantic_encoder(draft, baseline.hidden))


def _acoustic_lstm(draft: _Builder) -> AttentiveLSTM:
    return _attentive(draft, "acoustic classifier", _frame_lstm(draft))


def _semantic_lstm(draft: _Builder) -> AttentiveLSTM:
    return _attentive(draft, "semantic classifier", _word_lstm(draft))


def _late_fusion(draft: _Builder) -> LateFusion:
    return LateFusion(_acoustic_lstm(draft), _semantic_lstm(draft))


def _multi_hop_attention(draft: _Builder) -> MultiHopAttention:
    dropout = draft.settings.fusion.dropout
    return draft.part("classifier", MultiHopAttention, _frame_lstm(draft), _word_lstm(draft), draft.classes, dropout)


def _pooled_statistics(draft: _Builder) -> PooledStatistics:
    settings = draft.settings
    return draft.part(
        "classifier",
        PooledStatistics,
        Pooling("statistics", draft.frame_size) if has_acoustics(settings) else None,
        _embedding(draft) if has_words(settings) else None,
        draft.classes,
        settings.fusion.dropout,
    )


_CORES: dict[ModelKind, Callable[[_Builder], nn.Module]] = {
    "fgcme": _fgcme,
    "acoustic_lstm": _acoustic_lstm,
    "semantic_lstm": _semantic_lstm,
    "late_fusion": _late_fusion,
    "multi_hop_attention": _multi_hop_attention,
    "learned_alignment": _learned_alignment,
    "ctc_alignment": _ctc_alignment,
    "pooled_statistics": _pooled_statistics,
}


def _fused(
    draft: _Builder,
    acoustic: SpanPooling | AttentionAlignment | CtcAlignment | None,
    semantic: SemanticEncoder | WordLSTM | None,
    excited: int | None = None,
) -> FineGrainedExcitement:
    """Both sides, word by word, under a sequence model; each excited by the other where both have `excited` values."""
    settings = draft.settings
    size = sum(side.size for side in (semantic, acoustic) if side is not None)
    sequence = draft.part("sequence", RaggedLSTM, size, settings.fusion.hidden)
    forms, by_word = settings.excitement, settings.excitement.driver == "word"
    return draft.part(
        "classifier",
        FineGrainedExcitement,
        acoustic=acoustic,
        semantic=semantic,
        excite_semantic=_excitement(draft, "semantic driver", forms.semantic, excited),
        excite_acoustic=_excitement(draft, "acoustic driver", forms.acoustic, excited, by_word),
        driven_by_word=by_word,
        sequence=sequence,
        readout=Pooling(settings.fusion.readout, sequence.size),
        classes=draft.classes,
        dropout=settings.fusion.dropout,
        blank=draft.blank,
    )


def _excitement(
    draft: _Builder, name: str, form: ExcitementForm, size: int | None, by_word: bool = False
) -> Excitement:
    squeeze = draft.settings.excitement.reduction_ratio
    if size is None or form == "none":
        return Excitement("none", None)
    if by_word:
        return Excitement(form, draft.part(name, word_driver, draft.vocabulary_size, size, squeeze))
    return Excitement(form, draft.part(name, feature_driver, size, size, squeeze))


def _attentive(draft: _Builder, name: str, encoder: FrameLSTM | WordLSTM) -> AttentiveLSTM:
    dropout = draft.settings.fusion.dropout
    return draft.part(name, AttentiveLSTM, encoder, Pooling("attention", encoder.size), draft.classes, dropout)


def _acoustic_encoder(draft: _Builder) -> AcousticEncoder:
    acoustic = draft.settings.acoustic
    return draft.part(
        "acoustic encoder",
        AcousticEncoder,
        draft.frame_size,
        acoustic.channels,
        acoustic.kernels,
        acoustic.activation,
        acoustic.dropout,
        acoustic.layer_normalisation,
    )


def _semantic_encoder(draft: _Builder, size: int) -> SemanticEncoder:
    return draft.part("semantic encoder", SemanticEncoder, _embedding(draft), size)


def _frame_lstm(draft: _Builder) -> FrameLSTM:
    baseline = draft.settings.baseline
    return draft.part("frame LSTM", FrameLSTM, draft.frame_size, baseline.hidden, baseline.stack)


def _word_lstm(draft: _Builder) -> WordLSTM:
    return draft.part("word LSTM", WordLSTM, _embedding(draft), draft.settings.baseline.hidden)


def _embedding(draft: _Builder) -> WordEmbedding:
    semantic = draft.settings.semantic
    return draft.part("embedding", WordEmbedding, draft.vocabulary_size, semantic.embedding, semantic.dropout)
