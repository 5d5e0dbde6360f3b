"""RAVDESS is listed from its file names alone."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import pytest

from fgcme.corpora.ravdess import CORPUS, find, parse_name
from fgcme.errors import UserError


def touch(root: Path, *names: str) -> None:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def test_a_name_gives_emotion_intensity_statement_repetition_actor_and_sex() -> None:
    recording = parse_name("03-01-05-02-01-02-07")
    assert (recording.emotion, recording.intensity, recording.statement) == ("angry", "strong", 1)
    assert (recording.repetition, recording.actor) == (2, 7)
    assert recording.text == "Kids are talking by the door"


@pytest.mark.parametrize(
    ("stem", "why"),
    [
        ("03-02-05-02-01-02-07", "song"),
        ("01-01-05-02-01-02-07", "audio and video"),
        ("02-01-05-02-01-02-07", "video without sound"),
        ("09-01-05-02-01-02-07", "unknown"),
        ("03-01-09-01-01-01-01", "emotion 09"),
        ("03-01-00-01-01-01-01", "emotion 00"),
        ("03-01-05-03-01-01-01", "intensity 03"),
        ("03-01-05-01-03-01-01", "statement 03"),
        ("03-01-05-01-01-03-01", "repetition 03"),
        ("03-01-05-01-01-01-25", "actor 25"),
        ("03-01-01-02-01-01-01", "neutral"),
        ("03-01-05-01-01-01", "seven"),
        ("03-01-05-01-01-01-01 copy", "seven"),
        ("3-1-5-1-1-1-1", "seven"),
    ],
)
def test_a_name_of_something_else_is_refused_with_the_reason(stem: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        parse_name(stem)


def test_a_folder_that_is_not_mounted_is_refused_not_passed_over(tmp_path: Path) -> None:
    touch(tmp_path, "Actor_12/03-01-06-01-02-01-12.wav")
    (tmp_path / "Actor_13").symlink_to(tmp_path / "not mounted")
    with pytest.raises(UserError, match=r"Actor_13: leads nowhere; mount its disk"):
        find(tmp_path)


@pytest.mark.parametrize("folder", ["Actor_12", ".", "Audio_Speech_Actors_01-24/Actor_12", "Audio_Speech_Actors_01-24"])
@pytest.mark.parametrize("suffix", [".wav", ".flac", ".WAV"])
def test_recordings_are_found_in_every_layout_and_format(tmp_path: Path, folder: str, suffix: str) -> None:
    touch(tmp_path, f"{folder}/03-01-06-01-02-01-12{suffix}")
    (utterance,) = find(tmp_path).utterances
    assert utterance.id == "03-01-06-01-02-01-12"
    assert utterance.audio == (Path(folder) / f"03-01-06-01-02-01-12{suffix}").as_posix()
    assert utterance.text == "Dogs are sitting by the door"
    assert (utterance.raw_label, utterance.speaker) == ("fearful", "12")
    assert (utterance.session, utterance.dialog, utterance.act) == (None, "statement-02", "normal")


def test_files_outside_the_corpus_are_reported_and_not_listed(tmp_path: Path) -> None:
    others = [
        "README.md",
        "Actor_01/01-01-06-01-02-01-01.mp4",
        "Actor_01/03-02-06-01-02-01-01.wav",
        "Actor_01/x.wav",
    ]
    touch(tmp_path, "Actor_01/03-01-06-01-02-01-01.wav", *others)
    listing = find(tmp_path)
    assert len(listing.utterances) == 1
    assert sorted(rejection.audio for rejection in listing.rejections) == sorted(others)
    assert {(rejection.stage, rejection.reason) for rejection in listing.rejections} == {("list", "not_of_corpus")}
    messages = {rejection.audio: rejection.message for rejection in listing.rejections}
    assert "song" in messages["Actor_01/03-02-06-01-02-01-01.wav"]


def test_a_duplicate_recording_is_listed_once_and_reported(tmp_path: Path) -> None:
    touch(tmp_path, "Actor_01/03-01-06-01-02-01-01.wav", "Actor_01/03-01-06-01-02-01-01.flac")
    listing = find(tmp_path)
    assert [utterance.audio for utterance in listing.utterances] == ["Actor_01/03-01-06-01-02-01-01.flac"]
    (rejection,) = listing.rejections
    assert (rejection.reason, rejection.audio) == ("duplicate", "Actor_01/03-01-06-01-02-01-01.wav")
    assert "Actor_01/03-01-06-01-02-01-01.flac" in rejection.message


def test_hidden_files_and_folders_are_ignored(tmp_path: Path) -> None:
    touch(
        tmp_path,
        "Actor_01/03-01-06-01-02-01-01.wav",
        "Actor_01/._03-01-06-01-02-01-01.wav",
        "Actor_01/.DS_Store",
        "__MACOSX/Actor_01/._03-01-06-01-02-01-01.wav",
        ".cache/03-01-05-01-02-01-01.wav",
    )
    listing = find(tmp_path)
    assert len(listing.utterances) == 1
    assert listing.rejections == []


def test_the_order_does_not_depend_on_folders(tmp_path: Path) -> None:
    touch(tmp_path, "b/03-01-02-01-01-01-01.wav", "a/03-01-08-01-01-01-01.wav", "03-01-04-01-01-01-01.wav")
    assert [utterance.raw_label for utterance in find(tmp_path).utterances] == ["calm", "sad", "surprised"]


def test_a_root_without_the_corpus_is_refused_with_how_to_get_it(tmp_path: Path) -> None:
    touch(tmp_path, "notes.txt")
    for root in (tmp_path / "nowhere", tmp_path):
        with pytest.raises(UserError) as caught:
            find(root)
        message = str(caught.value)
        assert str(root) in message
        assert "--root" in message
        assert "RAVDESS_ROOT" in message
        assert "zenodo.org" in message
        assert "\n" not in message


@pytest.mark.skipif("RAVDESS_ROOT" not in os.environ, reason="RAVDESS_ROOT is not set")
def test_the_real_corpus_has_1440_recordings_of_24_actors() -> None:
    utterances = CORPUS.find(Path(os.environ["RAVDESS_ROOT"])).utterances
    assert len(utterances) == 1440
    assert Counter(utterance.speaker for utterance in utterances) == {f"{actor:02d}": 60 for actor in range(1, 25)}
    labels = Counter(utterance.raw_label for utterance in utterances)
    assert labels.pop("neutral") == 96
    assert set(labels.values()) == {192}
