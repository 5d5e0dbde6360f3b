"""MELD: dialogs of a television series, cut into utterances and labelled with seven emotions, English.

Source: S. Poria et al., ACL 2019; https://affective-meld.github.io. Its files:

    train_sent_emo.csv, dev_sent_emo.csv, test_sent_emo.csv       text, speaker, label and times of each utterance
    train_splits/, dev_splits_complete/, output_repeated_splits_test/     a video an utterance, dia<n>_utt<m>.mp4

wherever they lie below the root. Sound is read from `.wav` or `.flac` beside the videos; `ffmpeg` takes it out of them:

    for video in */dia*_utt*.mp4; do ffmpeg -i "$video" -vn -ac 1 -ar 16000 "${video%.mp4}.wav"; done

In the contract's fields: an utterance's id is `train_dia0_utt0`, `session` the makers' part (`train`, `dev`, `test`),
`dialog` that part and the dialog; there are no acts. The makers' parts share the series' main speakers.

The clips were cut at the times of subtitles, which are not always those of the utterance. A clip is taken all the same,
and counted as odd, where its times in the table end before they begin, hold more words than anybody can say, or overlap
those of the utterance before it, whose words the clip then holds too. Two utterances have no usable clip.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from fgcme.corpora.contract import Corpus, Counts, Listing, Odd, Rejection, Utterance, set_aside_known_bad
from fgcme.corpora.named_files import SUFFIXES
from fgcme.corpora.text_files import read_rows
from fgcme.errors import UserError

FOLDERS = {"train": "train_splits", "dev": "dev_splits_complete", "test": "output_repeated_splits_test"}
EMOTIONS = ("anger", "disgust", "fear", "joy", "neutral", "sadness", "surprise")
FASTEST = 10.0
"""Words a second that nobody says."""

KNOWN_BAD = {
    "train_dia125_utt3": "its video is known to be damaged",
    "dev_dia110_utt7": "its video is known to be missing from the release",
}

_COLUMNS = ("Utterance", "Speaker", "Emotion", "Dialogue_ID", "Utterance_ID", "StartTime", "EndTime")
_TIME = re.compile(r"(\d+):(\d\d):(\d\d)[,.](\d{1,3})")
_OBTAIN = (
    "download MELD.Raw from https://affective-meld.github.io, unpack it and take the sound out of its videos with "
    "ffmpeg (fgcme/corpora/meld.py says how); pass its folder with --root or in MELD_ROOT"
)


def find(root: Path) -> Listing:
    """List the utterances of the three parts, by part and in the order of their tables.

    An utterance whose sound is missing, and a damaged row, is a rejection.

    Raises:
        UserError: `root` is missing, or lacks a part's table, its folder or all sound in it.
    """
    if not root.is_dir():
        raise UserError(f"{root}: no such folder; {_OBTAIN}")
    utterances: list[Utterance] = []
    rejections: list[Rejection] = []
    odd: list[Odd] = []
    for part in FOLDERS:
        table = _find_one(root, f"{part}_sent_emo.csv")
        rows = read_rows(table, _COLUMNS, _OBTAIN)
        recorded = _recordings(root, part)
        before: tuple[str, float] | None = None
        for number, row in rows:
            found = _read_row(part, row, recorded, f"{table.relative_to(root).as_posix()}:{number}")
            if isinstance(found, Rejection):
                rejections.append(found)
                continue
            utterances.append(found)
            times = _seconds(row["StartTime"]), _seconds(row["EndTime"])
            odd += [Odd(found.id, reason) for reason in _oddities(found, *times, before)]
            before = (found.dialog or "", times[1]) if times[1] is not None else None
    return set_aside_known_bad(Listing(utterances, rejections, odd), KNOWN_BAD)


def _find_one(root: Path, name: str) -> Path:
    """The first file or folder of a name below `root`."""
    found = min((path for path in root.rglob(name)), default=None, key=lambda path: (len(path.parts), path))
    if found is None:
        raise UserError(f"{root}: holds no {name}; {_OBTAIN}")
    return found


def _recordings(root: Path, part: str) -> dict[str, str]:
    """The files of a part's sound below `root`, by their names without extension.

    Raises:
        UserError: there is none, or videos only.
    """
    folder = _find_one(root, FOLDERS[part])
    found: dict[str, str] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() in SUFFIXES and not path.name.startswith("."):
            found.setdefault(path.stem, path.relative_to(root).as_posix())
    if not found:
        only = "only videos" if next(folder.glob("*.mp4"), None) else "no sound"
        raise UserError(f"{folder}: holds {only}; {_OBTAIN}")
    return found


def _read_row(part: str, row: dict[str, str], recorded: dict[str, str], line: str) -> Utterance | Rejection:
    """The utterance of a row.

    Args:
        part: of the makers' partition.
        row: of its table.
        recorded: the part's sound files by name.
        line: file and number of the row, for messages.
    """
    name = f"dia{row['Dialogue_ID']}_utt{row['Utterance_ID']}"
    audio = recorded.get(name, f"{FOLDERS[part]}/{name}.wav")
    utterance = Utterance(
        id=f"{part}_{name}",
        audio=audio,
        text=row["Utterance"],
        raw_label=row["Emotion"],
        speaker=row["Speaker"],
        session=part,
        dialog=f"{part}_dia{row['Dialogue_ID']}",
    )
    if not re.fullmatch(r"dia\d+_utt\d+", name) or row["Emotion"] not in EMOTIONS or not row["Speaker"]:
        return Rejection(line, audio, "list", "bad_line", f"{line}: names no dialog, utterance, speaker or emotion")
    if not utterance.text:
        return Rejection(utterance.id, audio, "list", "no_text", f"{line}: the utterance has no text")
    if name not in recorded and utterance.id not in KNOWN_BAD:
        return Rejection(utterance.id, audio, "list", "missing_audio", f"{audio}: no such file, and no .flac either")
    return utterance


def _oddities(
    utterance: Utterance, start: float | None, end: float | None, before: tuple[str, float] | None
) -> Iterator[str]:
    """Why a clip may not be what its row says.

    Args:
        utterance: of the row.
        start: its time in the series, in seconds; None where it cannot be read.
        end: of its time.
        before: the dialog of the row before it, and the end of its time.
    """
    if start is None or end is None:
        yield "with times in the table that cannot be read"
    elif end <= start:
        yield "with times in the table that end before they begin"
    else:
        if len(utterance.text.split()) > FASTEST * (end - start):
            yield "with times in the table too short for their words"
        if before is not None and before[0] == utterance.dialog and start < before[1]:
            yield "with times in the table that overlap those of the utterance before"


def _seconds(text: str) -> float | None:
    """Read a time such as `00:20:57,256`.

    >>> _seconds("0:12:43,012")
    763.012
    """
    match = _TIME.fullmatch(text)
    if match is None:
        return None
    hours, minutes, seconds, fraction = match.groups()
    return 3600 * int(hours) + 60 * int(minutes) + int(seconds) + float(f"0.{fraction}")


CORPUS = Corpus(
    name="meld",
    title="Multimodal EmotionLines Dataset, its utterances as sound",
    language="English",
    licence="GPL-3.0 for what its makers wrote; the clips belong to the makers of the series",
    citation="S. Poria et al., ACL 2019",
    size="13,708 utterances in 3 parts, about 300 speakers, 7 emotions, 12 hours",
    obtain=_OBTAIN,
    find=find,
    licence_id="gpl-3.0",
    expected=Counts(utterances=13_706),
    known_bad=KNOWN_BAD,
    official_protocol="meld/7class-official",
)
