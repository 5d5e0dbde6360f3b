"""What PocketSphinx finds of a text in one window of a long recording."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from fgcme.alignment.sphinx_decoder import (
    add_missing_words,
    build_decoder,
    build_phone_loop,
    decode,
    is_word,
    log_likelihood,
    normalise_level,
    word_of,
)
from fgcme.alignment.windowed import Path, Placed
from fgcme.audio import Samples

# By so many nats a frame may the words that are said fit worse than phones do. On EMO-DB, a minute of the right words
# fits 2,300 to 3,700 nats better with it, never 500 worse for a while; wrong ones fit 2,500 to 3,700 worse, and nowhere
# 170 better.
_ALLOWANCE = 0.7
# A text is likelier to go on a word nearer by this factor, down to a floor: of equal sentences, the nearest is taken.
_FARTHER, _FLOOR = 0.9, 1e-30


class SphinxWindows:
    """Searches windows for words of a language, with the beam that loses no path; see `windowed.Search`.

    Args:
        language: of the words, see `SphinxAligner`.
    """

    def __init__(self, language: str) -> None:
        self._language = language

    def lead(self, samples: Samples, words: Sequence[str]) -> Path:
        """Place the first of these words, as many as are said; see `Search.lead`."""
        decoder = self._decoder(words)
        decoder.set_align_text(" ".join(words))
        return _path(decoder, samples, words)

    def whole(self, samples: Samples, words: Sequence[str]) -> Path | None:
        """Place all of these words; see `Search.whole`."""
        decoder = self._decoder(words)
        decoder.set_align_text(" ".join(words))
        path = _path(decoder, samples, words, to_the_end=True)
        return path if len(path.words) == len(words) else None

    def anywhere(self, samples: Samples, words: Sequence[str]) -> Path:
        """Place words that follow each other, wherever in the text they begin; see `Search.anywhere`."""
        decoder = self._decoder(words)
        starts = [(0, place + 1, max(_FARTHER**place, _FLOOR), word) for place, word in enumerate(words)]
        steps = [(place, place + 1, 1.0, word) for place, word in enumerate(words) if place]
        decoder.add_fsg("anywhere", decoder.create_fsg("anywhere", 0, len(words), starts + steps))
        decoder.activate_search("anywhere")
        path = _path(decoder, samples, words)
        decoder.remove_search("anywhere")
        return path

    def _decoder(self, words: Sequence[str]) -> Any:
        decoder = build_decoder("wide", self._language)
        add_missing_words(decoder, self._language, words)
        return decoder


def _path(decoder: Any, samples: Samples, words: Sequence[str], to_the_end: bool = False) -> Path:
    levelled = normalise_level(samples)
    segments = decode(decoder, levelled, to_the_end) or []
    said = [segment for segment in segments if is_word(segment)]
    fits = np.concatenate(
        [[0.0], np.cumsum(_frame_scores(decode(build_phone_loop(), levelled, to_the_end=False) or []))]
    )
    placed = []
    for segment in said:
        begin, end = segment.start_frame, segment.end_frame + 1
        score = log_likelihood(segment)
        phones = float(fits[min(end, len(fits) - 1)] - fits[min(begin, len(fits) - 1)])
        placed.append(Placed(begin, end, score, score + _ALLOWANCE * (end - begin) - phones))
    return Path(
        _position([word_of(segment) for segment in said], words), placed, segments[-1].end_frame + 1 if segments else 0
    )


def _frame_scores(segments: Sequence[Any]) -> npt.NDArray[np.float64]:
    """The log-likelihood of each frame, as if those of a segment were alike."""
    lengths = [segment.end_frame - segment.start_frame + 1 for segment in segments]
    means = [log_likelihood(segment) / length for segment, length in zip(segments, lengths, strict=True)]
    return np.repeat(means, lengths)


def _position(said: list[str], words: Sequence[str]) -> int:
    """Where in the text the words of a path are: the first place, as a path begins at the nearest of equal ones."""
    places = range(len(words) - len(said) + 1)
    return next(place for place in places if list(words[place : place + len(said)]) == said)
