"""Ragged batches of a part, with and without augmentation."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from fgcme.data import Batch, RaggedLoader, SpeechCorpus, Vocabulary
from fgcme.data.batch import SegmentScheme
from fgcme.data.dataset import UNKNOWN
from fgcme.data.front_end import FrontEnd
from fgcme.data.inputs import ModelInput, PartInputs
from fgcme.experiment import AugmentationSettings
from fgcme.prepared.corpus import UTTERANCES
from tests import small_corpus

SCHEMES = [
    SegmentScheme("words", 6),
    SegmentScheme("words", 6, 3),
    SegmentScheme("even", 2),
    SegmentScheme("random", 6, 3),
    SegmentScheme("speech", 2),
    SegmentScheme("random", 2, overall="recording"),
    SegmentScheme("recording"),
    SegmentScheme("none"),
]
PLAIN = FrontEnd()
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
    for part in sorted((folder / "utterances").iterdir()):
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
    scheme: SegmentScheme = SCHEMES[0],
    front_end: FrontEnd = PLAIN,
    augmentation: AugmentationSettings | None = None,
) -> RaggedLoader:
    """A loader of a whole corpus; the label of utterance n is n modulo 4."""
    model_input = ModelInput(scheme, Vocabulary.from_utterances(corpus.words), frame_limit, front_end)
    everyone = np.arange(len(corpus))
    return RaggedLoader(PartInputs(corpus, everyone, everyone % 4, model_input), batch_size, augmentation)


def assert_equal(one: Batch, other: Batch) -> None:
    for name in ("frames", "spans", "words", "word_counts", "labels"):
        assert torch.equal(getattr(one, name), getattr(other, name)), name
    for mine, theirs in zip(one.reads, other.reads, strict=True):
        assert torch.equal(mine, theirs)


def utterances_of(batch: Batch) -> list[tuple[np.ndarray, np.ndarray, list[int]]]:
    """Of each utterance of a batch: the frames of its words' spans, the spans' lengths, and its words.

    The same for an utterance wherever it is in a batch.
    """
    found = []
    first = 0
    for count in batch.word_counts.tolist():
        spans = batch.spans[first : first + count].tolist()
        frames = np.concatenate([batch.frames[begin:end].numpy() for begin, end in spans])
        found.append((frames, np.diff(spans).ravel(), batch.words[first : first + count].tolist()))
        first += count
    return found


def test_a_shuffled_plan_has_every_utterance_once_and_follows_from_its_seed(folder: Path) -> None:
    batches = loader(SpeechCorpus(folder))
    plan = batches.plan(seed=1)
    assert sorted(np.concatenate(plan)) == list(range(64))
    assert [part.tolist() for part in plan] == [part.tolist() for part in batches.plan(seed=1)]
    assert [part.tolist() for part in plan] != [part.tolist() for part in batches.plan(seed=2)]
    assert len(plan) == len(batches)


def test_batches_hold_utterances_with_similar_numbers_of_words(folder: Path) -> None:
    corpus = SpeechCorpus(folder)

    def spread(plan: list[np.ndarray]) -> float:
        return float(np.mean([np.ptp([len(corpus.words[position]) for position in part]) for part in plan]))

    batches = loader(corpus)
    assert spread(batches.plan(seed=0)) < 0.5 * spread(batches.plan(seed=None))


def test_a_batch_holds_the_words_and_labels_of_its_positions(folder: Path) -> None:
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
    # Later words may still read up to `lookahead` frames before the cut.
    assert batch.reads.lengths[1:].max() <= 6


def test_whole_utterances_with_equally_many_words_are_sorted_by_frames(uneven: Path) -> None:
    corpus = SpeechCorpus(uneven)

    def spread(scheme: SegmentScheme) -> float:
        plan = loader(corpus, batch_size=4, scheme=scheme).plan(seed=0)
        return float(np.mean([np.ptp([corpus.frame_count(position) for position in part]) for part in plan]))

    assert spread(SegmentScheme("recording")) < 0.5 * spread(SegmentScheme("words"))


def test_a_model_that_reads_no_frames_opens_none(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    corpus = SpeechCorpus(folder)
    monkeypatch.delattr(SpeechCorpus, "frames")
    batches = loader(corpus, scheme=SegmentScheme("none"), front_end=FrontEnd("mfcc", 1), augmentation=EVERYTHING)
    batches.keep_on("cpu")
    batch = batches.batch(np.array([2, 4]), seed=0)
    assert batch.frames.shape == (1, 12)
    assert batch.mixture is not None
    assert batches.device_bytes == 0


@pytest.mark.parametrize("scheme", SCHEMES, ids=lambda scheme: f"{scheme.segments}-{scheme.margin}")
@pytest.mark.parametrize("front_end", [FrontEnd(), FrontEnd("mfcc", 1, "utterance")], ids=["plain", "mfcc"])
def test_batches_are_the_same_when_their_frames_are_kept_on_a_device(
    uneven: Path, scheme: SegmentScheme, front_end: FrontEnd, monkeypatch: pytest.MonkeyPatch
) -> None:
    corpus = SpeechCorpus(uneven)
    mapped, kept = (loader(corpus, scheme=scheme, front_end=front_end, frame_limit=60) for _ in range(2))
    expected = [(mapped.batch(positions), mapped.batch(positions, seed=1)) for positions in mapped.plan(seed=3)]
    kept.keep_on("cpu")
    assert kept.device_bytes == sum(read.frames.nbytes for read, _ in expected if scheme.segments != "none")
    monkeypatch.delattr(SpeechCorpus, "frames")
    for positions, (batch, trained) in zip(kept.plan(seed=3), expected, strict=True):
        assert_equal(kept.batch(positions), batch)
        assert_equal(kept.batch(positions, seed=1), trained)


def test_a_seed_without_augmentation_changes_nothing(folder: Path) -> None:
    batches = loader(SpeechCorpus(folder))
    assert_equal(batches.batch(np.array([1, 2]), seed=5), batches.batch(np.array([1, 2])))
    assert batches.batch(np.array([1, 2]), seed=5).mixture is None


def test_random_segments_follow_from_the_seed_and_the_utterance_and_are_even_without_a_seed(folder: Path) -> None:
    corpus, positions = SpeechCorpus(folder), np.array([3, 9, 0])
    batches = loader(corpus, scheme=SegmentScheme("random", 6))
    one, other = batches.batch(positions, seed=1), batches.batch(positions, seed=2)
    assert not torch.equal(one.spans, other.spans) and torch.equal(one.frames, other.frames)
    assert_equal(one, loader(corpus, scheme=SegmentScheme("random", 6)).batch(positions, seed=1))
    alone = utterances_of(batches.batch(np.array([9]), seed=1))[0]
    np.testing.assert_array_equal(alone[1], utterances_of(one)[1][1])
    # What else is drawn for the utterance moves no boundary.
    masks = loader(corpus, scheme=SegmentScheme("random", 6), augmentation=AugmentationSettings(time_masks=1))
    assert torch.equal(masks.batch(positions, seed=1).spans, one.spans)
    assert_equal(batches.batch(positions), loader(corpus, scheme=SegmentScheme("even_speech", 6)).batch(positions))


def test_the_speech_follows_a_change_of_speed(folder: Path) -> None:
    corpus = SpeechCorpus(folder)
    batches = loader(corpus, scheme=SegmentScheme("speech"), augmentation=AugmentationSettings(speed=0.5))
    plain, varied = batches.batch(np.arange(8)), batches.batch(np.arange(8), seed=0)
    lengths = np.diff(plain.spans.numpy()).ravel(), np.diff(varied.spans.numpy()).ravel()
    words = loader(corpus, augmentation=AugmentationSettings(speed=0.5)).batch(np.arange(8), seed=0)
    first = np.cumsum([0, *words.word_counts])[:-1]
    spoken = np.add.reduceat(np.diff(words.spans.numpy()).ravel(), first)
    aligned = [corpus.spans(position) for position in range(8)]
    for position, (begin, end) in enumerate(aligned):
        factor = spoken[position] / (end - begin).sum()
        assert lengths[1][position] == pytest.approx(factor * lengths[0][position], rel=0.15)


def test_augmentation_without_a_seed_changes_nothing(folder: Path) -> None:
    corpus = SpeechCorpus(folder)
    batch = loader(corpus, augmentation=EVERYTHING).batch(np.array([1, 2]))
    assert_equal(batch, loader(corpus).batch(np.array([1, 2])))
    assert batch.mixture is None


def test_augmentation_of_an_utterance_depends_on_the_seed_and_its_position_alone(folder: Path) -> None:
    corpus = SpeechCorpus(folder)
    alone = loader(corpus, augmentation=EVERYTHING).batch(np.array([3]), seed=7)
    batches = loader(corpus, augmentation=EVERYTHING)
    batches.batch(np.arange(20), seed=7)
    together = batches.batch(np.array([9, 0, 3, 5]), seed=7)
    for mine, theirs in zip(utterances_of(alone)[0], utterances_of(together)[2], strict=True):
        np.testing.assert_array_equal(mine, theirs)
    other = utterances_of(batches.batch(np.array([3]), seed=8))[0]
    assert other[0].shape != utterances_of(alone)[0][0].shape or not np.array_equal(
        other[0], utterances_of(alone)[0][0]
    )


def test_augmented_frames_go_through_the_front_end(folder: Path) -> None:
    corpus = SpeechCorpus(folder)
    louder = AugmentationSettings(gain_db=6)

    def first(augmentation: AugmentationSettings, front_end: FrontEnd, seed: int | None) -> np.ndarray:
        batches = loader(corpus, augmentation=augmentation, front_end=front_end, scheme=SegmentScheme("recording"))
        return batches.batch(np.array([0]), seed).frames.numpy()

    plain, varied = (first(louder, FrontEnd(), seed) for seed in (None, 1))
    assert np.ptp(varied - plain) < 1e-5 < abs((varied - plain).mean())
    # Standardised frames have no gain.
    standardised = [first(louder, FrontEnd(normalisation="utterance"), seed) for seed in (None, 1)]
    np.testing.assert_allclose(*standardised, atol=1e-4)
    # Gain changes the zeroth coefficient alone.
    cepstra = [first(louder, FrontEnd("mfcc"), seed) for seed in (None, 1)]
    np.testing.assert_allclose(cepstra[0][:, 1:], cepstra[1][:, 1:], atol=1e-4)
    assert np.abs(cepstra[0][:, 0] - cepstra[1][:, 0]).min() > 0.01


def test_dropped_words_follow_from_the_seed_and_the_position_and_leave_the_frames(folder: Path) -> None:
    corpus = SpeechCorpus(folder)
    batches = loader(corpus, augmentation=AugmentationSettings(word_dropout=0.5))
    positions = np.arange(20)
    plain, dropped = batches.batch(positions), batches.batch(positions, seed=7)
    assert torch.equal(plain.frames, dropped.frames) and torch.equal(plain.word_counts, dropped.word_counts)
    unknown = dropped.words == UNKNOWN
    assert 0.2 < unknown.float().mean() < 0.8 and not (plain.words == UNKNOWN).any()
    assert torch.equal(dropped.words[~unknown], plain.words[~unknown])
    alone = batches.batch(np.array([3]), seed=7)
    assert utterances_of(alone)[0][2] == utterances_of(dropped)[3][2]
    assert not torch.equal(batches.batch(positions, seed=8).words, dropped.words)
    # Frames that lie on a device stay there.
    kept = loader(corpus, augmentation=AugmentationSettings(word_dropout=0.5))
    kept.keep_on("cpu")
    assert_equal(kept.batch(positions, seed=7), dropped)


@pytest.mark.parametrize("others", [{}, {"gain_db": 6, "speed": 0.1, "time_masks": 1}])
def test_utterances_lose_their_words_or_their_sound_by_seed_and_position_alone(
    folder: Path, others: dict[str, float]
) -> None:
    corpus = SpeechCorpus(folder)
    losing = AugmentationSettings.model_validate({"modality_dropout": 0.8, **others})
    scheme = SCHEMES[0]
    model_input = ModelInput(scheme, Vocabulary.from_utterances(corpus.words), 3000, loses_words=True)
    everyone = np.arange(len(corpus))
    batches = RaggedLoader(PartInputs(corpus, everyone, everyone % 4, model_input), 8, losing)
    batch = batches.batch(everyone, seed=3)
    plain = batches.batch(everyone)
    assert torch.equal(batch.labels, plain.labels)
    lost = {"words": 0, "sound": 0, "nothing": 0}
    for index, ((frames, _, words), (_, _, own)) in enumerate(
        zip(utterances_of(batch), utterances_of(plain), strict=True)
    ):
        if set(words) == {UNKNOWN}:
            first, last = corpus.speech(index) or (0, 0)
            assert abs(len(words) - (last - first) / 30) <= 1 and len(frames)
            lost["words"] += 1
        else:
            assert words == own
            lost["nothing" if len(frames) else "sound"] += 1
    assert min(lost.values()) > 5
    alone = utterances_of(batches.batch(np.array([30]), seed=3))[0]
    for mine, theirs in zip(alone, utterances_of(batch)[30], strict=True):
        np.testing.assert_array_equal(mine, theirs)
    batches.keep_on("cpu")
    assert_equal(batches.batch(everyone, seed=3), batch)


@pytest.mark.parametrize("copies", [(), (0.9,)], ids=str)
def test_what_is_said_is_numbered_by_its_words(tmp_path: Path, copies: tuple[float, ...]) -> None:
    corpus = SpeechCorpus(small_corpus.write(tmp_path / "corpus", each=16, copies=copies))
    everyone = np.arange(len(corpus))
    model_input = ModelInput(SCHEMES[0], Vocabulary.from_utterances(corpus.words), 3000, loses_words=True)
    inputs = PartInputs(corpus, everyone, everyone % 4, model_input)
    batches = RaggedLoader(inputs, 8, AugmentationSettings(modality_dropout=0.5))
    positions = np.arange(len(inputs))
    said = [" ".join(words) for words in corpus.words for _ in corpus.speeds]
    numbers = batches.texts(positions)
    assert numbers[0] == 0 and numbers.max() + 1 == len(set(said)) < len(corpus)
    assert [said[number] for number in np.unique(numbers, return_index=True)[1]] == list(dict.fromkeys(said))
    assert len(set(zip(numbers.tolist(), said, strict=True))) == len(set(said))
    # Who lost words or sound has no number.
    drawn, batch = batches.texts(positions, seed=3), batches.batch(positions, seed=3)
    unheard = [not len(frames) or set(words) == {UNKNOWN} for frames, _, words in utterances_of(batch)]
    assert (drawn < 0).tolist() == unheard and 0.3 < np.mean(unheard) < 0.7
    kept = [said[position] for position in np.flatnonzero(drawn >= 0)]
    assert len(set(zip(drawn[drawn >= 0].tolist(), kept, strict=True))) == len(set(kept)) == drawn.max() + 1
    # Words that are dropped were said all the same.
    dropping = RaggedLoader(inputs, 8, AugmentationSettings(word_dropout=0.5))
    np.testing.assert_array_equal(dropping.texts(positions, seed=3), numbers)


@pytest.mark.parametrize("copies", [(), (0.9,)], ids=str)
def test_what_a_text_encoder_says_follows_the_words(tmp_path: Path, copies: tuple[float, ...]) -> None:
    """Zeros of those that training drops, or whose utterance it takes for one of unknown words."""
    corpus = SpeechCorpus(small_corpus.write(tmp_path / "corpus", word_layers=2, copies=copies))
    everyone = np.arange(len(corpus))
    model_input = ModelInput(SCHEMES[0], Vocabulary(["red"]), 3000, loses_words=True, reads_word_features=True)
    losing = AugmentationSettings(word_dropout=0.4, modality_dropout=0.5)
    batches = RaggedLoader(PartInputs(corpus, everyone, everyone % 4, model_input), 8, losing)
    positions = np.arange(len(batches.inputs))
    plain, varied = batches.batch(positions), batches.batch(positions, seed=3)
    assert plain.word_features is not None and varied.word_features is not None
    # The same of the same word, whether the vocabulary knows it or not.
    spoken = [word for utterance in corpus.words for _ in corpus.speeds for word in utterance]
    by_word = dict(zip(spoken, plain.word_features, strict=True))
    assert len(by_word) == 6 and plain.word_features.shape[1] == 2 * small_corpus.WORD_SIZE
    assert torch.equal(torch.stack([by_word[word] for word in spoken]), plain.word_features)
    counts, own_counts = varied.word_counts.tolist(), plain.word_counts.tolist()
    of_each = zip(
        varied.words.split(counts),
        varied.word_features.split(counts),
        plain.words.split(own_counts),
        plain.word_features.split(own_counts),
        strict=True,
    )
    lost = 0
    for words, features, own_words, own in of_each:
        known = features.any(1)
        if known.any():
            assert torch.equal(features[known], own[known])
            assert torch.equal(words, torch.where(known, own_words, UNKNOWN))
        else:
            assert (words == UNKNOWN).all()
            lost += 1
    assert 0.2 < lost / len(positions) < 0.5
    assert 0.3 < float(varied.word_features.any(1).float().mean()) < 0.7
    alone = batches.batch(positions[5:6], seed=3).to("cpu")
    assert alone.word_features is not None
    assert torch.equal(alone.word_features, varied.word_features.split(counts)[5])


def test_word_spans_follow_a_change_of_speed(folder: Path) -> None:
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


def test_the_frame_limit_holds_for_slowed_utterances(folder: Path) -> None:
    slow = AugmentationSettings(speed=0.5)
    batches = loader(SpeechCorpus(folder), frame_limit=90, augmentation=slow, scheme=SegmentScheme("recording"))
    lengths = [len(batches.batch(np.array([position]), seed=0).frames) for position in range(30)]
    assert max(lengths) == 90 and min(lengths) < 80


def test_masks_do_not_change_the_cached_frames(folder: Path) -> None:
    batches = loader(
        SpeechCorpus(folder), augmentation=AugmentationSettings(time_masks=2), front_end=FrontEnd(deltas=1)
    )
    before = batches.inputs.frames(0).copy()
    assert (batches.batch(np.array([0]), seed=0).frames != batches.batch(np.array([0])).frames).any()
    np.testing.assert_array_equal(batches.inputs.frames(0), before)


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
    with_others = batches.batch(np.array([5, 3, 9, 31]), seed=1).mixture
    assert with_others is not None and not torch.equal(batch.mixture.weight, with_others.weight)


def test_a_band_is_masked_in_the_values_and_in_their_deltas(folder: Path) -> None:
    bands = AugmentationSettings(frequency_masks=1, frequency_width=3)
    batches = loader(
        SpeechCorpus(folder), scheme=SegmentScheme("recording"), front_end=FrontEnd(deltas=1), augmentation=bands
    )
    plain = batches.batch(np.array([0])).frames
    widths = set()
    for seed in range(10):
        masked = (batches.batch(np.array([0]), seed).frames != plain).any(0)
        assert masked[:6].equal(masked[6:])
        widths.add(int(masked[:6].sum()))
    assert max(widths) == 3


def test_a_band_is_masked_in_every_layer(tmp_path: Path) -> None:
    corpus = SpeechCorpus(small_corpus.write(tmp_path / "layers", layers=3))
    masks = AugmentationSettings(frequency_masks=1, frequency_width=6)
    loaders = [loader(corpus, augmentation=each, scheme=SegmentScheme("utterance")) for each in (masks, None)]
    masked = 0
    for position in range(8):
        changed, plain = (each.batch(np.array([position]), seed=0).frames for each in loaders)
        by_layer = (changed != plain).any(0).view(3, 6)
        assert (by_layer == by_layer[0]).all()
        masked += int(by_layer.any())
    assert masked > 2
