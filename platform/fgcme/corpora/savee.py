"""SAVEE: sentences acted in seven emotions by four men, British English.

Source: S. Haq and P. J. B. Jackson, AVSP 2009; http://kahlan.eps.surrey.ac.uk/savee.

A file is `DC/a01.wav`, in copies from elsewhere `DC_a01.wav`: the speaker, the first letters of the emotion, the number
of its sentence. Which sentences these are stands in the corpus's documentation only, so `sentences.csv` in its folder
has to say it (columns `code`, such as `a01`, and `text`).

In the contract's fields: `raw_label` is the letters of the emotion, `dialog` the sentence's code; there are no sessions
and no acts.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from fgcme.corpora.contract import Corpus, Counts, Listing, Utterance
from fgcme.corpora.named_files import NameScheme, NoTextError, find_named
from fgcme.corpora.text_files import read_sentences
from fgcme.errors import UserError

_OBTAIN = (
    "register at http://kahlan.eps.surrey.ac.uk/savee and download its AudioData; write sentences.csv (code, text) "
    "from its documentation into that folder; pass the folder with --root or in SAVEE_ROOT"
)

SCHEME = NameScheme(
    corpus="SAVEE",
    pattern=r"(?P<speaker>[A-Z]{2})[/_](?P<sentence>(?P<emotion>[a-z]{1,2})\d{2})",
    example="DC/a01",
    known={"speaker": ("DC", "JE", "JK", "KL"), "emotion": ("a", "d", "f", "h", "n", "sa", "su")},
    beside=(".csv", ".txt"),
    way_out=_OBTAIN,
)


def find(root: Path) -> Listing:
    """List the recordings below `root`, see `find_named`.

    Raises:
        UserError: its `sentences.csv` is missing, or lacks a sentence; and see `find_named`.
    """
    if not root.is_dir():
        raise UserError(f"{root}: no such folder; {_OBTAIN}")
    sentences = read_sentences(root, SCHEME.corpus)

    def describe(parts: Mapping[str, str], audio: str) -> Utterance:
        code, speaker = parts["sentence"], parts["speaker"]
        if code not in sentences:
            raise NoTextError(f"sentences.csv has no text for {code}")
        return Utterance(f"{speaker}_{code}", audio, sentences[code], parts["emotion"], speaker, dialog=code)

    return find_named(root, SCHEME, describe)


CORPUS = Corpus(
    name="savee",
    title="Surrey Audio-Visual Expressed Emotion database, its recordings",
    language="English",
    licence="free for research, on registration with the University of Surrey",
    citation="S. Haq and P. J. B. Jackson, AVSP 2009",
    size="480 utterances, 4 speakers (men), 7 emotions, 30 minutes, as 44.1 kHz WAV",
    obtain=_OBTAIN,
    find=find,
    sex_of=lambda speaker: "male",
    expected=Counts(utterances=480, speakers=4),
)
