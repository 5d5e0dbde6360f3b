"""Databases that audformat itself has written, listed as a corpus."""

import pickle
from pathlib import Path
from typing import Any

import pytest

from fgcme.corpora import Utterance, WordTime
from fgcme.corpora.audformat import COLUMNS, find, read_database
from fgcme.corpora.catalogue import find_corpus
from fgcme.errors import UserError
from fgcme.experiment import CorpusSettings

audformat = pytest.importorskip("audformat")

FILES = ["audio/one.wav", "audio/two.wav"]


def add(database: Any, name: str, index: Any, **columns: list[Any]) -> None:
    database[name] = audformat.Table(index)
    for column, values in columns.items():
        scheme = column if column in database.schemes else None
        database[name][column] = audformat.Column(scheme_id=scheme)
        database[name][column].set(values)


def database_of(speakers: list[str | None] | None = None) -> Any:
    """As databases of the format's makers are: labels in one table, speakers and sentences by code in another."""
    database = audformat.Database("some", usage="research", languages=["de"])
    database.schemes["emotion"] = audformat.Scheme(labels=["anger", "joy"])
    database.schemes["speaker"] = audformat.Scheme(labels={"s1": {"gender": "female"}, "s2": {"gender": "male"}})
    database.schemes["transcription"] = audformat.Scheme(labels={"a01": "Der Lappen liegt.", "a02": "Das will sie."})
    add(database, "emotion", audformat.filewise_index(FILES), emotion=["anger", "joy"])
    about = {"speaker": speakers or ["s1", "s2"], "transcription": ["a01", "a02"]}
    add(database, "files", audformat.filewise_index(FILES), **about)
    return database


def saved(database: Any, folder: Path, storage_format: str = "csv") -> Path:
    database.save(str(folder), storage_format=storage_format)
    return folder


@pytest.mark.parametrize("storage_format", ["csv", "parquet"])
def test_files_have_what_all_tables_say_of_them(tmp_path: Path, storage_format: str) -> None:
    listing = find(saved(database_of(), tmp_path, storage_format))
    assert listing.utterances == [
        Utterance("audio/one", "audio/one.wav", "Der Lappen liegt.", "anger", "s1"),
        Utterance("audio/two", "audio/two.wav", "Das will sie.", "joy", "s2"),
    ]
    assert listing.rejections == []


def test_parts_of_a_file_have_what_is_said_of_them_and_else_of_the_file(tmp_path: Path) -> None:
    database = database_of()
    index = audformat.segmented_index(["audio/two.wav"] * 2, ["0s", "1.5s"], ["1.5s", "2.25s"])
    add(database, "parts", index, emotion=["joy", "anger"], session=["1", "2"])
    found = read_database(saved(database, tmp_path), {}, ["parts", "files"]).utterances
    assert [(each.id, each.start, each.end, each.session, each.speaker) for each in found] == [
        ("audio/two@0", 0.0, 1.5, "1", "s2"),
        ("audio/two@1.5", 1.5, 2.25, "2", "s2"),
    ]


def test_a_table_of_words_has_their_times(tmp_path: Path) -> None:
    database = database_of()
    index = audformat.segmented_index(["audio/one.wav"] * 2, ["0.5s", "0.1s"], ["0.9s", "0.4s"])
    add(database, "words", index, word=["lappen", "der"])
    one, two = find(saved(database, tmp_path)).utterances
    assert one.word_times == (WordTime("der", 0.1, 0.4), WordTime("lappen", 0.5, 0.9))
    assert two.word_times is None


def test_words_belong_to_the_part_that_holds_their_middle_unless_they_name_their_utterance(tmp_path: Path) -> None:
    database = database_of()
    file = "audio/one.wav"
    add(database, "parts", audformat.segmented_index([file] * 2, ["1s", "2s"], ["2s", "3s"]), emotion=["joy", "joy"])
    index = audformat.segmented_index([file] * 3, ["1.1s", "1.9s", "2.5s"], ["1.5s", "2.3s", "2.9s"])
    add(database, "words", index, word=["a", "b", "c"])
    tables = ["parts", "files", "words"]
    first, second = read_database(saved(database, tmp_path / "plain"), {}, tables).utterances
    assert first.word_times == (WordTime("a", 0.1, 0.5),)
    assert second.word_times == (WordTime("b", -0.1, 0.3), WordTime("c", 0.5, 0.9))
    add(database, "words", index, word=["a", "b", "c"], utterance=["audio/one@1", "audio/one@1", "audio/one@2"])
    first, second = read_database(saved(database, tmp_path / "named"), {}, tables).utterances
    assert [word.word for word in first.word_times or ()] == ["a", "b"]


