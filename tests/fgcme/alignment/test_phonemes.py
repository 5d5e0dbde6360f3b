"""Words of any language in the phones of English."""

import threading

import pytest

from fgcme.alignment.phonemes import pronounce_in, to_phones
from fgcme.errors import UserError


@pytest.mark.parametrize(
    ("language", "word", "phones"),
    [
        ("de", "schwarze", "SH V AA R T S AH"),
        ("de", "ich", "IH HH"),
        ("de", "heute", "HH OY T AH"),
        ("fr", "bonjour", "B AO ZH UW R"),
        ("it", "ciao", "CH AA OW"),
        ("es", "perro", "P EH R OW"),
        ("cmn", "你好", "N IY HH AA UW"),
        ("ru", "привет", "P R IY V EH T"),
    ],
)
def test_a_word_has_the_english_sounds_nearest_to_its_own(language: str, word: str, phones: str) -> None:
    assert (pronounce_in(language, word) or "").replace("EY", "EH") == phones


def test_languages_do_not_disturb_each_other() -> None:
    assert pronounce_in("de", "die") == "D IY"
    assert pronounce_in("en-us", "die") == "D AY"
    assert pronounce_in("de", "die") == "D IY"


def test_letters_of_another_script_have_no_sounds() -> None:
    assert pronounce_in("de", "привет") is None


def test_threads_get_the_phones_of_their_own_word() -> None:
    words = {"lappen": "L AA P AH N", "tisch": "T IH SH", "papier": "P AA P IY R"}
    wrong: list[str | None] = []

    def repeat(word: str) -> None:
        wrong.extend(phones for phones in (pronounce_in("de", word) for _ in range(50)) if phones != words[word])

    threads = [threading.Thread(target=repeat, args=(word,)) for word in words]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_every_symbol_of_the_table_is_read_whole_and_others_are_passed_over() -> None:
    assert to_phones("tʃ ts aʊ ʔ (en) ǃ m̩ tʰ iː1") == ["CH", "T", "S", "AW", "M", "T", "IY"]


def test_an_unknown_language_is_named() -> None:
    with pytest.raises(UserError, match=r"alignment\.language xx"):
        pronounce_in("xx", "door")
