"""From settings to a model: the one place where the two meet."""

from __future__ import annotations

from torch import nn

from fgcme.experiment import ModelSettings
from fgcme.model.encoders import AcousticEncoder, SemanticEncoder, word_table
from fgcme.model.excitement import Excitement
from fgcme.model.network import FineGrainedExcitement, WordSequence
from fgcme.model.pooling import pooled_size


def build(settings: ModelSettings, frame_size: int, vocabulary_size: int, classes: int) -> FineGrainedExcitement:
    """Make an untrained model. Draw from `torch.manual_seed` beforehand to repeat it.

    Args:
        settings: the `model` section of an experiment.
        frame_size: values of a frame.
        vocabulary_size: rows of the word table, the padding and unknown rows included.
        classes: number of emotions.
    """
    size = pooled_size(settings.pooling.kind, settings.acoustic.channels[-1])
    acoustic = semantic = None
    if settings.modalities != "semantic":
        acoustic = AcousticEncoder(
            frame_size,
            settings.acoustic.channels,
            settings.acoustic.kernels,
            settings.acoustic.activation,
            settings.acoustic.dropout,
        )
    if settings.modalities != "acoustic":
        semantic = SemanticEncoder(vocabulary_size, settings.semantic.embedding, size, settings.semantic.dropout)
    both = acoustic is not None and semantic is not None
    # Excitement crosses modalities: with one of them there is nothing to cross.
    semantic_form = settings.excitement.semantic if both else "none"
    acoustic_form = settings.excitement.acoustic if both else "none"
    driven_by_word = settings.excitement.driver == "word"
    acoustic_driver: nn.Module = word_table(vocabulary_size, size) if driven_by_word else nn.Linear(size, size)
    return FineGrainedExcitement(
        acoustic=acoustic,
        semantic=semantic,
        pooling=settings.pooling.kind,
        excite_semantic=Excitement(semantic_form, None if semantic_form == "none" else nn.Linear(size, size)),
        excite_acoustic=Excitement(acoustic_form, None if acoustic_form == "none" else acoustic_driver),
        driven_by_word=driven_by_word,
        sequence=WordSequence(2 * size if both else size, settings.fusion.hidden),
        classes=classes,
        dropout=settings.fusion.dropout,
    )
