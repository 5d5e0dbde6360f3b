"""Numbers as text: in per cent, with a true minus sign, and only digits that matter."""

from __future__ import annotations

import math
from collections.abc import Sequence

from fgcme.evaluation.intervals import Interval

MINUS = "\N{MINUS SIGN}"


def percent(share: float) -> str:
    """A share in per cent.

    >>> percent(0.6125)
    '61.3'
    """
    return _rounded(100 * share)


def points(difference: float) -> str:
    """A difference of shares in percentage points, with its sign unless it is rounded to zero.

    >>> points(-0.0123), points(0.05), points(0.0001)
    ('−1.2', '+5.0', '0.0')
    """
    return signed(100 * difference)


def signed(number: float) -> str:
    """A number with its sign unless it is rounded to zero.

    >>> signed(-3.21), signed(2.1), signed(-0.04)
    ('−3.2', '+2.1', '0.0')
    """
    text = _rounded(number)
    return text if text == "0.0" or text.startswith(MINUS) else f"+{text}"


def percent_range(interval: Interval) -> str:
    """An interval of a share, in per cent.

    >>> percent_range(Interval(0.551, 0.6))
    '55.1 to 60.0'
    """
    return f"{percent(interval.low)} to {percent(interval.high)}"


def points_range(interval: Interval) -> str:
    """An interval of a difference, in percentage points.

    >>> points_range(Interval(-0.02, 0.013))
    '−2.0 to +1.3'
    """
    return f"{points(interval.low)} to {points(interval.high)}"


def decimals(value: float) -> str:
    """A metric of ratings with three decimals and a true minus sign.

    >>> decimals(-0.1234)
    '−0.123'
    """
    return f"{value:.3f}".replace("-", MINUS)


def signed_decimals(difference: float) -> str:
    """A difference of two metrics of ratings, with its sign unless it is rounded to zero.

    >>> signed_decimals(0.0204), signed_decimals(-0.1), signed_decimals(-0.0001)
    ('+0.020', '−0.100', '0.000')
    """
    text = decimals(difference)
    if text in ("0.000", f"{MINUS}0.000"):
        return "0.000"
    return text if text.startswith(MINUS) else f"+{text}"


def decimals_range(interval: Interval) -> str:
    """An interval of a metric of ratings.

    >>> decimals_range(Interval(-0.01, 0.5))
    '−0.010 to 0.500'
    """
    return f"{decimals(interval.low)} to {decimals(interval.high)}"


def signed_decimals_range(interval: Interval) -> str:
    """An interval of a difference of two metrics of ratings.

    >>> signed_decimals_range(Interval(-0.01, 0.5))
    '−0.010 to +0.500'
    """
    return f"{signed_decimals(interval.low)} to {signed_decimals(interval.high)}"


def p_value(value: float) -> str:
    """A p-value.

    >>> p_value(0.0001), p_value(0.04251), p_value(1.0)
    ('< 0.001', '0.043', '1.000')
    """
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def p_equation(value: float) -> str:
    """A p-value within a sentence.

    >>> p_equation(0.0001), p_equation(0.04251)
    ('p < 0.001', 'p = 0.043')
    """
    return f"p {p_value(value)}" if value < 0.001 else f"p = {p_value(value)}"


def effect(size: float) -> str:
    """An effect size.

    >>> effect(-1.234), effect(float("inf"))
    ('−1.23', '∞')
    """
    if math.isinf(size):
        return "∞" if size > 0 else f"{MINUS}∞"
    return f"{size:.2f}".replace("-", MINUS)


def duration(seconds: float) -> str:
    """A duration in its two largest units.

    >>> duration(42.4), duration(605), duration(7380)
    ('42 s', '10 min 5 s', '2 h 3 min')
    """
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes_left = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes_left} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def count(number: int, noun: str) -> str:
    """A number with its noun.

    >>> count(1, "seed"), count(3, "seed")
    ('1 seed', '3 seeds')
    """
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def listing(items: Sequence[str]) -> str:
    """Items in a sentence.

    >>> listing(["calm"]), listing(["calm", "happy", "sad"])
    ('calm', 'calm, happy and sad')
    """
    return " and ".join([", ".join(items[:-1]), items[-1]] if len(items) > 1 else list(items))


def sentence(text: str) -> str:
    """A text that begins with a capital letter, the rest as it is.

    >>> sentence("epochs chosen on TEST")
    'Epochs chosen on TEST'
    """
    return text[:1].upper() + text[1:]


def _rounded(number: float) -> str:
    text = f"{number:.1f}".replace("-", MINUS)
    return "0.0" if text == f"{MINUS}0.0" else text
