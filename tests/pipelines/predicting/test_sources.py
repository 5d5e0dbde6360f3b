"""Which recordings are meant, and which text is taken to be said in them."""

from __future__ import annotations

from pathlib import Path

import pytest

from fgcme.alignment import AlignmentError
from fgcme.errors import UserError
from pipelines.predicting.sources import find_sources


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two recordings, one below another folder, with what else lies about."""
    (tmp_path / "in" / "sub").mkdir(parents=True)
    for name in ("b.wav", "sub/a.FLAC", "b.txt", "sub/notes.md", ".hidden.wav"):
        (tmp_path / "in" / name).write_text("said")
    return tmp_path / "in"


def test_a_folder_means_all_recordings_below_it_and_other_files_are_counted(folder: Path) -> None:
    sources = find_sources([folder])
    assert [(source.name, source.audio) for source in sources.found] == [
        ("b.wav", str(folder / "b.wav")),
        ("sub/a.FLAC", str(folder / "sub/a.FLAC")),
    ]
    # A text beside a recording is not passed over.
    assert dict(sources.passed_over) == {".md": 1}


def test_a_pattern_means_the_files_that_match_and_a_missing_file_itself(folder: Path) -> None:
    assert [source.name for source in find_sources([folder / "*.wav"]).found] == ["b.wav"]
    assert [source.name for source in find_sources([folder / "**" / "*.FLAC"]).found] == ["a.FLAC"]
    assert [source.name for source in find_sources([folder / "gone.wav"]).found] == ["gone.wav"]
    (folder / "take[1].wav").write_text("")
    assert [source.name for source in find_sources([folder / "take[1].wav"]).found] == ["take[1].wav"]


@pytest.mark.parametrize("suffix", [".csv", ".tsv"])
def test_a_manifest_names_files_beside_it_with_texts_and_segments_where_it_has_them(
    tmp_path: Path, suffix: str
) -> None:
    rows = ["audio,text,start,end", "a.wav,the door,,", "a.wav,,1.5,2", ",no file,,"]
    path = tmp_path / f"list{suffix}"
    path.write_text("\n".join(rows).replace(",", "\t" if suffix == ".tsv" else ","))
    (tmp_path / "a.txt").write_text("beside")
    sources = find_sources([path])
    first, second = (source.read_text() for source in sources.found)
    assert (first.audio, first.text, first.words_from) == (str(tmp_path / "a.wav"), "the door", f"given in {path.name}")
    # The text beside a file is that of all of it.
    assert (second.text, second.start, second.end) == (None, 1.5, 2.0)
    assert [rejection.message for rejection in sources.rejections] == [f"{path}: row 3: column audio is empty"]


@pytest.mark.parametrize(
    ("names", "text", "words_from"),
    [
        ([], None, "given"),
        (["a.lab"], "a.lab says", "given in a.lab"),
        (["a.lab", "a.txt"], "a.txt says", "given in a.txt"),
    ],
)
def test_a_file_beside_a_recording_says_what_is_said(
    tmp_path: Path, names: list[str], text: str | None, words_from: str
) -> None:
    for name in names:
        (tmp_path / name).write_text(f"{name} says\n", encoding="utf-8-sig")
    (source,) = find_sources([tmp_path / "a.wav"]).found
    read = source.read_text()
    assert (source.has_text, read.text, read.words_from) == (text is not None, text, words_from)
    (given,) = find_sources([tmp_path / "a.wav"], ["the door"]).found
    assert (given.read_text().text, given.read_text().words_from) == ("the door", "given")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\xff\xfe\x00", "cannot be read as text in UTF-8"),
        (b"0 120000 sil\n120000 300000 d\n", "labels with times"),
    ],
)
def test_a_file_beside_a_recording_that_is_no_transcript_is_refused(
    tmp_path: Path, content: bytes, message: str
) -> None:
    (tmp_path / "a.lab").write_bytes(content)
    (source,) = find_sources([tmp_path / "a.wav"]).found
    with pytest.raises(AlignmentError, match=message):
        source.read_text()


def test_a_recording_is_another_once_its_file_its_text_or_what_lies_beside_it_changes(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    path.write_text("1")

    def key(*texts: str) -> str:
        return find_sources([path], texts).found[0].key

    keys = [key(), key(), key("the door")]
    path.write_text("12")
    keys.append(key())
    (tmp_path / "a.txt").write_text("the door")
    keys.append(key())
    assert keys[0] == keys[1] and len(set(keys)) == 4


def test_nothing_to_answer_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="empty: holds no recording"):
        find_sources([tmp_path / "empty"])
    with pytest.raises(UserError, match=r"\*\.mp3: no file matches"):
        find_sources([tmp_path / "*.mp3"])
    (tmp_path / "a.csv").write_text("text\nhello\n")
    with pytest.raises(UserError, match=r"a\.csv: column audio is missing"):
        find_sources([tmp_path / "a.csv"])
