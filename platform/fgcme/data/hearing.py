"""What a model hears of an utterance: which frames, made into what, and whose audio that takes."""

from __future__ import annotations

from fgcme.data.batch import SegmentScheme, lookahead
from fgcme.data.front_end import FrontEnd
from fgcme.experiment import AcousticSettings, ModelSettings


def scheme_of(settings: ModelSettings) -> SegmentScheme:
    """How the model of these settings reads the frames of an utterance."""
    if settings.kind == "semantic_lstm" or not has_acoustics(settings):
        return SegmentScheme("none")
    if settings.kind != "fgcme":
        return SegmentScheme("utterance")
    seen = lookahead(settings.acoustic.kernels)
    if settings.pooling.kind == "utterance":
        return SegmentScheme("utterance", seen)
    if settings.pooling.kind == "uniform":
        return SegmentScheme("even", seen, settings.pooling.margin)
    return SegmentScheme("words", seen, settings.pooling.margin)


def has_acoustics(settings: ModelSettings) -> bool:
    """Whether a model that can leave a modality out has the acoustic one."""
    return settings.kind not in ("fgcme", "pooled_statistics") or settings.modalities != "semantic"


def has_words(settings: ModelSettings) -> bool:
    """Whether a model that can leave a modality out has the words."""
    return settings.kind not in ("fgcme", "pooled_statistics") or settings.modalities != "acoustic"


def front_end_of(settings: AcousticSettings) -> FrontEnd:
    """What the model of these settings makes of prepared frames."""
    return FrontEnd(settings.input, settings.deltas, settings.normalisation)


def reads_test_audio(model: ModelSettings) -> bool:
    """Whether what the model hears of an utterance depends on others of the test part, though not on their labels."""
    return model.acoustic.normalisation == "speaker" and scheme_of(model).segments != "none"
