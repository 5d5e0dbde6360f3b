"""Fitting and evaluating a model on one fold: no Ray, no MLflow, one story to read top to bottom."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from fgcme.dataset import RaggedLoader, SpeechCorpus, Vocabulary, statistics
from fgcme.experiment import ModelSettings, TrainingSettings
from fgcme.metrics import confusion, measure, score
from fgcme.model import Batch, FineGrainedExcitement, build
from fgcme.model.encoders import reach
from fgcme.protocol import Assignment, Selection, split


@dataclass(frozen=True)
class Workers:
    """This process's place among the workers of one training.

    Attributes:
        rank, count: this worker's number, and how many there are.
        device: where it computes.
        wrap: makes a model that averages its gradients over the workers.
        gather: an object of every worker -> the list of all, by rank.
    """

    rank: int = 0
    count: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    wrap: Callable[[nn.Module], nn.Module] = lambda model: model
    gather: Callable[[Any], list[Any]] = lambda value: [value]


@dataclass(frozen=True)
class Parts:
    """One fold, ready to be trained on.

    Attributes:
        train, dev, test: loaders of the parts.
        vocabulary: of the training part.
        classes: class names.
        frame_size: values of a frame.
        mean, deviation: [F] of the training part's frames, or None where the model does not want them.
    """

    train: RaggedLoader
    dev: RaggedLoader
    test: RaggedLoader
    vocabulary: Vocabulary
    classes: list[str]
    frame_size: int
    mean: np.ndarray | None
    deviation: np.ndarray | None


@dataclass(frozen=True)
class Evaluation:
    """A model's answers on one part, in the part's order.

    Attributes:
        positions: [n] positions in the part.
        logits: [n, K].
        labels: [n] class indices.
    """

    positions: np.ndarray
    logits: np.ndarray
    labels: np.ndarray

    @property
    def predictions(self) -> np.ndarray:
        """[n] class indices."""
        return np.asarray(self.logits.argmax(1))

    def metrics(self) -> dict[str, float]:
        """WA, UA, macro-F1 and mean cross-entropy (`loss`)."""
        logits, labels = torch.from_numpy(self.logits), torch.from_numpy(self.labels)
        matrix = confusion(self.labels, self.predictions, self.logits.shape[1])
        return {**measure(matrix), "loss": float(functional.cross_entropy(logits, labels))}


@dataclass(frozen=True)
class Epoch:
    """What an epoch gave.

    Attributes:
        number: counted from 1.
        metrics: `train/loss`, and `dev/` WA, UA, macro-F1, loss and score.
        best: whether its dev score is the highest so far.
        state: a call for everything needed to go on after this epoch.
    """

    number: int
    metrics: dict[str, float]
    best: bool
    state: Callable[[], dict[str, Any]]


def divide(
    corpus: SpeechCorpus,
    assignment: Assignment,
    fold: int,
    selection: Selection,
    model: ModelSettings,
    training: TrainingSettings,
) -> Parts:
    """Make the loaders of one fold. Vocabulary and statistics come from the training part alone."""
    parts = split(assignment, fold, selection)
    vocabulary = Vocabulary.of([corpus.words[index] for index in parts.train])

    def loader(utterances: np.ndarray) -> RaggedLoader:
        return RaggedLoader(
            corpus,
            utterances,
            assignment.labels,
            vocabulary,
            reach(model.acoustic.kernels),
            training.batch_size,
            training.frame_limit,
            model.acoustic.normalisation,
        )

    mean = deviation = None
    if model.acoustic.normalisation == "train":
        mean, deviation = statistics(corpus, parts.train)
    return Parts(
        train=loader(parts.train),
        dev=loader(parts.dev),
        test=loader(parts.test),
        vocabulary=vocabulary,
        classes=assignment.protocol.classes,
        frame_size=corpus.frame_size,
        mean=mean,
        deviation=deviation,
    )


class Fit:
    """One training: a model, its optimiser, and the best it has been.

    Args:
        parts: the fold.
        model: the `model` section of the experiment.
        training: its `training` section.
        seed: of the initial weights, the order of batches and dropout.
        workers: this process's place among the workers.
        state: what an earlier `Epoch.state` gave, to go on from there.

    Attributes:
        model: as it is now.
        best_score: the highest dev score so far.
    """

    def __init__(
        self,
        parts: Parts,
        model: ModelSettings,
        training: TrainingSettings,
        seed: int,
        workers: Workers | None = None,
        state: dict[str, Any] | None = None,
    ) -> None:
        self.parts = parts
        self.training = training
        self.seed = seed
        self.workers = workers or Workers()
        torch.manual_seed(seed)
        self.model: FineGrainedExcitement = build(model, parts.frame_size, len(parts.vocabulary), len(parts.classes))
        if self.model.acoustic is not None and parts.mean is not None and parts.deviation is not None:
            self.model.acoustic.standardise_by(torch.from_numpy(parts.mean), torch.from_numpy(parts.deviation))
        if self.model.semantic is not None and model.semantic.vectors is not None:
            self.model.semantic.start_from(model.semantic.vectors, parts.vocabulary.words)
        self.model.to(self.workers.device)
        self._trained = self.workers.wrap(self.model)
        self._optimiser = torch.optim.Adam(
            self.model.parameters(), lr=training.learning_rate, weight_decay=training.weight_decay, fused=True
        )
        self._epoch = 0
        self.best_score = -math.inf
        self._best_epoch = 0
        self._best: dict[str, Tensor] = {}
        if state is not None:
            self._restore(state)

    def epochs(self) -> Iterator[Epoch]:
        """Train, one epoch at a time, until all are done."""
        while self._epoch < self.training.epochs:
            loss = self._train_epoch()
            self._epoch += 1
            measured = self.evaluate(self.parts.dev).metrics()
            measured["score"] = score(measured, self.training.score)
            best = measured["score"] > self.best_score
            if best:
                self.best_score, self._best_epoch = measured["score"], self._epoch
                self._best = _copied(self.model.state_dict())
            metrics = {"train/loss": loss} | {f"dev/{name}": value for name, value in measured.items()}
            yield Epoch(self._epoch, metrics, best, self._state)

    def restore_best(self) -> int:
        """Take back the weights of the epoch with the highest dev score; returns its number."""
        self.model.load_state_dict(self._best)
        return self._best_epoch

    @torch.inference_mode()
    def evaluate(self, loader: RaggedLoader) -> Evaluation:
        """Answers on a part, shared among the workers; the whole on each of them."""
        self.model.eval()
        mine = loader.plan(seed=None)[self.workers.rank :: self.workers.count]
        answers = [
            (positions, self.model(batch.to(self.workers.device)).logits.float().cpu().numpy(), batch.labels.numpy())
            for positions, batch in ((positions, loader.batch(positions)) for positions in mine)
        ]
        everyone = [answer for share in self.workers.gather(answers) for answer in share]
        positions, logits, labels = (np.concatenate(column) for column in zip(*everyone, strict=True))
        order = np.argsort(positions)
        return Evaluation(positions[order], logits[order], labels[order])

    def _train_epoch(self) -> float:
        self.model.train()
        # Everything random in an epoch follows from its number, so that a resumed training repeats an undisturbed one.
        order_seed = hash_seed(self.seed, self._epoch)
        torch.manual_seed(hash_seed(self.seed, self._epoch, self.workers.rank))
        total = torch.zeros((), device=self.workers.device)
        plan = self.parts.train.plan(order_seed)
        for step, positions in enumerate(plan):
            self._set_learning_rate(self._epoch * len(plan) + step, self.training.epochs * len(plan))
            batch, weight = self._share(positions)
            logits = self._trained(batch.to(self.workers.device)).logits
            loss = weight * functional.cross_entropy(
                logits, batch.labels.to(self.workers.device), label_smoothing=self.training.label_smoothing
            )
            self._optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            if self.training.gradient_clip is not None:
                nn.utils.clip_grad_norm_(self.model.parameters(), self.training.gradient_clip)
            self._optimiser.step()
            total += loss.detach() / self.workers.count * len(positions)
        return float(sum(self.workers.gather(float(total)))) / len(self.parts.train.utterances)

    def _share(self, positions: np.ndarray) -> tuple[Batch, float]:
        """This worker's utterances of a batch, and the weight that makes the workers' mean gradient the batch's own."""
        mine = positions[self.workers.rank :: self.workers.count]
        weight = len(mine) * self.workers.count / len(positions)
        # A worker without a share still takes part in the exchange of gradients.
        return self.parts.train.batch(mine if len(mine) else positions[:1]), weight

    def _set_learning_rate(self, step: int, steps: int) -> None:
        rate = self.training.learning_rate
        if self.training.schedule == "cosine":
            rate *= 0.5 * (1 + math.cos(math.pi * step / steps))
        for group in self._optimiser.param_groups:
            group["lr"] = rate

    def _state(self) -> dict[str, Any]:
        return {
            "epoch": self._epoch,
            "model": _copied(self.model.state_dict()),
            "optimiser": copy.deepcopy(self._optimiser.state_dict()),
            "best_score": self.best_score,
            "best_epoch": self._best_epoch,
            "best": self._best,
        }

    def _restore(self, state: dict[str, Any]) -> None:
        self._epoch = state["epoch"]
        self.model.load_state_dict(state["model"])
        self._optimiser.load_state_dict(state["optimiser"])
        self.best_score = state["best_score"]
        self._best_epoch = state["best_epoch"]
        self._best = state["best"]


def hash_seed(*numbers: int) -> int:
    """One seed from several numbers, well mixed.

    >>> hash_seed(0, 1) != hash_seed(1, 0)
    True
    """
    return int(np.random.SeedSequence(numbers).generate_state(1)[0])


def _copied(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().cpu().clone() for name, tensor in state.items()}
