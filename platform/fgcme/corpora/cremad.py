"""CREMA-D: twelve sentences acted in six emotions by 91 actors, English.

Source: H. Cao et al., IEEE Transactions on Affective Computing 5(4): 377-390, 2014;
https://github.com/CheyneyComputerScience/CREMA-D, whose folder `AudioWAV` this is. Its files come by Git LFS.

The name of a file says everything about it, as in `1001_DFA_ANG_XX`: the actor, the sentence, the emotion that was
acted, and its level. In the contract's fields: `raw_label` is the emotion, `dialog` the sentence, `act` the level
(`low`, `medium`, `high`; `unspecified` for most); there are no sessions.

`1076_MTI_SAD_XX` is silent and set aside. Users of the corpus list three more clips as broken (`1076_MTI_NEU_XX`,
`1064_TIE_SAD_XX`, `1064_IEO_DIS_MD`), all of them as videos; as WAV they are listed here, and the protocol accepts a
copy that lacks them.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from fgcme.corpora.contract import Corpus, Counts, Listing, Utterance
from fgcme.corpora.named_files import NameScheme, find_named

SENTENCES = {
    "IEO": "It's eleven o'clock.",
    "TIE": "That is exactly what happened.",
    "IOM": "I'm on my way to the meeting.",
    "IWW": "I wonder what this is about.",
    "TAI": "The airplane is almost full.",
    "MTI": "Maybe tomorrow it will be cold.",
    "IWL": "I would like a new alarm clock.",
    "ITH": "I think I have a doctor's appointment.",
    "DFA": "Don't forget a jacket.",
    "ITS": "I think I've seen this before.",
    "TSI": "The surface is slick.",
    "WSI": "We'll stop in a couple of minutes.",
}
# One file is called `X` instead of `XX`.
LEVELS = {"LO": "low", "MD": "medium", "HI": "high", "XX": "unspecified", "X": "unspecified"}

_OBTAIN = (
    "clone https://github.com/CheyneyComputerScience/CREMA-D with Git LFS; pass its folder AudioWAV with --root or in "
    "CREMAD_ROOT"
)

SCHEME = NameScheme(
    corpus="CREMA-D",
    pattern=r"(?P<name>(?P<actor>\d{4})_(?P<sentence>[A-Z]{3})_(?P<emotion>[A-Z]{3})_(?P<level>[A-Z]{1,2}))",
    example="1001_DFA_ANG_XX",
    known={
        "actor": tuple(str(number) for number in range(1001, 1092)),
        "sentence": tuple(SENTENCES),
        "emotion": ("ANG", "DIS", "FEA", "HAP", "NEU", "SAD"),
        "level": tuple(LEVELS),
    },
    known_bad={"1076_MTI_SAD_XX": "known to be silent"},
    way_out=_OBTAIN,
)


def find(root: Path) -> Listing:
    """List the recordings below `root`, see `find_named`."""
    return find_named(root, SCHEME, _describe)


def _describe(parts: Mapping[str, str], audio: str) -> Utterance:
    return Utterance(
        id=parts["name"],
        audio=audio,
        text=SENTENCES[parts["sentence"]],
        raw_label=parts["emotion"],
        speaker=parts["actor"],
        dialog=parts["sentence"],
        act=LEVELS[parts["level"]],
    )


CORPUS = Corpus(
    name="cremad",
    title="Crowd-sourced Emotional Multimodal Actors Dataset, its recordings as WAV",
    language="English",
    licence="Open Database License, its contents under the Database Contents License",
    citation="H. Cao et al., IEEE Transactions on Affective Computing 5(4): 377-390, 2014",
    size="7,442 utterances, 91 speakers, 6 emotions, 5.3 hours, 600 MB as 16 kHz WAV",
    obtain=_OBTAIN,
    find=find,
    licence_id="odbl",
    expected=Counts(utterances=7441, speakers=91),
    known_bad=SCHEME.known_bad,
)
