"""EMO-DB: ten sentences acted in seven emotions by ten actors, German.

Source: F. Burkhardt, A. Paeschke, M. Rolfes, W. Sendlmeier and B. Weiss, "A database of German emotional speech",
Interspeech 2005; http://emodb.bilderbar.info.

The name of a file says everything about it, as in `03a01Fa`: the speaker, the sentence, the first letter of the emotion
in German, and a letter for the version.

In the contract's fields: `raw_label` is the letter of the emotion, `dialog` the sentence (`a01`); there are no sessions
and no acts. Where a file `words.json` lies in the corpus's folder, times of words by utterance, these are the corpus's
own alignments (`fgcme.alignment.word_times.read_word_times`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection
from pathlib import Path

from fgcme.corpora.contract import Corpus, Counts, Listing, Utterance
from fgcme.corpora.named_files import list_by_name
from fgcme.errors import UserError

EMOTIONS = {"W": "anger", "L": "boredom", "E": "disgust", "A": "fear", "F": "happiness", "N": "neutral", "T": "sadness"}
_MEN = ("03", "10", "11", "12", "15")
SPEAKERS = ("03", "08", "09", "10", "11", "12", "13", "14", "15", "16")
SENTENCES = {
    "a01": "Der Lappen liegt auf dem Eisschrank.",
    "a02": "Das will sie am Mittwoch abgeben.",
    "a04": "Heute abend könnte ich es ihm sagen.",
    "a05": "Das schwarze Blatt Papier befindet sich da oben neben dem Holzstück.",
    "a07": "In sieben Stunden wird es soweit sein.",
    "b01": "Was sind denn das für Tüten, die da unter dem Tisch stehen?",
    "b02": "Sie haben es gerade hochgetragen und jetzt gehen sie wieder runter.",
    "b03": "An den Wochenenden bin ich jetzt immer nach Hause gefahren und habe Agnes besucht.",
    "b09": "Ich will das eben wegbringen und dann mit Karl was trinken gehen.",
    "b10": "Die wird auf dem Platz sein, wo wir sie immer hinlegen.",
}
WORDS = "words.json"
"""In the corpus's folder: the times of words."""

_NAME = re.compile(r"(\d{2})([ab]\d{2})([A-Z])([a-z])")


def parse_name(stem: str) -> tuple[str, str, str]:
    """Read a file name, without its extension: the speaker, the sentence's code, the emotion's letter.

    Raises:
        ValueError: it is not one of the corpus; says why.

    >>> parse_name("03a01Fa")
    ('03', 'a01', 'F')
    """
    match = _NAME.fullmatch(stem)
    if match is None:
        raise ValueError("the name is not speaker, sentence, emotion and version, as in 03a01Fa")
    speaker, sentence, emotion, _ = match.groups()
    for kind, value, known in (
        ("speaker", speaker, SPEAKERS),
        ("sentence", sentence, tuple(SENTENCES)),
        ("emotion", emotion, tuple(EMOTIONS)),
    ):
        if value not in known:
            raise ValueError(f"{kind} {value} is not one of {', '.join(known)}")
    return speaker, sentence, emotion


def find(root: Path) -> Listing:
    """List the recordings below `root`, see `list_by_name`, and which have times of words in `words.json`.

    Raises:
        UserError: `root` is missing, holds no recording, a folder in it cannot be read, or its `words.json` is damaged.
    """
    if not root.is_dir():
        raise UserError(f"{root}: no such folder; {_WAY_OUT}")
    timed = _timed(root / WORDS)

    def describe(name: str, audio: str) -> Utterance:
        speaker, sentence, emotion = parse_name(name)
        text, words = SENTENCES[sentence], WORDS if name in timed else None
        return Utterance(name, audio, text, emotion, speaker, dialog=sentence, alignment=words)

    listing = list_by_name(root, describe)
    if not listing.utterances:
        raise UserError(f"{root}: holds no EMO-DB speech (names such as 03a01Fa.wav); {_WAY_OUT}")
    return listing


def _timed(path: Path) -> Collection[str]:
    """The utterances that a file of word times has; none without the file."""
    if not path.exists():
        return ()
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read as times of words ({error}); mend it, or move it away") from None
    return frozenset(content) if isinstance(content, dict) else ()


_OBTAIN = "download it from http://emodb.bilderbar.info/download and unpack it"
_WAY_OUT = f"{_OBTAIN}, then pass its folder with --root or in EMODB_ROOT"

CORPUS = Corpus(
    name="emodb",
    title="Berlin Database of Emotional Speech, in German",
    language="German",
    licence="free for research",
    citation="F. Burkhardt et al., Interspeech 2005",
    size="535 utterances, 10 speakers, 7 emotions, 25 minutes, 48 MB as 16 kHz WAV",
    obtain=f"{_OBTAIN}; pass its folder with --root or in EMODB_ROOT",
    find=find,
    sex_of=lambda speaker: "male" if speaker in _MEN else "female",
    expected=Counts(utterances=535, speakers=10),
)
