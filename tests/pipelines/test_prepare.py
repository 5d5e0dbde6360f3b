"""Preparing, without Ray: what is refused, and what a task does with a block."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile

from fgcme.corpora.contract import Utterance
from fgcme.errors import UserError
from fgcme.experiment import Experiment, parse_experiment
from pipelines import prepare
from tests import small_corpus
from tests.speech import say

TEXT = "kids are talking by the door"


def experiment(storage: Path | str, **sections: Any) -> Experiment:
    return parse_experiment(
        {"name": "x", "corpus": {"kind": "ravdess"}, "protocol": {"name": "p"}, "storage": {"path": str(storage)}}
        | sections
    )


def test_a_source_hash_changes_with_what_the_corpus_says_and_with_the_file(tmp_path: Path) -> None:
    utterance = Utterance("one", "one.wav", TEXT, "sad", "01")
    missing = prepare.source_hash(utterance, tmp_path)
    (tmp_path / "one.wav").write_bytes(b"1234")
    there = prepare.source_hash(utterance, tmp_path)
    relabelled = prepare.source_hash(Utterance("one", "one.wav", TEXT, "happy", "01"), tmp_path)
    (tmp_path / "one.wav").write_bytes(b"12345")
    grown = prepare.source_hash(utterance, tmp_path)
    aligned = replace(utterance, alignment="one.wdseg")
    unaligned = prepare.source_hash(aligned, tmp_path)
    (tmp_path / "one.wdseg").write_text("SFrm")
    assert len({missing, there, relabelled, grown, unaligned, prepare.source_hash(aligned, tmp_path)}) == 6


def test_alignments_of_the_corpus_are_refused_where_it_brings_none(tmp_path: Path) -> None:
    (tmp_path / "03-01-06-01-02-01-12.wav").touch()
    mine = experiment(
        tmp_path / "storage",
        corpus={"kind": "ravdess", "root": str(tmp_path)},
        prepare={"alignment": {"method": "corpus"}},
    )
    with pytest.raises(UserError, match=r"this copy of ravdess brings no alignments of its own; .*method=sphinx"):
        prepare.run(mine, verbose=False)
    assert not (tmp_path / "storage").exists()


def test_a_corpus_that_is_not_there_leaves_no_folder(tmp_path: Path) -> None:
    nowhere = experiment(tmp_path / "storage", corpus={"kind": "ravdess", "root": str(tmp_path / "nowhere")})
    with pytest.raises(UserError, match="nowhere"):
        prepare.run(nowhere, verbose=False)
    assert not (tmp_path / "storage").exists()


def test_where_the_corpus_brings_no_alignment_of_an_utterance_sphinx_aligns_it(tmp_path: Path) -> None:
    own = experiment(tmp_path, prepare={"alignment": {"method": "corpus"}})
    assert prepare.PrepareTask.from_experiment(own, tmp_path, tmp_path).alignment["method"] == "sphinx"
    uniform = experiment(tmp_path, prepare={"alignment": {"method": "uniform"}})
    assert prepare.PrepareTask.from_experiment(uniform, tmp_path, tmp_path).alignment["method"] == "uniform"


@pytest.mark.parametrize(("count", "cpus"), [(1, 2.0), (7, 2.0), (1000, 2.0), (50, 64.0), (9, 0.5)])
def test_blocks_hold_every_utterance_once_and_suffice_for_the_cpus(count: int, cpus: float) -> None:
    utterances = [Utterance(str(number), "a.wav", TEXT, "sad", "01", end=1.0) for number in range(count)]
    tables = prepare.make_blocks(utterances, {utterance.id: "h" for utterance in utterances}, cpus)
    assert [name for table in tables for name in table["id"].to_pylist()] == [utterance.id for utterance in utterances]
    assert len(tables) >= min(count, cpus)
    assert max(table.num_rows for table in tables) <= 32


def test_a_block_becomes_a_part_of_rows_and_a_part_of_rejections(tmp_path: Path) -> None:
    """Every way that data can be bad is a rejection with its reason, and takes nothing else down with it."""
    speech, _ = say(TEXT)
    noise = np.random.default_rng(0).normal(0, 0.1, 16_000)
    stereo = np.stack([np.repeat(speech, 3), np.repeat(speech, 3)], axis=1)
    root = tmp_path / "audio"
    root.mkdir()
    soundfile.write(root / "good.wav", speech, 16_000)
    soundfile.write(root / "stereo.wav", stereo, 48_000)
    soundfile.write(root / "no_words.wav", noise, 16_000)
    soundfile.write(root / "too_short.wav", noise[:100], 16_000)
    soundfile.write(root / "silent.wav", np.zeros(16_000), 16_000)
    (root / "empty.wav").touch()
    (root / "unreadable.wav").write_text("this is a text file\n" * 100)
    (root / "lfs_pointer.wav").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
    names = ["good", "stereo", "no_words", "too_short", "silent", "empty", "unreadable", "lfs_pointer", "missing"]
    utterances = [
        Utterance(name, f"{name}.wav", "?!" if name == "no_words" else TEXT, "sad", "01", act="normal")
        for name in names
    ]
    (block,) = prepare.make_blocks(utterances, {name: f"hash of {name}" for name in names}, cpus=0.1)
    folder = tmp_path / "prepared"
    task = prepare.PrepareTask.from_experiment(experiment(tmp_path), root, folder)

    outcomes = prepare.prepare_block(block, task).to_pylist()

    assert {outcome["id"] for outcome in outcomes if outcome["reason"] is None} == {"good", "stereo"}
    reasons = {outcome["id"]: outcome["reason"] for outcome in outcomes if outcome["reason"] is not None}
    assert reasons == {name: name for name in names[2:]}
    (part,) = (folder / "utterances").glob("*.parquet")
    rows = {row["id"]: row for row in pq.ParquetFile(part).read().to_pylist()}
    assert rows["good"]["words"] == TEXT.split()
    assert (rows["good"]["alignment"], rows["good"]["source_hash"]) == ("sphinx", "hash of good")
    assert (rows["good"]["act"], rows["good"]["session"]) == ("normal", None)
    assert len(rows["good"]["frames"]) == rows["good"]["frame_count"] * 40
    assert rows["stereo"]["duration"] == pytest.approx(rows["good"]["duration"], abs=1e-3)
    (part,) = (folder / "rejected").glob("*.parquet")
    stages = {row["id"]: row["stage"] for row in pq.ParquetFile(part).read().to_pylist()}
    assert stages.pop("no_words") == "align"
    assert set(stages.values()) == {"read"}

    prepare.prepare_block(block, task)
    assert len(list(folder.rglob("*.parquet"))) == 2, "a task that runs twice writes the same parts"


def test_other_settings_are_refused_before_anything_is_touched(tmp_path: Path) -> None:
    folder = small_corpus.write_description(experiment(tmp_path, prepare={"folder": str(tmp_path / "mine")}))
    before = (folder / "corpus.json").read_bytes()
    other = {"folder": str(folder), "alignment": {"method": "uniform"}, "features": {"bins": 8}}
    with pytest.raises(UserError) as caught:
        prepare.run(experiment(tmp_path, prepare=other), verbose=False)
    message = str(caught.value)
    assert "prepare.alignment.method is 'sphinx' there and 'uniform' here" in message
    assert "prepare.features.bins is 40 there and 8 here" in message
    assert "prepare.folder" in message
    assert (folder / "corpus.json").read_bytes() == before


def test_parts_that_nothing_describes_are_refused(tmp_path: Path) -> None:
    folder = small_corpus.write_description(experiment(tmp_path))
    (folder / "utterances").mkdir()
    (folder / "utterances" / "part-1.parquet").touch()
    (folder / "corpus.json").unlink()
    with pytest.raises(UserError, match=r"without its corpus\.json; delete this folder"):
        prepare.run(experiment(tmp_path), verbose=False)
