"""MSP-Podcast: turns from podcasts, labelled by many raters, English.

Source: R. Lotfian and C. Busso, IEEE Transactions on Affective Computing 10(4): 471-483, 2019;
https://ecs.utdallas.edu/research/researchlabs/msp-lab/MSP-Podcast.html. Its files, of which this reads:

    Labels/labels_consensus.csv                   label, mean ratings, speaker and part of each turn
    Audios/MSP-PODCAST_0001_0008.wav              the podcast and the turn
    Transcripts/MSP-PODCAST_0001_0008.txt         what is said

In the contract's fields: `raw_label` is the letter of the raters' label (`X`: they did not agree; `O`: another),
ratings go from 1 to 7, `session` is the makers' part (`Train`, `Development`, `Test1`, ...), `dialog` the podcast;
there are no acts. A speaker whom nobody knows is called `unknown-0001` by the podcast. How many turns there are depends
on the release: no number is expected.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from fgcme.corpora.contract import Corpus, Listing, Rejection, Utterance
from fgcme.corpora.text_files import read_rows, read_text
from fgcme.errors import UserError

LABELS = "Labels/labels_consensus.csv"
EMOTIONS = {
    "A": "anger",
    "C": "contempt",
    "D": "disgust",
    "F": "fear",
    "H": "happiness",
    "N": "neutral",
    "O": "other",
    "S": "sadness",
    "U": "surprise",
    "X": "no agreement",
}

_COLUMNS = ("FileName", "EmoClass", "EmoAct", "EmoVal", "EmoDom", "SpkrID", "Split_Set")
_NAME = re.compile(r"MSP-PODCAST_(\d{4})_\d{4}(?:_\d{4})?")
_OBTAIN = (
    "sign the licence of https://ecs.utdallas.edu/research/researchlabs/msp-lab/MSP-Podcast.html and unpack Labels, "
    "Audios and Transcripts; pass their folder with --root or in MSP_PODCAST_ROOT"
)


def find(root: Path) -> Listing:
    """List the turns of the consensus table, in its order.

    A turn without text is a rejection, and so is a damaged row. Whether the audio is there, preparing tells.

    Raises:
        UserError: `root` is missing, lacks the table, or the table lists no turn.
    """
    if not root.is_dir():
        raise UserError(f"{root}: no such folder; {_OBTAIN}")
    utterances: list[Utterance] = []
    rejections: list[Rejection] = []
    for number, row in read_rows(root / LABELS, _COLUMNS, _OBTAIN):
        try:
            found = _read_row(root, row)
        except ValueError as error:
            found = Rejection(f"{LABELS}:{number}", LABELS, "list", "bad_line", f"{LABELS}: line {number}: {error}")
        if isinstance(found, Rejection):
            rejections.append(found)
        else:
            utterances.append(found)
    if not utterances:
        raise UserError(f"{root / LABELS}: lists no turn that can be used; {_OBTAIN}")
    return Listing(utterances, rejections)


def _read_row(root: Path, row: Mapping[str, str]) -> Utterance | Rejection:
    """The turn of a row.

    Raises:
        ValueError: the row is damaged; says why.
    """
    name = row["FileName"].removesuffix(".wav")
    match = _NAME.fullmatch(name)
    if match is None:
        raise ValueError(f"{row['FileName']!r} is not the name of a turn, as in MSP-PODCAST_0001_0008.wav")
    if row["EmoClass"] not in EMOTIONS:
        raise ValueError(f"{row['EmoClass']!r} is not a label: one of {', '.join(EMOTIONS)}")
    if not row["Split_Set"]:
        raise ValueError("column Split_Set is empty")
    audio, transcript = f"Audios/{name}.wav", f"Transcripts/{name}.txt"
    try:
        text = " ".join(read_text(root / transcript, _OBTAIN).split())
    except FileNotFoundError:
        text = ""
    if not text:
        return Rejection(name, audio, "list", "no_text", f"{transcript} is missing or empty")
    podcast = match[1]
    known = row["SpkrID"].lower() not in ("", "unknown")
    return Utterance(
        id=name,
        audio=audio,
        text=text,
        raw_label=row["EmoClass"],
        speaker=row["SpkrID"] if known else f"unknown-{podcast}",
        session=row["Split_Set"],
        dialog=podcast,
        valence=_rating(row["EmoVal"]),
        arousal=_rating(row["EmoAct"]),
        dominance=_rating(row["EmoDom"]),
    )


def _rating(text: str) -> float | None:
    value = float(text) if text else None
    if value is not None and not 1 <= value <= 7:
        raise ValueError(f"the rating {text} is not from 1 to 7")
    return value


CORPUS = Corpus(
    name="msp_podcast",
    title="MSP-Podcast, turns from podcasts",
    language="English",
    licence="its makers' own, academic or commercial; signed with the MSP laboratory, not to be passed on",
    citation="R. Lotfian and C. Busso, IEEE Transactions on Affective Computing 10(4): 471-483, 2019",
    size="depends on the release, 100 hours and more; 8 emotions, ratings of valence, arousal, dominance",
    obtain=_OBTAIN,
    find=find,
    official_protocol="msp_podcast/8class-official",
)
