"""Manifests that Lhotse itself has written, listed as a corpus."""

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from fgcme.corpora import Utterance, WordTime
from fgcme.corpora.catalogue import find_corpus
from fgcme.corpora.lhotse import find, read_manifests
from fgcme.errors import UserError
from fgcme.experiment import CorpusSettings

lhotse = pytest.importorskip("lhotse")


@pytest.fixture
def recording(tmp_path: Path) -> Any:
    soundfile.write(tmp_path / "one.wav", np.zeros(80_000), 16_000)
    return lhotse.Recording.from_file(tmp_path / "one.wav")


def supervision(name: str, start: float = 0.0, duration: float = 1.0, **changes: Any) -> Any:
    values = {"text": "kids talk", "speaker": "s1", "custom": {"emotion": "sad"}} | changes
    return lhotse.SupervisionSegment(id=name, recording_id="one", start=start, duration=duration, **values)


def saved(folder: Path, recording: Any, *supervisions: Any) -> Path:
    lhotse.RecordingSet.from_recordings([recording]).to_file(folder / "my_recordings_all.jsonl.gz")
    lhotse.SupervisionSet.from_segments(supervisions).to_file(folder / "my_supervisions_all.jsonl.gz")
    return folder


def aligned(start: float) -> Any:
    words = [("kids", start + 0.1, 0.4), ("talk", start + 0.5, 0.25)]
    return {"word": [lhotse.supervision.AlignmentItem(*word) for word in words]}


TIMES = (WordTime("kids", 0.1, 0.5), WordTime("talk", 0.5, 0.75))


def test_a_supervision_is_an_utterance_with_its_place_and_its_words(tmp_path: Path, recording: Any) -> None:
    custom = {"emotion": "sad", "session": 1, "valence": 2}
    root = saved(tmp_path, recording, supervision("a"), supervision("b", 2.5, alignment=aligned(2.5), custom=custom))
    audio = str(tmp_path / "one.wav")
    assert find(root).utterances == [
        Utterance("a", audio, "kids talk", "sad", "s1", start=0.0, end=1.0),
        Utterance("b", audio, "kids talk", "sad", "s1", session="1", start=2.5, end=3.5, valence=2.0, word_times=TIMES),
    ]


def test_cuts_are_read_where_there_are_no_supervisions(tmp_path: Path, recording: Any) -> None:
    (tmp_path / "whole").mkdir()
    (tmp_path / "cuts").mkdir()
    segments = [supervision("a", 1.0, alignment=aligned(1.0)), supervision("b", 3.0, alignment=aligned(3.0))]
    whole = saved(tmp_path / "whole", recording, *segments)
    recordings = lhotse.RecordingSet.from_recordings([recording])
    cuts = lhotse.CutSet.from_manifests(recordings, lhotse.SupervisionSet.from_segments(segments))
    cuts.trim_to_supervisions().to_file(tmp_path / "cuts" / "cuts.jsonl.gz")
    assert find(tmp_path / "cuts").utterances == find(whole).utterances
    assert find(whole).utterances[1].word_times == TIMES


def test_the_times_of_words_may_be_those_of_the_cut(tmp_path: Path, recording: Any) -> None:
    own = [supervision("a", 0.25, alignment=aligned(0.25))]
    cut = lhotse.MonoCut("c", start=3.0, duration=1.5, channel=0, recording=recording, supervisions=own)
    lhotse.CutSet.from_cuts([cut]).to_file(tmp_path / "cuts.jsonl.gz")
    (found,) = find(tmp_path).utterances
    assert (found.start, found.end, found.word_times) == (3.25, 4.25, TIMES)


def test_a_file_is_looked_for_from_the_manifests_on(tmp_path: Path, recording: Any) -> None:
    recording.sources[0].source = "one.wav"
    root = saved(tmp_path, recording, supervision("a"))
    assert find(root).utterances[0].audio == "one.wav"


