"""Corpora whose file names say everything: what is listed, and what is left out with which reason."""

from __future__ import annotations

from pathlib import Path

import pytest

from fgcme.corpora import Utterance
from fgcme.corpora.named_files import list_by_name
from fgcme.errors import UserError


def describe(name: str, audio: str) -> Utterance:
    if not name.startswith("u"):
        raise ValueError("the name does not begin with u")
    return Utterance(name, audio, "hello", "sad", "01")


def test_recordings_are_listed_by_name_and_everything_else_with_its_reason(tmp_path: Path) -> None:
    for name in ("b/u2.flac", "a/u3.WAV", "u1.wav", "b/u1.wav", "a/x.wav", "notes.txt", ".hidden/u4.wav", "a/.u5.wav"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    listing = list_by_name(tmp_path, describe)
    assert [each.audio for each in listing.utterances] == ["b/u1.wav", "b/u2.flac", "a/u3.WAV"]
    left_out = {rejection.audio: (rejection.reason, rejection.message) for rejection in listing.rejections}
    assert left_out == {
        "u1.wav": ("duplicate", "the same recording as b/u1.wav, which is used"),
        "a/x.wav": ("not_of_corpus", "the name does not begin with u"),
        "notes.txt": ("not_of_corpus", "only .wav and .flac files are recordings"),
    }


def test_a_folder_that_is_not_mounted_is_refused(tmp_path: Path) -> None:
    (tmp_path / "more").symlink_to(tmp_path / "not mounted")
    with pytest.raises(UserError, match="more: leads nowhere"):
        list_by_name(tmp_path, describe)


def test_a_link_to_a_folder_is_followed_unless_it_lies_in_that_folder(tmp_path: Path) -> None:
    corpus, disk = tmp_path / "corpus", tmp_path / "disk"
    for path in (corpus / "a" / "u1.wav", disk / "u2.wav"):
        path.parent.mkdir(parents=True)
        path.touch()
    (corpus / "a" / "all").symlink_to(corpus)
    (corpus / "a" / "itself").symlink_to(corpus / "a")
    (corpus / "disk").symlink_to(disk)
    listing = list_by_name(corpus, describe)
    assert [each.audio for each in listing.utterances] == ["a/u1.wav", "disk/u2.wav"]
    assert listing.rejections == []
