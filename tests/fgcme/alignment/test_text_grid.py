"""TextGrids: read in Praat's text formats, and written so that they can be read."""

import pytest

from fgcme.alignment.text_grid import Tier, read_text_grid, to_text_grid

NAMES = ['he said "no"', "Straße; 東京\tand\ttabs", "xmin = 3", "two\nlines", "! no comment"]


def test_what_is_written_is_read_with_its_texts_times_and_silences() -> None:
    intervals = [(0.25 + place, 0.75 + place, text) for place, text in enumerate(NAMES)]
    written = to_text_grid([Tier("words", intervals), Tier("emotion", [(0, 6, "sad")])], 6.0)
    read = read_text_grid(written)
    assert [(each.start, each.end, each.label) for each in read if each.label] == intervals
    assert [(each.start, each.end) for each in read][:2] == [(0, 0.25), (0.25, 0.75)]
    assert (read[-1].label, read[-1].end) == ("", 6.0)


def test_a_word_without_a_place_is_not_written() -> None:
    read = read_text_grid(to_text_grid([Tier("words", [(0.1, 0.1, "none"), (0.1, 0.5, "some")])], 0.5))
    assert [each.label for each in read] == ["", "some"]


@pytest.mark.parametrize("text", ["", "words", '"ooTextFile" "Sound"', '"ooTextFile" "TextGrid" 0 1 <exists> 1'])
def test_what_is_no_text_grid_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"no TextGrid|number is missing"):
        read_text_grid(text)
