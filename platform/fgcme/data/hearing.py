"""What a model hears of an utterance, by its settings: which frames, features and statistics."""

from __future__ import annotations

from fgcme.data.batch import SegmentScheme, lookahead
from fgcme.data.front_end import FrontEnd
from fgcme.experiment import AcousticSettings, ModelSettings


def scheme_of(settings: ModelSettings) -> SegmentScheme:
    """How the model of these settings reads the frames of an utterance."""
    if settings.kind == "semantic_lstm" or not has_acoustics(settings):
        return SegmentScheme("none")
    if settings.kind != "fgcme":
        return SegmentScheme("recording")
    return SegmentScheme(settings.pooling.segments, lookahead(settings.acoustic.kernels), settings.pooling.margin)


def has_acoustics(settings: ModelSettings) -> bool:
    """Whether the model uses the audio; only kinds with a choice of modalities can leave it out."""
    return settings.kind not in ("fgcme", "pooled_statistics") or settings.modalities != "semantic"


def has_words(settings: ModelSettings) -> bool:
    """Whether the model uses the words; only kinds with a choice of modalities can leave them out."""
    return settings.kind not in ("fgcme", "pooled_statistics") or settings.modalities != "acoustic"


def front_end_of(settings: AcousticSettings) -> FrontEnd:
    """How the model of these settings turns prepared frames into its own."""
    return FrontEnd(settings.input, settings.deltas, settings.normalisation)


def reads_test_audio(model: ModelSettings) -> bool:
    """Whether the model's input depends on audio of other test utterances, though not on their labels."""
    return model.acoustic.normalisation == "speaker" and scheme_of(model).segments != "none"
