"""Words as they are spoken: numbers, punctuation, stage directions."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fgcme.alignment.words import normalise, spell_number


@pytest.mark.parametrize(
    "text, words",
    [
        ("Kids are talking, by the door!", "kids are talking by the door"),
        ("  \t\n ", ""),
        ("...?! --", ""),
        ("I can't; the kids' o'clock 'cause", "i can't the kids o'clock cause"),
        ("“I can’t,” she said", "i can't she said"),
        ("well-known re–do", "well known re do"),
        ("[LAUGHTER] yes <sil> {cough} ++BREATHING++ no (LAUGHTER) (you know)", "yes no you know"),
        ("room 7, 19 of 1,250,000", "room seven nineteen of one million two hundred fifty thousand"),
        ("3.05% & 007", "three point zero five percent and zero zero seven"),
        ("1st 3rd 12th 20th 21st", "first third twelfth twentieth twenty first"),
        ("3pm x2", "three pm x two"),
        ("café NAÏVE", "café naïve"),
        ("Привет नमस्ते", "привет नमस्ते"),
        ("٣", "three"),
        ("I don\x92t \x93know\x94\x97no", "i don't know no"),
        ("don\u02bct don\u2019t don\uff07t", "don't don't don't"),
        ("re\u00admem\u00adber zero\u200bwidth", "remember zerowidth"),
        ("3 < 5 and x > y", "three less than five and x greater than y"),
        ("a < b, c > d", "a less than b c greater than d"),
        ("<b>bold</b> <breath noise> <unk> yes", "bold yes"),
        ("> quoted, and <- so", "quoted and so"),
        (
            "\u00bd cup, 1\u00bd cups, 2 \u00be miles, 1/3",
            "one half cup one and one half cups two and three quarters miles one third",
        ),
        ("2/3 of 24/7 on 9/11/2001, and/or", "two thirds of twenty four seven on nine eleven two thousand one and or"),
        ("10\u00b2 m\u00b3 word\u00b9 said\u00b2", "ten squared m cubed word said"),
        ("$5, $1, \u20ac3.50 and 20 \u00a3", "five dollars one dollar three point five zero euros and twenty pounds"),
        ("$1,250 or $2 million", "one thousand two hundred fifty dollars or two million dollars"),
        ("9" * 5_000, "nine " * 5_000),
    ],
)
def test_text_becomes_spoken_words(text: str, words: str) -> None:
    assert normalise(text) == words.split()


@pytest.mark.parametrize(
    "number, spoken",
    [
        (0, "zero"),
        (13, "thirteen"),
        (40, "forty"),
        (99, "ninety nine"),
        (100, "one hundred"),
        (101, "one hundred one"),
        (1_000, "one thousand"),
        (999_999, "nine hundred ninety nine thousand nine hundred ninety nine"),
        (1_000_000_000, "one" + " zero" * 9),
    ],
)
def test_numbers_are_spelled_out(number: int, spoken: str) -> None:
    assert spell_number(number) == spoken


def test_no_two_numbers_are_spelled_alike() -> None:
    assert len({spell_number(number) for number in range(20_000)}) == 20_000


@given(st.text())
def test_normalised_words_stay_as_they_are(text: str) -> None:
    words = normalise(text)
    assert normalise(" ".join(words)) == words
    assert not any(character.isdigit() or character.isspace() for word in words for character in word)
