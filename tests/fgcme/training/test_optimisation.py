"""Optimisers against one step done by hand; the learning rate of each step; averages against a plain loop."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from fgcme.experiment import TrainingSettings
from fgcme.model.trained_layers import TrainedLayers, load_top
from fgcme.training.optimisation import averaged, make_optimiser, rate_factor, restore_optimiser
from tests.speech_encoder import save_encoder


def settings(**changes: object) -> TrainingSettings:
    return TrainingSettings.model_validate({"epochs": 4, "learning_rate": 0.1, **changes})


def steps(model: nn.Linear, optimiser: torch.optim.Optimizer, count: int) -> list[Tensor]:
    """The weights after each of some steps down the same slope."""
    weights = []
    for _ in range(count):
        optimiser.zero_grad()
        model(torch.ones(1, 3)).square().sum().backward()
        optimiser.step()
        weights.append(model.weight.detach().clone())
    return weights


def test_adamw_shrinks_the_weights_themselves_and_adam_by_way_of_the_gradient() -> None:
    torch.manual_seed(0)
    start = nn.Linear(3, 2)
    first: dict[str, Tensor] = {}
    for kind in ("adam", "adamw"):
        for decay in (0.0, 0.5):
            model = copy.deepcopy(start)
            (first[f"{kind} {decay}"],) = steps(
                model, make_optimiser(settings(optimiser=kind, weight_decay=decay), model), 1
            )
    assert torch.equal(first["adam 0.0"], first["adamw 0.0"])
    shrunk = first["adamw 0.0"] - 0.1 * 0.5 * start.weight
    torch.testing.assert_close(first["adamw 0.5"], shrunk.detach())
    # Adam's first step has the length of the learning rate, whatever the gradient.
    torch.testing.assert_close((first["adam 0.5"] - start.weight).abs(), torch.full((2, 3), 0.1))


def test_an_encoder_s_layers_have_a_learning_rate_of_their_own(tmp_path: Path) -> None:
    """Of LoRA's matrices alone, where there are any; everything else learns as it does without such layers."""
    top = load_top(save_encoder("hubert", tmp_path), [2], 1)
    for rank in (0, 2):
        layers = TrainedLayers(top, rank)
        model = nn.ModuleDict({"other": nn.Linear(3, 2), "trained": layers})
        own = settings(encoder_learning_rate=0.01, optimiser="adamw", weight_decay=0.2)
        other, trained = make_optimiser(own, model).param_groups
        assert (other["lr"], trained["lr"]) == (0.1, 0.01)
        assert other["weight_decay"] == trained["weight_decay"] == 0.2
        assert len(other["params"]) == 2
        assert len(trained["params"]) == sum("lora_" in name or not rank for name, _ in layers.named_parameters()) > 2
    assert len(make_optimiser(settings(), nn.Linear(3, 2)).param_groups) == 1


@pytest.mark.parametrize(("before", "after"), [("adam", "adamw"), ("adamw", "adam")])
def test_a_restored_optimiser_keeps_the_moments_and_has_its_own_settings(before: str, after: str) -> None:
    model = nn.Linear(3, 2)
    old = make_optimiser(settings(optimiser=before, weight_decay=0.3, learning_rate=0.2), model)
    steps(model, old, 2)
    new, fresh = (make_optimiser(settings(optimiser=after, weight_decay=0.1), model) for _ in range(2))
    restore_optimiser(new, copy.deepcopy(old.state_dict()))
    assert new.param_groups == fresh.param_groups
    for kept, own in zip(new.state.values(), old.state.values(), strict=True):
        assert float(kept["step"]) == 2
        torch.testing.assert_close(kept["exp_avg"], own["exp_avg"])


@pytest.mark.parametrize("warmup_epochs", [0.0, 0.5, 2.0])
def test_the_rate_rises_in_equal_parts_and_then_follows_half_a_cosine(warmup_epochs: float) -> None:
    steps_of_epoch = 6
    warmup = int(warmup_epochs * steps_of_epoch)
    cosine, constant = (
        [
            rate_factor(settings(schedule=schedule, warmup_epochs=warmup_epochs), step, steps_of_epoch)
            for step in range(24)
        ]
        for schedule in ("cosine", "constant")
    )
    rising = [(step + 1) / warmup for step in range(warmup)]
    assert cosine[:warmup] == constant[:warmup] == pytest.approx(rising)
    assert cosine[warmup] == 1 and set(constant[warmup:]) == {1.0}
    falling = torch.cos(torch.arange(24 - warmup) * torch.pi / (24 - warmup)) / 2 + 0.5
    assert cosine[warmup:] == pytest.approx(falling.tolist(), abs=1e-6)


def test_averaged_weights_are_the_exponential_moving_average_since_the_first_step() -> None:
    model = nn.Linear(3, 2)
    average = averaged(settings(ema_decay=0.9), model)
    assert average is not None
    optimiser = make_optimiser(settings(), model)
    expected: Tensor | None = None
    for _ in range(5):
        (weights,) = steps(model, optimiser, 1)
        average.update_parameters(model)
        expected = weights if expected is None else 0.9 * expected + 0.1 * weights
    assert expected is not None
    torch.testing.assert_close(average.module.weight, expected, rtol=1e-6, atol=1e-7)
    assert not torch.equal(expected, model.weight)
    assert averaged(settings(), model) is None