def test_other_entries_are_named_in_the_settings(tmp_path: Path, recording: Any) -> None:
    root = saved(tmp_path, recording, supervision("a", custom={"mood": "glad", "who": 7}))
    (rejected,) = find(root).rejections
    assert rejected.message.endswith("line 1: it has no emotion, the label: name it with corpus.columns.label")
    settings = {"kind": "lhotse", "root": str(root), "columns": {"label": "mood", "speaker": "who"}}
    found, listing = find_corpus(CorpusSettings.model_validate(settings), tmp_path)
    assert found == root
    assert [(each.raw_label, each.speaker) for each in listing.utterances] == [("glad", "7")]
    with pytest.raises(UserError, match=r"corpus\.columns: id is no column here"):
        read_manifests(root, {"id": "x"})


BAD = {
    "no JSON": ('{"id": ', "bad_row"),
    "a list": ("[1, 2]", "bad_row"),
    "without a start": ('{"id": "x", "recording_id": "one", "duration": 1}', "bad_row"),
    "of no recording": ('{"id": "x", "recording_id": "two", "start": 0, "duration": 1}', "missing_recording"),
    "without a text": (
        '{"id": "x", "recording_id": "one", "start": 0, "duration": 1, "speaker": "s", "custom": {"emotion": "sad"}}',
        "missing_value",
    ),
    "with another's id": (
        '{"id": "a", "recording_id": "one", "start": 0, "duration": 1, "speaker": "s", "text": "t", '
        '"custom": {"emotion": "sad"}}',
        "duplicate",
    ),
    "that ends before it begins": (
        '{"id": "x", "recording_id": "one", "start": 2, "duration": -1, "speaker": "s", "text": "t", '
        '"custom": {"emotion": "sad"}}',
        "bad_time",
    ),
    "with an odd rating": (
        '{"id": "x", "recording_id": "one", "start": 0, "duration": 1, "speaker": "s", "text": "t", '
        '"custom": {"emotion": "sad", "valence": "high"}}',
        "bad_value",
    ),
    "with odd entries": (
        '{"id": "x", "recording_id": "one", "start": 0, "duration": 1, "speaker": "s", "text": ["t"], "custom": [1]}',
        "",
    ),
    "with the time of a word as text": (
        '{"id": "x", "recording_id": "one", "start": 0, "duration": 1, "speaker": "s", "text": "t", '
        '"custom": {"emotion": "sad"}, "alignment": {"word": [{"symbol": "t", "start": "soon", "duration": 1}]}}',
        "",
    ),
}


@pytest.mark.parametrize("line, reason", BAD.values(), ids=BAD)
def test_a_bad_line_costs_itself_alone_and_is_named(tmp_path: Path, recording: Any, line: str, reason: str) -> None:
    root = saved(tmp_path, recording, supervision("a"))
    path = root / "my_supervisions_all.jsonl.gz"
    with gzip.open(path, "at") as file:
        file.write(f"{line}\n")
    listing = find(root)
    assert [each.id for each in listing.utterances] == ["a"]
    (rejected,) = listing.rejections
    assert rejected.reason == reason or not reason
    assert rejected.message.startswith(f"{path}: line 2: ")


@pytest.mark.parametrize("change", [{"sources": []}, {"sources": [{"type": "url", "channels": [0], "source": "x"}]}])
def test_a_recording_that_is_not_one_file_is_refused(tmp_path: Path, recording: Any, change: dict[str, Any]) -> None:
    root = saved(tmp_path, recording, supervision("a"))
    line = json.dumps(recording.to_dict() | change)
    with gzip.open(root / "my_recordings_all.jsonl.gz", "wt") as file:
        file.write(f"{line}\n")
    (rejected,) = find(root).rejections
    assert "not one file: save it as one" in rejected.message


def test_a_file_that_is_cut_short_is_named(tmp_path: Path, recording: Any) -> None:
    path = saved(tmp_path, recording, supervision("a")) / "my_supervisions_all.jsonl.gz"
    path.write_bytes(path.read_bytes()[:-12])
    with pytest.raises(UserError, match=f"{path}: cannot be read"):
        find(tmp_path)


def test_a_folder_without_manifests_is_refused_with_the_way_out(tmp_path: Path) -> None:
    for root in (tmp_path, tmp_path / "none"):
        with pytest.raises(UserError, match=r"holds no manifests of Lhotse .* with corpus\.root=DIR"):
            find(root)
    with pytest.raises(UserError, match=r"corpus\.root is not set: .*pip install 'fgcme\[lhotse\]'"):
        find_corpus(CorpusSettings(kind="lhotse"), tmp_path)
