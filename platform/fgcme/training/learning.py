"""Fitting and evaluating a model on one fold: no Ray, no MLflow, one story to read top to bottom."""

from __future__ import annotations

import copy
import math
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from fgcme.data import FoldLoaders, RaggedLoader
from fgcme.errors import UserError
from fgcme.evaluation.metrics import confusion, measure, score
from fgcme.experiment import ModelSettings, TrainingSettings
from fgcme.model import Network, WordEmbedding, build_model
from fgcme.seeds import derive_seed
from fgcme.training.loss import balanced_class_weights, utterance_losses

# On a CPU oneDNN compiles for each length of a batch anew and keeps a thousand of these: gigabytes, in a process that
# trains many models. Read when it is first used, so it is early enough here.
for _cache in ("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "LRU_CACHE_CAPACITY"):
    os.environ.setdefault(_cache, "32")


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


class FoldTrainer:
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

    Raises:
        UserError: the device cannot compute in the precision that is asked for, or the word vectors cannot be read.
    """

    def __init__(
        self,
        loaders: FoldLoaders,
        model: ModelSettings,
        training: TrainingSettings,
        seed: int,
        workers: Workers | None = None,
        state: dict[str, Any] | None = None,
    ) -> None:
        self.loaders = loaders
        self.training = training
        self.seed = seed
        self.workers = workers or Workers()
        device = self.workers.device
        # What torch would emulate there is slower than float32, and no more exact.
        lacks_bfloat16 = device.type == "cuda" and not torch.cuda.is_bf16_supported(including_emulation=False)
        if training.precision == "bfloat16" and lacks_bfloat16:
            raise UserError("training.precision: this GPU has no bfloat16; set it to float32")
        torch.manual_seed(seed)
        self.model: Network = build_model(
            model, loaders.frame_size, len(loaders.vocabulary), len(loaders.classes), blank=training.loss == "ctc"
        )
        if loaders.mean is not None and loaders.deviation is not None:
            self.model.standardise.set_statistics(torch.from_numpy(loaders.mean), torch.from_numpy(loaders.deviation))
        if model.semantic.vectors is not None:
            for module in self.model.modules():
                if isinstance(module, WordEmbedding):
                    module.load_vectors(model.semantic.vectors, loaders.vocabulary.words)
        self.model.to(device)
        self._trained = self.workers.wrap(self.model)
        self._optimiser = torch.optim.Adam(
            self.model.parameters(), lr=training.learning_rate, weight_decay=training.weight_decay, fused=True
        )
        class_weights = np.ones(len(loaders.classes), np.float32)
        if training.class_weights == "balanced":
            class_weights = balanced_class_weights(loaders.train.labels, len(loaders.classes))
        self._class_weights = torch.from_numpy(class_weights).to(device)
        self._weights = class_weights[loaders.train.labels].astype(np.float64)
        if device.type == "cuda":
            _keep_on(device, (loaders.train, loaders.dev))
        self._epoch = 0
        self.best_score = -math.inf
        self._best_epoch = 0
        self._best: dict[str, Tensor] = {}
        if state is not None:
            self._restore(state)

    def epochs(self) -> Iterator[Epoch]:
        """Train, one epoch at a time, until all are done.

        Raises:
            UserError: the training diverged.
        """
        while self._epoch < self.training.epochs:
            loss = self._train_epoch()
            self._epoch += 1
            measured = self.evaluate(self.loaders.dev).metrics()
            # Weights that the last step spoilt show in the dev part alone.
            if not (math.isfinite(loss) and math.isfinite(measured["loss"])):
                raise UserError(
                    f"the loss is not a number after epoch {self._epoch}: "
                    "lower training.learning_rate or set training.gradient_clip"
                )
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
        """Answers on a part, in float32, shared among the workers; the whole on each of them."""
        self.model.eval()
        mine = loader.plan(seed=None)[self.workers.rank :: self.workers.count]
        answers = [self.model(loader.batch(positions).to(self.workers.device)).logits.float() for positions in mine]
        share = [(positions, logits.cpu().numpy()) for positions, logits in zip(mine, answers, strict=True)]
        everyone = [answer for answers in self.workers.gather(share) for answer in answers]
        positions, logits = (np.concatenate(column) for column in zip(*everyone, strict=True))
        order = np.argsort(positions)
        return Evaluation(positions[order], logits[order], loader.labels[positions[order]])

    def loss(self, positions: np.ndarray, seed: int) -> Tensor:
        """This worker's part of the loss of a batch: the mean of the workers' gradients is the gradient of the whole.

        Args:
            positions: the whole batch's, in the training part; a worker takes its share by its rank.
            seed: of how its utterances are varied.
        """
        mine = positions[self.workers.rank :: self.workers.count]
        # A worker without a share still takes part in the exchange of gradients.
        scale = self.workers.count / self._weights[positions].sum() if len(mine) else 0.0
        batch = self.loaders.train.batch(mine if len(mine) else positions[:1], seed).to(self.workers.device)
        with torch.autocast(self.workers.device.type, torch.bfloat16, enabled=self.training.precision == "bfloat16"):
            output = self._trained(batch)
        losses = utterance_losses(
            output,
            batch,
            self.training.loss,
            self._class_weights,
            self.training.label_smoothing,
            self.training.focal_gamma,
        )
        return losses.sum() * scale

    def _train_epoch(self) -> float:
        """One epoch; the mean loss over the training part."""
        self.model.train()
        # Everything random in an epoch follows from its number, so that a resumed training repeats an undisturbed one.
        seed = derive_seed(self.seed, self._epoch)
        torch.manual_seed(derive_seed(self.seed, self._epoch, self.workers.rank))
        total = torch.zeros((), device=self.workers.device)
        plan = self.loaders.train.plan(seed)
        for step, positions in enumerate(plan):
            self._set_learning_rate(self._epoch * len(plan) + step, self.training.epochs * len(plan))
            loss = self.loss(positions, seed)
            self._optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            if self.training.gradient_clip is not None:
                nn.utils.clip_grad_norm_(self.model.parameters(), self.training.gradient_clip)
            self._optimiser.step()
            total += loss.detach() * (self._weights[positions].sum() / self.workers.count)
        # The device is waited for once an epoch, here.
        return float(sum(self.workers.gather(float(total)))) / float(self._weights.sum())

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
        # A state may be gone on with under another setting, as the learning rate, which is set at every step.
        for group in self._optimiser.param_groups:
            group["weight_decay"] = self.training.weight_decay
        self.best_score = state["best_score"]
        self._best_epoch = state["best_epoch"]
        self._best = state["best"]


def fits_on_device(byte_count: int, free_bytes: int) -> bool:
    """Whether frames of `size` bytes are kept on a device with `free` bytes: where they take a quarter at most.

    The rest is for what a training computes, and for other trainings on the same device.

    >>> fits_on_device(size=100, free=400), fits_on_device(size=101, free=400)
    (True, False)
    """
    return 4 * byte_count <= free_bytes


def _keep_on(device: torch.device, loaders: Sequence[RaggedLoader]) -> None:
    """Keep on a GPU what is read there in every epoch, if it fits."""
    if fits_on_device(sum(loader.size for loader in loaders), torch.cuda.mem_get_info(device)[0]):
        for loader in loaders:
            loader.keep_on(device)


def _copied(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().cpu().clone() for name, tensor in state.items()}
