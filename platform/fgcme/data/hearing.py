"""What a model hears of an utterance, by its settings: which frames, features and statistics."""

from __future__ import annotations

from fgcme.data.batch import SegmentScheme, lookahead
from fgcme.data.front_end import FrontEnd
from fgcme.experiment import AcousticSettings, ModelSettings

# Kinds of models that can leave a modality out.
_WITH_A_CHOICE = ("fgcme", "pooled_statistics")


def scheme_of(settings: ModelSettings) -> SegmentScheme:
    """How the model of these settings reads the frames of an utterance."""
    if not has_acoustics(settings):
        return SegmentScheme("none")
    whole = settings.acoustic.trained_layers > 0
    if settings.kind == "framewise_text":
        return SegmentScheme("words", overall="recording", whole=whole)
    if settings.kind not in ("fgcme", "can"):
        return SegmentScheme("recording", whole=whole)
    pooling, seen = settings.pooling, lookahead(settings.acoustic.kernels)
    overall = pooling.overall if settings.kind == "fgcme" else "none"
    return SegmentScheme(pooling.segments, seen, pooling.margin, overall, whole)


def has_acoustics(settings: ModelSettings) -> bool:
    """Whether the model uses the audio."""
    if settings.kind in _WITH_A_CHOICE:
        return settings.modalities != "semantic"
    return settings.kind != "semantic_lstm"


def has_words(settings: ModelSettings) -> bool:
    """Whether the model uses the words."""
    if settings.kind in _WITH_A_CHOICE:
        return settings.modalities != "acoustic"
    return settings.kind not in ("acoustic_lstm", "linear_probe")


def reads_encoder_of_words(settings: ModelSettings, word_layers: int) -> bool:
    """Whether the model reads what a text encoder says of words, in place of a table of them.

    Args:
        settings: of the model.
        word_layers: layers of the text encoder that the corpus was prepared with; 0 without one.
    """
    return word_layers > 0 and settings.semantic.input != "table" and has_words(settings)


def front_end_of(settings: AcousticSettings) -> FrontEnd:
    """How the model of these settings turns prepared frames into its own."""
    return FrontEnd(settings.input, settings.deltas, settings.normalisation)


def reads_test_audio(model: ModelSettings) -> bool:
    """Whether the model's input depends on audio of other test utterances, though not on their labels."""
    by_speaker = "speaker" in (model.acoustic.normalisation, model.pooling.normalisation)
    return by_speaker and scheme_of(model).segments != "none"
