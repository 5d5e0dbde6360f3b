"""The files that processes map: written once, whole, and of the right content."""

import multiprocessing
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fgcme.data import SpeechCorpus
from fgcme.data.front_end import FrontEnd
from fgcme.errors import UserError
from tests import small_corpus

DELTAS = FrontEnd("mfcc", 2, "utterance")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return small_corpus.write(tmp_path / "corpus")


def change_part(folder: Path, **columns: object) -> None:
    """Change values of all rows of one part."""
    part = min((folder / "utterances").iterdir())
    rows = [{**row, **columns} for row in pq.read_table(part).to_pylist()]
    pq.write_table(pa.Table.from_pylist(rows, pq.read_schema(part)), part)


def mapped(folder: Path) -> dict[str, float]:
    return {path.name: path.stat().st_mtime_ns for path in folder.glob("mapped-*")}


def test_a_corpus_is_mapped_once(folder: Path) -> None:
    first = SpeechCorpus(folder)
    written = mapped(folder)
    assert len(written) == 2
    second = SpeechCorpus(folder)
    assert mapped(folder) == written
    np.testing.assert_array_equal(first.prepared.values, second.prepared.values)


def test_features_are_those_of_the_front_end_and_written_once(folder: Path) -> None:
    corpus = SpeechCorpus(folder)
    features = corpus.features(DELTAS, 50)
    written = mapped(folder)
    assert features is not None and len(written) == 3
    for utterance in range(len(corpus)):
        np.testing.assert_array_equal(features[utterance], DELTAS(corpus.frames(utterance)[:50]))
    again = SpeechCorpus(folder).features(DELTAS, 50)
    assert again is not None and mapped(folder) == written
    np.testing.assert_array_equal(again.values, features.values)
    assert not features.values.flags.owndata and not features.values.flags.writeable


def test_front_ends_and_limits_share_features_only_where_these_are_the_same(folder: Path) -> None:
    corpus = SpeechCorpus(folder)
    of_an_utterance = {
        (deltas, normalisation, limit): corpus.features(FrontEnd("prepared", deltas, normalisation), limit)[3]  # type: ignore[arg-type,index]
        for deltas in (0, 1, 2)
        for normalisation in ("none", "train", "speaker", "utterance")
        for limit in (60, 100, 3000)
    }
    for (deltas, normalisation, limit), frames in of_an_utterance.items():
        front_end = FrontEnd("prepared", deltas, normalisation)  # type: ignore[arg-type]
        np.testing.assert_array_equal(frames, front_end.without_speaker(corpus.frames(3)[:limit]))
    # Of deltas 0 only normalisation by utterance needs files; no utterance is longer than 100 frames.
    assert len(mapped(folder)) == 2 + 2 * (1 + 2 + 2)


def test_word_vectors_are_read_once_for_a_corpus_and_again_if_their_content_changes(
    folder: Path, tmp_path: Path
) -> None:
    path = tmp_path / "vectors.txt"
    path.write_text("green 1 2\nnever 3 4\nred 5 6\n")
    first = SpeechCorpus(folder).word_vectors(path, 2)
    assert {word: vector.tolist() for word, vector in first.items()} == {"green": [1, 2], "red": [5, 6]}
    written = mapped(folder)
    assert len(written) == 3
    # The same content in another place.
    path = path.rename(tmp_path / "moved.txt")
    again = SpeechCorpus(folder).word_vectors(path, 2)
    assert mapped(folder) == written and again.keys() == first.keys()
    assert all(not vector.flags.writeable for vector in again.values())
    path.write_text("green 1 7\n")
    assert {word: vector.tolist() for word, vector in SpeechCorpus(folder).word_vectors(path, 2).items()} == {
        "green": [1, 7]
    }
    path.write_text("green 1 7\nred\n")
    with pytest.raises(UserError, match="line 2"):
        SpeechCorpus(folder).word_vectors(path, 2)
    assert len(mapped(folder)) == 4


def test_word_vectors_come_through_a_pipe_as_well(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    with ThreadPoolExecutor() as threads:
        writing = threads.submit(path.write_text, "green 1 2\n")
        vectors = SpeechCorpus(folder).word_vectors(path, 2)
        writing.result()
    assert vectors["green"].tolist() == [1, 2] and len(mapped(folder)) == 2


def test_a_changed_corpus_leaves_no_file_of_the_old_one(folder: Path) -> None:
    SpeechCorpus(folder).features(DELTAS, 50)
    (folder / "corpus-0123.arrow").touch()
    before = set(mapped(folder))
    for part in (folder / "utterances").iterdir():
        part.unlink()
    (folder / "utterances").rmdir()
    small_corpus.write(folder, seed=1)
    SpeechCorpus(folder)
    assert len(mapped(folder)) == 2 and not before & set(mapped(folder))
    # Which older versions wrote.
    assert not (folder / "corpus-0123.arrow").exists()


def test_files_that_an_older_version_mapped_are_written_anew(folder: Path) -> None:
    SpeechCorpus(folder)
    (path,) = folder.glob("mapped-*.arrow")
    rows = pa.ipc.open_file(path).read_all().drop_columns(["speech_begin", "speech_end"])
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, rows.schema) as writer:
        writer.write_table(rows)
    assert SpeechCorpus(folder).speech(0) is not None


def test_what_killed_processes_left_is_deleted(folder: Path) -> None:
    partial = folder / "mapped-content.frames.0123.partial"
    partial.touch()
    SpeechCorpus(folder)
    assert not partial.exists()


