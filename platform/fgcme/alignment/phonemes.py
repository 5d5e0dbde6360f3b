"""Pronunciations, in CMU phones, of words of any language that eSpeak NG speaks.

libespeak-ng writes a word in the International Phonetic Alphabet; for each sound stands the phone of English that is
nearest in manner, place and voice. An aligner with English sounds can so follow other languages: it needs about the
right sounds.
"""

from __future__ import annotations

import ctypes
import functools
import threading
import unicodedata

from fgcme.corpora.espeak import load_library
from fgcme.errors import UserError

# Constants of the C interface, from its header `speak_lib.h`: text in UTF-8; phones in IPA, a blank between them.
_UTF8 = 1
_IPA = 0x02 | ord(" ") << 8
# A word with more phones than this for each letter, and a few, was read out as the names of its foreign letters.
_PHONES_PER_LETTER = 6

_TABLE = """
p=P b=B t=T d=D ʈ=T ɖ=D c=K ɟ=G k=K ɡ=G q=K ɢ=G ʔ=
m=M ɱ=M n=N ɳ=N ɲ=N,Y ŋ=NG ɴ=NG
ɸ=F β=V f=F v=V ʋ=V θ=TH ð=DH s=S z=Z ʃ=SH ʒ=ZH ʂ=SH ʐ=ZH ɕ=SH ʑ=ZH ɧ=SH ç=HH ʝ=Y x=HH ɣ=G χ=HH ħ=HH h=HH ɦ=HH
ts=T,S dz=D,Z tʃ=CH dʒ=JH tɕ=CH dʑ=JH tʂ=CH dʐ=JH
r=R ɾ=R ɹ=R ɻ=R ɽ=R ʁ=R ʀ=R l=L ɫ=L ɭ=L ɬ=L ɮ=L ʟ=L ʎ=L,Y j=Y ɥ=W w=W ʍ=W ɰ=W ʕ=AA
i=IY ɪ=IH y=UW ʏ=UH ɨ=IH ʉ=UW ɯ=UW u=UW ʊ=UH e=EY ø=ER ɘ=AH ɵ=UH ɤ=AH o=OW ə=AH ɚ=ER ɛ=EH œ=ER ɜ=ER ɝ=ER ɞ=ER
ʌ=AH ɔ=AO æ=AE ɐ=AH a=AA ɶ=AA ɑ=AA ɒ=AA aɪ=AY aʊ=AW eɪ=EY oʊ=OW əʊ=OW ɔɪ=OY ɔʏ=OY ɔø=OY
"""
# The phones for each symbol; symbols of two letters are looked for first.
_NEAREST = {
    symbol: phones.replace(",", " ").split() for symbol, _, phones in (entry.partition("=") for entry in _TABLE.split())
}

# The library is one engine for a whole process, not safe in threads.
_lock = threading.Lock()


def check_language(language: str) -> None:
    """Refuse a language that eSpeak NG does not speak.

    Args:
        language: its name there, such as `de`, `pt-br` or `cmn`.

    Raises:
        UserError: there is no such language, or the library cannot be loaded.
    """
    with _lock:
        _choose(language)


def pronounce_in(language: str, word: str) -> str | None:
    """The CMU phones of a word, as near as they come to its sounds.

    Args:
        language: of the word, see `check_language`.
        word: in lower case.

    Returns:
        Phones such as `D AO R`; None if the language has no sounds for the word, as where its letters are of another
        script.

    Raises:
        UserError: see `check_language`.

    >>> pronounce_in("de", "stück")
    'SH T UH K'
    """
    with _lock:
        spoken = _ipa(_choose(language), word)
    phones = to_phones(spoken)
    if not phones or len(phones) > _PHONES_PER_LETTER * (len(word) + 1):
        return None
    return " ".join(phones)


def to_phones(ipa: str) -> list[str]:
    """The CMU phones nearest to sounds in the International Phonetic Alphabet; stress, length and tones go.

    >>> to_phones("ʃ t ˈʏ k"), to_phones("b ɔ̃ ʒ ˈuː ʁ")
    (['SH', 'T', 'UH', 'K'], ['B', 'AO', 'ZH', 'UW', 'R'])
    """
    phones: list[str] = []
    for sound in ipa.split():
        # In parentheses stands a language, where eSpeak takes the word from another one.
        letters = "" if sound.startswith("(") else "".join(map(_without_marks, sound))
        while letters:
            symbol = letters[:2] if letters[:2] in _NEAREST else letters[0]
            phones += _NEAREST.get(symbol, [])
            letters = letters[len(symbol) :]
    return phones


def _without_marks(letter: str) -> str:
    """A letter of a sound without its diacritics; nothing for a mark that stands alone."""
    return letter if letter in _NEAREST else unicodedata.normalize("NFD", letter)[0].strip("ːˑˈˌʲʰʷ")


def _ipa(library: ctypes.CDLL, word: str) -> str:
    left = ctypes.c_char_p(word.encode())
    spoken = []
    # A clause each time, until there is no text left.
    while left.value:
        spoken.append(library.espeak_TextToPhonemes(ctypes.byref(left), _UTF8, _IPA).decode())
    return " ".join(spoken)


def _choose(language: str) -> ctypes.CDLL:
    library = _library()
    if library.espeak_SetVoiceByName(language.encode()) != 0:
        raise UserError(
            f"prepare.alignment.language {language}: eSpeak NG speaks no such language; write its code, such as de, "
            "fr, pt-br or cmn"
        )
    return library


@functools.cache
def _library() -> ctypes.CDLL:
    library = load_library()
    library.espeak_TextToPhonemes.restype = ctypes.c_char_p
    library.espeak_TextToPhonemes.argtypes = [ctypes.POINTER(ctypes.c_char_p), ctypes.c_int, ctypes.c_int]
    return library
