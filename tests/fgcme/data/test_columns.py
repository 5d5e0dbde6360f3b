"""Columns of an Arrow file as sequences."""

import pyarrow as pa
import pytest

from fgcme.data.columns import Column, encode

TEXTS = ["sad", None, "happy", "sad", ""]


@pytest.mark.parametrize("repeated", [False, True], ids=["plain", "dictionary"])
def test_a_column_is_the_sequence_of_its_values(repeated: bool) -> None:
    array = pa.array(TEXTS, pa.string())
    column: Column[str] = Column(array.dictionary_encode() if repeated else array)
    assert list(column) == TEXTS and len(column) == 5
    assert [column[index] for index in range(5)] == TEXTS and column[-1] == ""
    assert list(column[1:4]) == TEXTS[1:4]
    assert column.index("happy") == 2 and column.count("sad") == 2


def test_a_long_column_is_iterated_over_to_its_end() -> None:
    assert list(Column(pa.array(range(10_000)))) == list(range(10_000))


def test_a_column_of_lists_gives_lists() -> None:
    words: Column[list[str]] = Column(pa.array([["a", "b"], [], ["c"]]))
    assert words[0] == ["a", "b"] and list(words) == [["a", "b"], [], ["c"]]


@pytest.mark.parametrize("sliced", [False, True], ids=["whole", "slice"])
def test_a_column_and_a_list_are_numbered_alike(sliced: bool) -> None:
    column: Column[str | None] = Column(pa.array([*TEXTS, "angry"]).dictionary_encode())
    given = column[1:5] if sliced else column[:5]
    expected = TEXTS[1:] if sliced else TEXTS
    for sequence in (given, expected, tuple(expected)):
        numbers, names = encode(sequence)
        assert [names[number] if number >= 0 else None for number in numbers] == expected
        assert len(names) == len(set(names))
