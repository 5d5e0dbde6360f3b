from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from fgcme.data import Batch, RaggedLoader, SpeechCorpus, Vocabulary
from fgcme.data.batch import SegmentScheme
from fgcme.data.front_end import FrontEnd, moments_of_all
from fgcme.errors import UserError
from fgcme.experiment import AugmentationSettings
from fgcme.prepared.corpus import UTTERANCES
from tests import small_corpus

READINGS = [
    SegmentScheme("words", 6),
    SegmentScheme("words", 6, 3),
    SegmentScheme("even", 2),
    SegmentScheme("utterance"),
    SegmentScheme("none"),
]
EVERYTHING = AugmentationSettings(
    speed=0.2, gain_db=6, noise=0.5, time_masks=1, frequency_masks=1, frequency_width=2, mixup_alpha=0.4
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    yield small_corpus.write(tmp_path_factory.mktemp("prepared") / "corpus")


@pytest.fixture(scope="module")
def uneven(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A corpus whose utterances last from 0.3 to 1 s."""
    folder = small_corpus.write(tmp_path_factory.mktemp("prepared") / "uneven")
    generator = np.random.default_rng(0)
    for part in (folder / "utterances").iterdir():
        rows = pq.read_table(part).to_pylist()
        for row in rows:
            count = int(generator.integers(30, 101))
            row["frame_count"], row["frames"] = count, row["frames"][: count * row["frame_size"]]
            row["begin"], row["end"] = (np.minimum(row[edge], count).tolist() for edge in ("begin", "end"))
        pq.write_table(pa.Table.from_pylist(rows, UTTERANCES), part)
    return folder


def loader(
    corpus: SpeechCorpus,
    batch_size: int = 8,
    frame_limit: int = 3000,
    reading: SegmentScheme = READINGS[0],
    **options: object,
) -> RaggedLoader:
    return RaggedLoader(
        corpus,
        np.arange(len(corpus)),
        np.arange(len(corpus)) % 4,
        Vocabulary.from_utterances(corpus.words),
        reading,
        batch_size,
        frame_limit,
        **options,  # type: ignore[arg-type]
    )


def assert_equal(one: Batch, other: Batch) -> None:
    for name in ("frames", "spans", "words", "word_counts", "labels"):
        assert torch.equal(getattr(one, name), getattr(other, name)), name
    for mine, theirs in zip(one.reads, other.reads, strict=True):
        assert torch.equal(mine, theirs)


def utterances(batch: Batch) -> list[tuple[np.ndarray, np.ndarray, list[int]]]:
    """What each utterance of a batch of words reads, word by word: the frames of its spans, end to end, and how many.

    Where an utterance stands in the batch leaves no trace in it.
    """
    apart = []
    first = 0
    for count in batch.word_counts.tolist():
        spans = batch.spans[first : first + count].tolist()
        frames = np.concatenate([batch.frames[begin:end].numpy() for begin, end in spans])
        apart.append((frames, np.diff(spans).ravel(), batch.words[first : first + count].tolist()))
        first += count
    return apart


def test_a_corpus_holds_what_the_parquet_files_hold_in_the_order_of_ids(folder: Path) -> None:
    corpus = SpeechCorpus(folder)
    rows = [row for part in (folder / "utterances").glob("*.parquet") for row in pq.read_table(part).to_pylist()]
    rows.sort(key=lambda row: row["id"])
    assert list(corpus.table.ids) == [row["id"] for row in rows]
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
    vocabulary = Vocabulary.from_utterances(corpus.words)
    batch = loader(corpus).batch(np.array([3, 0]))
    assert batch.labels.tolist() == [3, 0]
    assert batch.word_counts.tolist() == [len(corpus.words[3]), len(corpus.words[0])]
    assert batch.words.tolist() == vocabulary.index(corpus.words[3] + corpus.words[0]).tolist()


def test_audio_is_cut_at_the_frame_limit(folder: Path) -> None:
    corpus = SpeechCorpus(folder)
    limit = int(corpus.spans(0)[1][0])
    batch = loader(corpus, frame_limit=limit).batch(np.array([0]))
    assert len(batch.frames) <= limit
    # Later words may still read what the first one's last frames reach into.
    assert batch.reads.lengths[1:].max() <= 6


def test_whole_utterances_of_as_many_words_are_bucketed_by_their_frames(uneven: Path) -> None:
    corpus = SpeechCorpus(uneven)

    def spread(reading: SegmentScheme) -> float:
        plan = loader(corpus, batch_size=4, reading=reading).plan(seed=0)
        return float(np.mean([np.ptp([corpus.frame_count(position) for position in part]) for part in plan]))

    assert spread(SegmentScheme("utterance")) < 0.5 * spread(SegmentScheme("words"))


@pytest.mark.parametrize("normalisation", ["none", "train"])
def test_frames_that_nothing_changes_stay_where_the_file_is_mapped(folder: Path, normalisation: str) -> None:
    corpus = SpeechCorpus(folder)
    batches = loader(corpus, front_end=FrontEnd(normalisation=normalisation))  # type: ignore[arg-type]
    batches.batch(np.arange(8))
    batches.batch(np.arange(8), seed=1)
    for position in range(8):
        assert np.shares_memory(batches.frames(position), corpus.frames(position))


def test_the_front_end_s_results_are_made_once(folder: Path) -> None:
    corpus = SpeechCorpus(folder)
    front_end = FrontEnd("mfcc", 2, "utterance")
    batches = loader(corpus, front_end=front_end, frame_limit=50)
    np.testing.assert_array_equal(batches.frames(3), front_end(corpus.frames(3)[:50]))
    assert batches.frames(3) is batches.frames(3)
    batch = batches.batch(np.array([3, 5]))
    assert batch.frames.shape[1] == front_end.size(corpus.frame_size) == 18
    assert batch.frames.dtype == torch.float32


def test_each_speaker_is_normalised_by_their_own_statistics(folder: Path) -> None:
    corpus = SpeechCorpus(folder)
    speakers = corpus.table.speakers
    # Of any one utterance of theirs: who is meant is what counts here.
    moments = {speaker: moments_of_all([corpus.frames(index)]) for index, speaker in enumerate(speakers)}
    batches = loader(corpus, front_end=FrontEnd(normalisation="speaker"), speakers=moments)
    for position, speaker in enumerate(speakers):
        mean, deviation = moments[speaker]
        np.testing.assert_allclose(batches.frames(position), (corpus.frames(position) - mean) / deviation, rtol=1e-5)


def test_a_model_that_reads_no_frames_costs_none(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    corpus = SpeechCorpus(folder)
    monkeypatch.delattr(SpeechCorpus, "frames")
    batches = loader(corpus, reading=SegmentScheme("none"), front_end=FrontEnd("mfcc", 1), augmentation=EVERYTHING)
    batches.keep_on("cpu")
    batch = batches.batch(np.array([2, 4]), seed=0)
    assert batch.frames.shape == (1, 12)
    assert batch.mixture is not None
    assert batches.size == 0


@pytest.mark.parametrize("reading", READINGS, ids=lambda reading: f"{reading.segments}-{reading.margin}")
@pytest.mark.parametrize("front_end", [FrontEnd(), FrontEnd("mfcc", 1, "utterance")], ids=["plain", "mfcc"])
def test_batches_cut_on_a_device_are_the_same(
    uneven: Path, reading: SegmentScheme, front_end: FrontEnd, monkeypatch: pytest.MonkeyPatch
) -> None:
    corpus = SpeechCorpus(uneven)
    mapped, kept = (loader(corpus, reading=reading, front_end=front_end, frame_limit=60) for _ in range(2))
    expected = [mapped.batch(positions) for positions in mapped.plan(seed=3)]
    kept.keep_on("cpu")
    assert kept.size == sum(read.frames.nbytes for read in expected if reading.segments != "none")
    monkeypatch.delattr(SpeechCorpus, "frames")
    for positions, batch in zip(kept.plan(seed=3), expected, strict=True):
        assert_equal(kept.batch(positions), batch)
        assert_equal(kept.batch(positions, seed=1), batch)


def test_a_seed_without_augmentation_changes_nothing(folder: Path) -> None:
    batches = loader(SpeechCorpus(folder))
    assert_equal(batches.batch(np.array([1, 2]), seed=5), batches.batch(np.array([1, 2])))
    assert batches.batch(np.array([1, 2]), seed=5).mixture is None


def test_augmentation_without_a_seed_changes_nothing(folder: Path) -> None:
    corpus = SpeechCorpus(folder)
    batch = loader(corpus, augmentation=EVERYTHING).batch(np.array([1, 2]))
    assert_equal(batch, loader(corpus).batch(np.array([1, 2])))
    assert batch.mixture is None


def test_how_an_utterance_is_varied_follows_from_the_seed_and_its_position_alone(folder: Path) -> None:
    corpus = SpeechCorpus(folder)
    alone = loader(corpus, augmentation=EVERYTHING).batch(np.array([3]), seed=7)
    batches = loader(corpus, augmentation=EVERYTHING)
    batches.batch(np.arange(20), seed=7)
    together = batches.batch(np.array([9, 0, 3, 5]), seed=7)
    for mine, theirs in zip(utterances(alone)[0], utterances(together)[2], strict=True):
        np.testing.assert_array_equal(mine, theirs)
    other = utterances(batches.batch(np.array([3]), seed=8))[0]
    assert other[0].shape != utterances(alone)[0][0].shape or not np.array_equal(other[0], utterances(alone)[0][0])


def test_varied_frames_go_through_the_front_end(folder: Path) -> None:
    corpus = SpeechCorpus(folder)
    louder = AugmentationSettings(gain_db=6)

    def first(augmentation: AugmentationSettings, front_end: FrontEnd, seed: int | None) -> np.ndarray:
        batches = loader(corpus, augmentation=augmentation, front_end=front_end, reading=SegmentScheme("utterance"))
        return batches.batch(np.array([0]), seed).frames.numpy()

    plain, varied = (first(louder, FrontEnd(), seed) for seed in (None, 1))
    assert np.ptp(varied - plain) < 1e-5 < abs((varied - plain).mean())
    # What is standardised has no level.
    standardised = [first(louder, FrontEnd(normalisation="utterance"), seed) for seed in (None, 1)]
    np.testing.assert_allclose(*standardised, atol=1e-4)
    # A louder utterance has another zeroth coefficient and the same others.
    cepstra = [first(louder, FrontEnd("mfcc"), seed) for seed in (None, 1)]
    np.testing.assert_allclose(cepstra[0][:, 1:], cepstra[1][:, 1:], atol=1e-4)
    assert np.abs(cepstra[0][:, 0] - cepstra[1][:, 0]).min() > 0.01


def test_what_words_read_moves_with_their_spans(folder: Path) -> None:
    corpus = SpeechCorpus(folder)
    batches = loader(corpus, augmentation=AugmentationSettings(speed=0.5))
    for seed in range(10):
        plain, varied = batches.batch(np.arange(8)), batches.batch(np.arange(8), seed)
        lengths = np.diff(plain.spans.numpy()).ravel(), np.diff(varied.spans.numpy()).ravel()
        assert (lengths[1] >= 1).all()
        assert not np.array_equal(*lengths)
        first = 0
        for count in plain.word_counts.tolist():
            ratio = lengths[1][first : first + count].sum() / lengths[0][first : first + count].sum()
            assert 0.4 < ratio < 2.3
            first += count


def test_the_frame_limit_holds_for_what_was_slowed_down(folder: Path) -> None:
    slow = AugmentationSettings(speed=0.5)
    batches = loader(SpeechCorpus(folder), frame_limit=90, augmentation=slow, reading=SegmentScheme("utterance"))
    lengths = [len(batches.batch(np.array([position]), seed=0).frames) for position in range(30)]
    assert max(lengths) == 90 and min(lengths) < 80


def test_masks_leave_the_kept_frames_alone(folder: Path) -> None:
    batches = loader(
        SpeechCorpus(folder), augmentation=AugmentationSettings(time_masks=2), front_end=FrontEnd(deltas=1)
    )
    before = batches.frames(0).copy()
    assert (batches.batch(np.array([0]), seed=0).frames != batches.batch(np.array([0])).frames).any()
    np.testing.assert_array_equal(batches.frames(0), before)


def test_utterances_are_mixed_within_their_batch(folder: Path) -> None:
    batches = loader(SpeechCorpus(folder), augmentation=AugmentationSettings(mixup_alpha=0.4))
    positions = np.array([5, 3, 9, 30])
    batch = batches.batch(positions, seed=1)
    assert batch.mixture is not None
    assert sorted(batch.mixture.partner.tolist()) == [0, 1, 2, 3]
    assert_equal(batch, batches.batch(positions))
    again, other = batches.batch(positions, seed=1).mixture, batches.batch(positions, seed=2).mixture
    assert again is not None and other is not None
    assert torch.equal(batch.mixture.weight, again.weight) and torch.equal(batch.mixture.partner, again.partner)
    assert not torch.equal(batch.mixture.weight, other.weight)


def test_words_outside_of_the_vocabulary_share_one_row() -> None:
    vocabulary = Vocabulary.from_utterances([["b", "a"], ["b"]])
    assert vocabulary.words == ["a", "b"]
    assert len(vocabulary) == 4
    assert vocabulary.index(["a", "b", "c", "d"]).tolist() == [2, 3, 1, 1]
