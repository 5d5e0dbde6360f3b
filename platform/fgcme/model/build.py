"""Build a model from its settings; nothing else in this folder knows settings."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import ParamSpec, TypeVar

import torch
from torch import nn

from fgcme.data import has_acoustics, has_words, scheme_of
from fgcme.experiment import ExcitementForm, FeatureSettings, ModelKind, ModelSettings
from fgcme.model.baselines import (
    AttentiveLSTM,
    CrossAttention,
    FramewiseText,
    LateFusion,
    LinearProbe,
    MultiHopAttention,
    PooledStatistics,
)
from fgcme.model.encoders import (
    AcousticEncoder,
    EncodedWords,
    LayerMix,
    SemanticEncoder,
    Standardise,
    StandardisePooled,
    WordEmbedding,
)
from fgcme.model.excitement import Excitement, feature_driver, word_driver
from fgcme.model.network import FineGrainedExcitement, Network
from fgcme.model.pooling import Pooling
from fgcme.model.recurrent import FrameLSTM, RaggedLSTM, WordLSTM, Wordwise
from fgcme.model.trained_layers import EncoderTop, TrainedLayers, describe_top, load_top
from fgcme.model.word_acoustics import AttentionAlignment, CtcAlignment, PooledSegments, SpanPooling

_Arguments = ParamSpec("_Arguments")
_Part = TypeVar("_Part", bound=nn.Module)


def build_model(
    settings: ModelSettings,
    frame_size: int,
    vocabulary_size: int,
    classes: int,
    blank: bool = False,
    layers: int = 1,
    given_words: int = 0,
    word_feature_size: int = 0,
    word_layers: int = 0,
    encoder: EncoderTop | None = None,
) -> Network:
    """Build an untrained model, its weights drawn from PyTorch's global generator (`torch.manual_seed`).

    Two models built from the same seed have the same initial weights in every part they share.

    Args:
        settings: the `model` section of an experiment.
        frame_size: values of a frame, those of its layers side by side.
        vocabulary_size: rows of the word table, the padding and unknown rows included.
        classes: values of its output: the number of emotions, K, and of dimensions, D.
        blank: whether the model is trained by CTC and needs one more class for the blank.
        layers: how many layers of an encoder lie side by side in a frame.
        given_words: how many words have a vector and no row in the word table.
        word_feature_size: values of what a text encoder says of a word, its layers side by side; 0 for a word table.
        word_layers: how many layers of it lie side by side.
        encoder: its last layers, where the model trains them; see `encoder_of`.
    """
    prepared_size = frame_size
    # A model that hears nothing has nothing to train there or to mix.
    hears = scheme_of(settings).segments != "none"
    if encoder is not None and hears:
        frame_size, layers = frame_size // layers * encoder.layers, encoder.layers
    mixes = layers > 1 and settings.acoustic.layers == "mix"
    # Where pooled values are standardised, each layer's are, so they are mixed afterwards.
    late = mixes and settings.kind == "fgcme" and settings.pooling.normalisation != "none"
    early = mixes and not late
    builder = _Builder(
        settings,
        frame_size // layers if early else frame_size,
        vocabulary_size,
        given_words,
        word_feature_size,
        word_layers,
        classes,
        blank,
        pooled_layers=layers if late else 1,
        seed=int(torch.randint(2**62, ())),
    )
    mix = LayerMix(layers, 1 + settings.acoustic.deltas) if early and hears else None
    trained = None
    if encoder is not None and hears:
        trained = builder.part("trained layers", TrainedLayers, encoder, settings.acoustic.lora_rank)
    return Network(Standardise(prepared_size), _CORES[settings.kind](builder), mix, trained)


def encoder_of(settings: ModelSettings, features: FeatureSettings, weights: bool = True) -> EncoderTop | None:
    """The last layers of the speech encoder that a model trains; None where it trains none.

    Args:
        settings: the `model` section of an experiment.
        features: its `prepare.features` section.
        weights: whether to load them, and not only to see that they fit what is prepared.

    Raises:
        UserError: the encoder cannot be loaded, or what enters these layers is not prepared.
    """
    count, checkpoint = settings.acoustic.trained_layers, features.checkpoint
    if not count or checkpoint is None or not has_acoustics(settings):
        return None
    return (load_top if weights else describe_top)(checkpoint, features.layers, count)


@dataclass(frozen=True)
class _Builder:
    """The arguments of `build_model`, and what follows from them.

    Attributes:
        frame_size: values of a frame as the core reads it.
        pooled_layers: how many layers lie side by side in what is pooled, and are mixed then.
        seed: all initial weights are derived from it.
    """

    settings: ModelSettings
    frame_size: int
    vocabulary_size: int
    given_words: int
    word_feature_size: int
    word_layers: int
    classes: int
    blank: bool
    pooled_layers: int
    seed: int

    def part(
        self, name: str, make: Callable[_Arguments, _Part], *args: _Arguments.args, **kwargs: _Arguments.kwargs
    ) -> _Part:
        """Make a part whose weights depend on the seed and its name alone, not on what else the model has."""
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(self.seed ^ zlib.crc32(name.encode()))
            return make(*args, **kwargs)


def _fgcme(builder: _Builder) -> FineGrainedExcitement:
    settings = builder.settings
    size = _word_pooling(builder).size // builder.pooled_layers
    return _fused(
        builder,
        acoustic=_span_pooling(builder) if has_acoustics(settings) else None,
        semantic=_semantic_encoder(builder, size) if has_words(settings) else None,
        # Excitement needs both modalities.
        excited_size=size if has_acoustics(settings) and has_words(settings) else None,
    )


def _span_pooling(builder: _Builder) -> SpanPooling:
    acoustic, overall = builder.settings.acoustic, None
    if builder.settings.pooling.overall != "none":
        statistics = Pooling("statistics", [builder.frame_size, *acoustic.channels][-1])
        overall = PooledSegments(statistics, *_refinement(builder, statistics))
    pooling = _word_pooling(builder)
    return SpanPooling(_acoustic_encoder(builder), pooling, *_refinement(builder, pooling), overall=overall)


def _word_pooling(builder: _Builder) -> Pooling:
    pooling, acoustic = builder.settings.pooling, builder.settings.acoustic
    channels = [builder.frame_size, *acoustic.channels][-1]
    return Pooling(pooling.kind, channels, acoustic.kernels, pooling.temperature, pooling.width)


def _refinement(builder: _Builder, pooling: Pooling) -> tuple[float, StandardisePooled | None, LayerMix | None]:
    """Dropout, standardisation and mix of what is pooled."""
    settings = builder.settings.pooling
    standardise = None if settings.normalisation == "none" else StandardisePooled(pooling.size)
    mix = None
    if builder.pooled_layers > 1:
        blocks = (1 + builder.settings.acoustic.deltas) * (pooling.size // builder.frame_size)
        mix = LayerMix(builder.pooled_layers, blocks)
    return settings.dropout, standardise, mix


def _learned_alignment(builder: _Builder) -> FineGrainedExcitement:
    semantic = _word_lstm(builder)
    # The names of parts seed their weights: another name would be another initial model.
    acoustic = builder.part(
        "listening", AttentionAlignment, _frame_lstm(builder), semantic.size, builder.settings.baseline.heads
    )
    return _fused(builder, acoustic, semantic)


def _ctc_alignment(builder: _Builder) -> FineGrainedExcitement:
    baseline = builder.settings.baseline
    acoustic = builder.part("listening", CtcAlignment, builder.frame_size, baseline.positions, baseline.stack)
    return _fused(builder, acoustic, _semantic_encoder(builder, baseline.hidden))


def _acoustic_lstm(builder: _Builder) -> AttentiveLSTM:
    return _attentive(builder, "acoustic classifier", _frame_lstm(builder))


def _semantic_lstm(builder: _Builder) -> AttentiveLSTM:
    return _attentive(builder, "semantic classifier", _word_lstm(builder))


def _late_fusion(builder: _Builder) -> LateFusion:
    return LateFusion(_acoustic_lstm(builder), _semantic_lstm(builder))


def _multi_hop_attention(builder: _Builder) -> MultiHopAttention:
    dropout = builder.settings.fusion.dropout
    return builder.part(
        "classifier", MultiHopAttention, _frame_lstm(builder), _word_lstm(builder), builder.classes, dropout
    )


def _can(builder: _Builder) -> CrossAttention:
    settings = builder.settings
    pooling = _word_pooling(builder)
    return builder.part(
        "classifier",
        CrossAttention,
        SpanPooling(_acoustic_encoder(builder), pooling, settings.pooling.dropout),
        builder.part("acoustic sequence", RaggedLSTM, pooling.size, settings.baseline.hidden),
        _word_lstm(builder),
        builder.classes,
        settings.fusion.dropout,
    )


def _framewise_text(builder: _Builder) -> FramewiseText:
    baseline, embedding = builder.settings.baseline, _embedding(builder)
    size = builder.frame_size + embedding.size
    frames = builder.part("frame LSTM", FrameLSTM, size, baseline.hidden, baseline.stack)
    readout, dropout = Pooling("attention", frames.size), builder.settings.fusion.dropout
    return builder.part("classifier", FramewiseText, embedding, frames, readout, builder.classes, dropout)


def _pooled_statistics(builder: _Builder) -> PooledStatistics:
    settings = builder.settings
    return builder.part(
        "classifier",
        PooledStatistics,
        Pooling("statistics", builder.frame_size) if has_acoustics(settings) else None,
        _embedding(builder) if has_words(settings) else None,
        builder.classes,
        settings.fusion.dropout,
    )


def _linear_probe(builder: _Builder) -> LinearProbe:
    statistics = Pooling("statistics", builder.frame_size)
    return builder.part("classifier", LinearProbe, statistics, builder.classes, builder.settings.fusion.dropout)


_CORES: dict[ModelKind, Callable[[_Builder], nn.Module]] = {
    "fgcme": _fgcme,
    "acoustic_lstm": _acoustic_lstm,
    "semantic_lstm": _semantic_lstm,
    "late_fusion": _late_fusion,
    "multi_hop_attention": _multi_hop_attention,
    "learned_alignment": _learned_alignment,
    "ctc_alignment": _ctc_alignment,
    "can": _can,
    "framewise_text": _framewise_text,
    "linear_probe": _linear_probe,
    "pooled_statistics": _pooled_statistics,
}


def _fused(
    builder: _Builder,
    acoustic: SpanPooling | AttentionAlignment | CtcAlignment | None,
    semantic: SemanticEncoder | WordLSTM | None,
    excited_size: int | None = None,
) -> FineGrainedExcitement:
    """Join the sides word by word under a sequence model.

    Args:
        builder: makes the parts.
        acoustic: the acoustic side; None leaves it out.
        semantic: the semantic side; None leaves it out.
        excited_size: values of a word's feature on both sides, where each excites the other; None for no excitement.
    """
    settings = builder.settings
    size = sum(side.size for side in (semantic, acoustic) if side is not None)
    sequence: RaggedLSTM | Wordwise
    if settings.fusion.sequence == "lstm":
        sequence = builder.part("sequence", RaggedLSTM, size, settings.fusion.hidden)
    else:
        sequence = builder.part("sequence", Wordwise, size, settings.fusion.hidden)
    overall = acoustic.overall if isinstance(acoustic, SpanPooling) else None
    forms, driven_by_word = settings.excitement, settings.excitement.driver == "word"
    return builder.part(
        "classifier",
        FineGrainedExcitement,
        acoustic=acoustic,
        semantic=semantic,
        excite_semantic=_excitement(builder, "semantic driver", forms.semantic, excited_size),
        excite_acoustic=_excitement(builder, "acoustic driver", forms.acoustic, excited_size, driven_by_word),
        driven_by_word=driven_by_word,
        sequence=sequence,
        readout=Pooling(settings.fusion.readout, sequence.size),
        classes=builder.classes,
        dropout=settings.fusion.dropout,
        blank=builder.blank,
        overall=None if overall is None else builder.part("overall", Wordwise, overall.size, settings.fusion.hidden),
    )


def _excitement(
    builder: _Builder, name: str, form: ExcitementForm, size: int | None, driven_by_word: bool = False
) -> Excitement:
    reduction_ratio = builder.settings.excitement.reduction_ratio
    if size is None or form == "none":
        return Excitement("none", None)
    if driven_by_word:
        return Excitement(form, builder.part(name, word_driver, builder.vocabulary_size, size, reduction_ratio))
    return Excitement(form, builder.part(name, feature_driver, size, size, reduction_ratio))


def _attentive(builder: _Builder, name: str, encoder: FrameLSTM | WordLSTM) -> AttentiveLSTM:
    dropout = builder.settings.fusion.dropout
    return builder.part(name, AttentiveLSTM, encoder, Pooling("attention", encoder.size), builder.classes, dropout)


def _acoustic_encoder(builder: _Builder) -> AcousticEncoder:
    acoustic = builder.settings.acoustic
    return builder.part(
        "acoustic encoder",
        AcousticEncoder,
        builder.frame_size,
        acoustic.channels,
        acoustic.kernels,
        acoustic.activation,
        acoustic.dropout,
        acoustic.layer_normalisation,
    )


def _semantic_encoder(builder: _Builder, size: int) -> SemanticEncoder:
    return builder.part("semantic encoder", SemanticEncoder, _embedding(builder), size)


def _frame_lstm(builder: _Builder) -> FrameLSTM:
    baseline = builder.settings.baseline
    return builder.part("frame LSTM", FrameLSTM, builder.frame_size, baseline.hidden, baseline.stack)


def _word_lstm(builder: _Builder) -> WordLSTM:
    return builder.part("word LSTM", WordLSTM, _embedding(builder), builder.settings.baseline.hidden)


def _embedding(builder: _Builder) -> WordEmbedding | EncodedWords:
    semantic = builder.settings.semantic
    if builder.word_feature_size:
        return EncodedWords(builder.word_feature_size, builder.word_layers, semantic.dropout)
    size, given = semantic.embedding, builder.given_words
    return builder.part("embedding", WordEmbedding, builder.vocabulary_size, size, semantic.dropout, given)
