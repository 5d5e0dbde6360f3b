import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from fgcme.dataset import SpeechCorpus
from fgcme.experiment import Experiment
from fgcme.learning import Epoch, Fit, Parts, Workers, divide
from fgcme.protocol import assign, named
from tests import small_corpus


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SpeechCorpus]:
    yield SpeechCorpus(small_corpus.write(tmp_path_factory.mktemp("prepared") / "corpus", each=16))


def parts(corpus: SpeechCorpus, experiment: Experiment, fold: int = 0) -> Parts:
    assignment = assign(named()["demo/4class"], corpus.members)
    return divide(corpus, assignment, fold, "dev", experiment.model, experiment.training)


def fit(corpus: SpeechCorpus, experiment: Experiment, seed: int = 0, **options: Any) -> Fit:
    return Fit(parts(corpus, experiment), experiment.model, experiment.training, seed, **options)


def metrics(epochs: Iterator[Epoch]) -> list[dict[str, float]]:
    return [epoch.metrics for epoch in epochs]


@pytest.mark.parametrize("normalisation", ["none", "train", "utterance"])
def test_training_learns_what_the_words_frames_tell(corpus: SpeechCorpus, normalisation: str) -> None:
    acoustic = {"channels": [8, 8], "kernels": [3, 2], "normalisation": normalisation}
    experiment = small_corpus.experiment(training={"epochs": 12}, model={"acoustic": acoustic})
    training = fit(corpus, experiment)
    losses = [epoch.metrics["train/loss"] for epoch in training.epochs()]
    training.restore_best()
    assert losses[-1] < 0.5 * losses[0]
    assert training.evaluate(training.parts.test).metrics()["ua"] > 0.45


def test_the_same_seed_gives_the_same_metrics_and_another_seed_others(corpus: SpeechCorpus) -> None:
    experiment = small_corpus.experiment(model={"fusion": {"hidden": 8, "dropout": 0.2}})
    first, again, other = (metrics(fit(corpus, experiment, seed=seed).epochs()) for seed in (0, 0, 1))
    assert first == again
    assert first != other


def test_a_resumed_training_repeats_an_undisturbed_one(corpus: SpeechCorpus) -> None:
    experiment = small_corpus.experiment(
        training={"epochs": 4, "schedule": "cosine"}, model={"fusion": {"hidden": 8, "dropout": 0.2}}
    )
    undisturbed = fit(corpus, experiment)
    whole = metrics(undisturbed.epochs())
    begun = fit(corpus, experiment).epochs()
    next(begun)
    state = next(begun).state()
    resumed = fit(corpus, experiment, state=state)
    assert metrics(resumed.epochs()) == whole[2:]
    assert resumed.restore_best() == undisturbed.restore_best()
    np.testing.assert_array_equal(
        resumed.evaluate(resumed.parts.test).logits, undisturbed.evaluate(undisturbed.parts.test).logits
    )


def test_a_state_is_not_changed_by_training_on(corpus: SpeechCorpus) -> None:
    experiment = small_corpus.experiment()
    epochs = fit(corpus, experiment).epochs()
    state = next(epochs).state()
    before = {name: tensor.clone() for name, tensor in state["model"].items()}
    next(epochs)
    assert all(torch.equal(before[name], tensor) for name, tensor in state["model"].items())


def test_the_best_epoch_is_the_one_with_the_highest_dev_score(corpus: SpeechCorpus) -> None:
    training = fit(corpus, small_corpus.experiment(training={"epochs": 6, "score": "ua"}))
    epochs = list(training.epochs())
    scores = [epoch.metrics["dev/score"] for epoch in epochs]
    assert training.restore_best() == int(np.argmax(scores)) + 1
    assert training.best_score == max(scores)
    assert training.evaluate(training.parts.dev).metrics()["ua"] == max(scores)
    assert [epoch.best for epoch in epochs] == [
        score > max(scores[:index], default=-1) for index, score in enumerate(scores)
    ]


def test_vocabulary_and_statistics_come_from_the_training_part_alone(corpus: SpeechCorpus) -> None:
    acoustic = {"channels": [8, 8], "kernels": [3, 2], "normalisation": "train"}
    made = parts(corpus, small_corpus.experiment(model={"acoustic": acoustic}))
    train_words = {word for index in made.train.utterances for word in corpus.words[index]}
    assert set(made.vocabulary.words) == train_words
    frames = np.concatenate([corpus.frames(index) for index in made.train.utterances])
    np.testing.assert_allclose(made.mean, frames.mean(0), rtol=1e-3, atol=1e-5)


class Team:
    """Two workers in two threads that average gradients, as distributed training would."""

    def __init__(self, count: int) -> None:
        self.count = count
        self._barrier = threading.Barrier(count)
        self._box: list[Any] = [None] * count

    def gather(self, rank: int, value: Any) -> list[Any]:
        self._barrier.wait(timeout=60)
        self._box[rank] = value
        self._barrier.wait(timeout=60)
        return list(self._box)

    def wrap(self, rank: int, model: nn.Module) -> nn.Module:
        for parameter in model.parameters():
            parameter.register_hook(lambda gradient: sum(self.gather(rank, gradient)) / self.count)
        return model


@pytest.mark.parametrize("batch_size", [8, 9])
def test_workers_together_learn_what_one_learns_alone(corpus: SpeechCorpus, batch_size: int) -> None:
    # 64 utterances in batches of 9 leave a last batch of one: a worker without a share of it takes part all the same.
    experiment = small_corpus.experiment(training={"epochs": 2, "batch_size": batch_size})
    alone = fit(corpus, experiment)
    expected = metrics(alone.epochs())
    team = Team(2)
    found: dict[int, tuple[list[dict[str, float]], np.ndarray]] = {}

    def work(rank: int, training: Fit) -> None:
        found[rank] = (metrics(training.epochs()), training.evaluate(training.parts.test).logits)

    def place(rank: int) -> Workers:
        return Workers(
            rank, 2, wrap=lambda model: team.wrap(rank, model), gather=lambda value: team.gather(rank, value)
        )

    trainings = [fit(corpus, experiment, workers=place(rank)) for rank in range(2)]
    threads = [threading.Thread(target=work, args=item) for item in enumerate(trainings)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=120)
    for rank in range(2):
        for mine, theirs in zip(found[rank][0], expected, strict=True):
            assert mine == pytest.approx(theirs, abs=1e-3)
        np.testing.assert_allclose(found[rank][1], alone.evaluate(alone.parts.test).logits, atol=1e-3)


def test_an_evaluation_keeps_the_order_of_the_part(corpus: SpeechCorpus) -> None:
    training = fit(corpus, small_corpus.experiment())
    evaluation = training.evaluate(training.parts.test)
    assert evaluation.positions.tolist() == list(range(len(training.parts.test.utterances)))
    labels = assign(named()["demo/4class"], corpus.members).labels
    assert evaluation.labels.tolist() == labels[training.parts.test.utterances].tolist()
