"""Times of words in JSON: of many utterances in one file, or of one, as WhisperX and Whisper write them."""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from fgcme.alignment.timed_words import TimedWord, in_nats

# What WhisperX and Whisper call how sure they are of a word.
_SCORES = ("score", "probability")
# Label of speech that is not put into words.
_UNKNOWN = "<unk>"


def read_word_times(path: Path, utterance_id: str) -> list[TimedWord]:
    """The words of an utterance in a JSON file, times in seconds.

    Either the file has many utterances, `{id: [{"word": "door", "start": 1.2, "end": 1.5}, ...]}`; or it is of one
    recording, as WhisperX and Whisper write it: `{"segments": [{"words": [...]}, ...]}`, where a word without times,
    such as a number that was not aligned, is unknown speech between its neighbours.

    Args:
        path: of the file.
        utterance_id: which utterance of many.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is not such a file, or lacks the utterance.
    """
    content = _content(path, path.stat().st_mtime_ns)
    of_segments = _of_segments(content)
    if of_segments is None and utterance_id not in content:
        raise ValueError(f"it has no utterance {utterance_id}")
    try:
        words = content[utterance_id] if of_segments is None else list(_filled(of_segments))
        return [TimedWord(str(word["word"]), float(word["start"]), float(word["end"]), _score(word)) for word in words]
    except (KeyError, TypeError) as error:
        raise ValueError(f"utterance {utterance_id} is no list of words with `start` and `end` ({error!r})") from None


def word_time_ids(path: Path) -> list[str] | None:
    """The utterances that a JSON file has; None for one of a single recording.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is not such a file.
    """
    content = _content(path, path.stat().st_mtime_ns)
    return list(content) if _of_segments(content) is None else None


def _of_segments(content: Mapping[str, Any]) -> list[Any] | None:
    """The words of one recording that have times; None where the file has many utterances."""
    segments = content.get("segments")
    if not isinstance(segments, list) or not all(isinstance(segment, dict) for segment in segments):
        return None
    if segments and not any("words" in segment for segment in segments):
        raise ValueError("its segments have no `words`: have the times of words written")
    words = [segment.get("words", []) for segment in segments]
    if not all(isinstance(of_segment, list) for of_segment in words):
        raise ValueError("the `words` of a segment are no list")
    return [word for of_segment in words for word in of_segment]


def _filled(words: Sequence[Any]) -> Iterator[Any]:
    """Words, those without times as unknown speech from the word before to the one behind."""
    before = 0.0
    for place, word in enumerate(words):
        if "start" in word or "end" in word:
            before = float(word["end"])
            yield word
        else:
            after = next((float(each["start"]) for each in words[place + 1 :] if "start" in each), before)
            yield {"word": _UNKNOWN, "start": before, "end": max(before, after)}


def _score(word: Mapping[str, Any]) -> float:
    scores = (word.get(name) for name in _SCORES)
    # JSON's true is an integer, too.
    numbers = (each for each in scores if isinstance(each, int | float) and not isinstance(each, bool))
    return in_nats(next(numbers, math.nan))


@functools.lru_cache(maxsize=2)
def _content(path: Path, modified: int) -> dict[str, Any]:
    times = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(times, dict):
        raise ValueError("it is no object of utterances")
    return times
