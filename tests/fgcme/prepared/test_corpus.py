"""The prepared corpus: whole parts, the content hash, rejections, and the description."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fgcme import prepared
from fgcme.corpora.contract import Rejection
from fgcme.errors import UserError


def row(name: str, source: str = "old", method: str = "sphinx") -> dict[str, object]:
    frames = np.arange(12, dtype=np.float32)
    return {
        "id": name,
        "audio": f"{name}.wav",
        "audio_sha256": "0" * 64,
        "duration": 0.055,
        "start": 0.0,
        "speaker": "01",
        "session": None,
        "dialog": None,
        "act": None,
        "raw_label": "sad",
        "valence": None,
        "arousal": 2.5,
        "dominance": None,
        "text": "Hello there",
        "words": ["hello", "there"],
        "begin": np.array([0, 1], dtype=np.int32),
        "end": np.array([1, 3], dtype=np.int32),
        "speech_begin": 0,
        "speech_end": 2,
        "alignment": method,
        "alignment_score": -1.5,
        "duration_deviation": 0.4,
        "signal_to_noise": 20.0,
        "frames": frames,
        "frame_count": 3,
        "frame_size": 4,
        "clipped": 0,
        "oddities": [],
        "source_hash": source,
    }


def write(folder: Path, part: str, *rows: dict[str, object]) -> Path:
    prepared.write_part(folder, "utterances", part, prepared.utterance_table(rows))
    return folder / "utterances" / f"{part}.parquet"


def description(**changes: object) -> prepared.CorpusDescription:
    values: dict[str, object] = {
        "corpus": "demo",
        "settings": {"prepare.features.bins": 40, "prepare.alignment.method": "sphinx"},
        "settings_hash": "h",
        "corpus_hash": "c",
        "counts": {"utterances": 1, "rejected": 0},
        "versions": {},
    }
    return prepared.CorpusDescription(**{**values, **changes})  # type: ignore[arg-type]


def test_a_row_is_read_as_it_was_written(tmp_path: Path) -> None:
    path = write(tmp_path, "a", row("one"))
    assert pq.read_schema(path).equals(prepared.UTTERANCES)
    (stored,) = pq.ParquetFile(path).read().to_pylist()
    assert stored["words"] == ["hello", "there"]
    assert (stored["begin"], stored["end"]) == ([0, 1], [1, 3])
    assert stored["frames"] == list(range(12))
    assert stored["session"] is None
    assert (stored["valence"], stored["arousal"]) == (None, 2.5)


def test_a_part_without_columns_of_ratings_is_read_with_null_ratings(tmp_path: Path) -> None:
    path = write(tmp_path, "a", row("one"), row("two"))
    pq.write_table(pq.ParquetFile(path).read().drop_columns(["valence", "arousal", "dominance"]), path)
    ((_, table),) = prepared.read_parts(tmp_path)
    assert table.schema.equals(prepared.UTTERANCES)
    assert table["arousal"].null_count == 2


def test_rejections_are_counted_by_reason(tmp_path: Path) -> None:
    assert prepared.count_rejections(tmp_path) == {}
    for part, reasons in (("a", ["silent"]), ("b", ["empty", "silent"])):
        rejections = [Rejection(f"{part}{reason}", "x.wav", "read", reason, "why") for reason in reasons]
        prepared.write_part(tmp_path, "rejected", part, prepared.rejected_table(rejections))
    assert prepared.count_rejections(tmp_path) == {"silent": 2, "empty": 1}


def test_a_part_is_written_in_one_step(tmp_path: Path) -> None:
    path = write(tmp_path, "a", row("one"))
    assert list(path.parent.iterdir()) == [path]


def test_a_damaged_part_is_named_with_the_way_out(tmp_path: Path) -> None:
    path = write(tmp_path, "a", row("one"))
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(UserError, match=r"a\.parquet: damaged .*; delete it and prepare again"):
        list(prepared.read_parts(tmp_path, ["id"]))
    with pytest.raises(UserError, match=r"a\.parquet: damaged"):
        list(prepared.read_row_groups(path))


def test_utterances_are_counted_by_alignment_method(tmp_path: Path) -> None:
    write(tmp_path, "a", row("one"), row("two", method="uniform"))
    write(tmp_path, "b", row("three"))
    assert prepared.count_alignments(tmp_path) == {"sphinx": 2, "uniform": 1}


def hash_of(folder: Path, *rows: dict[str, object], settings: str = "s") -> str:
    """The hash of a corpus of these rows, each in a part of its own."""
    for number, written in enumerate(rows):
        write(folder, f"part-{number}", written)
    return prepared.corpus_hash(folder, settings)


FRAMES = np.arange(12, dtype=np.float32)
CHANGES: tuple[dict[str, object], ...] = (
    {"frames": np.append(FRAMES[:-1], np.nextafter(np.float32(11), np.float32(12)))},
    {"frames": np.append(FRAMES, FRAMES), "frame_count": 6},
    {"frame_count": 4, "frame_size": 3},
    {"begin": [0, 2]},
    {"end": [1, 2]},
    {"speech_begin": 1},
    {"speech_end": 3},
    {"duration": 0.056},
    {"words": ["hello", "their"]},
    {"text": "Hello their"},
    {"raw_label": "other"},
    {"valence": 2.5},
    {"arousal": 2.75},
    {"dominance": 2.5},
    {"speaker": "other"},
    {"session": "other"},
    {"dialog": "other"},
    {"act": "other"},
    {"alignment": "uniform"},
    {"alignment_score": -1.25},
    {"audio_sha256": "other"},
    {"id": "other"},
)


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: "-".join(change))
def test_the_corpus_hash_follows_all_that_a_row_holds(tmp_path: Path, change: dict[str, object]) -> None:
    base = hash_of(tmp_path / "base", row("one"), row("two"))
    assert hash_of(tmp_path / "changed", {**row("one"), **change}, row("two")) != base


def test_every_column_but_those_of_places_sources_and_counts_is_content() -> None:
    changed = {column for change in CHANGES for column in change}
    assert changed == set(prepared.UTTERANCES.names) - {
        "audio",
        "source_hash",
        "content_hash",
        "clipped",
        *prepared.TOLD,
    }


def test_what_is_odd_is_counted_and_changes_no_hash(tmp_path: Path) -> None:
    base = hash_of(tmp_path / "base", row("one"), row("two"))
    odd = {"oddities": ["resampled", "clipped"]}
    assert hash_of(tmp_path / "odd", {**row("one"), **odd}, {**row("two"), "oddities": ["clipped"]}) == base
    counts = {"clipped": 2, "resampled": 1, "with the same recording as another": 1}
    assert prepared.count_oddities(tmp_path / "odd") == counts


def test_rows_of_an_older_version_have_nulls_in_newer_columns(tmp_path: Path) -> None:
    table = prepared.utterance_table([row("one")]).drop_columns(["start", "oddities"])
    prepared.write_part(tmp_path, "utterances", "a", table)
    for columns in (["start", "id"], None):
        ((_, found),) = prepared.read_parts(tmp_path, columns)
        assert found.select(["id", "start"]).to_pylist() == [{"id": "one", "start": None}]


def test_a_recording_under_two_ids_is_counted_and_another_segment_of_its_file_is_not(tmp_path: Path) -> None:
    others = [{**row("two"), "duration": 0.9}, {**row("three"), "begin": [1, 2]}, {**row("four"), "audio_sha256": "x"}]
    write(tmp_path / "corpus", "a", row("one"), *others)
    assert prepared.count_oddities(tmp_path / "corpus") == {}
    write(tmp_path / "corpus", "b", row("five"), row("six"))
    assert prepared.count_oddities(tmp_path / "corpus") == {"with the same recording as another": 2}


def test_the_corpus_hash_follows_the_settings_and_the_number_of_utterances(tmp_path: Path) -> None:
    base = hash_of(tmp_path / "base", row("one"), row("two"))
    assert prepared.corpus_hash(tmp_path / "base", "t") != base
    assert hash_of(tmp_path / "fewer", row("one")) != base


def test_the_corpus_hash_does_not_follow_parts_places_and_sources(tmp_path: Path) -> None:
    base = hash_of(tmp_path / "base", row("one"), row("two"))
    assert hash_of(tmp_path / "order", row("two"), row("one")) == base
    assert hash_of(tmp_path / "source", {**row("one"), "source_hash": "later"}, row("two")) == base
    assert hash_of(tmp_path / "place", {**row("one"), "audio": "elsewhere/one.wav"}, row("two")) == base
    write(tmp_path / "together", "a", row("two"), row("one"))
    assert prepared.corpus_hash(tmp_path / "together", "s") == base


def test_a_part_of_an_older_version_is_hashed_when_it_is_read(tmp_path: Path) -> None:
    base = hash_of(tmp_path, row("one"), row("two"))
    assert prepared.count_older_rows(tmp_path) == 0
    for path in (tmp_path / "utterances").iterdir():
        pq.write_table(pq.ParquetFile(path).read().drop_columns(["content_hash", "valence"]), path)
    assert prepared.count_older_rows(tmp_path) == 2
    assert prepared.corpus_hash(tmp_path, "s") == base
    assert all(table.schema.equals(prepared.UTTERANCES) for _, table in prepared.read_parts(tmp_path))


def test_earlier_rejections_and_half_written_parts_are_deleted(tmp_path: Path) -> None:
    table = prepared.rejected_table([Rejection("one", "one.wav", "read", "empty", "one.wav is empty")])
    prepared.write_part(tmp_path, "rejected", "a", table)
    part = write(tmp_path, "a", row("one"))
    for name in ("utterances/b.parquet", "rejected/b.parquet", "corpus.json", "file-hashes.npy"):
        (tmp_path / f"{name}.1234.partial").write_bytes(b"half")
    training = tmp_path / "corpus-1234.arrow.1234.partial"
    training.write_bytes(b"half")
    prepared.delete_rejected(tmp_path)
    assert {path for path in tmp_path.rglob("*") if path.is_file()} == {part, training}


def test_a_description_is_read_as_written_and_names_differing_settings(tmp_path: Path) -> None:
    description().write(tmp_path)
    found = prepared.read_description(tmp_path)
    assert found == description()
    assert found.differences(found.settings) == []
    assert found.differences({"prepare.features.bins": 80, "corpus.seed": 1}) == [
        "corpus.seed is not set there and 1 here",
        "prepare.alignment.method is 'sphinx' there and not set here",
        "prepare.features.bins is 40 there and 80 here",
    ]


def test_a_missing_or_damaged_description_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no prepared corpus in this folder"):
        prepared.read_description(tmp_path)
    (tmp_path / "corpus.json").write_text("{")
    with pytest.raises(UserError, match=r"corpus\.json: damaged"):
        prepared.read_description(tmp_path)


COPIES = {"copy_frames": np.arange(20, dtype=np.float32), "copy_frame_counts": np.array([3, 2])}


def test_rows_with_copies_have_their_columns_besides_and_are_read_with_them(tmp_path: Path) -> None:
    path = write(tmp_path, "a", row("one") | COPIES)
    assert pq.read_schema(path).equals(prepared.corpus.utterances_schema(pa.float32(), ["copy_frames"]))
    ((_, table),) = prepared.read_parts(tmp_path)
    assert table["copy_frames"].to_pylist() == [list(range(20))]
    (group,) = prepared.read_row_groups(path)
    assert group.equals(table)


@pytest.mark.parametrize(
    "change",
    [
        {"copy_frames": np.append(np.arange(19, dtype=np.float32), np.nextafter(np.float32(19), np.float32(20)))},
        {"copy_frame_counts": np.array([2, 3])},
    ],
    ids=str,
)
def test_the_hash_of_a_corpus_covers_its_copies(tmp_path: Path, change: dict[str, object]) -> None:
    plain = hash_of(tmp_path / "plain", row("one"))
    with_copies = hash_of(tmp_path / "copies", row("one") | COPIES)
    changed = hash_of(tmp_path / "changed", row("one") | COPIES | change)
    assert len({plain, with_copies, changed}) == 3