def test_other_columns_are_named_in_the_settings(tmp_path: Path) -> None:
    database = database_of()
    add(database, "rater", audformat.filewise_index(FILES), category=["sad", "glad"], who=["x", "y"])
    columns = {"label": "category", "speaker": "rater.who"}
    root = saved(database, tmp_path / "db")
    settings = CorpusSettings.model_validate({"kind": "audformat", "root": str(root), "columns": columns})
    found, listing = find_corpus(settings, tmp_path)
    assert found == root
    assert [(each.raw_label, each.speaker) for each in listing.utterances] == [("sad", "x"), ("glad", "y")]
    with pytest.raises(UserError, match=r"no column mood with the label .*corpus\.columns\.label=C.* are emotion\.emo"):
        read_database(root, {"label": "mood"}, ())
    with pytest.raises(UserError, match=r"corpus\.tables: no table none; there are emotion, files, rater"):
        read_database(root, {}, ["none"])


def test_a_row_that_lacks_something_costs_itself_alone(tmp_path: Path) -> None:
    (rejected,) = (listing := find(saved(database_of(["s1", None]), tmp_path))).rejections
    assert [each.id for each in listing.utterances] == ["audio/one"]
    assert (rejected.id, rejected.reason) == ("audio/two", "missing_value")
    assert rejected.message == f"{tmp_path}: audio/two: it has no speaker"


def test_tables_that_contradict_each_other_cost_the_row_and_can_be_chosen(tmp_path: Path) -> None:
    database = database_of()
    add(database, "other", audformat.filewise_index(FILES), emotion=["joy", "joy"])
    root = saved(database, tmp_path)
    (rejected,) = (listing := find(root)).rejections
    assert [each.id for each in listing.utterances] == ["audio/two"]
    assert "its label is 'anger' in emotion and 'joy' in other: choose with corpus.tables" in rejected.message
    assert len(read_database(root, {}, ["other", "files"]).utterances) == 2


def test_a_part_that_ends_before_it_begins_costs_itself_alone(tmp_path: Path) -> None:
    database = database_of()
    add(database, "parts", audformat.segmented_index(["audio/one.wav"], ["2s"], ["1s"]), emotion=["joy"])
    listing = find(saved(database, tmp_path))
    assert [each.reason for each in listing.rejections] == ["bad_time"] and len(listing.utterances) == 2


def test_pickled_tables_are_not_loaded(tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> Any:
            return Path.touch, (tmp_path / "exploded",)

    root = saved(database_of(), tmp_path / "db")
    (root / "db.emotion.pkl").write_bytes(pickle.dumps(Bomb()))
    assert len(find(root).utterances) == 2
    (root / "db.emotion.csv").unlink()
    with pytest.raises(UserError, match="with its tables as CSV or Parquet"):
        find(root)
    assert not (tmp_path / "exploded").exists()


HEADER = "name: x\nusage: other\nsource: s\n"
BAD = ["", "name: [", "[]", "name: x", "name: x\nusage: y", "tables: {a: {}}", "\x00", f"{HEADER}languages: 3"]


@pytest.mark.parametrize("content", BAD)
def test_a_damaged_header_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "db.yaml").write_text(content)
    with pytest.raises(UserError, match=str(tmp_path)):
        find(tmp_path)


def test_a_damaged_table_is_named(tmp_path: Path) -> None:
    root = saved(database_of(), tmp_path, "parquet")
    (root / "db.files.parquet").write_bytes(b"PAR1")
    with pytest.raises(UserError, match=f"{root}: cannot be read as an audformat database"):
        find(root)


def test_a_folder_without_a_database_is_refused_with_the_way_out(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"holds no db\.yaml; name the folder .* with corpus\.root=DIR"):
        find(tmp_path)
    with pytest.raises(UserError, match=r"corpus\.root is not set: .*pip install 'fgcme\[audformat\]'"):
        find_corpus(CorpusSettings(kind="audformat"), tmp_path)


def test_the_settings_name_only_what_an_utterance_has() -> None:
    assert {"label", "text", "speaker", "words"} <= {*COLUMNS}
    with pytest.raises(ValueError, match="mood"):
        CorpusSettings.model_validate({"kind": "audformat", "columns": {"mood": "emotion"}})
    with pytest.raises(UserError, match=r"corpus\.columns: audio is no column here"):
        read_database(Path(), {"audio": "file"}, ())


@pytest.mark.parametrize("value", ["inf", "much", "1e999"])
def test_a_rating_is_a_finite_number_or_costs_its_row(tmp_path: Path, value: str) -> None:
    database = database_of()
    add(database, "ratings", audformat.filewise_index(FILES), valence=[value, "2,5"])
    listing = find(saved(database, tmp_path))
    assert [(each.id, each.valence) for each in listing.utterances] == [("audio/two", 2.5)]
    (rejection,) = listing.rejections
    assert (rejection.id, rejection.reason) == ("audio/one", "bad_value")
    assert f"its valence '{value}' is not a number" in rejection.message
