"""TESS: 200 words in one carrier phrase, acted in seven emotions by two women, Canadian English.

Source: M. K. Pichora-Fuller and K. Dupuis, doi:10.5683/SP2/E8H2MF, 2020.

A file is `OAF_back_angry`: the older or the younger actress, the word, the emotion (`ps` is a pleasant surprise). One
file, `OA_bite_neutral`, lacks a letter. In the contract's fields: `raw_label` is the emotion, `dialog` the word; there
are no sessions and no acts.

With two speakers there is no protocol that keeps train, dev and test apart by speaker: none is named.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from fgcme.corpora.contract import Corpus, Counts, Listing, Utterance
from fgcme.corpora.named_files import NameScheme, find_named

_OBTAIN = (
    "download it from https://doi.org/10.5683/SP2/E8H2MF and unpack it; pass its folder with --root or in TESS_ROOT"
)

SCHEME = NameScheme(
    corpus="TESS",
    pattern=r"(?P<actress>OAF|YAF|OA(?=_bite_neutral))_(?P<word>[A-Za-z]+)_(?P<emotion>[a-z]+)",
    example="OAF_back_angry",
    known={"emotion": ("angry", "disgust", "fear", "happy", "neutral", "ps", "sad")},
    way_out=_OBTAIN,
)


def find(root: Path) -> Listing:
    """List the recordings below `root`, see `find_named`."""
    return find_named(root, SCHEME, _describe)


def _describe(parts: Mapping[str, str], audio: str) -> Utterance:
    speaker = "YAF" if parts["actress"] == "YAF" else "OAF"
    word, emotion = parts["word"], parts["emotion"]
    return Utterance(f"{speaker}_{word}_{emotion}", audio, f"Say the word {word}", emotion, speaker, dialog=word)


CORPUS = Corpus(
    name="tess",
    title="Toronto emotional speech set",
    language="English",
    licence="CC BY-NC-ND 4.0",
    citation="M. K. Pichora-Fuller and K. Dupuis, Toronto emotional speech set, doi:10.5683/SP2/E8H2MF, 2020",
    size="2,800 utterances, 2 speakers (women), 7 emotions, 1.6 hours, as 24.4 kHz WAV",
    obtain=_OBTAIN,
    find=find,
    licence_id="cc-by-nc-nd-4.0",
    sex_of=lambda speaker: "female",
    expected=Counts(utterances=2800, speakers=2),
)
