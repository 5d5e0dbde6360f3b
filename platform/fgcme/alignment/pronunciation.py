"""Pronunciations, in CMU phones (ARPAbet without stress), of English words that a dictionary lacks.

In this order: the dictionary's own word without accents; a word of the dictionary with an ending (`zorb's`);
two of its words written as one; letter names for what has no vowel (`xkcd`); else letter-to-sound rules. The rules are
a modest table of the regular spellings of English: good enough for an aligner, which needs about the right sounds, not
for a synthesiser.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterator

Lookup = Callable[[str], str | None]
"""From a word in lower case to its phones, such as `D AO R`; None where the dictionary lacks the word."""

_LETTERS = str.maketrans(
    {"ß": "ss", "æ": "ae", "ø": "o", "ł": "l", "đ": "d", "ð": "th", "þ": "th", "œ": "oe", "ı": "i"}
)

_VOICELESS = {"P", "T", "K", "F", "TH"}
_SIBILANT = {"S", "Z", "SH", "ZH", "CH", "JH"}

# Endings and their phones; None where the last phone of the stem decides.
_CONTRACTIONS = {"n't": "AH N T", "'ll": "AH L", "'ve": "V", "'re": "ER", "'d": "D", "'m": "M", "'s": None}
_ENDINGS = {
    "ingly": "IH NG L IY",
    "ness": "N AH S",
    "less": "L AH S",
    "ment": "M AH N T",
    "able": "AH B AH L",
    "ing": "IH NG",
    "ers": "ER Z",
    "est": "AH S T",
    "ful": "F AH L",
    "ish": "IH SH",
    "er": "ER",
    "ly": "L IY",
    "ed": None,
    "es": None,
    "s": None,
    "y": "IY",
}

# Tried in this order: longer spellings stand before shorter ones.
_RULES = [
    (re.compile(spelling), phones.split())
    for spelling, phones in (
        # Several letters, mostly regular wherever they stand.
        (r"tch", "CH"),
        (r"sch", "SH"),
        (r"eigh", "EY"),
        (r"igh", "AY"),
        (r"ough$", "OW"),
        (r"ough", "AO"),
        (r"augh", "AO"),
        (r"tion", "SH AH N"),
        (r"(?<=[aeiou])sion", "ZH AH N"),
        (r"ssion|sion|cian", "SH AH N"),
        (r"tious|cious", "SH AH S"),
        (r"tial|cial", "SH AH L"),
        (r"(?<=.)ture", "CH ER"),
        (r"(?<=.)sure", "ZH ER"),
        (r"ous$", "AH S"),
        (r"^wh(?=o)", "HH"),
        (r"wh", "W"),
        (r"^kn|^gn|^pn", "N"),
        (r"^wr|^rh", "R"),
        (r"^ps", "S"),
        (r"^x", "Z"),
        (r"mb$", "M"),
        (r"mn$", "M"),
        (r"sc(?=[eiy])", "S"),
        (r"sh", "SH"),
        (r"ch(?=[rl])", "K"),
        (r"ch", "CH"),
        (r"ph", "F"),
        (r"^th(?=e|is|at|us)", "DH"),
        (r"(?<=[aeiou])th(?=er)", "DH"),
        (r"th", "TH"),
        (r"^gh", "G"),
        (r"gh", ""),
        (r"ck|cc(?![eiy])|cqu(?=e$)", "K"),
        (r"cc(?=[eiy])", "K S"),
        (r"que$", "K"),
        (r"qu", "K W"),
        (r"dge", "JH"),
        (r"dg(?=[iy])", "JH"),
        (r"^mc", "M AH K"),
        (r"ng(?=[aeiou]r?)", "NG G"),
        (r"ng", "NG"),
        (r"n(?=k|c[^eiyh]|q|x)", "NG"),
        # Endings with a silent e.
        (r"(?<=[^aeiou])le$", "AH L"),
        (r"(?<=[^aeiou])les$", "AH L Z"),
        (r"(?<=[td])ed$", "IH D"),
        (r"(?<=[pkfsxh])ed$", "T"),
        (r"(?<=..[^aeiou])ed$", "D"),
        (r"(?:(?<=[sxzcg])|(?<=[sc]h))es$", "IH Z"),
        (r"(?<=[ptkf])es$", "S"),
        (r"(?<=..[^aeiou])es$", "Z"),
        # Vowels before r.
        (r"eer|ear$|ier$", "IH R"),
        (r"air|are$", "EH R"),
        (r"oor|oar|our$|ore$", "AO R"),
        (r"arr", "AE R"),
        (r"err", "EH R"),
        (r"ire$", "AY ER"),
        (r"ure$", "Y UH R"),
        (r"(?<=w)ar", "AO R"),
        (r"(?<=w)or", "ER"),
        (r"ar(?![aeiou])", "AA R"),
        (r"or(?![aeiou])", "AO R"),
        (r"(?:er|ir|ur|yr)(?![aeiouy])", "ER"),
        (r"er(?=[aeiouy])", "ER"),
        # Two vowels.
        (r"eau", "OW"),
        (r"ai|ay|ei$|ey(?=[a-z])", "EY"),
        (r"ey$|ie$|ee|ea|ie", "IY"),
        (r"ei", "AY"),
        (r"au|aw", "AO"),
        (r"eu", "UW"),
        (r"ew", "UW"),
        (r"oi|oy", "OY"),
        (r"oo(?=k)", "UH"),
        (r"oo|ui", "UW"),
        (r"ou", "AW"),
        (r"ow$", "OW"),
        (r"ow", "AW"),
        (r"oa|oe$|oe", "OW"),
        (r"ue$", "UW"),
        (r"(?<=g)u(?=[eiy])", ""),
        (r"ia$|ea$", "IY AH"),
        (r"io", "IY OW"),
        (r"ia", "IY AH"),
        # One vowel, long before a single consonant and a silent e, or at the end of a short word.
        (r"a(?=[^aeiouywxr]e(?:$|s$|d$|ly$|ment))", "EY"),
        (r"e(?=[^aeiouywxr]e(?:$|s$|d$|ly$))", "IY"),
        (r"i(?=[^aeiouywxr]e(?:$|s$|d$|ly$))", "AY"),
        (r"o(?=[^aeiouywxr]e(?:$|s$|d$|ly$))", "OW"),
        (r"u(?=[^aeiouywxr]e(?:$|s$|d$|ly$))", "UW"),
        (r"y(?=[^aeiouywxr]e(?:$|s$|d$))", "AY"),
        (r"a(?=(?:st|ng)e$)", "EY"),
        (r"i(?=nd$|ld$)", "AY"),
        (r"o(?=l[dt])", "OW"),
        (r"a(?=ll|lk)", "AO"),
        (r"a(?=[^aeiouyr]i[aeou])", "EY"),
        (r"(?<=w)a(?![gkx])", "AA"),
        (r"^a(?=[^aeiou][aeiou])", "AH"),
        (r"a$", "AH"),
        (r"(?<=^[^aeiou])e$|(?<=^[^aeiou][^aeiou])e$", "IY"),
        (r"(?<=.)e$", ""),
        (r"(?<=^[^aeiou])y$|(?<=^[^aeiou][^aeiou])y$", "AY"),
        (r"i$", "IY"),
        (r"o$", "OW"),
        (r"u$", "UW"),
        (r"(?<=[aeiouy].)e(?=[nl]s?$)", "AH"),
        (r"(?<=[aeiouy].)a(?=[nl]s?$)", "AH"),
        (r"(?<=[aeiouy].)o(?=ns?$)", "AH"),
        (r"u(?=[^aeiou][aeiou])", "UW"),
        (r"o(?=[^aeiouywxr][aeiou])", "OW"),
        (r"a", "AE"),
        (r"e", "EH"),
        (r"i", "IH"),
        (r"o", "AA"),
        (r"u", "AH"),
        (r"^y(?=[aeiou])", "Y"),
        (r"(?<=[aeiou])y(?=[aeiou])", "Y"),
        (r"y$", "IY"),
        (r"y", "IH"),
        # One consonant.
        (r"b+", "B"),
        (r"c(?=[eiy])", "S"),
        (r"c", "K"),
        (r"d+", "D"),
        (r"f+", "F"),
        (r"gg", "G"),
        (r"g(?=[ey])|g(?=i[^vl])", "JH"),
        (r"g", "G"),
        (r"(?<=[aeiou])h(?![aeiou])", ""),
        (r"h", "HH"),
        (r"j+", "JH"),
        (r"k+", "K"),
        (r"(?<=a)l(?=[mk])", ""),
        (r"l+", "L"),
        (r"m+", "M"),
        (r"n+", "N"),
        (r"p+", "P"),
        (r"q", "K"),
        (r"r+", "R"),
        (r"ss", "S"),
        (r"(?<=[aeiou])s(?=[aeiouy])", "Z"),
        (r"(?<=[bdgvmnrlaeiouy])s$", "Z"),
        (r"s", "S"),
        (r"t+", "T"),
        (r"v+", "V"),
        (r"w(?=[aeiouy])", "W"),
        (r"w", ""),
        (r"x", "K S"),
        (r"zz?", "Z"),
    )
]


def pronounce(word: str, lookup: Lookup) -> str | None:
    """The phones of a word, from the dictionary where it can be, else by rules.

    Args:
        word: a normalised word; the dictionary need not know it.
        lookup: the dictionary.

    Returns:
        Phones such as `D AO R`, or None where the word has no letter that English pronounces.

    >>> dictionary = {"kid": "K IH D", "door": "D AO R"}
    >>> pronounce("kids'", dictionary.get), pronounce("door's", dictionary.get), pronounce("zorb", dictionary.get)
    ('K IH D Z', 'D AO R Z', 'Z AO R B')
    """
    plain = _latin(word)
    letters = plain.replace("'", "")
    if not letters:
        return None
    known = lookup(plain) or lookup(letters) or _contracted(plain, lookup) or _derived(letters, lookup)
    return known or _compound(letters, lookup) or _spelled(letters, lookup) or " ".join(letters_to_phones(letters))


def letters_to_phones(letters: str) -> list[str]:
    """Phones of letters a to z by the rules alone: at each place the first rule that matches.

    >>> letters_to_phones("knight"), letters_to_phones("blake")
    (['N', 'AY', 'T'], ['B', 'L', 'EY', 'K'])
    """
    phones: list[str] = []
    position = 0
    while position < len(letters):
        for spelling, sounds in _RULES:
            match = spelling.match(letters, position)
            if match and match.end() > position:
                phones += sounds
                position = match.end()
                break
        else:
            position += 1
    # A word of silent letters only must still sound like something.
    return phones or ["AH"]


def _latin(word: str) -> str:
    decomposed = unicodedata.normalize("NFKD", word.lower().translate(_LETTERS))
    return "".join(letter for letter in decomposed if letter == "'" or "a" <= letter <= "z")


def _contracted(plain: str, lookup: Lookup) -> str | None:
    for ending, phones in _CONTRACTIONS.items():
        if plain.endswith(ending):
            stem = pronounce(plain.removesuffix(ending), lookup)
            return stem and f"{stem} {phones or _plural(stem)}"
    return None


def _derived(letters: str, lookup: Lookup) -> str | None:
    for ending, phones in _ENDINGS.items():
        if not letters.endswith(ending):
            continue
        for candidate in _stems(letters.removesuffix(ending), ending):
            stem = lookup(candidate) if len(candidate) > 2 else None
            if stem:
                return f"{stem} {phones or (_past(stem) if ending == 'ed' else _plural(stem))}"
    return None


def _stems(stem: str, ending: str) -> Iterator[str]:
    """How the stem may be written when nothing follows it: running -> run, making -> make, tinier -> tiny."""
    yield stem
    if ending[0] in "aeiy":
        yield stem + "e"
        if len(stem) > 2 and stem[-1] == stem[-2]:
            yield stem[:-1]
    if stem.endswith("i"):
        yield stem[:-1] + "y"


def _plural(stem: str) -> str:
    last = stem.split()[-1]
    return "IH Z" if last in _SIBILANT else "S" if last in _VOICELESS else "Z"


def _past(stem: str) -> str:
    last = stem.split()[-1]
    return "IH D" if last in {"T", "D"} else "T" if last in _VOICELESS | _SIBILANT - {"Z", "ZH", "JH"} else "D"


def _compound(letters: str, lookup: Lookup) -> str | None:
    # The longest first part that leaves a word: pieces of one or two letters would make a word of anything.
    for cut in range(len(letters) - 3, 2, -1):
        first, second = lookup(letters[:cut]), lookup(letters[cut:])
        if first and second:
            return f"{first} {second}"
    return None


def _spelled(letters: str, lookup: Lookup) -> str | None:
    if re.search("[aeiouy]", letters):
        return None
    names = [lookup(letter) for letter in letters]
    return " ".join(name for name in names if name) if all(names) else None
