"""The rows of a prepared corpus as formats are given them."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from fgcme import prepared
from fgcme.interchange import PreparedUtterance, TimedWord, Told, read_utterances
from fgcme.interchange.rows import OLDER, PLACELESS, UNIFORM

ROW: dict[str, Any] = {
    **dict.fromkeys(prepared.UTTERANCES.names),
    "id": "one",
    "audio": "folder/one.wav",
    "audio_sha256": "0" * 64,
    "duration": 1.0,
    "start": 2.5,
    "speaker": "m1",
    "session": "1",
    "raw_label": "sad",
    "arousal": 2.5,
    "text": "Hello there, you",
    "words": ["hello", "there", "you"],
    "begin": [10, 30, 30],
    "end": [30, 30, 55],
    "alignment": "sphinx",
    "alignment_score": -1.5,
    "frames": np.zeros(4, np.float32),
    "frame_count": 1,
    "frame_size": 4,
    "clipped": 0,
    "oddities": [],
    "source_hash": "s",
}


def read(
    folder: Path, *changes: dict[str, Any], root: Path | None = Path("/data")
) -> tuple[list[PreparedUtterance], Told]:
    rows = [{**ROW, **change} for change in changes]
    prepared.write_part(folder, "utterances", "a", prepared.utterance_table(rows))
    told = Told()
    return list(read_utterances(folder, root, lambda speaker: "male" if speaker[0] == "m" else None, told)), told


def test_an_utterance_has_its_place_and_its_words_in_seconds(tmp_path: Path) -> None:
    (found,), told = read(tmp_path, {})
    assert (found.audio, found.start, found.end) == ("/data/folder/one.wav", 2.5, 3.5)
    assert found.words == [TimedWord("hello", 0.1, 0.3), TimedWord("you", 0.3, 0.55)]
    assert (found.label, found.speaker, found.sex, found.session, found.dialog) == ("sad", "m1", "male", "1", None)
    assert (found.arousal, found.valence, found.alignment, found.alignment_score) == (2.5, None, "sphinx", -1.5)
    assert told.counts == {PLACELESS: 1}


def test_words_that_were_not_found_are_told_and_no_score_is_none(tmp_path: Path) -> None:
    (found,), told = read(tmp_path, {"alignment": "uniform", "alignment_score": math.nan, "speaker": "f"})
    assert (found.alignment_score, found.sex) == (None, None)
    assert told.counts[UNIFORM] == 1


def test_a_row_of_an_older_version_is_taken_where_it_is_its_whole_file(tmp_path: Path) -> None:
    for name, seconds in (("whole", 1.0), ("part", 3.0)):
        soundfile.write(tmp_path / f"{name}.wav", np.zeros(int(8000 * seconds)), 8000)
    rows = [{"id": name, "audio": f"{name}.wav", "start": None} for name in ("whole", "part", "gone")]
    found, told = read(tmp_path / "prepared", *rows, root=tmp_path)
    assert [(each.id, each.start) for each in found] == [("whole", 0.0)]
    assert told.counts[OLDER] == 2 and told.examples[OLDER] == "part"
    # Nothing depends on the place where only times within the utterance are written.
    assert len(read(tmp_path / "prepared", *rows, root=None)[0]) == 3


@pytest.mark.parametrize("count", [0, 1, 2500])
def test_many_rows_are_read_in_the_order_of_their_parts(tmp_path: Path, count: int) -> None:
    rows = [{"id": str(number)} for number in range(count)]
    if not rows:
        prepared.write_part(tmp_path, "utterances", "a", prepared.UTTERANCES.empty_table())
        assert list(read_utterances(tmp_path, None, lambda speaker: None, Told())) == []
        return
    found, _ = read(tmp_path, *rows)
    assert [each.id for each in found] == [row["id"] for row in rows]
