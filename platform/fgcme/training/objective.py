"""The loss of a batch: of its classes, of its ratings, or of both tasks, weighted."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from fgcme.data import Batch, Tasks
from fgcme.errors import UserError
from fgcme.experiment import Experiment, TrainingSettings
from fgcme.model import Output
from fgcme.training.loss import balanced_class_weights, concordance_loss, utterance_losses

_OF_CLASSES = ("ua", "wa", "macro_f1")


@dataclass(frozen=True)
class Objective:
    """What a training minimises.

    Attributes:
        tasks: what is learnt.
        training: the kind of loss, its smoothing, and the weights of the tasks.
        class_weights: [K] by class index; [1] where no class is learnt.
    """

    tasks: Tasks
    training: TrainingSettings
    class_weights: Tensor

    @classmethod
    def of(cls, tasks: Tasks, training: TrainingSettings, labels: np.ndarray, device: torch.device) -> Objective:
        """The objective of a training.

        Args:
            tasks: what is learnt.
            training: its settings.
            labels: [B] class indices of the training part.
            device: where the model computes.
        """
        weights = np.ones(max(1, len(tasks.classes)), np.float32)
        if training.class_weights == "balanced":
            weights = balanced_class_weights(labels, len(tasks.classes))
        return cls(tasks, training, torch.from_numpy(weights).to(device))

    def utterance_weights(self, labels: np.ndarray, shares: np.ndarray | None = None) -> np.ndarray:
        """How much each utterance counts by its class, or by the classes that its raters gave, [B] float64.

        Args:
            labels: [B] class indices.
            shares: [B, K] of raters; None where they are not learnt.
        """
        weights = self.class_weights.cpu().numpy()
        return np.asarray(weights[labels] if shares is None else shares @ weights, np.float64)

    def loss(self, output: Output, batch: Batch, scale: float) -> Tensor:
        """The loss of a batch, or of this worker's share of it.

        Args:
            output: of the model.
            batch: with known labels or ratings.
            scale: by which the sum over utterances is multiplied; 0 for a share of nothing.
        """
        tasks, weights = self.tasks, self.training.task_weights
        if not tasks.dimensions:
            return self._of_classes(output, batch) * scale
        classes, values = output.logits[:, : len(tasks.classes)], output.logits[:, len(tasks.classes) :]
        assert batch.ratings is not None, "batches have the ratings that are learnt"
        loss = weights.ratings * concordance_loss(values, batch.ratings)
        if not tasks.classes:
            return loss
        return loss + weights.classes * self._of_classes(replace(output, logits=classes), batch) * scale

    def _of_classes(self, output: Output, batch: Batch) -> Tensor:
        training = self.training
        losses = utterance_losses(
            output, batch, training.loss, self.class_weights, training.label_smoothing, training.focal_gamma
        )
        return losses.sum()


def require_learnable(experiment: Experiment, tasks: Tasks) -> None:
    """Refuse settings that do not go with what a protocol learns.

    Args:
        experiment: its `model`, `training`, `tune` and `scaling` sections.
        tasks: of its protocol.

    Raises:
        UserError: names the setting, and what to do.
    """
    training, where = experiment.training, f"{experiment.protocol.name} learns"
    if experiment.protocol.distribution is not None and training.loss != "cross_entropy":
        raise UserError(f"training.loss {training.loss}: {where} the shares of raters; set it to cross_entropy")
    if not tasks.dimensions:
        if training.score == "ccc" or experiment.tune.objective == "ccc":
            setting = "training.score" if training.score == "ccc" else "tune.objective"
            raise UserError(f"{setting} ccc: {where} no ratings; set it to ua, or give protocol.dimensions")
        return
    said = f"{where} {', '.join(tasks.dimensions)}"
    if experiment.scaling.workers > 1:
        raise UserError(f"scaling.workers: {said}, whose concordance is of a whole batch: set it to 0 or 1")
    if training.loss == "ctc" or experiment.model.kind in ("late_fusion", "ctc_alignment"):
        what = "training.loss ctc" if training.loss == "ctc" else f"model.kind {experiment.model.kind}"
        raise UserError(f"{what}: {said}, and this model answers by classes alone")
    if training.augmentation.mixup_alpha:
        raise UserError(f"training.augmentation.mixup_alpha: {said}, and only classes are mixed: set it to 0")
    if tasks.classes:
        return
    if training.class_weights != "none" or training.loss != "cross_entropy" or training.label_smoothing:
        raise UserError(f"training.loss, class_weights and label_smoothing: {said} and no classes; leave them out")
    for setting, value in (("training.score", training.score), ("tune.objective", experiment.tune.objective)):
        if value in _OF_CLASSES:
            raise UserError(f"{setting} {value}: {said} and no classes; set it to ccc")
