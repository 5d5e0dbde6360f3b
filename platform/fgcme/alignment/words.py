"""Words as they are spoken: those of a transcript, without case, punctuation, digits and stage directions."""

from __future__ import annotations

import re
import unicodedata

# Stage directions: [LAUGHTER], <sil>, {cough}, ++BREATHING++, and in parentheses only what is all capitals, because
# "(you know)" is speech.
_MARKERS = re.compile(r"\[[^\]]*\]|<[^>]*>|\{[^}]*\}|\+\+[^+]*\+\+|\([A-Z][A-Z_ ]+\)")
_GROUPED = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")
_NUMBER = re.compile(r"(\d+)(?:\.(\d+)|(st|nd|rd|th)\b)?", re.IGNORECASE)
_APOSTROPHES = str.maketrans(dict.fromkeys("\u2018\u2019\u201b\u02bc\u00b4\u0060\u2032\uff07", "'"))
_SYMBOLS = {"&": " and ", "%": " percent "}

_SMALL = [
    "zero",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
    "thirteen",
    "fourteen",
    "fifteen",
    "sixteen",
    "seventeen",
    "eighteen",
    "nineteen",
]
_TENS = ["-", "-", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]
_ORDINALS = {
    "one": "first",
    "two": "second",
    "three": "third",
    "five": "fifth",
    "eight": "eighth",
    "nine": "ninth",
    "twelve": "twelfth",
}


def normalise(text: str) -> list[str]:
    """The words of a text, in lower case, as they are spoken.

    Apostrophes inside a word stay, hyphens split, digits are spelled out in English; punctuation and stage directions
    such as `[LAUGHTER]` or `++BREATHING++` go.

    >>> normalise("[LAUGHTER] I can’t -- re-do 21 of them, O'Neil's 3rd!")
    ['i', "can't", 're', 'do', 'twenty', 'one', 'of', 'them', "o'neil's", 'third']
    """
    text = _MARKERS.sub(" ", unicodedata.normalize("NFKC", text.translate(_APOSTROPHES)))
    for symbol, spoken in _SYMBOLS.items():
        text = text.replace(symbol, spoken)
    text = _NUMBER.sub(_spoken, _GROUPED.sub("", text))
    letters_only = "".join(character if _is_part_of_word(character) else " " for character in text.lower())
    return [word for word in (piece.strip("'") for piece in letters_only.split()) if word]


def spell_number(number: int) -> str:
    """A number in English words, up to 999,999,999; larger ones are read digit by digit.

    >>> spell_number(0), spell_number(40_015)
    ('zero', 'forty thousand fifteen')
    """
    if number < 20:
        return _SMALL[number]
    if number < 100:
        return _joined(_TENS[number // 10], number % 10)
    for size, name in ((1_000_000, "million"), (1_000, "thousand"), (100, "hundred")):
        if size <= number < 1_000_000_000:
            return _joined(f"{spell_number(number // size)} {name}", number % size)
    return _digits(str(number))


def _joined(spoken: str, rest: int) -> str:
    return f"{spoken} {spell_number(rest)}" if rest else spoken


def _digits(digits: str) -> str:
    return " ".join(_SMALL[int(digit)] for digit in digits)


def _spoken(match: re.Match[str]) -> str:
    whole, decimals, ordinal = match.groups()
    # Leading zeros are spoken: 007 is not seven.
    spoken = spell_number(int(whole)) if whole == "0" or int(whole[0]) else _digits(whole)
    if decimals:
        spoken += f" point {_digits(decimals)}"
    if ordinal:
        spoken = _ordinal(spoken)
    return f" {spoken} "


def _ordinal(cardinal: str) -> str:
    *others, last = cardinal.split()
    if last in _ORDINALS:
        last = _ORDINALS[last]
    elif last.endswith("y"):
        last = last[:-1] + "ieth"
    else:
        last += "th"
    return " ".join([*others, last])


def _is_part_of_word(character: str) -> bool:
    # Letters, and the marks that some scripts write on top of them.
    return character == "'" or unicodedata.category(character)[0] in "LM"
