from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fgcme.dataset import RaggedLoader, SpeechCorpus, Vocabulary, standardise, statistics
from fgcme.errors import UserError
from fgcme.prepared import UTTERANCES
from tests import small_corpus


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    yield small_corpus.write(tmp_path_factory.mktemp("prepared") / "corpus")


def loader(corpus: SpeechCorpus, batch_size: int = 8, frame_limit: int = 3000, **options: object) -> RaggedLoader:
    return RaggedLoader(
        corpus,
        np.arange(len(corpus)),
        np.arange(len(corpus)) % 4,
        Vocabulary.of(corpus.words),
        reach=6,
        batch_size=batch_size,
        frame_limit=frame_limit,
        **options,  # type: ignore[arg-type]
    )


def test_a_corpus_holds_what_the_parquet_files_hold_in_the_order_of_ids(folder: Path) -> None:
    corpus = SpeechCorpus(folder)
    rows = [row for part in (folder / "utterances").glob("*.parquet") for row in pq.read_table(part).to_pylist()]
    rows.sort(key=lambda row: row["id"])
    assert list(corpus.members.ids) == [row["id"] for row in rows]
    for index, row in enumerate(rows):
        assert corpus.frames(index).ravel().tolist() == row["frames"]
        assert [span.tolist() for span in corpus.spans(index)] == [row["begin"], row["end"]]
        assert corpus.words[index] == row["words"]


def test_frames_are_views_of_one_mapped_file(folder: Path) -> None:
    frames = SpeechCorpus(folder).frames(0)
    assert not frames.flags.owndata
    assert not frames.flags.writeable


def test_a_changed_corpus_is_mapped_anew(tmp_path: Path) -> None:
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


def test_a_shuffled_plan_has_every_utterance_once_and_follows_from_its_seed(folder: Path) -> None:
    batches = loader(SpeechCorpus(folder))
    plan = batches.plan(seed=1)
    assert sorted(np.concatenate(plan)) == list(range(64))
    assert [part.tolist() for part in plan] == [part.tolist() for part in batches.plan(seed=1)]
    assert [part.tolist() for part in plan] != [part.tolist() for part in batches.plan(seed=2)]
    assert len(plan) == len(batches)


def test_batches_hold_utterances_of_about_one_number_of_words(folder: Path) -> None:
    corpus = SpeechCorpus(folder)

    def spread(plan: list[np.ndarray]) -> float:
        return float(np.mean([np.ptp([len(corpus.words[position]) for position in part]) for part in plan]))

    batches = loader(corpus)
    assert spread(batches.plan(seed=0)) < 0.5 * spread(batches.plan(seed=None))


def test_a_batch_lays_out_the_right_words_and_labels(folder: Path) -> None:
    corpus = SpeechCorpus(folder)
    vocabulary = Vocabulary.of(corpus.words)
    batch = loader(corpus).batch(np.array([3, 0]))
    assert batch.labels.tolist() == [3, 0]
    assert batch.word_counts.tolist() == [len(corpus.words[3]), len(corpus.words[0])]
    assert batch.words.tolist() == vocabulary.index(corpus.words[3] + corpus.words[0]).tolist()


def test_audio_is_cut_at_the_frame_limit(folder: Path) -> None:
    corpus = SpeechCorpus(folder)
    begin, end = corpus.spans(0)
    limit = int(end[0])
    batch = loader(corpus, frame_limit=limit).batch(np.array([0]))
    assert len(batch.frames) <= limit
    assert batch.begin[1:].tolist() == [0] * (len(begin) - 1) or (batch.end - batch.begin)[1:].max() <= 6


def test_statistics_are_of_all_frames_of_the_part(folder: Path) -> None:
    corpus = SpeechCorpus(folder)
    frames = np.concatenate([corpus.frames(index) for index in (1, 5)])
    mean, deviation = statistics(corpus, np.array([1, 5]))
    np.testing.assert_allclose(mean, frames.mean(0), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(deviation, frames.std(0), rtol=1e-4)


def test_a_standardised_utterance_has_mean_0_and_deviation_1() -> None:
    frames = standardise(np.random.default_rng(0).normal(3, 5, (200, 4)).astype(np.float32))
    np.testing.assert_allclose(frames.mean(0), 0, atol=1e-5)
    np.testing.assert_allclose(frames.std(0), 1, atol=1e-4)


def test_words_outside_of_the_vocabulary_share_one_row() -> None:
    vocabulary = Vocabulary.of([["b", "a"], ["b"]])
    assert vocabulary.words == ["a", "b"]
    assert len(vocabulary) == 4
    assert vocabulary.index(["a", "b", "c", "d"]).tolist() == [2, 3, 1, 1]
