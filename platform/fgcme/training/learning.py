"""Training and evaluating a model on one fold, without Ray or MLflow; to be read from top to bottom."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from fgcme.data import FoldLoaders, RaggedLoader
from fgcme.errors import UserError
from fgcme.evaluation.metrics import score
from fgcme.experiment import ModelSettings, TrainingSettings
from fgcme.kernels import keep_few_kernels
from fgcme.model import EncoderTop, Network, WordEmbedding, build_model
from fgcme.seeds import derive_seed
from fgcme.threads import one_thread
from fgcme.training.cross_modal import AlignedNetwork, CrossModalAlignment
from fgcme.training.evaluation import Evaluation
from fgcme.training.objective import Objective
from fgcme.training.optimisation import averaged, make_optimiser, rate_factor, restore_optimiser
from fgcme.training.pooled import fits_on_device, free_bytes, keep_pooled, watch_pooled

keep_few_kernels(32)


Shared = TypeVar("Shared", np.ndarray, list[Any])


@dataclass(frozen=True)
class Workers:
    """This process's place among the workers of one training.

    Attributes:
        rank: number of this worker, from 0.
        count: number of workers.
        device: where this worker computes.
        wrap: turns a model into one that averages its gradients over the workers.
        gather: collects an object from each worker into a list by rank, on every worker.
    """

    rank: int = 0
    count: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    wrap: Callable[[nn.Module], nn.Module] = lambda model: model
    gather: Callable[[Any], list[Any]] = lambda value: [value]

    def share(self, items: Shared) -> Shared:
        """What this worker takes of items that all workers have: every `count`-th, perhaps none.

        >>> Workers(rank=1, count=2).share([10, 11, 12])
        [11]
        """
        share: Shared = items[self.rank :: self.count]
        return share


@dataclass(frozen=True)
class Epoch:
    """The result of an epoch.

    Attributes:
        number: counted from 1.
        metrics: `train/loss`, and of the dev part where it was evaluated `dev/score` and those of `Evaluation.metrics`.
        best: whether its dev score is the highest so far.
        state: returns everything needed to resume after this epoch; call it before the next epoch.
    """

    number: int
    metrics: dict[str, float]
    best: bool
    state: Callable[[], dict[str, Any]]


def supports_bfloat16(device: torch.device) -> bool:
    """Whether a device trains in bfloat16 without emulating it, which is slower than float32 and no more exact."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    try:
        # PyTorch has no public test for CPUs: try an LSTM, which a CPU without bfloat16 refuses.
        with torch.no_grad(), torch.autocast(device.type, torch.bfloat16):
            torch.nn.LSTM(1, 1)(torch.zeros(1, 1, 1))
    except RuntimeError:
        return False
    return True


