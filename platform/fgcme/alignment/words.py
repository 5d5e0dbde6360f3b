"""Words as they are spoken: those of a transcript, without case, punctuation, digits and stage directions."""

from __future__ import annotations

import re
import unicodedata

# Stage directions: [LAUGHTER], <sil>, {cough}, ++BREATHING++, and in parentheses only what is all capitals, because
# "(you know)" is speech.
# Between `<` and `>`, one word, or several where no blank makes them signs of a comparison.
_MARKERS = re.compile(r"\[[^\]]*\]|<[^<>\s]+>|(?<!\S)<[^\W\d][^<>]*[^<>\s]>|\{[^}]*\}|\+\+[^+]*\+\+|\([A-Z][A-Z_ ]+\)")
_GROUPED = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")
_NUMBER = re.compile(r"(\d+)(?:\.(\d+)|(st|nd|rd|th)\b)?", re.IGNORECASE)
_APOSTROPHES = str.maketrans(dict.fromkeys("\u2018\u2019\u201b\u02bc\u00b4\u0060\u2032\uff07", "'"))
_SYMBOLS = {"&": " and ", "%": " percent "}
# What Windows writes at these places, where its text was read as another encoding's.
_WINDOWS = str.maketrans(
    {
        "\x91": "'",
        "\x92": "'",
        "\x93": " ",
        "\x94": " ",
        "\x96": " ",
        "\x97": " ",
        "\x85": " ",
        "\x8b": " ",
        "\x9b": " ",
    }
)
_COMPARED = re.compile(r"(?<=[\w\s])\s([<>])\s(?=[\w\s])")
_MONEY = {"$": ("dollar", "dollars"), "\u20ac": ("euro", "euros"), "\u00a3": ("pound", "pounds")}
_AMOUNT = r"\d+(?:,\d{3})*(?:\.\d+)?"
_SIZE = r" (?:hundred|thousand|million|billion|trillion)\b"
_SUM = re.compile(
    rf"([$\u20ac\u00a3])\s?({_AMOUNT})({_SIZE})?|({_AMOUNT})\s?([$\u20ac\u00a3])",
    re.IGNORECASE,
)
# A power behind a number or a unit; behind a word it is the number of a note.
_POWERS = re.compile(r"(?:(?<=\d)|(?<=\b[^\W\d_])|(?<=\b[^\W\d_]{2}))[\u00b2\u00b3]")
_NOTES = re.compile(r"[\u00b9\u00b2\u00b3\u2070\u2074-\u207f]+")
_VULGAR = re.compile(r"(\d*)\s?([\u00bc-\u00be\u2150-\u215e\u2189])")
_WRITTEN = re.compile(r"(?<![\w/.,])(?:(\d+) )?(\d{1,2})[/\u2044](\d{1,2})(?![\w/]|[.,]\d)")
# Longer numbers are read digit by digit.
_LONGEST = 9

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

    Apostrophes inside a word stay, hyphens split; numbers, fractions, powers, sums of money and comparisons are spelled
    out in English; punctuation and stage directions such as `[LAUGHTER]` or `++BREATHING++` go.

    >>> normalise("[LAUGHTER] I can’t -- re-do 21 of them, O'Neil's 3rd!")
    ['i', "can't", 're', 'do', 'twenty', 'one', 'of', 'them', "o'neil's", 'third']
    """
    text = _VULGAR.sub(_vulgar, text.translate(_APOSTROPHES).translate(_WINDOWS))
    text = _NOTES.sub(" ", _POWERS.sub(lambda power: _POWER_NAMES[power[0]], text))
    # What only says where a line may break is no part of a word.
    text = "".join(character for character in text if unicodedata.category(character) != "Cf")
    text = _MARKERS.sub(" ", unicodedata.normalize("NFKC", text))
    text = _COMPARED.sub(lambda sign: " less than " if sign[1] == "<" else " greater than ", text)
    text = _SUM.sub(_money, _WRITTEN.sub(_fraction, text))
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
    is_number = len(whole) <= _LONGEST and (whole == "0" or int(whole[0]))
    spoken = spell_number(int(whole)) if is_number else _digits(whole)
    if decimals:
        spoken += f" point {_digits(decimals)}"
    if ordinal:
        spoken = _ordinal(spoken)
    return f" {spoken} "


_POWER_NAMES = {"\u00b2": " squared ", "\u00b3": " cubed "}


def _vulgar(match: re.Match[str]) -> str:
    """`1\u00bd` as `1 1/2 `, which is read as a fraction, and not as eleven halves."""
    whole, character = match.groups()
    above, _, below = unicodedata.normalize("NFKC", character).partition("\u2044")
    # One of them has no number below it.
    return f"{whole} {above}/{below} " if below else f"{whole} {character} "


def _fraction(match: re.Match[str]) -> str:
    """A fraction as it is spoken; what may be a date or a score, such as 9/11, stays."""
    whole, above, below = match[1], int(match[2]), int(match[3])
    if not 0 < above < below <= 10:
        return match[0]
    name = {2: "half", 4: "quarter"}.get(below, _ordinal(spell_number(below)))
    plural = {"half": "halves"}.get(name, f"{name}s")
    spoken = f"{spell_number(above)} {name if above == 1 else plural}"
    return f" {whole} and {spoken} " if whole else f" {spoken} "


def _money(match: re.Match[str]) -> str:
    sign, amount, size, amount_before, sign_behind = match.groups()
    one, several = _MONEY[sign or sign_behind]
    number = amount or amount_before
    return f" {number}{size or ''} {one if number == '1' and not size else several} "


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
