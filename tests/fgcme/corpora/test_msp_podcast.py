"""MSP-Podcast: what the generic tests of all corpora do not say of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from fgcme.corpora.msp_podcast import CORPUS, RATERS
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


OLDER = "FileName,Workers,EmoClass_Major,EmoClass_Second,EmoAct,EmoVal,EmoDom\n" + "".join(
    f'MSP-PODCAST_0001_0001.wav,WORKER{number:08d},{word},"{word},Concerned",3,4,3\n'
    for number, word in enumerate(("Sad", "Other-curious", "Confused", ""))
)
BLOCKS = """MSP-PODCAST_0001_0000.wav; N; A:2.2; V:4.0; D:2.6;
WORKER00000005; Neutral; Neutral,Concerned; A:2.0; V:4.0; D:3.0;

MSP-PODCAST_0001_0001.wav; X; A:2.2; V:4.0; D:2.6;
WORKER00000005; Sad; Sad,Concerned; A:2.0; V:4.0; D:3.0;
WORKER00000007; Other-curious; Neutral; A:2.0; V:4.0; D:3.0;
WORKER00000009; Confused; ; A:2.0; V:4.0; D:3.0;
"""


@pytest.mark.parametrize(("file", "content"), [("labels_detailed.csv", OLDER), ("labels.txt", BLOCKS)])
def test_raters_labels_are_read_in_the_forms_of_older_releases_too(tmp_path: Path, file: str, content: str) -> None:
    MSP_PODCAST.write(tmp_path)
    (tmp_path / "Labels" / file).write_text(content)
    listing = RATERS.find(tmp_path)
    assert {each.id: each.raw_label for each in listing.utterances}["MSP-PODCAST_0001_0001"] == "S;O;confused"
    # Nobody labelled the others.
    reasons = {each.id: each.reason for each in listing.rejections}
    assert reasons["MSP-PODCAST_0004_0002"] == "no_label"


def test_raters_labels_that_are_nowhere_are_named(tmp_path: Path) -> None:
    MSP_PODCAST.write(tmp_path)
    with pytest.raises(UserError, match=r"labels_detailed\.csv: no such file, nor Labels/labels\.txt"):
        RATERS.find(tmp_path)
