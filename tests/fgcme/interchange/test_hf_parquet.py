"""Parquet of Hugging Face: the schema says which column is sound, and the manifest reads it."""

import io
import json
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import soundfile

from fgcme.corpora.catalogue import find_corpus
from fgcme.experiment import CorpusSettings
from fgcme.interchange import Told
from fgcme.interchange.hf_parquet import NAME, write
from fgcme.interchange.sounds import CUT
from tests.fgcme.interchange.spoken import with_files
from tests.odd_utterances import ABOUT, as_listed


def test_each_utterance_is_a_row_with_its_sound(tmp_path: Path) -> None:
    told, there = Told(), with_files(tmp_path / "corpus")
    (tmp_path / "out").mkdir()
    write(there, tmp_path / "out", ABOUT, told)
    table = pq.read_table(tmp_path / "out" / NAME)
    features = json.loads(table.schema.metadata[b"huggingface"])["info"]["features"]
    assert features == {"audio": {"_type": "Audio"}}
    for utterance, row in zip(there, table.to_pylist(), strict=True):
        assert (row["text"], row["label"], row["valence"]) == (utterance.text, utterance.label, utterance.valence)
        assert soundfile.info(io.BytesIO(row["audio"]["bytes"])).duration == pytest.approx(utterance.duration)
    assert table["audio"][0].as_py()["bytes"] == Path(there[0].audio).read_bytes()
    assert told.counts == {CUT: 2}


def test_the_manifest_lists_the_same_utterances_with_their_words(tmp_path: Path) -> None:
    there = with_files(tmp_path / "corpus")
    (tmp_path / "out").mkdir()
    write(there, tmp_path / "out", ABOUT, Told())
    settings = CorpusSettings(kind="manifest", manifest=str(tmp_path / "out" / NAME))
    root, listing = find_corpus(settings, tmp_path / "storage")
    assert listing.rejections == []
    own = {"audio": "", "start": None, "end": None, "valence": None, "arousal": None, "dominance": None}
    assert [replace(each, **own) for each in listing.utterances] == [replace(as_listed(each), **own) for each in there]
    assert all((root / each.audio).is_file() for each in listing.utterances)


def test_no_utterance_is_a_table_without_rows(tmp_path: Path) -> None:
    write([], tmp_path, ABOUT, Told())
    assert pq.read_table(tmp_path / NAME).num_rows == 0
