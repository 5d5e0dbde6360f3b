"""Words of a corpus from manifests of Lhotse and audformat databases that say nothing else of it."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fgcme import alignment
from fgcme.alignment import AlignmentError
from fgcme.alignment.word_list import WordList, open_alignments
from fgcme.corpora import Utterance, WordTime
from fgcme.errors import UserError

WORDS = [("kids", 2.1, 2.5), ("talk", 2.5, 3.0)]
TIMES = (WordTime("kids", 0.1, 0.5), WordTime("talk", 0.5, 1.0))


def supervisions(folder: Path, recording: str = "calls/dialog", name: str = "u1", kind: str = "word") -> Path:
    lhotse = pytest.importorskip("lhotse")
    words = [lhotse.supervision.AlignmentItem(word, start, end - start) for word, start, end in WORDS]
    segment = lhotse.SupervisionSegment(name, recording, start=2.0, duration=1.5, alignment={kind: words})
    path = folder / "my_supervisions.jsonl.gz"
    lhotse.SupervisionSet.from_segments([segment]).to_file(path)
    return path


def database(folder: Path, *recordings: str, column: str = "word", utterance: str | None = None) -> Path:
    audformat = pytest.importorskip("audformat")
    made = audformat.Database("words", usage="research")
    rows = [(file, start, end, word) for file in recordings for word, start, end in WORDS]
    files, starts, ends, words = zip(*rows, strict=True)
    index = audformat.segmented_index(files, [f"{each}s" for each in starts], [f"{each}s" for each in ends])
    made["words"] = audformat.Table(index)
    columns: dict[str, list[Any]] = {column: list(words)}
    if utterance is not None:
        columns["utterance"] = [utterance] * len(words)
    for name, values in columns.items():
        made["words"][name] = audformat.Column()
        made["words"][name].set(values)
    made.save(str(folder))
    return folder


def utterance(name: str = "u1", audio: str = "calls/dialog.wav", start: float | None = None) -> Utterance:
    return Utterance(name, audio, "kids talk", "sad", "01", start=start, end=None if start is None else start + 1.5)


def found(folder: Path, asked: Utterance, tier: str | None = None) -> Any:
    alignments = open_alignments(str(folder), tier)
    assert isinstance(alignments, WordList)
    return alignments.find(asked)


def test_a_supervision_s_words_are_those_of_the_utterance_with_its_id_from_its_beginning(tmp_path: Path) -> None:
    path = supervisions(tmp_path)
    for place in (tmp_path, path):
        # Whether it is a file of its own here, or a part of another.
        assert found(place, utterance(audio="cut out.wav")) == TIMES
    aligned = alignment.build("imported", folder=str(tmp_path)).align("u1", np.zeros(32_000, np.float32), "Kids talk!")
    assert (aligned.words, aligned.begin, aligned.end) == (["kids", "talk"], [10, 50], [50, 100])


def test_without_its_id_they_are_found_by_the_recording_and_the_place_in_it(tmp_path: Path) -> None:
    supervisions(tmp_path)
    assert found(tmp_path, utterance("other id", start=2.0)) == TIMES
    assert found(tmp_path, utterance("other id", audio="/elsewhere/dialog.flac", start=2.0)) == TIMES
    for missing in (utterance("other id", start=4.0), utterance("other id", audio="another.wav")):
        with pytest.raises(AlignmentError, match=r"has no words of other id or its recording") as caught:
            found(tmp_path, missing)
        assert caught.value.reason == "missing_alignment"


def test_a_cut_without_its_sound_has_words(tmp_path: Path) -> None:
    lhotse = pytest.importorskip("lhotse")
    words = {"word": [lhotse.supervision.AlignmentItem(word, start, end - start) for word, start, end in WORDS]}
    segment = lhotse.SupervisionSegment("u1", "dialog", start=1.0, duration=1.5, alignment=words)
    cut = lhotse.MonoCut("c", start=1.0, duration=4.0, channel=0, supervisions=[segment])
    lhotse.CutSet.from_cuts([cut]).to_file(tmp_path / "my_cuts.jsonl")
    assert found(tmp_path / "my_cuts.jsonl", utterance()) == TIMES


def test_a_database_has_words_by_the_id_beside_them_and_by_their_place(tmp_path: Path) -> None:
    named = database(tmp_path / "named", "one.wav", utterance="u1")
    assert found(named / "db.yaml", utterance(start=2.0, audio="x.wav")) == TIMES
    placed = database(tmp_path / "placed", "/data/calls/dialog.wav", "/data/talks/dialog.wav")
    assert found(placed, utterance("whatever", start=2.0)) == TIMES
    with pytest.raises(AlignmentError, match=r"both have the name of dialog\.wav") as caught:
        found(placed, utterance("whatever", audio="dialog.wav", start=2.0))
    assert caught.value.reason == "bad_alignment"


def test_the_setting_of_the_tier_names_the_column_or_the_alignment(tmp_path: Path) -> None:
    supervisions(tmp_path, kind="whisper")
    assert found(tmp_path, utterance(), "whisper") == TIMES
    with pytest.raises(UserError, match=r"Lhotse have no alignment `word` with the times .* prepare\.alignment\.tier"):
        open_alignments(str(tmp_path))
    spoken = database(tmp_path / "db", "dialog.wav", column="spoken")
    assert found(spoken, utterance(start=2.0), "spoken") == found(spoken, utterance(start=2.0), "words.spoken") == TIMES
    with pytest.raises(UserError, match=r"database has no column `word` with the times"):
        open_alignments(str(spoken))


def test_files_beside_manifests_without_words_count(tmp_path: Path) -> None:
    supervisions(tmp_path, kind="phones")
    (tmp_path / "u1.ctm").write_text("u1 1 0.1 0.4 kids\n")
    assert open_alignments(str(tmp_path)).find(utterance()) == tmp_path / "u1.ctm"


def test_a_damaged_line_costs_its_utterance_and_is_named_where_words_are_missing(tmp_path: Path) -> None:
    pytest.importorskip("lhotse")
    good = '{"id": "u1", "recording_id": "r", "start": 0, "duration": 1, "alignment": {"word": [["kids", 0, 1]]}}\n'
    broken = good.replace("u1", "u2").replace('["kids", 0, 1]', '["kids", "x", 1]')
    (tmp_path / "supervisions.jsonl").write_text(good + "{broken\n" + broken)
    assert len(found(tmp_path, utterance())) == 1
    with pytest.raises(AlignmentError, match=r"2 of its entries cannot be read, such as .*: line 2: .* no words of u2"):
        found(tmp_path, utterance("u2"))
