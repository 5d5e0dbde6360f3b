"""What a model hears of an utterance: which frames, made into what, and whose audio that takes."""

from __future__ import annotations

from fgcme.data.batch import Reading, lookahead
from fgcme.data.front_end import FrontEnd
from fgcme.experiment.settings import AcousticSettings, ModelSettings


def reading(settings: ModelSettings) -> Reading:
    """How the model of these settings reads the frames of an utterance."""
    if settings.kind == "semantic_lstm" or not listens(settings):
        return Reading("none")
    if settings.kind != "fgcme":
        return Reading("utterance")
    seen = lookahead(settings.acoustic.kernels)
    if settings.pooling.kind == "utterance":
        return Reading("utterance", seen)
    if settings.pooling.kind == "uniform":
        return Reading("even", seen, settings.pooling.margin)
    return Reading("words", seen, settings.pooling.margin)


def listens(settings: ModelSettings) -> bool:
    """Whether a model that can leave a modality out has the acoustic one."""
    return settings.kind not in ("fgcme", "pooled_statistics") or settings.modalities != "semantic"


def reads_words(settings: ModelSettings) -> bool:
    """Whether a model that can leave a modality out has the words."""
    return settings.kind not in ("fgcme", "pooled_statistics") or settings.modalities != "acoustic"


def front_end(settings: AcousticSettings) -> FrontEnd:
    """What the model of these settings makes of prepared frames."""
    return FrontEnd(settings.input, settings.deltas, settings.normalisation)


def reads_test_audio(model: ModelSettings) -> bool:
    """Whether what the model hears of an utterance depends on others of the test part, though not on their labels."""
    return model.acoustic.normalisation == "speaker" and reading(model).segments != "none"
