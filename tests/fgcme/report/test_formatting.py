from __future__ import annotations

import math

import pytest

from fgcme.evaluation.intervals import Interval
from fgcme.report.formatting import (
    MINUS,
    count,
    duration,
    effect,
    listing,
    p_equation,
    p_value,
    percent,
    percent_range,
    points,
    points_range,
    sentence,
)


@pytest.mark.parametrize(
    ("share", "text"), [(0.0, "0.0"), (1.0, "100.0"), (0.12345, "12.3"), (0.9996, "100.0"), (-0.00001, "0.0")]
)
def test_a_share_has_one_decimal_and_never_a_negative_zero(share: float, text: str) -> None:
    assert percent(share) == text


@pytest.mark.parametrize(
    ("difference", "text"),
    [(0.123, "+12.3"), (-0.123, f"{MINUS}12.3"), (0.0, "0.0"), (0.0004, "0.0"), (-0.0004, "0.0"), (0.0006, "+0.1")],
)
def test_a_difference_has_its_sign_unless_it_rounds_to_zero(difference: float, text: str) -> None:
    assert points(difference) == text


def test_a_range_names_its_lower_end_first() -> None:
    interval = Interval(-0.012, 0.345)
    assert percent_range(interval) == f"{MINUS}1.2 to 34.5"
    assert points_range(interval) == f"{MINUS}1.2 to +34.5"


@pytest.mark.parametrize(
    ("value", "text", "equation"),
    [(0.00099, "< 0.001", "p < 0.001"), (0.001, "0.001", "p = 0.001"), (1.0, "1.000", "p = 1.000")],
)
def test_a_p_value_below_a_thousandth_is_only_bounded(value: float, text: str, equation: str) -> None:
    assert p_value(value) == text
    assert p_equation(value) == equation


def test_an_effect_has_a_true_minus_and_may_be_infinite() -> None:
    assert [effect(size) for size in (0.5, -0.5, math.inf, -math.inf)] == ["0.50", f"{MINUS}0.50", "∞", f"{MINUS}∞"]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0 s"), (59.4, "59 s"), (59.6, "1 min 0 s"), (3599.0, "59 min 59 s"), (3600.0, "1 h 0 min")],
)
def test_a_duration_has_its_two_largest_units(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_a_noun_follows_its_number() -> None:
    assert [count(number, "speaker") for number in (0, 1, 2)] == ["0 speakers", "1 speaker", "2 speakers"]
    assert count(12345, "utterance") == "12,345 utterances"


def test_a_list_ends_with_and() -> None:
    assert [listing(items) for items in ([], ["a"], ["a", "b"], ["a", "b", "c"])] == ["", "a", "a and b", "a, b and c"]


def test_only_the_first_letter_of_a_sentence_becomes_a_capital() -> None:
    assert sentence("uA on TEST") == "UA on TEST"
    assert sentence("") == ""
