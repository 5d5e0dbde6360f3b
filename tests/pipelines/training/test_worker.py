"""One training in its own process: what it takes, over all starts that it needed."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fgcme.data import SpeechCorpus, make_fold_loaders, open_fold
from fgcme.serving import fitted
from fgcme.serving.prediction import predict
from fgcme.training.learning import FoldTrainer, Workers
from pipelines.training import worker
from pipelines.training.job import Job, Result, read_result
from pipelines.training.worker import train
from tests import small_corpus
from tests.speech_encoder import save_encoder
from tests.store import make_tracker


@pytest.fixture
def job(tmp_path: Path) -> Job:
    corpus = small_corpus.write(tmp_path / "corpus", each=4)
    tracker = make_tracker(tmp_path)
    run = tracker.create_run(tracker.get_or_create_experiment("small"), "fold 0, seed 0")
    corpus_hash = SpeechCorpus(corpus).description.corpus_hash
    (tmp_path / "training").mkdir()
    experiment = small_corpus.experiment(training={"epochs": 1})
    return Job(experiment, corpus, corpus_hash, 0, 0, tmp_path / "training", tracker, run)


def again(job: Job) -> Result:
    """Train, from the saved state if there is one; checks that the run and the file have the result's time."""
    train(job, {})
    result = read_result(job.folder)
    assert result is not None
    assert job.tracker.find_run(job.run).data.metrics["seconds"] == pytest.approx(result.seconds, abs=1)
    assert json.loads((job.folder / "result.json").read_text())["seconds"] == result.seconds
    return result


def test_a_refitted_training_keeps_the_dev_score_and_tests_a_model_of_both_parts(job: Job) -> None:
    plain = again(job)
    (job.folder / "state.pt").unlink()
    (job.folder / "result.json").unlink()
    refitting = replace(job, experiment=small_corpus.experiment(training={"epochs": 2, "refit": True}))
    result = again(refitting)
    assert result.epochs == 2 and plain.epochs == 1
    assignment, loaders = open_fold(SpeechCorpus(job.corpus), job.corpus_hash, refitting.experiment, 0, "dev", "test")
    looking = FoldTrainer(loaders, refitting.experiment.model, refitting.experiment.training, 0)
    for _ in looking.epochs():
        pass
    assert result.best_epoch == looking.restore_best()
    assert result.dev == looking.evaluate(loaders.dev).metrics()
    everything = make_fold_loaders(
        SpeechCorpus(job.corpus), assignment, 0, "dev", refitting.experiment.model, refitting.experiment.training, True
    )
    both = FoldTrainer(everything, refitting.experiment.model, refitting.experiment.training, 0)
    both.train(result.best_epoch)
    assert result.test == both.answer(everything.test).metrics() != looking.answer(loaders.test).metrics()


def test_a_training_counts_the_time_of_all_its_starts(job: Job) -> None:
    assert 0 < again(job).seconds < 900
    state = torch.load(job.folder / "state.pt", weights_only=True)
    assert 0 < state["seconds"] < 900
    torch.save({**state, "seconds": 1000.0}, job.folder / "state.pt")
    assert 1000 < again(job).seconds < 1900
    # A state without a time adds none.
    torch.save({name: value for name, value in state.items() if name != "seconds"}, job.folder / "state.pt")
    assert 0 < again(job).seconds < 900


class LostError(Exception):
    """The process of a training ends."""


def test_a_final_training_hears_everybody_and_repeats_itself_when_it_is_resumed(
    job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its pooled features are standardised by speaker, as of nobody but those that it trains on."""
    model = {"acoustic": {"channels": [], "kernels": []}, "pooling": {"normalisation": "speaker"}}
    experiment = small_corpus.experiment(model=model, training={"epochs": 4, "schedule": "cosine"})
    final = replace(job, experiment=experiment, fold=None, epochs=3)
    result = again(final)
    assert (result.fold, result.best_epoch, result.epochs, result.dev, result.test) == (None, 3, 3, {}, {})
    assert not (final.folder / "predictions.parquet").exists()
    assert [step for step, _ in job.tracker.metric_history(job.run, "train/loss")] == [1, 2, 3]
    undisturbed, spec = fitted.load(job.tracker.download_artifact(job.run, "model", job.folder / "undisturbed"))
    corpus = SpeechCorpus(job.corpus)
    assert spec.origin["fold"] == "none"
    assert spec.words == corpus.words_of(np.arange(len(corpus)))
    # Once more, and lost after two epochs.
    for name in ("state.pt", "result.json"):
        (job.folder / name).unlink()

    def lose(job: Job, state: dict[str, Any], metrics: dict[str, float], workers: Workers) -> None:
        save(job, state, metrics, workers)
        if state["epoch"] == 2:
            raise LostError

    save = worker._save
    with monkeypatch.context() as patch, pytest.raises(LostError):
        patch.setattr(worker, "_save", lose)
        train(final, {})
    assert read_result(job.folder) is None
    again(final)
    resumed, _ = fitted.load(job.tracker.download_artifact(job.run, "model", job.folder / "resumed"))
    for name, weights in resumed.state_dict().items():
        assert torch.equal(weights, undisturbed.state_dict()[name]), name


def test_a_training_of_an_encoder_s_layers_keeps_them_with_its_model(job: Job, tmp_path: Path) -> None:
    """Read from the checkpoint that was prepared with, also when it is refitted; needed no more then."""
    encoder = save_encoder("whisper", tmp_path / "encoder")
    corpus = small_corpus.write(tmp_path / "encoded", each=4, frame_size=16, layers=2)
    experiment = small_corpus.experiment(
        prepare={"features": {"kind": "speech_encoder", "checkpoint": encoder, "layers": [1, 2]}},
        model={"acoustic": {"channels": [8], "kernels": [1], "trained_layers": 1, "lora_rank": 2}},
        training={"epochs": 1, "refit": True},
    )
    corpus_hash = SpeechCorpus(corpus).description.corpus_hash
    again(replace(job, experiment=experiment, corpus=corpus, corpus_hash=corpus_hash))
    kept = job.tracker.download_artifact(job.run, "model", tmp_path / "kept")
    shutil.rmtree(encoder)
    model, spec = fitted.load(kept)
    assert spec.encoder is not None and spec.encoder.entered == 2
    assert model.trained is not None and any("lora_" in name for name, _ in model.trained.named_parameters())
    assert predict([(model, spec)], SpeechCorpus(corpus).analysed(0)).base is not None
