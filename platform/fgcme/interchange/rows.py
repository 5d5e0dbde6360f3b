"""The rows of a prepared corpus as what the formats of others are given, some thousands at a time."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from fgcme import prepared
from fgcme.audio import HOP, SAMPLE_RATE
from fgcme.corpora.contract import Sex
from fgcme.interchange.contract import PreparedUtterance, TimedWord, Told
from fgcme.sound import AudioError, duration_of

OLDER = "utterances left out that an older version prepared, and that are not the whole of their files: prepare again"
PLACELESS = "words left out that have no frames of their own"
UNIFORM = "utterances whose words were not found in the sound and lie evenly over its speech (uniform)"

_COLUMNS = ["id", "audio", "start", "duration", "text", "raw_label", "speaker", "session", "dialog", "act", "valence"]
_COLUMNS += ["arousal", "dominance", "words", "begin", "end", "alignment", "alignment_score"]
# Rows that are Python objects at once.
_ROWS = 1024


def read_utterances(
    folder: Path, root: Path | None, sex_of: Callable[[str], Sex | None], told: Told
) -> Iterator[PreparedUtterance]:
    """The utterances of a prepared corpus, read as they are asked for.

    Args:
        folder: of the prepared corpus.
        root: of the corpus's audio; None where nobody asks for the audio.
        sex_of: see `fgcme.corpora.Corpus`.
        told: counts what is left out.

    Raises:
        UserError: a part is damaged.
    """
    for _, table in prepared.read_parts(folder, _COLUMNS):
        for batch in table.to_batches(max_chunksize=_ROWS):
            for row in batch.to_pylist():
                if row["start"] is None and not _is_whole(row, root):
                    told.add(OLDER, row["id"])
                else:
                    yield _utterance(row, root, sex_of, told)


def _is_whole(row: Mapping[str, Any], root: Path | None) -> bool:
    """Whether an utterance whose place in its file is not known is all of it; true where no place is asked for."""
    if root is None:
        return True
    try:
        seconds = duration_of(root / row["audio"])
    except AudioError:
        return False
    return seconds is not None and abs(seconds - row["duration"]) < HOP / SAMPLE_RATE


def _utterance(
    row: Mapping[str, Any], root: Path | None, sex_of: Callable[[str], Sex | None], told: Told
) -> PreparedUtterance:
    words = [
        TimedWord(word, begin * HOP / SAMPLE_RATE, end * HOP / SAMPLE_RATE)
        for word, begin, end in zip(row["words"] or (), row["begin"] or (), row["end"] or (), strict=True)
        if end > begin
    ]
    told.add(PLACELESS, row["id"], len(row["words"] or ()) - len(words))
    told.add(UNIFORM, row["id"], row["alignment"] == "uniform")
    score = row["alignment_score"]
    same = ("id", "duration", "text", "speaker", "session", "dialog", "act", "valence", "arousal", "dominance")
    return PreparedUtterance(
        **{name: row[name] for name in same},
        start=row["start"] or 0.0,
        audio=row["audio"] if root is None else str(root / row["audio"]),
        label=row["raw_label"],
        words=words,
        alignment=row["alignment"],
        alignment_score=None if score is None or math.isnan(score) else score,
        sex=sex_of(row["speaker"]),
    )