@pytest.mark.parametrize("columns", [{"frame_count": 99}, {"frame_size": 5}], ids=str)
def test_a_part_whose_frames_do_not_fit_its_counts_is_refused(folder: Path, columns: dict[str, object]) -> None:
    change_part(folder, **columns)
    with pytest.raises(UserError, match=r"\.parquet: damaged .*delete it and prepare again"):
        SpeechCorpus(folder)
    assert not mapped(folder)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written_to_is_refused_or_done_without(folder: Path, tmp_path: Path) -> None:
    folder.chmod(0o555)
    with pytest.raises(UserError, match="cannot be written to"):
        SpeechCorpus(folder)
    folder.chmod(0o755)
    corpus = SpeechCorpus(folder)
    folder.chmod(0o555)
    assert corpus.features(DELTAS, 50) is None
    (tmp_path / "vectors.txt").write_text("green 1 2\n")
    assert corpus.word_vectors(tmp_path / "vectors.txt", 2)["green"].tolist() == [1, 2]
    folder.chmod(0o755)


def open_features(folder: Path) -> float:
    features = SpeechCorpus(folder).features(DELTAS, 50)
    assert features is not None
    return float(features.values.sum())


def test_processes_that_begin_together_read_the_same_files(folder: Path) -> None:
    with multiprocessing.get_context("fork").Pool(4) as pool:
        sums = pool.map(open_features, [folder] * 8)
        # They end by themselves: a fork of this process may not heed the signal that the pool would end it by.
        pool.close()
        pool.join()
    assert len(set(sums)) == 1 and len(mapped(folder)) == 3


def test_features_of_frames_in_half_precision_are_in_half_precision(tmp_path: Path) -> None:
    folder = small_corpus.write(tmp_path / "half", layers=2)
    corpus = SpeechCorpus(folder)
    front_end = FrontEnd("prepared", 1, "utterance")
    features = corpus.features(front_end, 40)
    assert features is not None and features.values.dtype == np.float16
    for utterance in range(len(corpus)):
        expected = front_end(corpus.frames(utterance)[:40])
        assert features[utterance].dtype == np.float32
        np.testing.assert_allclose(features[utterance], expected, atol=2e-3)


def test_parts_in_different_precision_are_refused(folder: Path) -> None:
    part = min((folder / "utterances").iterdir())
    table = pq.read_table(part)
    column = table.column_names.index("frames")
    half = table["frames"].cast(pa.list_(pa.float16()))
    pq.write_table(table.set_column(column, "frames", half), part)
    with pytest.raises(UserError, match="damaged"):
        SpeechCorpus(folder)


def test_features_of_copies_are_those_of_the_front_end(tmp_path: Path) -> None:
    folder = small_corpus.write(tmp_path / "copied", layers=2, copies=[0.9, 1.1])
    corpus, front_end = SpeechCorpus(folder), FrontEnd("prepared", 1, "utterance")
    features = corpus.features(front_end, 52)
    assert features is not None and len(features.counts) == 3 * len(corpus)
    # Slow copies alone exceed the limit.
    assert features.counts.max() == 52 < corpus.prepared.counts.max()
    for recording in range(3 * len(corpus)):
        expected = front_end(corpus.frames(recording)[:52])
        np.testing.assert_allclose(features[recording], expected, atol=2e-3)
    written = mapped(folder)
    assert len(SpeechCorpus(folder)) == len(corpus) and mapped(folder) == written


def test_a_part_without_the_copies_that_others_have_is_refused(tmp_path: Path) -> None:
    folder = small_corpus.write(tmp_path / "copied", copies=[0.9])
    part = min((folder / "utterances").iterdir())
    pq.write_table(pq.read_table(part).drop_columns(["copy_frames", "copy_frame_counts"]), part)
    with pytest.raises(UserError, match=r"\.parquet: damaged"):
        SpeechCorpus(folder)


def test_what_a_text_encoder_says_of_words_is_mapped_by_utterance(tmp_path: Path) -> None:
    folder = small_corpus.write(tmp_path / "encoded", word_layers=2)
    corpus = SpeechCorpus(folder)
    rows = [row for part in (folder / "utterances").iterdir() for row in pq.read_table(part).to_pylist()]
    assert (corpus.word_feature_size, corpus.word_layers) == (2 * small_corpus.WORD_SIZE, 2)
    for index, row in enumerate(sorted(rows, key=lambda row: row["id"])):
        encoded = corpus.encoded_words(index)
        assert encoded.dtype == np.float32 and encoded.shape == (len(row["words"]), corpus.word_feature_size)
        np.testing.assert_array_equal(encoded.ravel(), np.array(row["word_features"], np.float32))
        np.testing.assert_array_equal(corpus.analysed(index).word_features, encoded)
    assert {path.suffix for path in folder.glob("mapped-*")} == {".arrow", ".frames", ".words"}
    plain = SpeechCorpus(small_corpus.write(tmp_path / "plain"))
    assert (plain.word_feature_size, plain.word_layers, plain.analysed(0).word_features) == (0, 0, None)
    with pytest.raises(ValueError, match="without a text encoder"):
        plain.encoded_words(0)


@pytest.mark.parametrize("change", [{"word_feature_size": 9}, {"words": ["red"]}], ids=str)
def test_a_part_whose_words_lack_features_is_refused(tmp_path: Path, change: dict[str, object]) -> None:
    folder = small_corpus.write(tmp_path / "encoded", word_layers=2)
    change_part(folder, **change)
    with pytest.raises(UserError, match="damaged"):
        SpeechCorpus(folder)
    assert not mapped(folder)
