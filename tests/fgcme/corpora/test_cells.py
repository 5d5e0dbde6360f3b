"""Values of cells: texts, and times that are read where there is no doubt."""

from datetime import timedelta

import pytest

from fgcme.corpora.cells import BadCellError, seconds_of, text_of


@pytest.mark.parametrize("value", [None, "", "  ", "NaN", "nan", "NaT", "<NA>", float("nan")])
def test_what_is_not_there_is_nothing_however_it_is_printed(value: object) -> None:
    assert text_of(value) is None and seconds_of(value) is None


@pytest.mark.parametrize("value", [["a"], ("a",), {"a": 1}, True, False, b"a", timedelta(1), "a\0", "\ud800"])
def test_what_is_no_text_is_refused(value: object) -> None:
    with pytest.raises(BadCellError) as caught:
        text_of(value)
    assert caught.value.reason == "bad_value" and len(caught.value.message) < 120


def test_a_number_of_thousands_of_digits_is_refused() -> None:
    with pytest.raises(BadCellError, match="a number of thousands of digits"):
        text_of(10**5_000)


@pytest.mark.parametrize(
    "value, seconds",
    [
        (2, 2.0),
        ("2.", 2.0),
        (".5", 0.5),
        ("1e-1", 0.1),
        ("1,50", 1.5),
        ("1.5 s", 1.5),
        ("250ms", 0.25),
        ("0 days", 0.0),
        ("1 day 00:00:01", 86_401.0),
        ("0 days 01:02:03.25", 3_723.25),
        ("00:00:01,5", 1.5),
        ("75:30", 4_530.0),
        (timedelta(milliseconds=1_250), 1.25),
    ],
)
def test_a_time_is_read_in_every_form(value: object, seconds: float) -> None:
    assert seconds_of(value) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "value", ["soon", "-1", "inf", "1:2:3:4", "00:75:00", "00:00:61", "1.5.2", "1,234.5", "-1 days", ":"]
)
def test_what_may_be_another_time_is_refused(value: str) -> None:
    with pytest.raises(BadCellError, match="is not a time"):
        seconds_of(value)
