"""Pronunciations of words that a dictionary lacks."""

import pytest

from fgcme.alignment.pronunciation import letters_to_phones, pronounce

DICTIONARY = {
    "kid": "K IH D",
    "door": "D AO R",
    "bell": "B EH L",
    "run": "R AH N",
    "make": "M EY K",
    "watch": "W AA CH",
    "happy": "HH AE P IY",
    "cafe": "K AH F EY",
    "x": "EH K S",
    "k": "K EY",
    "d": "D IY",
}
PHONES = "AA AE AH AO AW AY B CH D DH EH ER EY F G HH IH IY JH K L M N NG OW OY P R S SH T TH UH UW V W Y Z ZH"


@pytest.mark.parametrize(
    "word, phones",
    [
        ("kid", "K IH D"),
        ("café", "K AH F EY"),
        ("kid's", "K IH D Z"),
        ("make's", "M EY K S"),
        ("watch's", "W AA CH IH Z"),
        ("kids", "K IH D Z"),
        ("watches", "W AA CH IH Z"),
        ("running", "R AH N IH NG"),
        ("making", "M EY K IH NG"),
        ("watched", "W AA CH T"),
        ("happiness", "HH AE P IY N AH S"),
        ("door'll", "D AO R AH L"),
        ("doorbell", "D AO R B EH L"),
        ("xkd", "EH K S K EY D IY"),
    ],
)
def test_the_dictionary_is_used_as_far_as_it_goes(word: str, phones: str) -> None:
    assert pronounce(word, DICTIONARY.get) == phones


@pytest.mark.parametrize(
    "letters, phones",
    [
        ("zorb", "Z AO R B"),
        ("blake", "B L EY K"),
        ("knight", "N AY T"),
        ("phone", "F OW N"),
        ("quick", "K W IH K"),
        ("shimizu", "SH IH M IH Z UW"),
        ("nation", "N EY SH AH N"),
        ("edge", "EH JH"),
        ("chides", "CH AY D Z"),
        ("city", "S IH T IY"),
        ("gem", "JH EH M"),
    ],
)
def test_regular_spellings_sound_as_they_are_written(letters: str, phones: str) -> None:
    assert " ".join(letters_to_phones(letters)) == phones


def test_every_pair_of_letters_has_phones_of_the_model() -> None:
    alphabet = "abcdefghijklmnopqrstuvwxyz"
    for word in (first + second + third for first in alphabet for second in alphabet for third in "aehsy"):
        phones = letters_to_phones(word)
        assert phones and set(phones) <= set(PHONES.split()), word


@pytest.mark.parametrize("word", ["привет", "नमस्ते", "日本"])
def test_other_scripts_have_no_pronunciation(word: str) -> None:
    assert pronounce(word, DICTIONARY.get) is None


def test_letters_of_other_languages_are_read_as_the_nearest_english_ones() -> None:
    assert pronounce("straße", DICTIONARY.get) == pronounce("strasse", DICTIONARY.get)
