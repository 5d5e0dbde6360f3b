import copy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fgcme.data import FoldLoaders, SpeechCorpus, assign_folds, make_fold_loaders, reads_test_audio, split_fold
from fgcme.data.fold import open_fold, require_speakers, speaker_moments
from fgcme.data.front_end import FrontEnd
from fgcme.data.protocol import named_protocols
from fgcme.errors import UserError
from fgcme.experiment import Experiment
from tests import small_corpus

PROTOCOL = named_protocols()["demo/4class"]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> SpeechCorpus:
    return SpeechCorpus(small_corpus.write(tmp_path_factory.mktemp("prepared") / "corpus", unlike=True))


def settings(normalisation: str = "none", model: dict[str, object] | None = None, **training: object) -> Experiment:
    acoustic = {"channels": [8], "kernels": [3], "input": "mfcc", "deltas": 1, "normalisation": normalisation}
    return small_corpus.experiment(model={"acoustic": acoustic, **(model or {})}, training=training)


def fold_loaders(corpus: SpeechCorpus, experiment: Experiment) -> FoldLoaders:
    return make_fold_loaders(
        corpus, assign_folds(PROTOCOL, corpus.table), 0, "dev", experiment.model, experiment.training
    )


def test_the_vocabulary_comes_from_the_training_part(corpus: SpeechCorpus) -> None:
    loaders = fold_loaders(corpus, settings())
    expected = {
        word for index in split_fold(assign_folds(PROTOCOL, corpus.table), 0).train for word in corpus.words[index]
    }
    assert loaders.vocabulary.words == sorted(expected)
    assert expected < {word for words in corpus.words for word in words}


def test_words_that_only_dev_or_test_have_keep_the_vectors_of_the_file(corpus: SpeechCorpus, tmp_path: Path) -> None:
    path = tmp_path / "vectors.txt"
    path.write_text("blue 3 4\nword0 1 2\nword3 5 6\nnever 7 8\n")
    vectors = {"embedding": 2, "vectors": str(path)}
    loaders = fold_loaders(corpus, settings(model={"semantic": vectors}))
    plain, test = fold_loaders(corpus, settings()), loaders.test.inputs
    assert loaders.vocabulary.words == plain.vocabulary.words
    # Of the words with a vector, those of the test speaker 0 or of a dev or training speaker.
    assert set(loaders.vocabulary.given) == {"word0", "word3"} - set(plain.vocabulary.words)
    assert "word0" in loaders.vocabulary.given and "never" not in loaders.vocabulary.given
    assert loaders.vectors is not None
    for word, vector in (("blue", [3, 4]), ("word0", [1, 2]), ("word3", [5, 6])):
        number = loaders.vocabulary.index([word])[0]
        assert loaders.vectors[number - 2].tolist() == vector
    assert np.isnan(loaders.vectors[loaders.vocabulary.index(["red"])[0] - 2]).all()
    # Words are numbered as without the file, but for those that only it knows.
    for position in range(len(test)):
        known, before = test.words(position), plain.test.inputs.words(position)
        assert (known[before > 1] == before[before > 1]).all()
    assert max(test.words(position).max() for position in range(len(test))) >= len(loaders.vocabulary)
    deaf = settings(model={"semantic": vectors, "modalities": "acoustic"})
    assert fold_loaders(corpus, deaf).vectors is None


def test_batches_have_the_frame_size_of_the_front_end(corpus: SpeechCorpus) -> None:
    loaders = fold_loaders(corpus, settings())
    assert loaders.frame_size == 12
    for loader in (loaders.train, loaders.dev, loaders.test):
        assert loader.batch(np.array([0])).frames.shape[1] == 12


