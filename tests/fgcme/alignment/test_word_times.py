"""Times of words in JSON: of many utterances, and as WhisperX and Whisper write them."""

import json
import math
from pathlib import Path
from typing import Any

import pytest

from fgcme.alignment.word_times import read_word_times, word_time_ids

# As WhisperX 3 writes it: a number has no times.
WHISPERX: dict[str, Any] = {
    "segments": [
        {
            "start": 0.1,
            "end": 0.9,
            "text": " Kids, 21",
            "words": [{"word": "Kids,", "start": 0.1, "end": 0.42, "score": 0.9}, {"word": "21"}],
        },
        {
            "start": 1.0,
            "end": 1.5,
            "text": " talk.",
            "words": [{"word": "talk.", "start": 1.0, "end": 1.5, "score": 0.5}],
        },
    ],
    "word_segments": [{"word": "Kids,", "start": 0.1, "end": 0.42, "score": 0.9}],
    "language": "en",
}


def written(folder: Path, content: object) -> Path:
    path = folder / "a.json"
    path.write_text(json.dumps(content))
    return path


def test_the_words_of_all_segments_are_read_with_their_scores(tmp_path: Path) -> None:
    path = written(tmp_path, WHISPERX)
    kids, number, talk = read_word_times(path, "whatever")
    assert (kids, talk) == (("Kids,", 0.1, 0.42, math.log(0.9)), ("talk.", 1.0, 1.5, math.log(0.5)))
    assert number[:3] == ("<unk>", 0.42, 1.0) and math.isnan(number.score)
    assert word_time_ids(path) is None


def test_whisper_s_own_file_is_read_too(tmp_path: Path) -> None:
    words = [
        {"word": " Kids", "start": 0.0, "end": 0.2, "probability": 0.25},
        {"word": " talk", "start": 0.2, "end": 0.4, "probability": 1},
        {"word": " by", "start": 0.4, "end": 0.5, "probability": True},
    ]
    path = written(tmp_path, {"text": " Kids", "segments": [{"id": 0, "words": words}], "language": "en"})
    assert [word.score for word in read_word_times(path, "a")] == [
        math.log(0.25),
        0.0,
        pytest.approx(math.nan, nan_ok=True),
    ]


def test_segments_without_words_are_refused_with_the_way_out(tmp_path: Path) -> None:
    path = written(tmp_path, {"segments": [{"start": 0, "end": 1, "text": "Kids"}]})
    with pytest.raises(ValueError, match="its segments have no `words`: have the times of words written"):
        read_word_times(path, "a")


def test_a_recording_without_speech_has_no_words(tmp_path: Path) -> None:
    assert read_word_times(written(tmp_path, {"segments": []}), "a") == []


def test_a_file_of_many_utterances_tells_which(tmp_path: Path) -> None:
    path = written(tmp_path, {"a": [{"word": "x", "start": 0, "end": 1}], "segments": "none"})
    assert word_time_ids(path) == ["a", "segments"]
    (word,) = read_word_times(path, "a")
    assert word[:3] == ("x", 0, 1) and math.isnan(word.score)
    with pytest.raises(ValueError, match="it has no utterance b"):
        read_word_times(path, "b")
