"""How weights are learnt from gradients: the optimiser, its learning rate over the steps, and averaged weights."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from fgcme.experiment import TrainingSettings
from fgcme.model import TrainedLayers


def make_optimiser(settings: TrainingSettings, model: nn.Module) -> torch.optim.Adam:
    """Make the optimiser: Adam (Kingma and Ba, ICLR 2015) or AdamW (Loshchilov and Hutter, ICLR 2019).

    An encoder's layers have a learning rate of their own: they are pretrained, and the rest of the model is not.
    """
    kind = torch.optim.AdamW if settings.optimiser == "adamw" else torch.optim.Adam
    of_encoder = {
        parameter
        for module in model.modules()
        if isinstance(module, TrainedLayers)
        for parameter in module.parameters()
    }
    groups: list[dict[str, Any]] = [{"params": [own for own in model.parameters() if own not in of_encoder]}]
    if of_encoder:
        trained = [parameter for parameter in model.parameters() if parameter in of_encoder and parameter.requires_grad]
        groups.append({"params": trained, "lr": settings.encoder_learning_rate})
    return kind(groups, lr=settings.learning_rate, weight_decay=settings.weight_decay, fused=True)


def restore_optimiser(optimiser: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """Load what an optimiser has learnt, its moments, but keep its own settings: a trial may resume with other ones."""
    own = [{key: value for key, value in group.items() if key != "params"} for group in optimiser.param_groups]
    optimiser.load_state_dict(state)
    for group, settings in zip(optimiser.param_groups, own, strict=True):
        group.update(settings)


def rate_factor(settings: TrainingSettings, step: int, steps_of_epoch: int) -> float:
    """The share of the learning rate that a step takes: rising in equal parts during warm-up, then by the schedule.

    Args:
        settings: warm-up, schedule and number of epochs.
        step: counted from 0 over all epochs.
        steps_of_epoch: steps of an epoch.

    >>> settings = TrainingSettings(epochs=4, schedule="cosine", warmup_epochs=2)
    >>> [round(rate_factor(settings, step, steps_of_epoch=1), 2) for step in range(4)]
    [0.5, 1.0, 1.0, 0.5]
    """
    warmup, steps = settings.warmup_epochs * steps_of_epoch, settings.epochs * steps_of_epoch
    if step < warmup:
        return min((step + 1) / warmup, 1.0)
    if settings.schedule == "cosine":
        return 0.5 * (1 + math.cos(math.pi * (step - warmup) / (steps - warmup)))
    return 1.0


def averaged(settings: TrainingSettings, model: nn.Module) -> AveragedModel | None:
    """The model whose weights are the exponential moving average of another's after each step; None for none.

    The average starts from the weights after its first step (Tarvainen and Valpola, "Mean teachers", NeurIPS 2017).
    """
    if not settings.ema_decay:
        return None
    update = get_ema_multi_avg_fn(settings.ema_decay)  # type: ignore[no-untyped-call]
    return AveragedModel(model, multi_avg_fn=update)
