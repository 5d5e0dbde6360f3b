"""nEMO: ninety sentences acted in six emotions by nine actors, Polish.

Source: I. Christop, "nEMO: Dataset of Emotional Speech in Polish", arXiv:2404.06292, 2024;
https://github.com/amu-cai/nEMO.

A file is `samples/EB0_anger_1`: the speaker, the emotion, the sentence; `data.tsv` beside the folder says what is said.
In the contract's fields: `raw_label` is the emotion, `dialog` the number of the sentence; there are no sessions and no
acts.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from fgcme.corpora.contract import Corpus, Counts, Listing, Utterance
from fgcme.corpora.named_files import NameScheme, NoTextError, find_named
from fgcme.corpora.text_files import read_rows
from fgcme.errors import UserError

TABLE = "data.tsv"
"""In the corpus's folder: the text of each file."""

_WOMEN = ("EB0", "IC0", "KD0", "MK0")
_OBTAIN = "clone https://github.com/amu-cai/nEMO; pass its folder with --root or in NEMO_ROOT"

SCHEME = NameScheme(
    corpus="nEMO",
    pattern=r"(?P<name>(?P<speaker>[A-Z]{2}\d)_(?P<emotion>[a-z]+)_(?P<sentence>\d+))",
    example="EB0_anger_1",
    known={
        "speaker": ("EB0", "IC0", "KD0", "KS0", "MK0", "MP0", "SM0", "TP0", "WR0"),
        "emotion": ("anger", "fear", "happiness", "neutral", "sadness", "surprised"),
    },
    beside=(".tsv", ".md"),
    way_out=_OBTAIN,
)


def find(root: Path) -> Listing:
    """List the recordings below `root`, see `find_named`.

    Raises:
        UserError: its `data.tsv` is missing or no such table; and see `find_named`.
    """
    if not root.is_dir():
        raise UserError(f"{root}: no such folder; {_OBTAIN}")
    rows = read_rows(root / TABLE, ("file_id", "raw_text"), _OBTAIN, delimiter="\t")
    texts = {row["file_id"].removesuffix(".wav"): row["raw_text"] for _, row in rows}

    def describe(parts: Mapping[str, str], audio: str) -> Utterance:
        name = parts["name"]
        if not texts.get(name):
            raise NoTextError(f"{TABLE} has no text for {name}")
        return Utterance(name, audio, texts[name], parts["emotion"], parts["speaker"], dialog=parts["sentence"])

    return find_named(root, SCHEME, describe)


CORPUS = Corpus(
    name="nemo",
    title="nEMO, a dataset of emotional speech in Polish",
    language="Polish",
    licence="CC BY-NC-SA 4.0",
    citation="I. Christop, nEMO: Dataset of Emotional Speech in Polish, arXiv:2404.06292, 2024",
    size="4,481 utterances, 9 speakers, 6 emotions, 3 hours",
    obtain=_OBTAIN,
    find=find,
    licence_id="cc-by-nc-sa-4.0",
    sex_of=lambda speaker: "female" if speaker in _WOMEN else "male",
    expected=Counts(utterances=4481, speakers=9),
)
