"""What every epoch would pool alike is pooled once, and the moments of pooled values."""

from __future__ import annotations

import gc
import math
import resource
import signal
import weakref
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from fgcme.data import RaggedLoader, SpeechCorpus
from fgcme.experiment import Experiment, apply_configuration
from fgcme.training.learning import FoldTrainer
from fgcme.training.pooled import fits_on_device
from tests import small_corpus
from tests.fold_training import SMALL, fit, fold_loaders, metrics


@pytest.mark.parametrize("kind", ["mean", "attention"])
@pytest.mark.parametrize("normalisation", ["train", "speaker"])
def test_pooled_features_are_standardised_by_the_training_part_or_by_all_that_a_speaker_says(
    corpus: SpeechCorpus, normalisation: str, kind: str
) -> None:
    settings: dict[str, Any] = {
        **SMALL,
        "acoustic": {"channels": [], "kernels": []},
        "pooling": {"normalisation": normalisation, "kind": kind},
    }
    experiment = small_corpus.experiment(model=settings, training={"epochs": 2, "ema_decay": 0.5})
    training = fit(corpus, experiment)
    passed: list[Tensor] = []
    standardise = training.model.core.acoustic.standardise
    standardise.register_forward_hook(lambda module, values, out: passed.append(out.detach()))
    everyone = np.array(corpus.table.speakers)

    def words_of(part: RaggedLoader) -> tuple[Tensor, np.ndarray]:
        """Standardised features of all words of a part, and who says each."""
        batch = part.batch(np.arange(len(part.utterances)))
        passed.clear()
        training.model.eval()(batch)
        return passed[0], np.repeat(everyone[part.utterances], batch.word_counts.numpy())

    train, _ = words_of(training.loaders.train)
    test, speakers = words_of(training.loaders.test)
    of_each = {name: test[speakers == name].mean(0).abs().max() for name in set(speakers)}
    if normalisation == "train":
        torch.testing.assert_close(train.mean(0), torch.zeros(6), rtol=0, atol=1e-4)
        torch.testing.assert_close(train.std(0, unbiased=False), torch.ones(6), rtol=0, atol=1e-3)
        assert max(of_each.values()) > 0.01
    else:
        assert max(of_each.values()) < 1e-4 and len(of_each) == 2
    # Resumed, the moments are the same; they are not trained, and the average has them too.
    state = next(fit(corpus, experiment).epochs()).state()
    resumed, whole = fit(corpus, experiment, state=state), fit(corpus, experiment)
    assert metrics(resumed.epochs()) == metrics(whole.epochs())[1:]


FIXED: dict[str, dict[str, Any]] = {
    "words": {"pooling": {"kind": "lse"}},
    "words and recording": {"pooling": {"overall": "recording", "normalisation": "train", "dropout": 0.3}},
    "speakers": {"pooling": {"overall": "speech", "normalisation": "speaker"}, "acoustic": {"normalisation": "train"}},
    "recording": {"pooling": {"segments": "recording", "kind": "statistics"}},
    "linear_probe": {"kind": "linear_probe", "pooling": {"normalisation": "speaker"}},
    "pooled_statistics": {"kind": "pooled_statistics"},
}
# Each with how often training takes the words or the sound of an utterance away.
FIXED_AND_LOSING = {
    **{name: (model, 0.0) for name, model in FIXED.items()},
    **{f"{name}, losing": (FIXED[name], 0.5) for name in ("words", "words and recording", "speakers", "recording")},
}
TRAINED: dict[str, dict[str, Any]] = {
    "encoder": {"model.acoustic.channels": [8], "model.acoustic.kernels": [1]},
    "attention": {"model.pooling.kind": "attention"},
    "random": {"model.pooling.segments": "random"},
    "masks": {"training.augmentation.time_masks": 1},
    "no sound": {"model.modalities": "semantic"},
    "masks, losing": {"training.augmentation.time_masks": 1, "training.augmentation.modality_dropout": 0.2},
}


