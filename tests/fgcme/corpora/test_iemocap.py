"""IEMOCAP is listed from its text files, each turn with its own speaker; damage is reported with file and line."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from pathlib import Path

import pytest

from fgcme.corpora.contract import Rejection
from fgcme.corpora.iemocap import CORPUS, RATERS, find, parse_turn
from fgcme.data import assign_folds
from fgcme.data.protocol import named_protocols
from fgcme.errors import UserError
from tests import small_iemocap
from tests.fgcme.corpora.test_contract import table_of

EVALUATION = "Session2/dialog/EmoEvaluation/Ses02F_impro01.txt"
TRANSCRIPTION = "Session2/dialog/transcriptions/Ses02F_impro01.txt"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "IEMOCAP_full_release"
    small_iemocap.write(root, sessions=[1, 2], speech=False)
    return root


def refused(root: Path) -> str:
    with pytest.raises(UserError) as caught:
        find(root)
    message = str(caught.value)
    assert "\n" not in message
    assert "sail.usc.edu" in message and "--root" in message and "IEMOCAP_ROOT" in message
    return message


def cut(path: Path, at: str) -> None:
    """End a file in the middle of a line, behind the first appearance of some text."""
    content = path.read_text()
    path.write_text(content[: content.index(at) + len(at)])


def test_a_turn_carries_label_text_ratings_act_dialog_and_session(root: Path) -> None:
    utterances = {utterance.id: utterance for utterance in find(root).utterances}
    turn = utterances["Ses01F_impro01_M001"]
    assert turn.audio == "Session1/sentences/wav/Ses01F_impro01/Ses01F_impro01_M001.wav"
    assert turn.alignment == "Session1/sentences/ForcedAlignment/Ses01F_impro01/Ses01F_impro01_M001.wdseg"
    assert (turn.text, turn.raw_label) == ("My red garden is full of sunshine.", "hap")
    assert (turn.session, turn.dialog, turn.act) == ("Session1", "Ses01F_impro01", "impro")
    assert (turn.valence, turn.arousal, turn.dominance) == (2.5, 3.0, 3.6667)
    assert utterances["Ses02M_script01_1b_F000"].act == "script"


@pytest.mark.parametrize(
    ("name", "speaker"),
    [
        ("Ses01F_impro01_F000", "Ses01_F"),
        ("Ses01F_impro01_M001", "Ses01_M"),
        ("Ses02M_script01_1b_F000", "Ses02_F"),
        ("Ses02M_script01_1b_M001", "Ses02_M"),
    ],
)
def test_the_speaker_is_the_one_who_speaks_not_the_one_with_markers(root: Path, name: str, speaker: str) -> None:
    assert {utterance.id: utterance.speaker for utterance in find(root).utterances}[name] == speaker


def test_every_rated_turn_is_listed_whatever_its_label_in_the_order_of_names(root: Path) -> None:
    listing = find(root)
    assert listing.rejections == []
    found = [(utterance.id, utterance.raw_label) for utterance in listing.utterances]
    assert found == [(turn.name, turn.label) for turn in small_iemocap.turns([1, 2])]


def test_an_unrated_turn_is_ignored_and_a_rated_one_is_listed(root: Path) -> None:
    assert not any("XX" in utterance.id for utterance in find(root).utterances)
    with (root / EVALUATION).open("a") as file:
        file.write("\n[1.0000 - 2.0000]\tSes02F_impro01_FXX0\tfru\t[2.0000, 3.0000, 4.0000]\n")
    (turn,) = [utterance for utterance in find(root).utterances if "XX" in utterance.id]
    assert (turn.speaker, turn.raw_label) == ("Ses02_F", "fru")


@pytest.mark.parametrize(
    ("written", "text"),
    [
        ("[LAUGHTER]", "LAUGHTER"),
        ("[LAUGHTER] -- [BREATHING].", "LAUGHTER BREATHING"),
        ("[LAUGHTER] Yeah.", "[LAUGHTER] Yeah."),
        ("", ""),
    ],
)
def test_stage_directions_are_the_text_of_a_turn_with_nothing_else(root: Path, written: str, text: str) -> None:
    path = root / TRANSCRIPTION
    path.write_text(path.read_text().replace("Nobody answered my green letter.", written))
    assert {utterance.id: utterance.text for utterance in find(root).utterances}["Ses02F_impro01_F002"] == text


def test_a_turn_without_an_alignment_file_is_listed_without_one(root: Path) -> None:
    turn = small_iemocap.turns([1])[0]
    (root / turn.path("ForcedAlignment", ".wdseg")).unlink()
    shutil.rmtree(root / "Session2/sentences/ForcedAlignment")
    without = {utterance.id for utterance in find(root).utterances if utterance.alignment is None}
    assert without == {turn.name, *(turn.name for turn in small_iemocap.turns([2]))}


def test_a_windows_1252_transcription_keeps_its_apostrophes(root: Path) -> None:
    path = root / TRANSCRIPTION
    path.write_bytes(path.read_bytes().replace(b"Nobody", b"Nobody\x92s"))
    assert "Nobody\u2019s answered my green letter." in {utterance.text for utterance in find(root).utterances}


def test_a_truncated_evaluation_names_its_line_and_the_turns_without_a_label(root: Path) -> None:
    cut(root / EVALUATION, "Ses02F_impro01_M001\tha")
    listing = find(root)
    of_session = [utterance.id for utterance in listing.utterances if utterance.session == "Session2"]
    assert [name for name in of_session if "impro" in name] == [
        "Ses02F_impro01_F000",
        "Ses02F_impro01_F002",
        "Ses02F_impro01_F005",
    ]
    damaged = [rejection for rejection in listing.rejections if rejection.reason == "bad_line"]
    assert [rejection.id for rejection in damaged] == [f"{EVALUATION}:15"]
    assert damaged[0].message.startswith(
        f"{EVALUATION}: line 15 is damaged: `[6.2900 - 7.8000]\tSes02F_impro01_M001\tha"
    )
    without_label = [rejection for rejection in listing.rejections if rejection.reason == "no_label"]
    assert [rejection.id for rejection in without_label] == [f"Ses02F_impro01_M{number:03d}" for number in (1, 3, 4)]
    assert all(EVALUATION in rejection.message for rejection in without_label)
    assert {rejection.stage for rejection in listing.rejections} == {"list"}


def only_rejection(root: Path) -> Rejection:
    (rejection,) = find(root).rejections
    assert "\n" not in rejection.message
    return rejection


@pytest.mark.parametrize(
    ("file", "good", "bad"),
    [
        (EVALUATION, "\tneu\t", "\tnue\t"),
        (EVALUATION, "[2.5000, 3.0000, 3.6667]", "[2.5000, 3.0000]"),
        (EVALUATION, "[2.5000, 3.0000, 3.6667]", "[2.5000, 3.0.00, 3.6667]"),
        (EVALUATION, "Ses02F_impro01_F000", "Ses02F_impro02_F000"),
        (TRANSCRIPTION, "Ses02F_impro01_F000 [", "Ses02F_impro01_F000 "),
        (TRANSCRIPTION, "Ses02F_impro01_F000", "Ses02F_impro02_F000"),
    ],
)
def test_a_damaged_line_is_named_with_its_file(root: Path, file: str, good: str, bad: str) -> None:
    path = root / file
    path.write_text(path.read_text().replace(good, bad, 1))
    rejections = {rejection.reason: rejection for rejection in find(root).rejections}
    assert set(rejections) == {"bad_line", "no_label" if file == EVALUATION else "no_text"}
    assert rejections["bad_line"].message.startswith(f"{file}: line {3 if file == EVALUATION else 1} is damaged: `")


@pytest.mark.parametrize("file", [EVALUATION, TRANSCRIPTION])
def test_a_turn_named_twice_in_a_file_is_reported_as_damage(root: Path, file: str) -> None:
    path = root / file
    path.write_text(path.read_text().replace("Ses02F_impro01_F002", "Ses02F_impro01_F000"))
    reasons = {rejection.id: rejection.reason for rejection in find(root).rejections}
    assert reasons["Ses02F_impro01_F002"] == ("no_label" if file == EVALUATION else "no_text")
    assert list(reasons.values()).count("bad_line") == 1


def test_a_dialog_without_a_transcription_has_every_turn_rejected(root: Path) -> None:
    (root / TRANSCRIPTION).unlink()
    rejections = find(root).rejections
    assert len(rejections) == len(small_iemocap.IMPROVISED)
    assert {(rejection.reason, TRANSCRIPTION in rejection.message) for rejection in rejections} == {("no_text", True)}


def test_a_recording_without_a_label_is_rejected(root: Path) -> None:
    (root / "Session2/sentences/wav/Ses02F_impro01/Ses02F_impro01_M077.wav").touch()
    rejection = only_rejection(root)
    assert (rejection.id, rejection.reason) == ("Ses02F_impro01_M077", "no_label")


def test_a_session_that_is_not_mounted_is_refused_not_passed_over(root: Path) -> None:
    shutil.rmtree(root / "Session2", ignore_errors=True)
    (root / "Session2").symlink_to(root / "not mounted")
    with pytest.raises(UserError, match=r"Session2: leads nowhere; mount its disk"):
        find(root)


def test_a_missing_session_is_left_to_the_protocol(root: Path) -> None:
    shutil.rmtree(root / "Session1")
    assert {utterance.session for utterance in find(root).utterances} == {"Session2"}


@pytest.mark.parametrize("part", ["dialog/transcriptions", "dialog/EmoEvaluation", "sentences/wav"])
def test_a_session_without_one_of_its_folders_is_refused_by_name(root: Path, part: str) -> None:
    shutil.rmtree(root / "Session2" / part)
    assert f"Session2/{part}: no such folder, so session 2 is incomplete" in refused(root)


def test_a_session_that_is_a_copy_of_another_is_refused(root: Path) -> None:
    shutil.copytree(root / "Session1", root / "Session3")
    assert "Session3/dialog/EmoEvaluation: holds no dialog of session 3" in refused(root)


def test_a_missing_folder_or_another_corpus_is_refused(tmp_path: Path) -> None:
    (tmp_path / "Actor_01").mkdir()
    (tmp_path / "Actor_01" / "03-01-06-01-02-01-01.wav").touch()
    assert f"{tmp_path}: not IEMOCAP: it has no folder Session1, ..., Session5" in refused(tmp_path)
    assert f"{tmp_path / 'nowhere'}: no such folder" in refused(tmp_path / "nowhere")


@pytest.mark.parametrize(
    "name", ["Ses06F_impro01_F000", "Ses01F_impro01", "Ses01F_sing01_F000", "Ses01F_impro01_X000", ""]
)
def test_a_name_that_is_not_a_turn_s_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="not the name of a turn"):
        parse_turn(name)


def test_what_each_rater_says_of_a_turn_is_read_but_not_what_actors_say_of_themselves(root: Path) -> None:
    path = root / EVALUATION
    said = "C-E1:\tNeutral;\t()\nC-E3:\tFrustration; Anger;\t(at\tlast)\nC-E4:\tBored;\t()\nC-F1:\tSadness;\t()\n"
    path.write_text(path.read_text().replace("C-E2:\tNeutral;\t()\n", said, 1).replace("C-E2:\tNeutral;\t()\n", "", 1))
    listing = RATERS.find(root)
    found = {each.id: each.raw_label for each in listing.utterances}
    assert found["Ses02F_impro01_F000"] == "neu;fru;ang;bored"
    assert found["Ses02F_impro01_M001"] == "neu"
    (rejection,) = listing.rejections
    assert (rejection.id, rejection.reason) == ("Ses02F_impro01_F002", "no_label")
    # The label that they agree on is as before.
    assert {each.id: each.raw_label for each in find(root).utterances}["Ses02F_impro01_F000"] == "neu"


def test_the_protocol_of_raters_learns_their_shares(tmp_path: Path) -> None:
    small_iemocap.write(tmp_path, speech=False)
    for path in tmp_path.glob("Session*/dialog/EmoEvaluation/Ses*.txt"):
        path.write_text(path.read_text().replace("C-E2:", "C-E1:\tSadness;\t()\nC-E4:\tSurprise;\t()\nC-E2:"))
    assigned = assign_folds(
        named_protocols()["iemocap_raters/4class-session"], table_of(RATERS.find(tmp_path)), allow_missing=True
    )
    assert assigned.votes.sum(0).tolist() == [0, 0, 55, 55] and assigned.unmapped_votes == 55
    assert any(each.startswith("raters: 110 labels of classes, 2.0 an utterance; 55 ") for each in assigned.remarks)


@pytest.mark.skipif("IEMOCAP_ROOT" not in os.environ, reason="IEMOCAP_ROOT is not set")
def test_the_real_corpus_has_10039_rated_turns_of_ten_speakers() -> None:
    utterances = CORPUS.find(Path(os.environ["IEMOCAP_ROOT"])).utterances
    assert len(utterances) == 10_039
    assert len({utterance.speaker for utterance in utterances}) == 10
    labels = Counter(utterance.raw_label for utterance in utterances)
    expected = named_protocols()["iemocap/6class-session"].expected
    assert expected is not None
    assert labels["ang"] == expected["angry"] and labels["fru"] == expected["frustrated"]
