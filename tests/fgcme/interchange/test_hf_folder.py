"""An audio folder of Hugging Face: its metadata is a manifest, its files are links or cut out."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import soundfile

from fgcme.corpora.manifest import find
from fgcme.interchange import Told
from fgcme.interchange.hf_folder import LINKED, write
from fgcme.interchange.sounds import CUT, UNREAD
from tests.fgcme.interchange.spoken import with_files
from tests.odd_utterances import ABOUT, as_listed


def test_each_utterance_is_a_line_and_a_file(tmp_path: Path) -> None:
    told, there = Told(), with_files(tmp_path / "corpus")
    (tmp_path / "out").mkdir()
    write(there, tmp_path / "out", ABOUT, told)
    lines = [json.loads(line) for line in (tmp_path / "out" / "metadata.jsonl").read_text("utf-8").splitlines()]
    for utterance, line in zip(there, lines, strict=True):
        assert (line["text"], line["label"], line["speaker"]) == (utterance.text, utterance.label, utterance.speaker)
        assert soundfile.info(tmp_path / "out" / line["file_name"]).duration == pytest.approx(utterance.duration)
    assert (tmp_path / "out" / lines[0]["file_name"]).resolve() == Path(there[0].audio)
    assert told.counts == {LINKED: 3, CUT: 2}


def test_the_manifest_lists_the_same_utterances_with_their_words(tmp_path: Path) -> None:
    there = with_files(tmp_path / "corpus")
    (tmp_path / "out").mkdir()
    write(there, tmp_path / "out", ABOUT, Told())
    listing = find(tmp_path / "out")
    assert listing.rejections == []
    # Each has a file of its own now.
    own = {"audio": "", "start": None, "end": None, "valence": None, "arousal": None, "dominance": None}
    assert [replace(each, **own) for each in listing.utterances] == [replace(as_listed(each), **own) for each in there]


def test_a_file_that_is_gone_costs_its_utterances_alone(tmp_path: Path) -> None:
    told, there = Told(), with_files(tmp_path / "corpus")
    Path(there[0].audio).unlink()
    (tmp_path / "out").mkdir()
    write(there, tmp_path / "out", ABOUT, told)
    assert told.counts[UNREAD] == 1 and len(list(find(tmp_path / "out").utterances)) == 4