def with_frames_as_they_are(model: dict[str, Any]) -> dict[str, Any]:
    return {**SMALL, **model, "acoustic": {"channels": [], "kernels": [], **model.get("acoustic", {})}}


@pytest.mark.parametrize(("model", "lost"), FIXED_AND_LOSING.values(), ids=FIXED_AND_LOSING)
def test_what_every_epoch_would_pool_alike_is_pooled_once(
    copied: SpeechCorpus, model: dict[str, Any], lost: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    experiment = small_corpus.experiment(
        model=with_frames_as_they_are(model), training={"epochs": 2, "augmentation": {"modality_dropout": lost}}
    )
    with monkeypatch.context() as full:
        full.setattr("psutil.virtual_memory", lambda: SimpleNamespace(available=0))
        anew = fit(copied, experiment)
    once = fit(copied, experiment)
    assert once.loaders.train.batch(np.array([0])).pooled and not anew.loaders.train.batch(np.array([0])).pooled
    expected = metrics(anew.epochs())
    with monkeypatch.context() as away:
        away.delattr("fgcme.data.inputs.PartInputs.frames")
        assert metrics(once.epochs()) == expected
    test = once.loaders.test
    np.testing.assert_array_equal(once.evaluate(test).logits, anew.evaluate(anew.loaders.test).logits)


def fit_second_fold(corpus: SpeechCorpus, experiment: Experiment) -> FoldTrainer:
    return FoldTrainer(fold_loaders(corpus, experiment, fold=1), experiment.model, experiment.training, seed=0)


def pooled_files(corpus: SpeechCorpus) -> list[Path]:
    return sorted(corpus.folder.glob("mapped-*.pooled"))


@pytest.mark.parametrize(("model", "lost"), FIXED_AND_LOSING.values(), ids=FIXED_AND_LOSING)
def test_what_every_fold_would_pool_alike_is_pooled_once_for_all_trainings(
    tmp_path: Path, model: dict[str, Any], lost: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    corpus = SpeechCorpus(small_corpus.write(tmp_path / "corpus", copies=(0.9,)))
    training = {"epochs": 1, "refit": True, "augmentation": {"modality_dropout": lost}}
    experiment = small_corpus.experiment(model=with_frames_as_they_are(model), training=training)
    fit(corpus, experiment)
    # The moments of frames are another fold's own.
    alike = model.get("acoustic", {}).get("normalisation") != "train"
    overall = model.get("pooling", {}).get("overall", "none") != "none"
    # Of utterances with their words and, where training takes them away, without.
    files = alike * (1 + overall) * (2 if lost else 1)
    assert len(pooled_files(corpus)) == files
    own = fit_second_fold(corpus, experiment)
    with monkeypatch.context() as away:
        away.setattr("fgcme.data.inputs.PartInputs.map_pooled", lambda *arguments: None)
        alone = fit_second_fold(corpus, experiment)
    with monkeypatch.context() as away:
        away.delattr("fgcme.data.inputs.PartInputs.frames")
        if alike:
            own = fit_second_fold(SpeechCorpus(corpus.folder), experiment)
        assert metrics(own.epochs()) == metrics(alone.epochs())
    # The test part is answered from its frames, as new speech is, unless the moments of its speakers are needed.
    by_speaker = model.get("pooling", {}).get("normalisation") == "speaker"
    assert bool(own.loaders.test.batch(np.array([0])).pooled) == by_speaker
    assert len(pooled_files(corpus)) == files


@pytest.mark.parametrize(
    "settings",
    [
        {"model.pooling.segments": "even"},
        {"model.pooling.kind": "mean"},
        {"model.pooling.temperature": 2.0},
        {"model.pooling.overall": "recording"},
        {"model.acoustic.deltas": 1},
        {"model.acoustic.normalisation": "utterance"},
        {"training.frame_limit": 20},
    ],
    ids=str,
)
def test_what_is_pooled_in_another_way_is_not_shared(tmp_path: Path, settings: dict[str, Any]) -> None:
    corpus = SpeechCorpus(small_corpus.write(tmp_path / "corpus", each=4))
    plain = small_corpus.experiment(model=with_frames_as_they_are({"pooling": {"kind": "lse"}}))
    fit(corpus, plain)
    before = pooled_files(corpus)
    fit(corpus, apply_configuration(plain, settings))
    assert len(pooled_files(corpus)) > len(before) == 1


def test_on_a_full_disk_a_training_pools_for_itself(tmp_path: Path) -> None:
    corpus = SpeechCorpus(small_corpus.write(tmp_path / "corpus", each=4))
    experiment = small_corpus.experiment(model=with_frames_as_they_are({}), training={"epochs": 1})
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
        training = fit(corpus, experiment)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert training.loaders.train.batch(np.array([0])).pooled and not pooled_files(corpus)
    assert not list(corpus.folder.glob("*.partial"))
    assert metrics(training.epochs()) == metrics(fit(corpus, experiment).epochs())


def test_pooled_vectors_never_take_more_room_than_the_frames(tmp_path: Path) -> None:
    corpus = SpeechCorpus(small_corpus.write(tmp_path / "corpus", each=4))
    frames = next(corpus.folder.glob("mapped-*.frames")).stat().st_size
    for temperature in range(1, 40):
        pooling = {"kind": "lse", "temperature": temperature}
        training = fit(corpus, small_corpus.experiment(model=with_frames_as_they_are({"pooling": pooling})))
        assert training.loaders.train.batch(np.array([0])).pooled
    taken = sum(path.stat().st_size for path in pooled_files(corpus))
    assert frames / 2 < taken <= frames


@pytest.mark.parametrize("normalisation", ["none", "train"])
def test_layers_that_are_mixed_after_pooling_are_pooled_once(
    tmp_path: Path, normalisation: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoded = SpeechCorpus(small_corpus.write(tmp_path / "encoded", each=4, layers=2))
    model = with_frames_as_they_are({"pooling": {"normalisation": normalisation, "overall": "recording"}})
    experiment = small_corpus.experiment(
        prepare={"features": {"kind": "speech_encoder", "checkpoint": "x", "layers": [1, 2]}},
        model=model,
        training={"epochs": 2},
    )
    with monkeypatch.context() as full:
        full.setattr("psutil.virtual_memory", lambda: SimpleNamespace(available=0))
        anew = fit(encoded, experiment)
    training = fit(encoded, experiment)
    # Without standardisation the frames themselves are mixed, by weights that are trained.
    assert bool(training.loaders.train.batch(np.array([0])).pooled) == (normalisation == "train")
    assert metrics(training.epochs()) == metrics(anew.epochs())


def test_what_was_pooled_goes_with_its_training(corpus: SpeechCorpus) -> None:
    gc.disable()
    try:
        training = fit(corpus, small_corpus.experiment(model=with_frames_as_they_are({}), training={"epochs": 1}))
        next(training.epochs())
        kept = weakref.ref(training.loaders.train.inputs)
        assert training.loaders.train.batch(np.array([0])).pooled
        del training
        assert kept() is None
    finally:
        gc.enable()


@pytest.mark.parametrize("settings", TRAINED.values(), ids=TRAINED)
def test_what_training_changes_is_pooled_in_every_epoch(corpus: SpeechCorpus, settings: dict[str, Any]) -> None:
    plain = small_corpus.experiment(model=with_frames_as_they_are({}), training={"epochs": 1})
    training = fit(corpus, apply_configuration(plain, settings))
    assert not training.loaders.train.batch(np.array([0])).pooled
    assert math.isfinite(metrics(training.epochs())[0]["dev/loss"])


@pytest.mark.parametrize(("byte_count", "available"), [(0, 0), (1, 4), (10**9, 4 * 10**9)])
def test_frames_are_kept_on_a_device_if_they_take_at_most_a_quarter_of_its_free_memory(
    byte_count: int, available: int
) -> None:
    assert fits_on_device(byte_count, available)
    assert not fits_on_device(byte_count + 1, available)