def test_mean_and_deviation_are_those_of_the_model_s_frames_in_the_training_part(corpus: SpeechCorpus) -> None:
    loaders = fold_loaders(corpus, settings("train"))
    front_end = FrontEnd("mfcc", 1)
    frames = np.concatenate([front_end(corpus.frames(index)) for index in loaders.train.utterances])
    assert loaders.mean is not None and loaders.deviation is not None
    np.testing.assert_allclose(loaders.mean, frames.mean(0), rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(loaders.deviation, frames.std(0), rtol=1e-3)
    assert fold_loaders(corpus, settings()).mean is None


def test_a_speaker_s_frames_have_mean_0_and_deviation_1_over_all_their_utterances(corpus: SpeechCorpus) -> None:
    loaders = fold_loaders(corpus, settings("speaker"))
    everyone = np.array(corpus.table.speakers)
    for loader in (loaders.train, loaders.dev, loaders.test):
        for speaker in set(everyone[loader.utterances]):
            positions = np.flatnonzero(everyone[loader.utterances] == speaker)
            assert len(positions) == (everyone == speaker).sum()
            frames = np.concatenate([loader.inputs.frames(position) for position in positions])
            np.testing.assert_allclose(frames.mean(0), 0, atol=1e-4)
            np.testing.assert_allclose(frames.std(0), 1, atol=1e-3)


def test_the_moments_of_a_speaker_are_those_of_all_their_utterances(corpus: SpeechCorpus) -> None:
    front_end = FrontEnd(deltas=1)
    speaker = corpus.table.speakers[9]
    everything = [index for index, name in enumerate(corpus.table.speakers) if name == speaker]
    frames = np.concatenate([front_end.features(corpus.frames(index)) for index in everything])
    (found,) = speaker_moments(corpus, np.array([9]), front_end, 3000).items()
    assert found[0] == corpus.voices[9]
    np.testing.assert_allclose(found[1].mean, frames.mean(0), rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(found[1].deviation, frames.std(0), rtol=1e-3)


def test_loaders_have_the_batch_size_and_the_frame_limit_of_the_settings(corpus: SpeechCorpus) -> None:
    loaders = fold_loaders(corpus, settings(batch_size=5, frame_limit=40))
    for loader in (loaders.train, loaders.dev, loaders.test):
        assert max(len(positions) for positions in loader.plan(seed=None)) == 5
        assert {len(loader.inputs.frames(position)) for position in range(len(loader.utterances))} == {40}


@pytest.mark.parametrize("nobody", [None, ""])
def test_normalising_by_speaker_refuses_an_utterance_without_speaker(corpus: SpeechCorpus, nobody: str | None) -> None:
    unknown = copy.copy(corpus)
    speakers = [nobody if index == 5 else speaker for index, speaker in enumerate(corpus.table.speakers)]
    unknown.table = replace(corpus.table, speakers=speakers)  # type: ignore[arg-type]
    front_end = FrontEnd(normalisation="speaker")
    with pytest.raises(UserError, match=rf"utterance {corpus.table.ids[5]} has no speaker; .*normalisation=utterance"):
        speaker_moments(unknown, np.arange(10), front_end, 3000)
    # Utterances outside the fold may lack a speaker.
    assert set(speaker_moments(unknown, np.arange(4), front_end, 3000)) == set(unknown.voices[:4].tolist())


def test_only_training_batches_with_a_seed_are_augmented(corpus: SpeechCorpus) -> None:
    loaders = fold_loaders(corpus, settings(augmentation={"gain_db": 6, "mixup_alpha": 0.4}))
    positions = np.arange(4)
    plain, varied = loaders.train.batch(positions), loaders.train.batch(positions, seed=1)
    assert (plain.frames != varied.frames).any() and varied.mixture is not None
    for loader in (loaders.dev, loaders.test):
        assert loader.batch(positions, seed=1).frames.equal(loader.batch(positions).frames)
        assert loader.batch(positions, seed=1).mixture is None


def test_a_model_of_words_alone_needs_no_statistics(corpus: SpeechCorpus, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(SpeechCorpus, "frames")
    for normalisation in ("train", "speaker"):
        loaders = fold_loaders(corpus, settings(normalisation, {"modalities": "semantic"}))
        assert loaders.mean is None
        loaders.train.batch(np.arange(4), seed=0)


def test_only_statistics_by_speaker_read_other_test_audio() -> None:
    assert reads_test_audio(settings("speaker").model)
    assert not any(reads_test_audio(settings(kind).model) for kind in ("none", "train", "utterance"))
    assert not reads_test_audio(settings("speaker", {"modalities": "semantic"}).model)


def test_without_a_fold_everybody_is_trained_on_and_nobody_left(corpus: SpeechCorpus) -> None:
    experiment = settings("train")
    assignment = assign_folds(PROTOCOL, corpus.table)
    loaders = make_fold_loaders(corpus, assignment, None, "dev", experiment.model, experiment.training)
    assert loaders.train.utterances.tolist() == np.flatnonzero(assignment.labels >= 0).tolist()
    assert len(loaders.dev) == len(loaders.test) == 0
    assert loaders.vocabulary.words == sorted({word for words in corpus.words for word in words})
    frames = np.concatenate([loaders.train.inputs.frames(position) for position in range(len(loaders.train.inputs))])
    assert loaders.mean == pytest.approx(frames.mean(0), abs=1e-3)


def test_refitting_trains_on_the_dev_part_too_its_words_and_moments_included(corpus: SpeechCorpus) -> None:
    experiment, assignment = settings("train"), assign_folds(PROTOCOL, corpus.table)
    loaders = make_fold_loaders(corpus, assignment, 0, "dev", experiment.model, experiment.training, refit=True)
    split = split_fold(assignment, 0)
    fitted = sorted([*split.train.tolist(), *split.dev.tolist()])
    assert loaders.train.utterances.tolist() == fitted
    assert loaders.test.utterances.tolist() == split.test.tolist()
    assert loaders.vocabulary.words == sorted({word for index in fitted for word in corpus.words[index]})
    assert loaders.mean is not None and not np.array_equal(loaders.mean, fold_loaders(corpus, experiment).mean)
    with pytest.raises(UserError, match="would train on the test part"):
        make_fold_loaders(corpus, assignment, 0, "test", experiment.model, experiment.training, refit=True)


def test_batches_say_who_speaks_where_pooled_features_are_normalised_by_speaker(corpus: SpeechCorpus) -> None:
    by_speaker: dict[str, object] = {"kind": "linear_probe", "pooling": {"normalisation": "speaker"}}
    loaders = fold_loaders(corpus, settings(model=by_speaker))
    assert fold_loaders(corpus, settings()).test.batch(np.arange(3)).speakers is None
    numbers: dict[int, set[str]] = {}
    for loader in (loaders.train, loaders.dev, loaders.test):
        batch = loader.batch(np.arange(len(loader.utterances)), seed=1)
        assert batch.speakers is not None
        for number, utterance in zip(batch.speakers.tolist(), loader.utterances, strict=True):
            numbers.setdefault(number, set()).add(corpus.table.speakers[utterance])
    assert len(numbers) == 8 and all(len(names) == 1 for names in numbers.values())
    unknown = copy.copy(corpus)
    nameless = [None if index == 5 else speaker for index, speaker in enumerate(corpus.table.speakers)]
    unknown.table = replace(corpus.table, speakers=nameless)  # type: ignore[arg-type]
    with pytest.raises(UserError, match=r"has no speaker; .*set model\.pooling\.normalisation=train"):
        require_speakers(unknown, np.arange(10), "model.pooling.normalisation", "train")


def test_a_fold_is_opened_only_for_the_corpus_that_the_work_began_with(corpus: SpeechCorpus) -> None:
    experiment = settings()
    corpus_hash = corpus.description.corpus_hash
    assignment, loaders = open_fold(corpus, corpus_hash, experiment, 1, "dev", "training")
    split = split_fold(assignment, 1, "dev")
    assert [loaders.train.utterances.tolist(), loaders.test.utterances.tolist()] == [
        split.train.tolist(),
        split.test.tolist(),
    ]
    _, optimistic = open_fold(corpus, corpus_hash, experiment, 1, "test", "training")
    assert optimistic.dev.utterances.tolist() == split.test.tolist()
    with pytest.raises(UserError, match=r"corpus: was prepared again while this sweep was under way; start it anew"):
        open_fold(corpus, "another", experiment, 1, "dev", "sweep")


def test_the_frame_limit_counts_10_ms_whatever_the_encoder_s_rate(tmp_path: Path) -> None:
    corpus = SpeechCorpus(small_corpus.write(tmp_path / "corpus", layers=3))
    experiment = small_corpus.experiment(model={"acoustic": {"normalisation": "train"}}, training={"frame_limit": 41})
    loaders = fold_loaders(corpus, experiment)
    assert set(loaders.train.inputs.frame_counts.tolist()) == {21}
    assert (loaders.layers, loaders.frame_size) == (3, 18)
    assert loaders.mean is not None and loaders.mean.shape == (18,)


@pytest.fixture(scope="module")
def copied(tmp_path_factory: pytest.TempPathFactory) -> SpeechCorpus:
    folder = tmp_path_factory.mktemp("prepared") / "copied"
    return SpeechCorpus(small_corpus.write(folder, unlike=True, copies=[0.9, 1.1]))


@pytest.mark.parametrize("refit", [False, True])
def test_a_copy_is_in_the_part_of_its_utterance_and_in_no_other(
    corpus: SpeechCorpus, copied: SpeechCorpus, refit: bool
) -> None:
    experiment, assignment = settings(), assign_folds(PROTOCOL, copied.table)
    parts = {}
    for name, each in (("plain", corpus), ("copied", copied)):
        loaders = make_fold_loaders(each, assignment, 0, "dev", experiment.model, experiment.training, refit)
        parts[name] = [loaders.train, loaders.dev, loaders.test]
    for plain, part in zip(parts["plain"], parts["copied"], strict=True):
        # What counts utterances counts the same ones, once.
        np.testing.assert_array_equal(part.utterances, plain.utterances)
        np.testing.assert_array_equal(part.labels, plain.labels)
        assert sorted(part.inputs.recordings) == sorted(copied.recordings(plain.utterances))
        planned = np.concatenate(part.plan(seed=3))
        assert sorted(planned.tolist()) == list(range(3 * len(plain.utterances)))
    train, dev, test = (set((part.inputs.recordings % len(copied)).tolist()) for part in parts["copied"])
    assert not train & test and (refit or not train & dev)
    order = np.concatenate(parts["copied"][0].plan(seed=3))
    assert len(set((order[:24] % 3).tolist())) == 3, "originals and copies are shuffled together"


def test_statistics_of_training_are_of_its_copies_too_and_a_speaker_s_of_each_speed(copied: SpeechCorpus) -> None:
    front_end = FrontEnd("mfcc", 1)
    loaders = fold_loaders(copied, settings("train"))
    trained_on = copied.recordings(loaders.train.utterances)
    frames = np.concatenate([front_end(copied.frames(recording)) for recording in trained_on])
    np.testing.assert_allclose(loaders.mean, frames.mean(0), rtol=1e-3, atol=1e-4)
    loaders = fold_loaders(copied, settings("speaker"))
    for loader in (loaders.train, loaders.dev, loaders.test):
        voices = copied.voices[loader.inputs.recordings]
        for voice in set(voices.tolist()):
            positions = np.flatnonzero(voices == voice)
            heard = np.concatenate([loader.inputs.frames(position) for position in positions])
            np.testing.assert_allclose(heard.mean(0), 0, atol=1e-4)
            np.testing.assert_allclose(heard.std(0), 1, atol=1e-3)


def test_nobody_s_copies_are_nobody_s_too(copied: SpeechCorpus) -> None:
    unknown = copy.copy(copied)
    speakers = [None if index == 5 else speaker for index, speaker in enumerate(copied.table.speakers)]
    unknown.table = replace(copied.table, speakers=speakers)  # type: ignore[arg-type]
    assert np.flatnonzero(unknown.voices < 0).tolist() == unknown.recordings(np.array([5])).tolist()
    front_end = FrontEnd(normalisation="speaker")
    found = speaker_moments(unknown, np.arange(64, dtype=np.int64)[-4:], front_end, 3000)
    expected = speaker_moments(copied, np.arange(64, dtype=np.int64)[-4:], front_end, 3000)
    # The last speaker's numbers are the same, for the first speaker has other utterances.
    assert found.keys() == expected.keys()
    for voice, moments in found.items():
        np.testing.assert_array_equal(moments.mean, expected[voice].mean)
