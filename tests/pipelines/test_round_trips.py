"""Round trips: a prepared corpus, written in a format and prepared from it, has the same words at the same places."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from fgcme import prepared
from fgcme.corpora.catalogue import find_corpus
from fgcme.experiment import Experiment, parse_experiment
from fgcme.interchange.hf_parquet import NAME
from pipelines import export_corpus
from pipelines.preparing import FileHashes, PrepareTask, alignment_finder, hash_sources, make_blocks, prepare_block
from pipelines.runs.corpus import locate_prepared
from tests import small_corpus
from tests.speech import say

TEXT = "dogs are sitting by the door"
LABELS = ("sad", 'wütend; "laut"', "happy")
COLUMNS = ["id", "duration", "speaker", "session", "raw_label", "text", "words", "begin", "end"]


def experiment(folder: Path, alignment: dict[str, Any], **corpus: Any) -> Experiment:
    return parse_experiment(
        {
            "name": "mine",
            "corpus": corpus,
            "protocol": {"name": "mine"},
            "prepare": {"alignment": alignment},
            "storage": {"path": str(folder)},
        }
    )


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Experiment:
    """Utterances of a file each, at another rate and with two channels, and three that are parts of one file."""
    root = tmp_path_factory.mktemp("corpus äöü")
    speech = say(TEXT)[0]
    soundfile.write(root / "long one.wav", np.concatenate([speech] * 3), 16_000)
    seconds = speech.size / 16_000
    rows: list[dict[str, Any]] = []
    for number in range(3):
        soundfile.write(root / f"take {number}.wav", np.stack([np.repeat(speech, 3)] * 2, axis=1)[number:], 48_000)
        rows.append({"audio": f"take {number}.wav", "id": f"spk {number}/take; {number}"})
        rows.append({"audio": "long one.wav", "start": number * seconds, "end": (number + 1) * seconds})
    for number, row in enumerate(rows):
        row |= {"text": f'"{TEXT}"\t — ok, Straße 東京', "label": LABELS[number % 3], "speaker": f"0{number % 2}"}
        row |= {"session": "Ses 1"} if number else {}
    (root / "manifest.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    made = experiment(root / "storage", {"method": "uniform"}, kind="manifest", manifest=str(root / "manifest.jsonl"))
    prepare_here(made, root, small_corpus.write_description(made))
    return made


def rows_of(folder: Path) -> dict[str, dict[str, Any]]:
    return {row["id"]: row for _, table in prepared.read_parts(folder, COLUMNS) for row in table.to_pylist()}


def prepare_here(made: Experiment, scratch: Path, folder: Path) -> dict[str, dict[str, Any]]:
    """The rows of an experiment's corpus, prepared in this process; all are aligned as the experiment says."""
    root, listing = find_corpus(made.corpus, scratch)
    assert listing.rejections == []
    find = alignment_finder(made, listing.utterances, root)
    with FileHashes(scratch / "hashes.npy") as files:
        sources = prepared.Sources(hash_sources(listing.utterances, root, find, files))
    task = PrepareTask.from_experiment(made, root, folder)
    for block in make_blocks(listing.utterances, sources, np.ones(len(sources), np.bool_), find, cpus=1):
        prepare_block(block, task)
    ((_, table),) = prepared.read_parts(folder, ["alignment"])
    method = made.prepare.alignment.method
    assert {*table["alignment"].to_pylist()} == {"uniform" if method == "uniform" else "imported"}
    return rows_of(folder)


@pytest.mark.parametrize(
    ("to", "imported"),
    [
        ("textgrid", True),
        ("ctm", True),
        ("audformat", False),
        ("audformat", True),
        ("lhotse", False),
        ("lhotse", True),
        ("hf-folder", False),
        ("hf-parquet", False),
    ],
)
def test_what_is_written_is_prepared_again_with_the_same_words_and_frames(
    to: str, imported: bool, original: Experiment, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As imported alignments of the corpus that it is of, or as a corpus of its own."""
    if to in ("audformat", "lhotse"):
        pytest.importorskip(to)
    output = tmp_path / "out put"
    export_corpus.run(original, to, output)
    assert "6 utterances with 54 words" in capsys.readouterr().out
    if imported:
        manifest = original.corpus.manifest
        again = experiment(tmp_path, {"method": "imported", "folder": str(output)}, kind="manifest", manifest=manifest)
    elif to.startswith("hf-"):
        file = output / ("metadata.jsonl" if to == "hf-folder" else NAME)
        again = experiment(tmp_path, {"method": "corpus"}, kind="manifest", manifest=str(file))
    else:
        again = experiment(tmp_path, {"method": "corpus"}, kind=to, root=str(output))
    assert prepare_here(again, tmp_path, tmp_path / "prepared") == rows_of(locate_prepared(original))
