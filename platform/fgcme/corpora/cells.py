"""Values of a table's cells: text, numbers, and times in the forms in which tables hold them; and its columns."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from datetime import timedelta
from typing import Any

from fgcme.errors import UserError

# How pandas and spreadsheets print what is not there.
_NOTHING = frozenset({"nan", "NaN", "NaT", "<NA>", "#N/A"})
# `0 days 00:00:01.5` as pandas and audformat print it, `00:00:01,5`, `01:02.5`.
_CLOCK = re.compile(r"(?:(?P<days>\d+) days?)?[ ,]*(?:(?:(?P<h>\d+):)?(?P<m>\d+):(?P<s>\d+(?:[.,]\d+)?))?")
# `1.5`, `1,50`, `1.5s`, `1500 ms`.
_SECONDS = re.compile(r"(\d*(?:[.,]\d+)?|\d+\.)(?:e([+-]?\d+))?\s*(s|ms)?", re.IGNORECASE)


class BadCellError(Exception):
    """A cell that is not what it should be; costs its row.

    Attributes:
        reason: a short code.
        message: what is wrong with it.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason, self.message = reason, message


def text_of(value: Any) -> str | None:
    """The text of a cell, without blanks around it; None where it is empty.

    >>> text_of(" 01 "), text_of(7), text_of(float("nan")), text_of("NaN"), text_of("")
    ('01', '7', None, None, None)

    Raises:
        BadCellError: it holds no text and no number, or a text that no file can hold.
    """
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise BadCellError("bad_value", f"holds {_kind(value)}: write one text")
    text = _printed(value).strip()
    if any(character == "\0" or "\ud800" <= character <= "\udfff" for character in text):
        raise BadCellError("bad_value", "holds bytes that are no text: save the table as UTF-8")
    return None if text in _NOTHING else text or None


def seconds_of(value: Any) -> float | None:
    """The time that a cell holds, in seconds; None where it is empty.

    >>> seconds_of("1,50"), seconds_of("0 days 00:00:01.5"), seconds_of("01:02.5"), seconds_of("1500 ms")
    (1.5, 1.5, 62.5, 1.5)

    Raises:
        BadCellError: it holds no time, or not surely one.
    """
    if isinstance(value, timedelta):
        return _checked(value.total_seconds(), str(value))
    text = text_of(value)
    if text is None:
        return None
    if (number := _SECONDS.fullmatch(text)) is not None and number[1]:
        seconds = float(number[1].replace(",", ".") + f"e{number[2] or 0}")
        return _checked(seconds / 1000 if (number[3] or "").lower() == "ms" else seconds, text)
    clock = _CLOCK.fullmatch(text)
    if clock is None or not (clock["days"] or clock["m"]):
        return _checked(math.nan, text)
    parts = [float((clock[name] or "0").replace(",", ".")) for name in ("days", "h", "m", "s")]
    days, hours, minutes, seconds = parts
    # 70 seconds, or 70 minutes after an hour, are no clock's.
    in_range = seconds < 60 and (minutes < 60 or clock["h"] is None)
    return _checked(days * 86_400 + hours * 3_600 + minutes * 60 + seconds if in_range else math.nan, text)


def refuse_unknown_columns(columns: Iterable[str], known: Iterable[str], where: str = "here") -> None:
    """Refuse names of `corpus.columns` that a reader does not know.

    Args:
        columns: the names.
        known: those that there are.
        where: of what they are no columns, for the message.

    Raises:
        UserError: there is another.
    """
    names = list(known)
    if others := [name for name in columns if name not in names]:
        raise UserError(f"corpus.columns: {others[0]} is no column {where}; name some of {', '.join(names)}")


def number_of(value: Any) -> float | None:
    """The number that a cell holds; None where it is empty.

    >>> number_of("3,5"), number_of(-1), number_of("NaN")
    (3.5, -1.0, None)

    Raises:
        BadCellError: it holds no number.
    """
    text = text_of(value)
    if text is None:
        return None
    try:
        number = float(text.replace(",", "."))
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise BadCellError("bad_value", f"{text[:40]!r} is not a number")
    return number


def _checked(seconds: float, text: str) -> float:
    if not (math.isfinite(seconds) and seconds >= 0):
        shown = text if len(text) < 40 else f"{text[:40]}..."
        raise BadCellError("bad_time", f"{shown!r} is not a time in seconds")
    return seconds


def _printed(value: str | float) -> str:
    try:
        return str(value)
    except ValueError:
        # Python prints no number of more than 4,300 digits.
        raise BadCellError("bad_value", "holds a number of thousands of digits") from None


def _kind(value: Any) -> str:
    if isinstance(value, bool):
        return "true or false"
    if isinstance(value, bytes | bytearray | memoryview):
        return "bytes"
    if isinstance(value, dict):
        return f"a record ({', '.join(map(str, value))})"[:80]
    return "a list" if isinstance(value, list | tuple | set) else f"a {type(value).__name__}"
