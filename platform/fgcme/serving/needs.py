"""What a model has to be given of an utterance: one rule for whoever asks it, serves it or describes it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fgcme.data import has_acoustics, has_words
from fgcme.serving.fitted import ModelSpec

# Kinds of models that read an utterance word by word, or as many parts of it as it has words.
_BY_WORDS = ("fgcme", "can", "framewise_text")


@dataclass(frozen=True)
class Needs:
    """What a model, or several that answer together, do not do without.

    Attributes:
        sound: whether they answer only where there is sound.
        text: whether they answer only where it is known what is said: they read words, or parts the sound by them.
    """

    sound: bool
    text: bool


def needs_of(specs: Sequence[ModelSpec]) -> Needs:
    """What models that answer together need; those with modality dropout do with either, but not with nothing."""
    without_choice = [spec for spec in specs if not spec.modality_dropout]
    return Needs(
        sound=any(has_acoustics(spec.model) for spec in without_choice),
        text=any(has_words(spec.model) or spec.model.kind in _BY_WORDS for spec in without_choice),
    )
