"""What an utterance is prepared from, and when that counts as changed."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fgcme.corpora.contract import Rejection, Utterance
from fgcme.errors import UserError
from pipelines.preparing import find_alignments, find_unreachable, hash_sources, select_alignments
from tests import small_corpus

TEXT = "kids are talking by the door"


AUDIO = b"RIFF of one"


def hash_of(root: Path, alignment: Path | None = None, **changes: Any) -> str:
    """The source hash of an utterance whose audio is one.wav, unless changed."""
    utterance = replace(Utterance("one", "one.wav", TEXT, "sad", "01", start=0.0, end=1.0), **changes)
    return hash_sources([utterance], root, {"one": alignment} if alignment else {})["one"]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "corpus"
    folder.mkdir()
    (folder / "one.wav").write_bytes(AUDIO)
    return folder


@pytest.mark.parametrize(
    "change",
    [
        {"raw_label": "happy"},
        {"text": "dogs are sitting by the door"},
        {"speaker": "02"},
        {"session": "1"},
        {"dialog": "1"},
        {"act": "read"},
        {"start": 0.5},
        {"end": 1.5},
        {"valence": 2.5},
    ],
    ids=lambda change: "-".join(change),
)
def test_a_source_hash_follows_what_the_corpus_says_of_an_utterance(root: Path, change: dict[str, Any]) -> None:
    assert hash_of(root, **change) != hash_of(root)


def test_audio_counts_by_its_bytes_and_not_by_its_place_or_time(root: Path, tmp_path: Path) -> None:
    base = hash_of(root)
    os.utime(root / "one.wav", (0, 0))
    copy = tmp_path / "copy"
    copy.mkdir()
    (copy / "two.wav").write_bytes(AUDIO)
    assert hash_of(root) == hash_of(copy, audio="two.wav") == hash_of(root, audio=str(copy / "two.wav")) == base
    (root / "one.wav").write_bytes(AUDIO[:-1] + b"2")
    assert hash_of(root) != base


def test_an_alignment_counts_by_its_bytes_and_its_format(root: Path, tmp_path: Path) -> None:
    for name, content in (("a.wdseg", "SFrm"), ("b.wdseg", "SFrm"), ("c.wdseg", "EFrm"), ("d.TextGrid", "SFrm")):
        (tmp_path / name).write_text(content)
    first, same, corrected, other = (hash_of(root, path) for path in sorted(tmp_path.glob("?.*")))
    assert first == same
    assert len({hash_of(root), first, corrected, other, hash_of(root, tmp_path / "missing.wdseg")}) == 5


def test_audio_that_cannot_be_read_has_no_hash_and_is_unreachable(root: Path) -> None:
    (root / "pointer.wav").write_text("version https://git-lfs.github.com/spec/v1")
    utterances = [Utterance(name, f"{name}.wav", TEXT, "sad", "01") for name in ("one", "missing", "pointer")]
    sources = hash_sources(utterances, root, {})
    assert sources.keys() == {"one"}
    unreachable = {"missing": "missing.wav", "pointer": "pointer.wav"}
    assert find_unreachable(utterances, sources, [], root) == unreachable
    # A disk that goes away during a preparation shows in the rejections.
    (root / "one.wav").unlink()
    rejection = Rejection("one", "one.wav", "read", "missing", "one.wav does not exist")
    assert find_unreachable(utterances, sources, [rejection], root) == {"one": "one.wav", **unreachable}


def test_alignments_are_the_corpus_s_own_or_those_of_the_folder(tmp_path: Path) -> None:
    utterances = [
        Utterance("one", "one.wav", TEXT, "sad", "01", alignment="one.wdseg"),
        Utterance("two", "two.wav", TEXT, "sad", "01"),
    ]
    corpus = small_corpus.experiment(prepare={"alignment": {"method": "corpus"}})
    assert find_alignments(corpus, utterances, tmp_path) == {"one": tmp_path / "one.wdseg"}
    folder = tmp_path / "alignments"
    imported = small_corpus.experiment(prepare={"alignment": {"method": "imported", "folder": str(folder)}})
    with pytest.raises(UserError, match=r"no \.TextGrid or \.wdseg file in this folder"):
        find_alignments(imported, utterances, tmp_path)
    (folder / "session").mkdir(parents=True)
    (folder / "session" / "two.TextGrid").touch()
    assert find_alignments(imported, utterances, tmp_path) == {"two": folder / "session" / "two.TextGrid"}


def test_alignments_of_the_corpus_are_used_only_where_the_settings_ask_for_them() -> None:
    aligned = Utterance("one", "one.wav", TEXT, "sad", "01", alignment="one.wdseg")
    unaligned = Utterance("two", "two.wav", TEXT, "sad", "01")
    corpus = small_corpus.experiment(prepare={"alignment": {"method": "corpus"}})
    assert select_alignments(corpus, [aligned, unaligned]) == [aligned, unaligned]
    sphinx = small_corpus.experiment()
    assert select_alignments(sphinx, [aligned, unaligned]) == [replace(aligned, alignment=None), unaligned]
    with pytest.raises(UserError, match=r"this copy of demo has no alignments of its own; set .*method=sphinx"):
        select_alignments(corpus, [unaligned])
