"""Tables that hold their sound, as Hugging Face writes them."""

import io
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile

from fgcme import audio
from fgcme.corpora.catalogue import find_corpus
from fgcme.corpora.unpacked import holds_sound, unpack
from fgcme.errors import UserError
from fgcme.experiment import CorpusSettings


def sound(seed: int) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, np.random.default_rng(seed).normal(0, 0.1, 1_600), 16_000, format="WAV")
    return file.getvalue()


@pytest.fixture
def table(tmp_path: Path) -> Path:
    columns = {
        # Two files of one name, one that is not among the table's bytes, and one without anything.
        "audio": [
            {"bytes": sound(1), "path": "a.wav"},
            {"bytes": sound(2), "path": "b/a.wav"},
            {"bytes": None, "path": "c.wav"},
            None,
        ],
        "text": ["one", "two", "three", "four"],
        "label": [0, 1, 7, None],
        "speaker": ["s"] * 4,
    }
    features = {"label": {"names": ["angry", "happy"], "_type": "ClassLabel"}, "text": {"dtype": "string"}}
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    pq.write_table(pa.table(columns).replace_schema_metadata(metadata), tmp_path / "train.parquet")
    return tmp_path / "train.parquet"


def test_sound_becomes_files_and_classes_get_their_names(table: Path, tmp_path: Path) -> None:
    settings = CorpusSettings(kind="manifest", manifest=str(table))
    root, listing = find_corpus(settings, tmp_path / "storage")
    assert root.parent == tmp_path / "storage" / "corpora"
    first, second, third = listing.utterances
    assert [utterance.raw_label for utterance in listing.utterances] == ["angry", "happy", "7"]
    assert len({first.id, second.id}) == 2 and third.audio == str(tmp_path / "c.wav")
    for seed, utterance in enumerate((first, second), start=1):
        np.testing.assert_array_equal(audio.read(root / utterance.audio), audio.read(io.BytesIO(sound(seed))))
    (rejection,) = listing.rejections
    assert rejection.reason == "missing_value"


def test_it_is_unpacked_once_for_each_content(table: Path, tmp_path: Path) -> None:
    manifest = unpack(table, tmp_path / "to")
    written = manifest.stat().st_mtime_ns
    assert unpack(table, tmp_path / "to") == manifest and manifest.stat().st_mtime_ns == written
    pq.write_table(pq.read_table(table).slice(1), table)
    assert unpack(table, tmp_path / "to") != manifest


def test_other_tables_hold_none(tmp_path: Path) -> None:
    pq.write_table(pa.table({"audio": ["a.wav"]}), tmp_path / "a.parquet")
    (tmp_path / "b.parquet").write_bytes(b"damaged")
    for name in ("a.parquet", "b.parquet", "c.parquet", "a.csv"):
        assert not holds_sound(tmp_path / name)


def test_a_table_whose_sound_has_no_place_is_refused_in_a_line(table: Path, tmp_path: Path) -> None:
    (tmp_path / "to").write_text("a file")
    with pytest.raises(UserError, match=r"train\.parquet: its sound cannot be unpacked"):
        unpack(table, tmp_path / "to")
