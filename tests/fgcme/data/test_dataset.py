from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fgcme.data import SpeechCorpus, Vocabulary
from fgcme.errors import UserError
from fgcme.prepared.corpus import UTTERANCES
from tests import small_corpus


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    yield small_corpus.write(tmp_path_factory.mktemp("prepared") / "corpus")


def test_a_corpus_holds_the_rows_of_the_parquet_files_in_the_order_of_ids(folder: Path) -> None:
    corpus = SpeechCorpus(folder)
    rows = [row for part in (folder / "utterances").glob("*.parquet") for row in pq.read_table(part).to_pylist()]
    rows.sort(key=lambda row: row["id"])
    assert list(corpus.table.ids) == [row["id"] for row in rows]
    for index, row in enumerate(rows):
        assert corpus.frames(index).ravel().tolist() == row["frames"]
        assert [span.tolist() for span in corpus.spans(index)] == [row["begin"], row["end"]]
        assert corpus.words[index] == row["words"]
        assert (corpus.texts[index], corpus.alignments[index]) == (row["text"], row["alignment"])
        assert corpus.table.raw_labels[index] == row["raw_label"]
        assert corpus.table.speakers[index] == row["speaker"]
        assert corpus.frame_count(index) == row["frame_count"]


def test_frames_are_views_of_one_mapped_file(folder: Path) -> None:
    frames = SpeechCorpus(folder).frames(0)
    assert not frames.flags.owndata
    assert not frames.flags.writeable


def test_a_changed_corpus_is_mapped_again(tmp_path: Path) -> None:
    folder = small_corpus.write(tmp_path / "corpus", seed=0)
    before = SpeechCorpus(folder).frames(0).copy()
    for part in (folder / "utterances").iterdir():
        part.unlink()
    (folder / "utterances").rmdir()
    small_corpus.write(folder, seed=1)
    assert not np.array_equal(SpeechCorpus(folder).frames(0), before)
    assert len(list(folder.glob("*.arrow"))) == 1


def test_a_folder_without_a_prepared_corpus_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="fgcme prepare"):
        SpeechCorpus(tmp_path)


def test_a_corpus_without_utterances_is_refused(tmp_path: Path) -> None:
    folder = small_corpus.write(tmp_path / "corpus")
    for part in (folder / "utterances").iterdir():
        pq.write_table(pa.Table.from_pylist([], UTTERANCES), part)
    with pytest.raises(UserError, match="holds no utterance"):
        SpeechCorpus(folder)


def test_words_outside_the_vocabulary_share_one_row() -> None:
    vocabulary = Vocabulary.from_utterances([["b", "a"], ["b"]])
    assert vocabulary.words == ["a", "b"]
    assert len(vocabulary) == 4
    assert vocabulary.index(["a", "b", "c", "d"]).tolist() == [2, 3, 1, 1]


def test_an_encoder_s_frames_are_stored_in_half_precision_and_read_in_single(tmp_path: Path) -> None:
    corpus = SpeechCorpus(small_corpus.write(tmp_path / "corpus", layers=3))
    assert (corpus.frame_step, corpus.layers, corpus.frame_size) == (320, 3, 18)
    assert corpus.prepared.values.dtype == np.float16
    (mapped,) = corpus.folder.glob("mapped-*.frames")
    assert mapped.stat().st_size == 2 * 18 * 50 * len(corpus)
    rows = [row for part in (corpus.folder / "utterances").glob("*.parquet") for row in pq.read_table(part).to_pylist()]
    stored = next(row for row in rows if row["id"] == corpus.table.ids[5])
    assert corpus.frames(5).dtype == np.float32
    assert corpus.frames(5).ravel().tolist() == stored["frames"]


def test_spans_are_in_the_corpus_s_frames_and_speech_keeps_those_of_10_ms(tmp_path: Path) -> None:
    corpus = SpeechCorpus(small_corpus.write(tmp_path / "corpus", layers=2))
    begin, end = corpus.spans(7)
    speech = corpus.analysed(7)
    assert begin.tolist() == [frame // 2 for frame in speech.begin]
    assert end.tolist() == [-(-frame // 2) for frame in speech.end]
    assert (speech.frame_step, speech.words, speech.alignment) == (320, corpus.words[7], "imported")
    np.testing.assert_array_equal(speech.frames, corpus.frames(7))


@pytest.fixture(scope="module")
def copied(tmp_path_factory: pytest.TempPathFactory) -> SpeechCorpus:
    return SpeechCorpus(small_corpus.write(tmp_path_factory.mktemp("prepared") / "copied", copies=[0.8, 1.25]))


def test_copies_are_recordings_and_no_utterances(copied: SpeechCorpus, folder: Path) -> None:
    plain = SpeechCorpus(folder)
    assert len(copied) == len(plain) == len(copied.table.ids) == len(copied.words) == len(copied.word_counts)
    assert copied.recordings(np.array([5, 2])).tolist() == [5, 5 + 64, 5 + 128, 2, 2 + 64, 2 + 128]
    assert plain.recordings(np.array([5, 2])).tolist() == [5, 2]
    for utterance in range(len(plain)):
        np.testing.assert_array_equal(copied.frames(utterance), plain.frames(utterance))


def test_a_recording_has_the_frames_of_its_row_the_words_of_its_utterance_and_its_own_spans(
    copied: SpeechCorpus,
) -> None:
    parts = (copied.folder / "utterances").glob("*.parquet")
    rows = {row["id"]: row for part in parts for row in pq.read_table(part).to_pylist()}
    for utterance, name in enumerate(copied.table.ids):
        row = rows[name]
        first, second = row["copy_frame_counts"]
        copies = np.reshape(row["copy_frames"], (first + second, -1))
        for place, (speed, frames) in enumerate([(0.8, copies[:first]), (1.25, copies[first:])]):
            _, *numbers = copied.recordings(np.array([utterance])).tolist()
            recording = numbers[place]
            np.testing.assert_array_equal(copied.frames(recording), frames.astype(np.float32))
            assert copied.frame_count(recording) == len(frames)
            np.testing.assert_array_equal(copied.word_numbers(recording), copied.word_numbers(utterance))
            begin, end = copied.spans(recording)
            # By hand: 0.8 and 1.25 are 4/5 and 5/4.
            up, down = (5, 4) if speed == 0.8 else (4, 5)
            assert begin.tolist() == [edge * up // down for edge in row["begin"]]
            assert end.tolist() == [min(-(-edge * up // down), len(frames)) for edge in row["end"]]
            speech = copied.speech(recording)
            assert speech is not None and speech[0] == row["speech_begin"] * up // down


def test_a_speaker_s_copies_are_voices_of_their_own(copied: SpeechCorpus, folder: Path) -> None:
    voices, speakers = copied.voices, np.array(copied.table.speakers)
    assert len(voices) == 3 * len(copied) and len(np.unique(voices)) == 3 * len(set(speakers.tolist()))
    np.testing.assert_array_equal(voices[: len(copied)], SpeechCorpus(folder).voices)
    for voice in np.unique(voices):
        recordings = np.flatnonzero(voices == voice)
        assert len(set(speakers[recordings % len(copied)].tolist())) == 1
        assert len(set((recordings // len(copied)).tolist())) == 1


def test_analysed_speech_has_the_copies_of_the_utterance(copied: SpeechCorpus) -> None:
    speech = copied.analysed(7)
    assert [copy.speed for copy in speech.copies] == [0.8, 1.25]
    _, *copies = copied.recordings(np.array([7])).tolist()
    for copy, recording in zip(speech.copies, copies, strict=True):
        np.testing.assert_array_equal(copy.frames, copied.frames(recording))
