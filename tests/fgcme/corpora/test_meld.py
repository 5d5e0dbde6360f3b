"""MELD: what the generic tests of all corpora do not say of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from fgcme.corpora.contract import Odd
from fgcme.corpora.meld import CORPUS
from fgcme.errors import UserError
from tests.small_corpora import MELD

HEADER = "Sr No.,Utterance,Speaker,Emotion,Sentiment,Dialogue_ID,Utterance_ID,Season,Episode,StartTime,EndTime\n"


def test_dialogs_of_the_parts_are_different_dialogs(tmp_path: Path) -> None:
    MELD.write(tmp_path)
    utterances = CORPUS.find(tmp_path).utterances
    assert {(each.session, each.dialog) for each in utterances} == {
        ("train", "train_dia0"),
        ("dev", "dev_dia0"),
        ("test", "test_dia0"),
    }
    # A clip is the utterance: its times are those in the series.
    assert {(each.start, each.end) for each in utterances} == {(None, None)}


def test_clips_whose_times_cannot_be_right_are_taken_and_called_odd(tmp_path: Path) -> None:
    MELD.write(tmp_path)
    rows = [
        ("I am first.", 0, 0, "0:00:10,000", "0:00:12,000"),
        ("Me too.", 0, 1, "0:00:11,500", "0:00:13,000"),
        ("What? They took mine to give to you!", 0, 2, "0:00:33,589", "0:00:33,746"),
        ("Backwards.", 0, 3, "0:00:40,000", "0:00:39,000"),
        ("Not a time.", 0, 4, "40 s", "0:00:42,000"),
        ("Another dialog.", 1, 5, "0:00:01,000", "0:00:02,000"),
        ("Right after.", 1, 6, "00:00:02,000", "00:00:03,000"),
    ]
    (tmp_path / "dev_sent_emo.csv").write_text(
        HEADER
        + "".join(f'1,{text},Ross,joy,positive,{d},{u},4,7,"{start}","{end}"\n' for text, d, u, start, end in rows)
    )
    for number in (5, 6):
        (tmp_path / "dev/dev_splits_complete" / f"dia1_utt{number}.wav").touch()
    listing = CORPUS.find(tmp_path)
    assert listing.odd == [
        Odd("dev_dia0_utt1", "with times in the table that overlap those of the utterance before"),
        Odd("dev_dia0_utt2", "with times in the table too short for their words"),
        Odd("dev_dia0_utt3", "with times in the table that end before they begin"),
        Odd("dev_dia0_utt4", "with times in the table that cannot be read"),
    ]
    assert {each.id for each in listing.odd} < {each.id for each in listing.utterances}


def test_sound_as_flac_does_as_well(tmp_path: Path) -> None:
    MELD.write(tmp_path)
    for path in tmp_path.rglob("*.wav"):
        path.rename(path.with_suffix(".flac"))
    listing = CORPUS.find(tmp_path)
    assert len(listing.utterances) == 21 and listing.rejections == []


def test_a_copy_that_still_has_only_videos_is_refused_and_told_of_ffmpeg(tmp_path: Path) -> None:
    MELD.write(tmp_path)
    for path in tmp_path.rglob("*.wav"):
        path.unlink()
    with pytest.raises(UserError, match=r"train_splits: holds only videos; .* with ffmpeg"):
        CORPUS.find(tmp_path)


@pytest.mark.parametrize("name", ["test_sent_emo.csv", "dev_splits_complete"])
def test_a_part_that_is_missing_is_refused_by_its_name(tmp_path: Path, name: str) -> None:
    MELD.write(tmp_path)
    (path,) = tmp_path.rglob(name)
    path.rename(tmp_path / "away")
    with pytest.raises(UserError, match=f"holds no {name}; "):
        CORPUS.find(tmp_path)
