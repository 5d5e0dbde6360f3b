"""Blocks of utterances, and how a task prepares one; without Ray."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile

from fgcme import audio, features, prepared
from fgcme.alignment import AlignmentError
from fgcme.corpora.contract import Utterance, WordTime
from fgcme.experiment import Experiment, parse_experiment
from fgcme.files import digest
from pipelines.preparing import PrepareTask, alignment_finder, block_size, make_blocks, prepare_block
from pipelines.preparing import block as block_module
from tests.speech import say
from tests.text_encoder import save_text_encoder

TEXT = "kids are talking by the door"


def experiment(storage: Path | str, **sections: Any) -> Experiment:
    return parse_experiment(
        {"name": "x", "corpus": {"kind": "ravdess"}, "protocol": {"name": "p"}, "storage": {"path": str(storage)}}
        | sections
    )


def test_an_utterance_without_an_alignment_of_the_corpus_is_aligned_by_sphinx(tmp_path: Path) -> None:
    own = experiment(tmp_path, prepare={"alignment": {"method": "corpus"}})
    assert PrepareTask.from_experiment(own, tmp_path, tmp_path).aligner["method"] == "sphinx"
    uniform = experiment(tmp_path, prepare={"alignment": {"method": "uniform"}})
    assert PrepareTask.from_experiment(uniform, tmp_path, tmp_path).aligner["method"] == "uniform"


def sources_of(utterances: Sequence[Utterance]) -> prepared.Sources:
    return prepared.Sources([[(utterance.id, digest(utterance.id)) for utterance in utterances]])


def blocks_of(utterances: Sequence[Utterance], cpus: float) -> list[pa.Table]:
    everything = np.ones(len(utterances), np.bool_)
    return list(make_blocks(utterances, sources_of(utterances), everything, lambda utterance: None, cpus))


@pytest.mark.parametrize(("count", "cpus"), [(1, 2.0), (7, 2.0), (1000, 2.0), (50, 64.0), (9, 0.5), (0, 2.0)])
def test_blocks_hold_every_utterance_once_with_its_source_hash(count: int, cpus: float) -> None:
    utterances = [Utterance(str(number), "a.wav", TEXT, "sad", "01", end=1.0) for number in range(count)]
    tables = blocks_of(utterances, cpus)
    assert [name for table in tables for name in table["id"].to_pylist()] == [utterance.id for utterance in utterances]
    assert all(row["source_hash"] == digest(row["id"]) for table in tables for row in table.to_pylist())


def test_blocks_hold_only_what_is_missing() -> None:
    utterances = [Utterance(str(number), "a.wav", TEXT, "sad", "01") for number in range(20)]
    sources = prepared.Sources([[(utterance.id, None) for utterance in utterances]])
    (block,) = make_blocks(utterances, sources, np.arange(20) % 3 == 0, lambda utterance: None, cpus=2)
    assert block["id"].to_pylist() == ["0", "3", "6", "9", "12", "15", "18"]
    assert {*block["source_hash"].to_pylist()} == {""}


def test_blocks_name_the_file_with_an_alignment_where_there_is_one() -> None:
    def find(utterance: Utterance) -> Path | None:
        if utterance.id == "missing":
            raise AlignmentError("missing_alignment", "there is none")
        return Path("/corpus/a.wdseg") if utterance.id == "aligned" else None

    utterances = [Utterance(name, "a.wav", TEXT, "sad", "01") for name in ("aligned", "plain", "missing")]
    (block,) = make_blocks(utterances, sources_of(utterances), np.ones(3, np.bool_), find, cpus=2)
    assert block["alignment"].to_pylist() == ["/corpus/a.wdseg", None, None]


def test_blocks_carry_the_times_of_words_that_a_list_has(tmp_path: Path) -> None:
    speech, _ = say(TEXT)
    soundfile.write(tmp_path / "a.wav", speech, audio.SAMPLE_RATE)
    times = tuple(WordTime(word, 0.1 * place, 0.1 * place + 0.1) for place, word in enumerate(TEXT.split()))
    utterances = [Utterance("timed", "a.wav", TEXT, "sad", "01"), Utterance("plain", "a.wav", TEXT, "sad", "01")]
    find = {"timed": times}.get
    (block,) = make_blocks(utterances, sources_of(utterances), np.ones(2, np.bool_), lambda each: find(each.id), cpus=2)
    method = {"alignment": {"method": "corpus"}}
    task = PrepareTask.from_experiment(experiment(tmp_path, prepare=method), tmp_path, tmp_path / "prepared")
    prepare_block(block, task)
    ((_, table),) = prepared.read_parts(tmp_path / "prepared", ["id", "words", "begin", "alignment"])
    rows = {row["id"]: row for row in table.to_pylist()}
    assert rows["timed"]["begin"] == [10 * place for place in range(len(TEXT.split()))]
    assert {name: row["alignment"] for name, row in rows.items()} == {"timed": "imported", "plain": "sphinx"}


def test_segments_get_their_words_from_their_recording_s_alignment_and_nothing_stands_in(tmp_path: Path) -> None:
    speech, _ = say(TEXT)
    seconds = speech.size / audio.SAMPLE_RATE
    soundfile.write(tmp_path / "dialog.wav", np.concatenate([speech, speech]), audio.SAMPLE_RATE)
    lines = [
        f"dialog 1 {zero + 0.1 * place} 0.1 {word}" for zero in (0, seconds) for place, word in enumerate(TEXT.split())
    ]
    folder = tmp_path / "alignments"
    folder.mkdir()
    (folder / "all.ctm").write_text("\n".join(lines))
    utterances = [
        Utterance("first", "dialog.wav", TEXT, "sad", "01", start=0.0, end=seconds),
        Utterance("second", "dialog.wav", TEXT, "sad", "01", start=seconds, end=2 * seconds),
        Utterance("other words", "dialog.wav", "something else altogether", "sad", "01", start=0.0, end=seconds),
        Utterance("elsewhere", "other.wav", TEXT, "sad", "01"),
    ]
    soundfile.write(tmp_path / "other.wav", speech, audio.SAMPLE_RATE)
    made = experiment(tmp_path, prepare={"alignment": {"method": "imported", "folder": str(folder)}})
    find = alignment_finder(made, utterances, tmp_path)
    (block,) = make_blocks(utterances, sources_of(utterances), np.ones(4, np.bool_), find, cpus=2)
    outcomes = prepare_block(block, PrepareTask.from_experiment(made, tmp_path, tmp_path / "prepared")).to_pylist()
    assert {each["id"]: each["reason"] for each in outcomes} == {
        "first": None,
        "second": None,
        "other words": "bad_alignment",
        "elsewhere": "missing_alignment",
    }
    assert "is called elsewhere or, as its recording, other" in outcomes[3]["message"]
    ((_, table),) = prepared.read_parts(tmp_path / "prepared", ["id", "begin", "alignment"])
    expected = [10 * place for place in range(len(TEXT.split()))]
    assert table.to_pylist() == [
        {"id": name, "begin": expected, "alignment": "imported"} for name in ("first", "second")
    ]


@pytest.mark.parametrize("cpus", [1, 2, 16, 100, 1000, 10_000])
@pytest.mark.parametrize("count", [1, 100, 1440, 10_039, 50_000, 1_000_000])
def test_blocks_are_worth_their_cost_to_ray_and_small_enough_for_all_cpus(count: int, cpus: int) -> None:
    size = block_size(count, cpus)
    assert min(count, 16) <= size <= 256
    assert count / size <= 4096
    # Either small blocks, or several for each CPU, or as many as the driver bears.
    assert size < 32 or count / size >= 3 * cpus or count / size >= 3900


def test_a_block_becomes_a_part_of_rows_and_a_part_of_rejections(tmp_path: Path) -> None:
    """Bad audio or text rejects its own utterance, with a reason, and no other."""
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
    (block,) = blocks_of(utterances, cpus=0.1)
    folder = tmp_path / "prepared"
    task = PrepareTask.from_experiment(experiment(tmp_path), root, folder)

    outcomes = prepare_block(block, task).to_pylist()

    assert {outcome["id"] for outcome in outcomes if outcome["reason"] is None} == {"good", "stereo"}
    reasons = {outcome["id"]: outcome["reason"] for outcome in outcomes if outcome["reason"] is not None}
    assert reasons == {name: name for name in names[2:]}
    (part,) = (folder / "utterances").glob("*.parquet")
    rows = {row["id"]: row for row in pq.ParquetFile(part).read().to_pylist()}
    assert rows["good"]["words"] == TEXT.split()
    assert (rows["good"]["alignment"], rows["good"]["source_hash"]) == ("sphinx", digest("good"))
    assert (rows["good"]["act"], rows["good"]["session"]) == ("normal", None)
    assert len(rows["good"]["frames"]) == rows["good"]["frame_count"] * 40
    assert rows["stereo"]["duration"] == pytest.approx(rows["good"]["duration"], abs=1e-3)
    (part,) = (folder / "rejected").glob("*.parquet")
    stages = {row["id"]: row["stage"] for row in pq.ParquetFile(part).read().to_pylist()}
    assert stages.pop("no_words") == "align"
    assert set(stages.values()) == {"read"}

    prepare_block(block, task)
    assert len(list(folder.rglob("*.parquet"))) == 2, "a task that runs twice writes the same parts"


def test_a_block_of_many_frames_becomes_several_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(block_module, "_PART_BYTES", 2 * 90 * 40 * 4)
    soundfile.write(tmp_path / "a.wav", np.random.default_rng(0).normal(0, 0.1, 16_000), 16_000)
    utterances = [Utterance(str(number), "a.wav", TEXT, "sad", "01") for number in range(5)]
    (block,) = blocks_of(utterances, cpus=2)
    task = PrepareTask.from_experiment(
        experiment(tmp_path, prepare={"alignment": {"method": "uniform"}}), tmp_path, tmp_path / "prepared"
    )
    for _ in range(2):
        assert prepare_block(block, task)["id"].to_pylist() == ["0", "1", "2", "3", "4"]
        parts = [table["id"].to_pylist() for _, table in prepared.read_parts(tmp_path / "prepared", ["id"])]
        assert sorted(parts) == [["0", "1"], ["2", "3"], ["4"]]


def test_a_block_is_prepared_with_the_copies_of_the_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    soundfile.write(tmp_path / "a.wav", say(TEXT)[0], 16_000)
    utterances = [Utterance(str(number), "a.wav", TEXT, "sad", "01") for number in range(2)]
    settings = {"alignment": {"method": "uniform"}, "copies": {"speed": [0.9, 1.1]}}
    task = PrepareTask.from_experiment(experiment(tmp_path, prepare=settings), tmp_path, tmp_path / "prepared")
    (block,) = blocks_of(utterances, cpus=1)
    # A part is full of the frames of copies, too: alone, the recording's would fill none.
    frames = features.build_extractor("log_mel")([audio.read(tmp_path / "a.wav")])[0].values
    monkeypatch.setattr(block_module, "_PART_BYTES", 2 * frames.nbytes)
    prepare_block(block, task)
    tables = [table for _, table in prepared.read_parts(task.prepared_folder)]
    assert [table.num_rows for table in tables] == [1, 1]
    assert all(len(counts) == 2 for table in tables for counts in table["copy_frame_counts"].to_pylist())


def test_a_block_is_prepared_with_the_text_encoder_of_the_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the folder's path from wherever the driver was started."""
    monkeypatch.chdir(tmp_path)
    save_text_encoder(tmp_path / "encoder")
    soundfile.write(tmp_path / "a.wav", say(TEXT)[0], 16_000)
    settings = {"alignment": {"method": "uniform"}, "text": {"checkpoint": "encoder", "layers": [0, 3]}}
    task = PrepareTask.from_experiment(experiment(tmp_path, prepare=settings), tmp_path, tmp_path / "prepared")
    assert task.uses_neural_network and task.text["checkpoint"] == str(tmp_path / "encoder")
    (block,) = blocks_of([Utterance("a", "a.wav", TEXT, "sad", "01")], cpus=1)
    monkeypatch.chdir("/")
    prepare_block(block, task)
    ((_, table),) = prepared.read_parts(task.prepared_folder)
    encoder = features.build_word_encoder(str(tmp_path / "encoder"), (0, 3))
    assert encoder is not None
    assert table["word_features"].to_pylist() == [encoder([TEXT.split()])[0].values.ravel().tolist()]
