"""Two alignments of the same utterances, and how far apart they are."""

from fgcme.alignment.comparison import Spans, compare

FIRST = {
    "a": Spans(["open", "it"], [10, 30], [30, 50]),
    "b": Spans(["yes"], [5], [20]),
    "c": Spans(["no"], [5], [20]),
    "d": Spans(["only", "here"], [0, 5], [5, 9]),
}
SECOND = {
    "a": Spans(["open", "it"], [10, 32], [31, 50]),
    "b": Spans(["yes"], [12], [20]),
    "c": Spans(["nope"], [5], [20]),
    "e": Spans(["there"], [0], [5]),
}


def test_begins_and_ends_of_the_same_words_are_compared_and_the_rest_is_counted() -> None:
    found = compare(FIRST, SECOND)
    assert found.words == 3
    assert sorted(found.differences.tolist()) == [0, 0, 0, 10, 20, 70]
    assert (found.other_words, found.only_first, found.only_second) == (["c"], ["d"], ["e"])


def test_the_utterance_that_differs_most_comes_first_with_its_worst_word() -> None:
    worst, other = compare(FIRST, SECOND).utterances
    assert (worst.utterance, worst.mean, worst.worst_word, worst.worst) == ("b", 35, "yes", 70)
    assert (other.utterance, other.mean, other.worst_word, other.worst) == ("a", 7.5, "it", 20)


def test_the_lines_say_what_was_compared_and_what_was_not() -> None:
    lines = list(compare(FIRST, SECOND).lines(worst=1))
    assert lines == [
        "compared: 3 words of 2 utterances",
        "not compared, their words differ: 1, such as c",
        "only in the first: 1, such as d",
        "only in the second: 1, such as e",
        "edges of words: median 5 ms, 95 % within 58 ms, 83.3% within 50 ms",
        "worst utterances, mean difference:",
        "  b: 35 ms, most at `yes`, 70 ms",
    ]


def test_alignments_that_are_the_same_have_no_worst_utterance() -> None:
    assert list(compare(FIRST, FIRST).lines(worst=3)) == [
        "compared: 6 words of 4 utterances",
        "edges of words: median 0 ms, 95 % within 0 ms, 100.0% within 50 ms",
    ]


def test_with_nothing_in_common_there_is_no_figure() -> None:
    lines = list(compare({"a": FIRST["a"]}, {"b": FIRST["b"]}).lines(worst=3))
    assert lines[0] == "compared: 0 words of 0 utterances" and len(lines) == 3
