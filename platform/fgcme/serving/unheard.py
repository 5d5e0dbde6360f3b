"""What models did not hear of an utterance, or do not know: said beside every answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fgcme.audio import HOP, SAMPLE_RATE, frames_within
from fgcme.data import UNKNOWN, has_acoustics, has_words
from fgcme.prepared.utterance import AnalysedSpeech
from fgcme.serving.fitted import ModelSpec


@dataclass(frozen=True)
class Unheard:
    """What models did not hear of an utterance, or do not know.

    Attributes:
        limit: seconds that they hear; 0 where they hear everything.
        seconds: of sound after that.
        words: those of the utterance's last words that begin in it; they are read, where a model reads words.
        unknown_words: the words, each once, of which some model knows only that there is a word.
        spread: whether the words could not be aligned with the sound, and were spread evenly over the speech.
        remarks: what else there is to say, in sentences.
    """

    limit: float = 0.0
    seconds: float = 0.0
    words: tuple[str, ...] = ()
    unknown_words: tuple[str, ...] = ()
    spread: bool = False
    remarks: tuple[str, ...] = ()

    @property
    def notes(self) -> list[str]:
        """The same in sentences; none where all was heard and known.

        >>> Unheard(limit=30, seconds=2.25, words=("the", "door")).notes
        ['2.25 s after 30 s were not heard, and 2 words in them: the, door']
        """
        notes = []
        if self.seconds:
            count = f"{len(self.words)} word{'s' if len(self.words) > 1 else ''}"
            words = f", and {count} in them: {', '.join(self.words)}" if self.words else ""
            notes.append(f"{self.seconds:.2f} s after {self.limit:g} s were not heard{words}")
        if self.unknown_words:
            notes.append(f"words that the model does not know: {', '.join(self.unknown_words)}")
        if self.spread:
            notes.append("the words could not be aligned with the sound, and were spread evenly over the speech")
        return [*notes, *self.remarks]


def find_unheard(specs: Sequence[ModelSpec], speech: AnalysedSpeech) -> Unheard:
    """What models that answer together do not hear of an utterance, or do not know.

    Args:
        specs: of the models.
        speech: the utterance.
    """
    wanted = specs[0].prepare.alignment.method
    limit, seconds, words = _beyond(specs, speech)
    return Unheard(
        limit=limit,
        seconds=seconds,
        words=words,
        unknown_words=tuple(dict.fromkeys(word for spec in specs for word in _unknown_words(spec, speech))),
        spread=speech.alignment == "uniform" and wanted != "uniform",
    )


def _beyond(specs: Sequence[ModelSpec], speech: AnalysedSpeech) -> tuple[float, float, tuple[str, ...]]:
    """Seconds that are heard, seconds after that, and the words that begin in them; nothing where all is heard."""
    limits = [spec.frame_limit for spec in specs if has_acoustics(spec.model)]
    step = speech.frame_step
    over = len(speech.frames) - frames_within(min(limits), step) if limits else 0
    if over <= 0:
        return 0.0, 0.0, ()
    heard = int(np.searchsorted(speech.begin, min(limits)))
    return min(limits) * HOP / SAMPLE_RATE, over * step / SAMPLE_RATE, tuple(speech.words[heard:])


def _unknown_words(spec: ModelSpec, speech: AnalysedSpeech) -> list[str]:
    """Words that are not in the vocabulary of a model that reads them; or of which its text encoder says nothing."""
    if not has_words(spec.model):
        return []
    if spec.word_feature_size:
        encoded = speech.word_features
        return [] if encoded is None else [speech.words[row] for row in np.flatnonzero(~encoded.any(axis=1))]
    known = spec.vocabulary.index(speech.words) != UNKNOWN
    return [word for word, is_known in zip(speech.words, known.tolist(), strict=True) if not is_known]