class FoldTrainer:
    """Trains one model on one fold, and keeps the weights of its best epoch.

    Args:
        loaders: the fold.
        model: the `model` section of the experiment.
        training: its `training` section.
        seed: of the initial weights, the order of batches, augmentation and dropout.
        workers: this process's place among the workers; by default it is the only one.
        state: an earlier `Epoch.state()`, to resume from.
        encoder: the last layers of the speech encoder, where the model trains them; see `fgcme.model.encoder_of`.

    Attributes:
        loaders: as given.
        model: the model with the weights of its last step; after `restore_best`, with the best ones.
        best_score: the highest dev score so far, minus infinity before the first epoch.

    Raises:
        UserError: the device lacks the precision that is asked for.
    """

    def __init__(
        self,
        loaders: FoldLoaders,
        model: ModelSettings,
        training: TrainingSettings,
        seed: int,
        workers: Workers | None = None,
        state: dict[str, Any] | None = None,
        encoder: EncoderTop | None = None,
    ) -> None:
        self.loaders = loaders
        self.training = training
        self.seed = seed
        self.workers = workers or Workers()
        device = self.workers.device
        if training.precision == "bfloat16" and not supports_bfloat16(device):
            kind = "GPU" if device.type == "cuda" else "CPU"
            raise UserError(f"training.precision: this {kind} has no bfloat16; set it to float32")
        torch.manual_seed(seed)
        self.model: Network = build_model(
            model,
            loaders.frame_size,
            len(loaders.vocabulary),
            loaders.tasks.size,
            blank=training.loss == "ctc",
            layers=loaders.layers,
            given_words=len(loaders.vocabulary.given),
            word_feature_size=loaders.word_feature_size,
            word_layers=loaders.word_layers,
            encoder=encoder,
        )
        if loaders.mean is not None and loaders.deviation is not None:
            self.model.standardise.set_statistics(torch.from_numpy(loaders.mean), torch.from_numpy(loaders.deviation))
        if loaders.vectors is not None:
            for module in self.model.modules():
                if isinstance(module, WordEmbedding):
                    module.set_vectors(torch.from_numpy(loaders.vectors))
        self.model.to(device)
        keeps_pooled = keep_pooled(self.model, loaders, device)
        watch_pooled(self.model, loaders, device)
        self._alignment = CrossModalAlignment.of(training.cross_modal_alignment, self.model.side_sizes, seed)
        self._learner: nn.Module = self.model
        if self._alignment is not None:
            if not loaders.train.texts(np.arange(len(loaders.train.inputs))).any():
                raise UserError("training.cross_modal_alignment: all training utterances say the same; leave it out")
            self._learner = AlignedNetwork(self.model, self._alignment.to(device))
        self._wrapped_learner = self.workers.wrap(self._learner)
        self._optimiser = make_optimiser(training, self._learner)
        self._rates = [group["lr"] for group in self._optimiser.param_groups]
        self._average = averaged(training, self.model)
        self._objective = Objective.of(loaders.tasks, training, loaders.train.labels, device)
        self._utterance_weights = self._objective.utterance_weights(loaders.train.inputs.labels, loaders.train.shares)
        if device.type == "cuda" and not keeps_pooled:
            _keep_on_gpu(device, (loaders.train, loaders.dev))
        self._epoch = 0
        self.best_score = -math.inf
        self._best_epoch = 0
        self._best_weights: dict[str, Tensor] = {}
        if state is not None:
            self._restore(state)

    def epochs(self) -> Iterator[Epoch]:
        """Train one epoch after the other, and yield each one's result.

        Raises:
            UserError: the training diverged.
        """
        while self._epoch < self.training.epochs:
            loss = self._train_epoch()
            self._epoch += 1
            measured = self.evaluate(self.loaders.dev).metrics()
            # Weights spoilt by the last step show only in the dev loss.
            self._require_finite(loss, measured["loss"])
            measured["score"] = score(measured, self.training.score)
            best = measured["score"] > self.best_score
            if best:
                self.best_score, self._best_epoch = measured["score"], self._epoch
                self._best_weights = _copy_to_cpu(self._evaluated.state_dict())
            metrics = {"train/loss": loss} | {f"dev/{name}": value for name, value in measured.items()}
            yield Epoch(self._epoch, metrics, best, self._state)

    def train(self, epochs: int, after: Callable[[Epoch], None] = lambda epoch: None) -> None:
        """Train the first epochs of the schedule without looking at the dev part, and keep the last weights.

        Args:
            epochs: how many.
            after: is called with each epoch, which has no dev score.

        Raises:
            UserError: the training diverged.
        """
        while self._epoch < epochs:
            loss = self._train_epoch()
            self._epoch += 1
            self._require_finite(loss)
            after(Epoch(self._epoch, {"train/loss": loss}, False, self._state))
        self._best_epoch, self._best_weights = epochs, _copy_to_cpu(self._evaluated.state_dict())
        self.restore_best()

    def restore_best(self) -> int:
        """Load the weights of the epoch with the highest dev score; returns its number."""
        self._average = None
        self.model.load_state_dict(self._best_weights)
        return self._best_epoch

    @torch.inference_mode()
    def evaluate(self, loader: RaggedLoader) -> Evaluation:
        """Predict a part in float32, by the averaged weights if there are any, and by all recordings of an utterance.

        This chooses epochs. Workers share the batches, and each returns the predictions of all.
        """
        model = self._evaluated.eval()
        own = self.workers.share(loader.plan(seed=None))
        # Copied to the CPU at the end, so that a GPU computes without pause.
        on_device = [model(loader.batch(positions).to(self.workers.device)).logits.float() for positions in own]
        predicted = [(positions, logits.cpu().numpy()) for positions, logits in zip(own, on_device, strict=True)]
        of_all = [batch for batches in self.workers.gather(predicted) for batch in batches]
        positions, outputs = (np.concatenate(column) for column in zip(*of_all, strict=True))
        order = np.argsort(positions)
        spoken = positions[order] // loader.inputs.of_each
        utterances, first, counts = np.unique(spoken, return_index=True, return_counts=True)
        means = np.add.reduceat(outputs[order], first) / counts[:, None].astype(np.float32)
        true = loader.labels[utterances], loader.ratings[utterances]
        return Evaluation(means, *true, self.loaders.tasks, loader.votes[utterances])

    @torch.no_grad()
    @one_thread()
    def answer(self, loader: RaggedLoader) -> Evaluation:
        """Predict a part as new speech will be: utterance by utterance, on one thread of a CPU.

        A product of matrices rounds its sums by how many rows it has: what `evaluate` computes of a batch has other
        last bits. Workers share the utterances, and each returns the predictions of all.
        """
        model = copy.deepcopy(self._evaluated).cpu().eval()
        own = self.workers.share(np.arange(len(loader.utterances)))
        of_each = np.arange(loader.inputs.of_each)
        answered = [(each, model(loader.batch(each * len(of_each) + of_each)).answer.numpy()) for each in own]
        of_all = dict(pair for pairs in self.workers.gather(answered) for pair in pairs)
        outputs = np.stack([of_all[each] for each in range(len(loader.utterances))])
        return Evaluation(outputs, loader.labels, loader.ratings, self.loaders.tasks, loader.votes)

    def loss(self, positions: np.ndarray, seed: int) -> Tensor:
        """This worker's part of a batch's loss, such that the mean of the workers' gradients is that of the whole.

        Args:
            positions: [B] the whole batch in the training part; the worker takes its share.
            seed: of the augmentation.

        Returns:
            A scalar: the share's weighted losses x number of workers / weights of the whole batch.
        """
        own = self.workers.share(positions)
        read = own if len(own) else positions[:1]
        # A worker without a share computes a loss of 0: the others wait for its gradients.
        scale = self.workers.count / self._utterance_weights[positions].sum() if len(own) else 0.0
        batch = self.loaders.train.batch(read, seed).to(self.workers.device)
        with torch.autocast(self.workers.device.type, torch.bfloat16, enabled=self.training.precision == "bfloat16"):
            if self._alignment is None:
                output, aligned = self._wrapped_learner(batch), None
            else:
                output, aligned = self._wrapped_learner(batch, torch.from_numpy(self.loaders.train.texts(read, seed)))
        loss = self._objective.loss(output, batch, scale)
        return loss if aligned is None else loss + aligned * (self.workers.count * len(own) / len(positions))

    def _train_epoch(self) -> float:
        """Train one epoch; returns the weighted mean loss over the training part."""
        self.model.train()
        # Seeds follow from the epoch, so a resumed training repeats an undisturbed one.
        seed = derive_seed(self.seed, self._epoch)
        torch.manual_seed(derive_seed(self.seed, self._epoch, self.workers.rank))
        total = torch.zeros((), device=self.workers.device)
        plan = self.loaders.train.plan(seed)
        for step, positions in enumerate(plan):
            factor = rate_factor(self.training, self._epoch * len(plan) + step, len(plan))
            for group, rate in zip(self._optimiser.param_groups, self._rates, strict=True):
                group["lr"] = rate * factor
            loss = self.loss(positions, seed)
            self._optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            if self.training.gradient_clip is not None:
                nn.utils.clip_grad_norm_(self._learner.parameters(), self.training.gradient_clip)
            self._optimiser.step()
            if self._average is not None:
                self._average.update_parameters(self.model)
            total += loss.detach() * (self._utterance_weights[positions].sum() / self.workers.count)
        # float() waits for the device: once an epoch, not at every step.
        return float(sum(self.workers.gather(float(total)))) / float(self._utterance_weights.sum())

    def _require_finite(self, *losses: float) -> None:
        if not all(map(math.isfinite, losses)):
            raise UserError(
                f"the loss is not a number after epoch {self._epoch}: "
                "lower training.learning_rate or set training.gradient_clip"
            )

    @property
    def _evaluated(self) -> nn.Module:
        """The model that is evaluated and kept: the average, or the one that is trained."""
        return self.model if self._average is None else self._average.module

    def _state(self) -> dict[str, Any]:
        return {
            "epoch": self._epoch,
            "model": _copy_to_cpu(self.model.state_dict()),
            "alignment": None if self._alignment is None else _copy_to_cpu(self._alignment.state_dict()),
            "optimiser": copy.deepcopy(self._optimiser.state_dict()),
            "average": None if self._average is None else _copy_to_cpu(self._average.state_dict()),
            "best_score": self.best_score,
            "best_epoch": self._best_epoch,
            "best": self._best_weights,
        }

    def _restore(self, state: dict[str, Any]) -> None:
        self._epoch = state["epoch"]
        self.model.load_state_dict(state["model"])
        if self._alignment is not None:
            self._alignment.load_state_dict(state["alignment"])
        restore_optimiser(self._optimiser, state["optimiser"])
        # Where the state has no average, one starts from the restored weights.
        self._average = averaged(self.training, self.model)
        if self._average is not None and state.get("average") is not None:
            self._average.load_state_dict(state["average"])
        self.best_score = state["best_score"]
        self._best_epoch = state["best_epoch"]
        self._best_weights = state["best"]


def _keep_on_gpu(device: torch.device, loaders: Sequence[RaggedLoader]) -> None:
    """Keep on a GPU the frames that it reads in every epoch, if they fit."""
    if fits_on_device(sum(loader.device_bytes for loader in loaders), free_bytes(device)):
        for loader in loaders:
            loader.keep_on(device)


def _copy_to_cpu(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().cpu().clone() for name, tensor in state.items()}
