"""Checking a prepared corpus against its protocol: counts, folds, overlaps, mismatches."""

import re
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fgcme import prepared
from fgcme.corpora.contract import Rejection
from fgcme.experiment import Experiment
from pipelines import check
from pipelines.runs.corpus import feature_settings
from tests import small_corpus


@pytest.fixture(autouse=True)
def wide(monkeypatch: pytest.MonkeyPatch) -> None:
    """A terminal wide enough for every table."""
    monkeypatch.setenv("COLUMNS", "200")


def printed(experiment: Experiment, capsys: pytest.CaptureFixture[str], status: int = 0) -> str:
    """What a check prints."""
    assert check.run(experiment) == status
    return capsys.readouterr().out


def cells(text: str, *first: str) -> list[str]:
    """The cells of the one row of a table that begins with some."""
    rows = [re.split(r"\s{2,}", line.strip()) for line in text.splitlines()]
    (row,) = [row for row in rows if row[: len(first)] == [*first]]
    return row


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return small_corpus.write(tmp_path / "corpus")


def test_a_corpus_that_fits_its_protocol_passes_and_shows_its_folds(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = printed(small_corpus.experiment(prepare={"folder": str(folder)}), capsys)
    assert "demo/4class" in text
    assert "alignment: 64 imported (100.0 %)\n  imported: score 0, lowest " in text
    assert cells(text, "happy") == ["happy", "16"]
    assert text.splitlines()[-1] == "demo/4class: the corpus fits; the protocol expects no counts"
    assert "mismatch" not in text
    assert "left out" not in text


def test_a_corpus_without_a_class_fails_and_names_it(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    protocol = {"name": "mine", "labels": {"happy": "happy", "sad": "sad", "bored": "bored"}, "folds": 4}
    text = printed(small_corpus.experiment(prepare={"folder": str(folder)}, protocol=protocol), capsys, status=1)
    assert "mismatch: no utterance of class bored" in text
    assert "left out: 16 x label neutral" in text
    assert text.splitlines()[-1] == "mine: mismatches: 1; complete the corpus, or set protocol.allow_missing=true"
    assert "alignment: 32 imported" in text


def test_allowed_mismatches_are_still_printed(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    protocol = {"name": "mine", "labels": {"happy": "happy", "bored": "bored"}, "folds": 4, "allow_missing": True}
    text = printed(small_corpus.experiment(prepare={"folder": str(folder)}, protocol=protocol), capsys)
    assert "mismatch: no utterance of class bored" in text


def test_rejections_are_counted_by_reason(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rejections = [Rejection(name, f"{name}.wav", "read", "silent", "nobody speaks") for name in ("a", "b")]
    prepared.write_part(folder, "rejected", "part", prepared.rejected_table(rejections))
    assert "not prepared: 2 x silent, such as a: nobody speaks" in printed(
        small_corpus.experiment(prepare={"folder": str(folder)}), capsys
    )


def rewritten(folder: Path, **columns: list[str]) -> None:
    """Replace columns of the prepared corpus, values in the order of the ids."""
    table = pa.concat_tables([pq.ParquetFile(path).read() for path in (folder / "utterances").glob("*.parquet")])
    table = table.sort_by("id")
    for name, values in columns.items():
        table = table.set_column(table.schema.get_field_index(name), name, pa.array(values, pa.string()))
    for path in (folder / "utterances").glob("*.parquet"):
        path.unlink()
    prepared.write_part(folder, "utterances", "all", table)


def test_texts_are_compared_between_all_parts_whatever_their_case_and_punctuation(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # Of the two speakers of a fold, one says the same text as in all folds, the other a text of no other fold.
    speakers = [f"s{number // 8}" for number in range(64)]
    texts = [
        ["Good morning.", "good  MORNING!"][number % 2] if number // 8 < 4 else f"{speakers[number]} says {number}"
        for number in range(64)
    ]
    rewritten(folder, text=texts)
    protocol = {
        "name": "mine",
        "labels": {name: name for name in small_corpus.EMOTIONS},
        "folds": [["s0", "s4"], ["s1", "s5"], ["s2", "s6"], ["s3", "s7"]],
    }
    text = printed(small_corpus.experiment(prepare={"folder": str(folder)}, protocol=protocol), capsys)
    assert cells(text, "1") == ["1", "32", "16", "16", "0", "50.0 %", "50.0 %", "50.0 %", "s1 s5"]


def test_a_selection_on_the_test_part_is_called_optimistic_and_dev_is_that_part(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    protocol = {"selection": "test"}
    text = printed(small_corpus.experiment(prepare={"folder": str(folder)}, protocol=protocol), capsys)
    assert "selection test (optimistic)" in text
    row = cells(text, "0")
    assert (row[1:4], row[4], row[7]) == (["48", "16", "16"], "0", "100.0 %")


def test_counts_of_groups_are_shown_beside_the_protocol_s(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    # As IEMOCAP labels and numbers its turns, through a manifest.
    rewritten(
        folder,
        raw_label=["ang", "hap", "exc", "neu", "sad", "fru", "xxx", "ang"] * 8,
        session=[f"Session{min(number // 8 + 1, 5)}" for number in range(64)],
    )
    experiment = small_corpus.experiment(
        prepare={"folder": str(folder)},
        corpus={"kind": "manifest"},
        protocol={"name": "iemocap/4class-session", "allow_missing": True},
    )
    replace(prepared.read_description(folder), settings=feature_settings(experiment)).write(folder)
    text = printed(experiment, capsys)
    assert cells(text, "happy") == ["happy", "16", "1636"]
    assert cells(text, "Session1") == ["Session1", "6", "1085"]
    assert cells(text, "Session5") == ["Session5", "24", "1241"]
    assert "mismatch: 16 utterances of angry where the protocol has 1103" in text
    assert "mismatch: 24 utterances of session Session5 where the protocol has 1241" in text


def test_copies_are_named_and_counted_nowhere(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    texts = []
    for copies in ([], [0.9, 1.1]):
        folder = small_corpus.write(tmp_path / f"corpus-{len(copies)}", copies=copies)
        settings = {"folder": str(folder), "copies": {"speed": copies}}
        texts.append(printed(small_corpus.experiment(prepare=settings), capsys))
    line = "copies: each utterance also at speed 0.9 and 1.1, counted nowhere\n"
    assert line in texts[1] and texts[1].replace(line, "") == texts[0]
