"""What is found of a text in one window: its beginning, all of it, or a stretch from within it."""

from __future__ import annotations

import numpy as np

from fgcme.alignment.contract import edge_seconds
from fgcme.alignment.sphinx_windows import SphinxWindows
from fgcme.audio import frame_count
from tests.speech import say

TEXT = "open the window before dinner please"
OTHER = "seven brown horses jumped over a garden fence"


def test_the_first_words_of_a_text_are_placed_and_the_whole_of_it_is_refused() -> None:
    samples, onsets = say(TEXT)
    words = f"{TEXT} {OTHER} {OTHER} {OTHER} {OTHER}".split()
    path = SphinxWindows("en").lead(samples, words)
    assert (path.skipped, len(path.words)) == (0, 6) and path.end > frame_count(samples.size) - 50
    assert np.median(np.abs([edge_seconds(w.begin) - at for w, (_, at) in zip(path.words, onsets, strict=True)])) < 0.03
    assert SphinxWindows("en").whole(samples, words) is None


def test_all_words_of_a_text_are_placed() -> None:
    path = SphinxWindows("en").whole(say(TEXT)[0], TEXT.split())
    assert path is not None and len(path.words) == 6
    assert sum(word.margin for word in path.words) > 0


def test_a_stretch_is_found_wherever_in_the_text_it_begins() -> None:
    words = f"{OTHER} {OTHER} {TEXT} {OTHER}".split()
    path = SphinxWindows("en").anywhere(say(TEXT)[0], words)
    assert (path.skipped, len(path.words)) == (16, 6)


def test_of_equal_stretches_the_nearest_is_taken() -> None:
    words = f"{OTHER} {TEXT} {OTHER} {TEXT} {OTHER}".split()
    assert SphinxWindows("en").anywhere(say(TEXT)[0], words).skipped == 8
