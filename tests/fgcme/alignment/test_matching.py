"""The words of a file fitted to those of a transcript."""

import pytest

from fgcme.alignment.matching import UNKNOWN, Interval, cut_overlaps, fit


def intervals(words: str) -> list[Interval]:
    return [
        Interval(UNKNOWN if word == "?" else word, 10 * number, 10 * number + 10)
        for number, word in enumerate(words.split())
    ]


def fitted(found: str, words: str) -> list[tuple[str, int, int]]:
    return [(*interval,) for interval in fit(intervals(found), words.split())]


def test_equal_words_keep_their_times() -> None:
    assert fitted("a b c", "a b c") == [("a", 0, 10), ("b", 10, 20), ("c", 20, 30)]


def test_another_word_has_the_time_of_what_stands_in_its_place() -> None:
    assert fitted("a x c", "a b c") == [("a", 0, 10), ("b", 10, 20), ("c", 20, 30)]
    assert fitted("a ? c", "a b c") == fitted("a x c", "a b c")
    # Two words in the time of one, and one in that of two.
    assert fitted("a cannot c", "a can not c") == [("a", 0, 10), ("can", 10, 15), ("not", 15, 20), ("c", 20, 30)]
    assert fitted("a can not c", "a cannot c") == [("a", 0, 10), ("cannot", 10, 30), ("c", 30, 40)]


def test_what_one_side_lacks_goes_or_lies_between_its_neighbours() -> None:
    assert fitted("a um b c", "a b c") == [("a", 0, 10), ("b", 20, 30), ("c", 30, 40)]
    found = [Interval("a", 0, 10), Interval("c", 30, 40), Interval("d", 40, 50)]
    assert fit(found, ["a", "b", "c", "d"])[1] == Interval("b", 10, 30)
    # Without room it is empty here, and gets a frame when spans are clipped.
    assert fitted("a c", "a b c")[1] == ("b", 10, 10)
    assert fitted("b c", "a b c")[0] == ("a", 0, 0)
    assert fitted("a b", "a b c")[2] == ("c", 20, 20)


@pytest.mark.parametrize("found", ["x y z", "a x y z", "? ? ?", "a"])
def test_fewer_than_half_of_the_words_are_another_utterance(found: str) -> None:
    with pytest.raises(ValueError, match="are not the transcript's"):
        fitted(found, "a b c d")


def test_overlaps_are_cut_where_the_next_begins() -> None:
    words = [Interval("a", 0, 15), Interval("b", 10, 20), Interval("c", 20, 30)]
    assert cut_overlaps(words) == ([Interval("a", 0, 10), *words[1:]], True)
    # Of neighbours a boundary may be rounded to two frames.
    assert cut_overlaps([Interval("a", 0, 11), Interval("b", 10, 20)])[1] is False
