"""Utterances that lack their words or their sound, as a model with modality dropout knows them from training.

Without words, an utterance is one of unknown words, each an even part of the speech: as many as there would be words of
`SECONDS_OF_A_WORD`. Without sound, its words have no frame: their acoustic features are zero (`Pooling`). So one
model answers with both, with sound alone, with text alone (Neverova et al., "ModDrop", TPAMI 2016).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import numpy as np

from fgcme.audio import HOP, SAMPLE_RATE
from fgcme.data.batch import FrameLayout, SegmentScheme, Stretch, layout_frames
from fgcme.data.dataset import UNKNOWN
from fgcme.experiment import AugmentationSettings

Missing = Literal["words", "sound"]
SECONDS_OF_A_WORD = 0.3
"""How long a word of English lasts, about, that is read or acted."""


def draw_missing(settings: AugmentationSettings, generator: np.random.Generator) -> Missing | None:
    """What a training utterance loses: by `modality_dropout` its words or, as often, its sound."""
    drawn = generator.random()
    if drawn >= settings.modality_dropout:
        return None
    return "words" if drawn < settings.modality_dropout / 2 else "sound"


def draw_dropped(settings: AugmentationSettings, words: int, generator: np.random.Generator) -> np.ndarray:
    """Which words of a training utterance become unknown ones, [W].

    Args:
        settings: their `word_dropout` is the probability of each word.
        words: how many there are.
        generator: draws which.
    """
    return np.asarray(generator.random(words) < settings.word_dropout)


def without_words(
    scheme: SegmentScheme,
    frame_count: int,
    speech: Stretch,
    frame_step: int = HOP,
    generator: np.random.Generator | None = None,
) -> tuple[FrameLayout, np.ndarray]:
    """What a model reads of an utterance whose words nobody knows, and the [W] unknown words that it reads.

    Args:
        scheme: how it reads the frames of other utterances; the words' spans become even parts of the speech.
        frame_count: frames of the utterance, A.
        speech: where the speech is.
        frame_step: samples from one frame to the next.
        generator: draws the boundaries of random parts.
    """
    count = unknown_words(frame_count, speech, frame_step)
    if scheme.segments == "words":
        scheme = replace(scheme, segments="even_speech")
    nowhere = np.zeros(count, np.int64)
    layout = layout_frames(scheme, nowhere, nowhere, frame_count, speech, generator)
    return layout, np.full(count, UNKNOWN, np.int64)


def unknown_words(frame_count: int, speech: Stretch, frame_step: int) -> int:
    """How many unknown words stand for those of an utterance; see `without_words`.

    Args:
        frame_count: frames of the utterance, A.
        speech: where the speech is.
        frame_step: samples from one frame to the next.

    >>> unknown_words(frame_count=200, speech=(20, 120), frame_step=HOP)
    3
    """
    last = min(speech[1], frame_count)
    return max(round((last - speech[0]) * frame_step / SAMPLE_RATE / SECONDS_OF_A_WORD), 1)


def without_sound(scheme: SegmentScheme, words: int) -> FrameLayout:
    """What a model reads of an utterance that nobody hears: nothing, for each of its words."""
    nowhere = np.zeros(words, np.int64)
    return layout_frames(scheme, nowhere, nowhere, frame_count=0, speech=(0, 0))
