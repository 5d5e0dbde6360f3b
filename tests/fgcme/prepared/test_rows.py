"""Stored rows: found by what they were made from, deleted when out of date, copied, and merged into large parts."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fgcme import prepared
from fgcme.prepared import rows
from tests.fgcme.prepared.test_corpus import row, write

NAMES = ("one", "two", "three", "four", "changed", "removed")


def sources(listed: Mapping[str, str | None]) -> prepared.Sources:
    return prepared.Sources([list(listed.items())])


def stored(folder: Path) -> dict[str, str]:
    """Source hash of each row, which is there once."""
    found = [each for _, table in prepared.read_parts(folder, ["id", "source_hash"]) for each in table.to_pylist()]
    assert len({each["id"] for each in found}) == len(found)
    return {each["id"]: each["source_hash"] for each in found}


def parts(folder: Path) -> dict[str, list[str]]:
    """The ids of each part."""
    return {path.stem: table["id"].to_pylist() for path, table in prepared.read_parts(folder, ["id"])}


def test_sources_know_the_place_of_each_id_and_whether_its_audio_can_be_reached() -> None:
    listed = prepared.Sources([[("one", "a"), ("two", None)], [("three", "b")]])
    assert len(listed) == 3
    assert listed.reachable.tolist() == [True, False, True]
    assert listed.find(["three", "other", "one", "two"]).tolist() == [2, -1, 0, 1]
    assert prepared.Sources([]).find(["one"]).tolist() == [-1]


def test_rows_are_compared_with_what_the_corpus_has_now(tmp_path: Path) -> None:
    write(tmp_path, "a", row("one"), row("two"), row("removed"))
    write(tmp_path, "b", row("three"))
    listed = sources({"new": "old", "three": None, "two": "later", "one": "old"})
    has_row, up_to_date = prepared.compare_rows(tmp_path, listed)
    assert has_row.tolist() == [False, True, True, True]
    assert up_to_date.tolist() == [False, False, False, True]
    assert [mask.tolist() for mask in prepared.compare_rows(tmp_path, sources({}))] == [[], []]


def test_unchanged_rows_stay_and_their_parts_are_not_touched(tmp_path: Path) -> None:
    path = write(tmp_path, "a", row("one"), row("two"))
    before = path.stat()
    assert prepared.prune(tmp_path, sources({"one": "old", "two": "old", "three": "new"})).tolist() == [
        True,
        True,
        False,
    ]
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_changed_removed_and_duplicate_rows_are_deleted(tmp_path: Path) -> None:
    # Of two rows, that in the larger file stays: merging was interrupted.
    untouched = write(tmp_path, "z", row("one"), row("four"), row("five"), row("six"), row("seven")).stat().st_ino
    write(tmp_path, "b", row("one"), row("changed"), row("two"), row("removed"))
    emptied = write(tmp_path, "c", row("removed"))
    listed = dict.fromkeys(("one", "two", "four", "five", "six", "seven"), "old")
    assert prepared.prune(tmp_path, sources({**listed, "changed": "new"})).tolist() == [True] * 6 + [False]
    assert stored(tmp_path) == listed
    assert (tmp_path / "utterances" / "z.parquet").stat().st_ino == untouched
    assert parts(tmp_path)["b"] == ["two"]
    assert not emptied.exists()


def test_a_row_without_a_replacement_is_kept_once_whatever_it_was_made_from(tmp_path: Path) -> None:
    write(tmp_path, "a", row("one"), row("two"))
    write(tmp_path, "b", row("two", "older"), row("removed"))
    listed = sources({"one": "new", "two": None})
    assert prepared.prune(tmp_path, listed, kept=np.array([True, True])).all()
    assert stored(tmp_path).keys() == {"one", "two"}


def test_a_corpus_that_lists_nothing_leaves_no_rows(tmp_path: Path) -> None:
    write(tmp_path, "a", row("one"))
    assert prepared.prune(tmp_path, sources({}), kept=np.zeros(0, np.bool_)).tolist() == []
    assert stored(tmp_path) == {}


def test_rows_made_from_the_same_sources_are_copied_once(tmp_path: Path) -> None:
    other, folder = tmp_path / "other", tmp_path / "mine"
    write(other, "a", row("one"), row("two"), row("three", "other"))
    write(other, "b", row("one"), row("four"))
    write(folder, "a", row("two"))
    listed = sources({"one": "old", "two": "old", "three": "new"})
    assert prepared.copy_rows(other, folder, listed) == 1
    assert stored(folder) == {"one": "old", "two": "old"}
    assert prepared.copy_rows(other, folder, listed) == 0
    assert len(parts(other)["a"]) == 3


def test_a_part_of_an_older_version_is_rewritten_whole(tmp_path: Path) -> None:
    folder = tmp_path / "kind=demo"
    path = write(folder, "a", row("one"), row("two"))
    pq.write_table(pq.ParquetFile(path).read().drop_columns(["valence", "content_hash"]), path)
    prepared.prune(folder, sources({"one": "old"}))
    assert pq.read_schema(path).equals(prepared.UTTERANCES)


@pytest.fixture
def small_limits(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> int:
    """Limits at which parts of about that many bytes are small; a full part has ten of them."""
    size = write(tmp_path / "measured", "a", row("one")).stat().st_size
    monkeypatch.setattr(rows, "_SMALL_PART", 4 * size)
    monkeypatch.setattr(rows, "_FULL_PART", 10 * size)
    monkeypatch.setattr(rows, "_ROW_GROUP", 1000)
    return size


def test_small_parts_become_large_ones_with_the_same_content_in_the_order_of_ids(
    tmp_path: Path, small_limits: int
) -> None:
    names = [f"u{number:02d}" for number in range(23)]
    for name in names:
        write(tmp_path, f"part-{hash(name)}", row(name))
    before = prepared.corpus_hash(tmp_path, "s")
    assert prepared.merge_parts(tmp_path) == 23
    # The last three are too few for a part of their own.
    assert sorted(parts(tmp_path).values()) == [names[:10], names[10:]]
    assert prepared.corpus_hash(tmp_path, "s") == before
    assert all(table.schema.equals(prepared.UTTERANCES) for _, table in prepared.read_parts(tmp_path))


def test_large_parts_are_never_merged_again(tmp_path: Path, small_limits: int) -> None:
    table = prepared.utterance_table([row(f"u{number:02d}") for number in range(4)])
    # As large as many rows: incompressible frames.
    frames = pa.array(list(np.random.default_rng(0).normal(size=(4, small_limits))), pa.list_(pa.float32()))
    table = table.set_column(table.column_names.index("frames"), "frames", frames)
    prepared.write_part(tmp_path, "utterances", "large", table)
    write(tmp_path, "a", row("one"))
    untouched = {path: path.stat().st_ino for path in (tmp_path / "utterances").iterdir()}
    assert prepared.merge_parts(tmp_path) == 0
    assert {path: path.stat().st_ino for path in (tmp_path / "utterances").iterdir()} == untouched
    write(tmp_path, "b", row("two"))
    assert prepared.merge_parts(tmp_path) == 2
    assert sorted(map(len, parts(tmp_path).values())) == [2, 4]
    assert (tmp_path / "utterances" / "large.parquet").stat().st_ino in untouched.values()


def test_a_merged_part_that_has_the_name_of_one_of_its_parts_stays(tmp_path: Path) -> None:
    write(tmp_path, "a", row("one"))
    write(tmp_path, "b", row("two"))
    prepared.merge_parts(tmp_path)
    ((merged, _),) = parts(tmp_path).items()
    prepared.prune(tmp_path, sources({"one": "old"}))
    write(tmp_path, "later", row("two"))
    prepared.merge_parts(tmp_path)
    assert parts(tmp_path) == {merged: ["one", "two"]}


def test_an_interrupted_merge_leaves_no_row_twice(tmp_path: Path) -> None:
    small = write(tmp_path, "a", row("one"))
    write(tmp_path, "b", row("two"))
    again = small.read_bytes()
    prepared.merge_parts(tmp_path)
    small.write_bytes(again)
    prepared.prune(tmp_path, sources({"one": "old", "two": "old"}))
    assert list(parts(tmp_path).values()) == [["one", "two"]]


def test_parts_in_half_precision_are_merged_as_they_are(tmp_path: Path) -> None:
    values = {name: np.arange(first, first + 6).astype(np.float16) / np.float16(8) for first, name in enumerate("ab")}
    for name, frames in values.items():
        write(tmp_path, name, {**row(name), "frames": frames, "frame_count": 3, "frame_size": 2, "clipped": 2})
    assert prepared.merge_parts(tmp_path) == 2
    ((_, merged),) = prepared.read_parts(tmp_path)
    assert merged["frames"].type.value_type == pa.float16()
    found = {each["id"]: each["frames"] for each in merged.to_pylist()}
    assert found == {name: each.tolist() for name, each in values.items()}
    assert prepared.add_up(tmp_path, "clipped") == 4


def test_rows_keep_their_copies_when_they_are_merged_copied_and_pruned(tmp_path: Path, small_limits: int) -> None:
    def with_copies(name: str) -> dict[str, object]:
        return row(name) | {"copy_frames": np.arange(20, dtype=np.float32), "copy_frame_counts": np.array([3, 2])}

    folder, other = tmp_path / "mine", tmp_path / "other"
    for name in ("one", "two", "three"):
        write(other, name, with_copies(name))
    before = prepared.corpus_hash(other, "s")
    listed = sources({"one": "old", "two": "old", "three": "old"})
    prepared.copy_rows(other, folder, listed)
    assert prepared.merge_parts(folder) > 1
    assert prepared.corpus_hash(folder, "s") == before
    prepared.prune(folder, sources({"two": "old"}))
    ((_, table),) = prepared.read_parts(folder)
    assert table["id"].to_pylist() == ["two"] and table["copy_frame_counts"].to_pylist() == [[3, 2]]


def test_rows_keep_what_a_text_encoder_says_when_they_are_merged_copied_and_pruned(
    tmp_path: Path, small_limits: int
) -> None:
    def encoded(name: str, cut: int = 0) -> dict[str, object]:
        values = np.arange(6, dtype=np.float16)
        return row(name) | {"word_features": values, "word_feature_size": 3, "empty_words": 0, "cut_words": cut}

    folder, other = tmp_path / "mine", tmp_path / "other"
    for number, name in enumerate(("one", "two", "three")):
        write(other, name, encoded(name, number))
    before = prepared.corpus_hash(other, "s")
    listed = sources({"one": "old", "two": "old", "three": "old"})
    prepared.copy_rows(other, folder, listed)
    assert prepared.merge_parts(folder) > 1
    assert prepared.corpus_hash(folder, "s") == before
    assert prepared.add_up(folder, "cut_words") == 3
    prepared.prune(folder, sources({"two": "old"}))
    ((_, table),) = prepared.read_parts(folder)
    assert table["word_features"].to_pylist() == [[0, 1, 2, 3, 4, 5]] and table["word_feature_size"].to_pylist() == [3]
    assert table.schema.field("word_features").type.value_type == pa.float16()
