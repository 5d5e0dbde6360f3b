"""What an utterance is prepared from, and when that counts as changed."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fgcme.corpora.contract import Utterance, WordTime
from fgcme.errors import UserError
from pipelines.preparing import FileHashes, alignment_finder, hash_sources
from tests import small_corpus

TEXT = "kids are talking by the door"


AUDIO = b"RIFF of one"


def hashes_of(
    utterances: list[Utterance], root: Path, alignments: dict[str, Path] | None = None
) -> list[tuple[str, str | None]]:
    """Id and source hash of each utterance, with these alignments."""
    with FileHashes(root.parent / "hashes.npy") as files:
        found = hash_sources(utterances, root, lambda utterance: (alignments or {}).get(utterance.id), files)
        return [each for some in found for each in some]


def hash_of(root: Path, alignment: Path | None = None, **changes: Any) -> str | None:
    """The source hash of an utterance whose audio is one.wav, unless changed."""
    utterance = replace(Utterance("one", "one.wav", TEXT, "sad", "01", start=0.0, end=1.0), **changes)
    ((_, source),) = hashes_of([utterance], root, {"one": alignment} if alignment else {})
    return source


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


def test_the_same_bytes_as_the_recording_s_alignment_are_another_source_than_as_its_own(root: Path) -> None:
    folder = root.parent / "alignments"
    folder.mkdir()
    (folder / "one.TextGrid").write_text("SFrm")
    imported = small_corpus.experiment(prepare={"alignment": {"method": "imported", "folder": str(folder)}})
    utterance = Utterance("part", "one.wav", TEXT, "sad", "01", start=0.0, end=1.0)

    def source() -> str | None:
        with FileHashes(root.parent / "hashes.npy") as files:
            ((listed,),) = hash_sources([utterance], root, alignment_finder(imported, [utterance], root), files)
        return listed[1]

    of_recording = source()
    (folder / "part.TextGrid").write_text("SFrm")
    assert None not in (of_recording, source()) and source() != of_recording


def test_times_of_words_in_the_list_count_where_they_are_used(root: Path) -> None:
    times = (WordTime("kids", 0.1, 0.5),)
    listed = Utterance("one", "one.wav", TEXT, "sad", "01", start=0.0, end=1.0, word_times=times)
    corpus = small_corpus.experiment(prepare={"alignment": {"method": "corpus"}})
    find = alignment_finder(corpus, [listed], root)
    assert find(listed) == times
    assert alignment_finder(small_corpus.experiment(), [listed], root)(listed) is None
    moved = replace(listed, word_times=(WordTime("kids", 0.1, 0.6),))
    with FileHashes(root.parent / "hashes.npy") as files:
        (used,) = hash_sources([listed, moved, replace(listed, word_times=None)], root, find, files)
    assert len({source for _, source in used}) == 3
    # Whoever aligns anew has the rows that were made before lists had times.
    assert hash_of(root, word_times=times) == hash_of(root)


def test_audio_that_cannot_be_read_has_no_hash(root: Path) -> None:
    (root / "pointer.wav").write_text("version https://git-lfs.github.com/spec/v1")
    (root / "empty.wav").touch()
    names = ("one", "missing", "pointer", "empty")
    listed = hashes_of([Utterance(name, f"{name}.wav", TEXT, "sad", "01") for name in names], root)
    assert [name for name, _ in listed] == [*names]
    assert [source is None for _, source in listed] == [False, True, True, True]


def test_a_corpus_of_any_size_is_hashed_in_the_order_of_its_list(root: Path) -> None:
    utterances = [Utterance(str(number), "one.wav", TEXT, "sad", "01") for number in range(5000)]
    listed = hashes_of(utterances, root)
    assert [name for name, _ in listed] == [utterance.id for utterance in utterances]
    assert len({source for _, source in listed}) == 5000


def test_an_utterance_without_its_imported_alignment_has_no_hash(root: Path) -> None:
    folder = root.parent / "alignments"
    utterances = [Utterance(name, "one.wav", TEXT, "sad", "01") for name in ("one", "two")]
    imported = small_corpus.experiment(prepare={"alignment": {"method": "imported", "folder": str(folder)}})
    with pytest.raises(UserError, match=r"no \.TextGrid, .* or \.json file in this folder"):
        alignment_finder(imported, utterances, root)
    (folder / "session").mkdir(parents=True)
    (folder / "session" / "two.TextGrid").touch()
    find = alignment_finder(imported, utterances, root)
    assert find(utterances[1]) == folder / "session" / "two.TextGrid"
    with FileHashes(root.parent / "hashes.npy") as files:
        (listed,) = hash_sources(utterances, root, find, files)
    assert [source is None for _, source in listed] == [True, False]


def test_alignments_of_the_corpus_are_used_only_where_the_settings_ask_for_them(tmp_path: Path) -> None:
    aligned = Utterance("one", "one.wav", TEXT, "sad", "01", alignment="one.wdseg")
    unaligned = Utterance("two", "two.wav", TEXT, "sad", "01")
    corpus = small_corpus.experiment(prepare={"alignment": {"method": "corpus"}})
    find = alignment_finder(corpus, [aligned, unaligned], tmp_path)
    assert (find(aligned), find(unaligned)) == (tmp_path / "one.wdseg", None)
    assert alignment_finder(small_corpus.experiment(), [aligned], tmp_path)(aligned) is None
    with pytest.raises(UserError, match=r"this copy of demo has no alignments of its own; set .*method=sphinx"):
        alignment_finder(corpus, [unaligned], tmp_path)
