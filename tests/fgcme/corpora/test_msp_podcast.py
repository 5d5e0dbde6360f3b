"""MSP-Podcast: what the generic tests of all corpora do not say of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from fgcme.corpora.msp_podcast import CORPUS
from fgcme.errors import UserError
from tests.small_corpora import MSP_PODCAST


def test_ratings_parts_and_podcasts_are_the_table_s(tmp_path: Path) -> None:
    MSP_PODCAST.write(tmp_path)
    utterance = next(each for each in CORPUS.find(tmp_path).utterances if each.id == "MSP-PODCAST_0003_0001")
    assert (utterance.valence, utterance.arousal, utterance.dominance) == (4.0, 2.2, 2.6)
    assert (utterance.session, utterance.dialog, utterance.speaker) == ("Development", "0003", "39")


def test_speakers_whom_nobody_knows_are_told_apart_by_their_podcast_only(tmp_path: Path) -> None:
    MSP_PODCAST.write(tmp_path)
    speakers = {each.dialog: each.speaker for each in CORPUS.find(tmp_path).utterances}
    assert speakers == {"0001": "30", "0002": "unknown-0002", "0003": "39", "0004": "7"}


def test_a_table_without_a_usable_turn_is_refused(tmp_path: Path) -> None:
    (tmp_path / "Labels").mkdir()
    (tmp_path / "Labels/labels_consensus.csv").write_text(
        "FileName,EmoClass,EmoAct,EmoVal,EmoDom,SpkrID,Gender,Split_Set\nMSP-PODCAST_0001_0001.wav,N,2,2,2,1,Male,Train\n"
    )
    with pytest.raises(UserError, match="lists no turn that can be used"):
        CORPUS.find(tmp_path)
