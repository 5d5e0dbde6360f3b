"""A manifest lists any corpus; errors in it are reported with file, row and column."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fgcme.corpora.catalogue import find_corpus
from fgcme.corpora.contract import Rejection, Utterance, WordTime
from fgcme.corpora.manifest import find, read_manifest, read_recordings
from fgcme.errors import UserError
from fgcme.experiment import CorpusSettings

ROW = {"audio": "wav/one.wav", "text": "hello there", "label": "1", "speaker": "01"}


def write(path: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    if path.suffix in (".csv", ".tsv"):
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]), delimiter="," if path.suffix == ".csv" else "\t")
            writer.writeheader()
            writer.writerows(rows)
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    else:
        pq.write_table(pa.Table.from_pylist([dict(row) for row in rows]), path)
    return path


@pytest.fixture(params=["csv", "tsv", "jsonl", "parquet"])
def manifest(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return tmp_path / f"corpus.{request.param}"


def test_every_format_gives_the_same_utterances_and_values_stay_text(manifest: Path) -> None:
    (utterance,) = read_manifest(write(manifest, [ROW])).utterances
    assert (utterance.id, utterance.audio, utterance.text) == ("wav/one", "wav/one.wav", "hello there")
    assert (utterance.raw_label, utterance.speaker) == ("1", "01")
    assert (utterance.session, utterance.start, utterance.end) == (None, None, None)


def test_segments_of_one_file_get_ids_with_their_start(manifest: Path) -> None:
    rows = [{**ROW, "start": 0.5, "end": 2.25}, {**ROW, "start": 2.25, "end": 4.0}]
    first, second = read_manifest(write(manifest, rows)).utterances
    assert (first.id, first.start, first.end) == ("wav/one@0.5", 0.5, 2.25)
    assert second.id == "wav/one@2.25"


def test_id_session_dialog_and_act_are_read_where_given(manifest: Path) -> None:
    (utterance,) = read_manifest(
        write(manifest, [{**ROW, "id": "007", "session": "02", "dialog": "05", "act": "read"}])
    ).utterances
    assert (utterance.id, utterance.session, utterance.dialog, utterance.act) == ("007", "02", "05", "read")


@pytest.mark.parametrize("column", ["audio", "text", "label", "speaker"])
def test_a_missing_column_is_refused_by_name(manifest: Path, column: str) -> None:
    write(manifest, [{key: value for key, value in ROW.items() if key != column}])
    with pytest.raises(UserError, match=rf"{manifest.name}: column {column} is missing"):
        read_manifest(manifest)


@pytest.mark.parametrize("column", ["audio", "text", "label", "speaker"])
@pytest.mark.parametrize("empty", ["", "   ", None])
def test_a_row_without_a_value_is_rejected_with_file_row_and_column(
    manifest: Path, column: str, empty: str | None
) -> None:
    listing = read_manifest(write(manifest, [ROW, {**ROW, "audio": "two.wav", column: empty}]))
    assert [utterance.id for utterance in listing.utterances] == ["wav/one"]
    (rejection,) = listing.rejections
    assert (rejection.stage, rejection.reason) == ("list", "missing_value")
    assert f"{manifest.name}: row 2: column {column}" in rejection.message


@pytest.mark.parametrize(("start", "end"), [("soon", "2"), ("-1", "2"), ("2", "2"), ("3", "1"), ("0", "inf")])
def test_an_impossible_time_is_rejected(tmp_path: Path, start: str, end: str) -> None:
    listing = read_manifest(
        write(tmp_path / "corpus.csv", [{**ROW, "start": start, "end": end}, ROW | {"start": "", "end": ""}])
    )
    assert len(listing.utterances) == 1
    assert [rejection.reason for rejection in listing.rejections] == ["bad_time"]


def test_two_rows_with_one_id_are_refused_with_both_rows(manifest: Path) -> None:
    write(manifest, [{**ROW, "id": "a"}, {**ROW, "id": "b"}, {**ROW, "id": "a"}])
    with pytest.raises(UserError, match=r"rows 1 and 3 have the same id 'a'"):
        read_manifest(manifest)


def test_two_rows_of_one_file_without_times_are_refused(manifest: Path) -> None:
    write(manifest, [ROW, {**ROW, "label": "2"}])
    with pytest.raises(UserError, match=r"rows 1 and 2 have the same id 'wav/one'"):
        read_manifest(manifest)


def test_utterances_can_be_gone_through_again_and_again_and_none_is_kept(manifest: Path) -> None:
    write(manifest, [{**ROW, "id": f"{number}", "label": "" if number == 1 else "1"} for number in range(3)])
    utterances = read_manifest(manifest).utterances
    assert len(utterances) == 2
    assert [utterance.id for utterance in utterances] == [utterance.id for utterance in utterances] == ["0", "2"]
    assert next(iter(utterances)) is not next(iter(utterances))
    assert next(iter(utterances)) in utterances


def test_a_manifest_that_changes_while_it_is_used_is_refused(manifest: Path) -> None:
    utterances = read_manifest(write(manifest, [ROW])).utterances
    write(manifest, [ROW, {**ROW, "audio": "two.wav"}])
    with pytest.raises(UserError, match=f"{manifest.name}: has changed while this ran"):
        list(utterances)


def test_a_byte_order_mark_is_not_part_of_a_column_s_name(tmp_path: Path) -> None:
    path = tmp_path / "corpus.csv"
    path.write_text("audio,text,label,speaker\na.wav,héllo,1,01\n", encoding="utf-8-sig")
    assert next(iter(read_manifest(path).utterances)).text == "héllo"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("corpus.csv", b"audio,text,label,text,speaker\na,b,c,d,e\n", "column text is there twice"),
        ("corpus.csv", b"", "column audio, text, label, speaker is missing"),
        ("corpus.csv", b"audio,text,label,speaker\n", "has no rows"),
        ("corpus.jsonl", b'{"audio": 1}\n{oops\n', r"line 2 is not JSON \(Expecting property name"),
        ("corpus.jsonl", b"[1]\n", "line 1 is not an object"),
        ("corpus.parquet", b"not parquet", "cannot be read as parquet"),
        ("corpus.xlsx", b"", "its name must end in"),
    ],
)
def test_an_unreadable_manifest_is_refused_in_one_line(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(UserError, match=message) as caught:
        read_manifest(path)
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_column_is_reported_with_the_columns_found(tmp_path: Path) -> None:
    path = tmp_path / "corpus.csv"
    path.write_text("path,transcript,label,speaker\na.wav,hello,1,01\n")
    with pytest.raises(
        UserError, match=r"audio, text is missing \(found: label, path, speaker, transcript\); a manifest"
    ):
        read_manifest(path)


def test_a_missing_manifest_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such manifest"):
        read_manifest(tmp_path / "corpus.csv")


def test_a_folder_is_listed_by_the_manifest_in_it(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"corpus\.manifest"):
        find(tmp_path)
    write(tmp_path / "manifest.jsonl", [ROW])
    assert len(find(tmp_path).utterances) == 1


GOOD = {"audio": "good.wav", "text": "hello", "label": "1", "speaker": "s"}


@pytest.mark.parametrize(
    "bad, reason",
    [
        ({"audio": "."}, "bad_value"),
        ({"audio": "/"}, "bad_value"),
        ({"audio": "wav/.."}, "bad_value"),
        ({"audio": "a\0b.wav"}, "bad_value"),
        ({"label": "NaN"}, "missing_value"),
        ({"start": "9" * 5_000}, "bad_time"),
    ],
)
def test_one_bad_cell_costs_its_row_and_no_other(manifest: Path, bad: dict[str, str], reason: str) -> None:
    listing = read_manifest(write(manifest, [{"start": "0", **GOOD, "audio": "wav/one.wav", **bad}, GOOD]))
    assert [utterance.id for utterance in listing.utterances] == ["good"]
    assert [rejection.reason for rejection in listing.rejections] == [reason]
    assert "row 1: column" in listing.rejections[0].message


@pytest.mark.parametrize("value", [["happy"], {"name": "happy"}, True, float("nan")])
@pytest.mark.parametrize("column", ["label", "text"])
@pytest.mark.parametrize("suffix", ["jsonl", "parquet"])
def test_what_is_no_text_is_not_taken_as_it_is_printed(tmp_path: Path, suffix: str, column: str, value: object) -> None:
    (rejection,) = read_manifest(write(tmp_path / f"a.{suffix}", [{**GOOD, column: value}])).rejections
    assert rejection.reason == ("missing_value" if isinstance(value, float) else "bad_value")
    assert f"column {column}" in rejection.message


@pytest.mark.parametrize("form", ["1.5", "1,5", "0 days 00:00:01.500000", "00:00:01.5", "1500 ms"])
def test_times_are_read_in_the_forms_of_other_tools(tmp_path: Path, form: str) -> None:
    rows = [{**GOOD, "start": "0 days" if "days" in form else "0", "end": form}]
    (utterance,) = read_manifest(write(tmp_path / "a.csv", rows)).utterances
    assert (utterance.start, utterance.end) == (0, 1.5)


def test_durations_are_read_and_those_that_are_not_a_time_are_nothing(tmp_path: Path) -> None:
    rows = [{**GOOD, "start": timedelta(0), "end": timedelta(seconds=1.5)}, {**GOOD, "id": "b", "end": None}]
    first, second = read_manifest(write(tmp_path / "a.parquet", rows)).utterances
    assert (first.start, first.end, second.start, second.end) == (0, 1.5, None, None)


def test_recordings_that_are_only_to_be_answered_need_no_more_than_their_audio(manifest: Path) -> None:
    write(manifest, [{"audio": "a.wav", "start": "0.5"}, {"audio": "", "start": "1"}])
    first, second = read_recordings(manifest)
    assert isinstance(first, Utterance) and (first.audio, first.text, first.start) == ("a.wav", "", 0.5)
    assert isinstance(second, Rejection) and second.reason == "missing_value"
    write(manifest, [{"text": "hello"}])
    with pytest.raises(UserError, match="column audio is missing"):
        list(read_recordings(manifest))


TIMES = '[{"word": "kids", "start": 0.1, "end": 0.42}]'


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_the_times_of_words_may_stand_in_the_manifest(tmp_path: Path, suffix: str) -> None:
    row = {"audio": "a.wav", "text": "kids", "label": "sad", "speaker": "1"}
    path = tmp_path / f"manifest{suffix}"
    if suffix == ".csv":
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, [*row, "word_times"])
            writer.writeheader()
            writer.writerows([row | {"word_times": TIMES}, row | {"audio": "b.wav"}])
    else:
        rows = [row | {"word_times": json.loads(TIMES)}, row | {"audio": "b.wav", "word_times": None}]
        if suffix == ".jsonl":
            path.write_text("".join(json.dumps(each) + "\n" for each in rows))
        else:
            pq.write_table(pa.Table.from_pylist(rows), path)
    one, two = read_manifest(path).utterances
    assert (one.word_times, two.word_times) == ((WordTime("kids", 0.1, 0.42),), None)


BAD_TIMES = ["soon", "3", '["kids"]', '[{"word": "a", "start": 0}]', '[{"word": 1, "start": 0, "end": 1}]']


@pytest.mark.parametrize("value", BAD_TIMES)
def test_what_are_no_times_of_words_costs_its_row_alone(tmp_path: Path, value: str) -> None:
    row = {"audio": "a.wav", "text": "kids", "label": "sad", "speaker": "1"}
    rows = [row | {"word_times": value}, row | {"audio": "b.wav"}]
    (tmp_path / "m.jsonl").write_text("".join(json.dumps(each) + "\n" for each in rows))
    listing = read_manifest(tmp_path / "m.jsonl")
    assert [each.id for each in listing.utterances] == ["b"]
    (rejected,) = listing.rejections
    assert rejected.reason == "bad_time" and 'row 1: column word_times: write [{"word": "door"' in rejected.message


def test_columns_may_be_called_otherwise_and_an_audio_folder_s_are_known(tmp_path: Path) -> None:
    (tmp_path / "metadata.csv").write_text("file_name,transcription,emotion,speaker_id\na.wav,hello,sad,7\n")
    columns = {"text": "transcription", "label": "emotion", "speaker": "speaker_id"}
    settings = {"kind": "manifest", "root": str(tmp_path), "columns": columns}
    root, listing = find_corpus(CorpusSettings.model_validate(settings), tmp_path)
    assert root == tmp_path
    assert [*listing.utterances] == [Utterance("a", "a.wav", "hello", "sad", "7")]
    with pytest.raises(
        UserError, match=r"column text, label, speaker is missing .* corpus\.columns\.text=transcription"
    ):
        read_manifest(tmp_path / "metadata.csv")
    with pytest.raises(UserError, match=r"column mood is missing \(found: emotion, file_name"):
        read_manifest(tmp_path / "metadata.csv", columns | {"label": "mood"})
    with pytest.raises(UserError, match=r"corpus\.columns: mood is no column of a manifest"):
        read_manifest(tmp_path / "metadata.csv", {"mood": "v"})
