"""Words spread evenly over the speech."""

import math

import numpy as np
import pytest

from fgcme import alignment
from fgcme.alignment import AlignmentError
from fgcme.audio import frame_count


def test_words_are_spread_evenly_over_the_speech() -> None:
    silence = np.zeros(16_000, np.float32)
    tone = np.sin(np.arange(32_000)).astype(np.float32)
    result = alignment.build("uniform").align("a", np.concatenate([silence, tone, silence]), "one two three four")
    assert result.words == ["one", "two", "three", "four"]
    assert result.method == "uniform" and math.isnan(result.score)
    # It is what was asked for.
    assert result.oddities == ()
    assert abs(result.begin[0] - 99) <= 2 and abs(result.end[-1] - 300) <= 2
    assert result.begin[1:] == result.end[:-1]
    lengths = np.subtract(result.end, result.begin)
    assert lengths.max() - lengths.min() <= 1


@pytest.mark.parametrize("words", [1, 5, 200])
def test_spans_stay_within_the_utterance_even_with_more_words_than_frames(words: int) -> None:
    samples = np.sin(np.arange(2_000)).astype(np.float32)
    result = alignment.build("uniform").align("a", samples, "word " * words)
    assert len(result.begin) == words
    assert min(result.begin) >= 0 and max(result.end) == frame_count(samples.size)


def test_a_text_without_words_is_refused() -> None:
    with pytest.raises(AlignmentError, match="no words") as caught:
        alignment.build("uniform").align("a", np.ones(1_600, np.float32), "[LAUGHTER] ...")
    assert caught.value.reason == "no_words"


def test_an_aligner_is_cached_and_an_unknown_method_is_refused() -> None:
    assert alignment.build("uniform") is alignment.build("uniform")
    with pytest.raises(ValueError, match="guess"):
        alignment.build("guess")
    with pytest.raises(ValueError, match="ctc"):
        alignment.build("ctc")
