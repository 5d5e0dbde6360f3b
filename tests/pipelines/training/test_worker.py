"""One training in its own process: what it takes, over all starts that it needed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from fgcme.data import SpeechCorpus
from pipelines.training.job import Job, Result, read_result
from pipelines.training.worker import train
from tests import small_corpus
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


def test_a_training_counts_the_time_of_all_its_starts(job: Job) -> None:
    assert 0 < again(job).seconds < 900
    state = torch.load(job.folder / "state.pt", weights_only=True)
    assert 0 < state["seconds"] < 900
    torch.save({**state, "seconds": 1000.0}, job.folder / "state.pt")
    assert 1000 < again(job).seconds < 1900
    # A state without a time adds none.
    torch.save({name: value for name, value in state.items() if name != "seconds"}, job.folder / "state.pt")
    assert 0 < again(job).seconds < 900
