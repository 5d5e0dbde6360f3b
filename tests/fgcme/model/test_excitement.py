"""Each form of excitement against its equation."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from fgcme.model.excitement import Excitement, Form

FEATURE, SOURCE, WEIGHT, BIAS = 3.0, 0.5, 2.0, -0.25
SIGNAL = WEIGHT * SOURCE + BIAS
GATE = 1 / (1 + math.exp(-SIGNAL))


def driver() -> nn.Linear:
    linear = nn.Linear(1, 1)
    with torch.no_grad():
        linear.weight.fill_(WEIGHT)
        linear.bias.fill_(BIAS)
    return linear


@pytest.mark.parametrize(
    ("form", "expected"),
    [("gate", FEATURE * GATE), ("residual_gate", FEATURE + FEATURE * GATE), ("additive", FEATURE + SIGNAL)],
)
def test_a_form_follows_its_equation(form: Form, expected: float) -> None:
    excited, gate = Excitement(form, driver())(torch.tensor([[FEATURE]]), torch.tensor([[SOURCE]]))
    assert excited.item() == pytest.approx(expected)
    assert gate is None if form == "additive" else gate.item() == pytest.approx(GATE)


def test_no_excitement_leaves_the_features_as_they_are() -> None:
    features = torch.randn(3, 4)
    excited, gate = Excitement("none", None)(features, torch.randn(3, 7))
    assert excited is features and gate is None


def test_a_table_by_word_drives_as_well() -> None:
    table = nn.Embedding(5, 4)
    features, words = torch.randn(3, 4), torch.tensor([4, 0, 4])
    excited, gate = Excitement("gate", table)(features, words)
    torch.testing.assert_close(excited, features * torch.sigmoid(table.weight[words]))
    torch.testing.assert_close(gate, torch.sigmoid(table.weight[words]))


@pytest.mark.parametrize(("form", "module"), [("none", nn.Linear(1, 1)), ("gate", None)])
def test_a_driver_goes_with_every_form_but_none(form: Form, module: nn.Module | None) -> None:
    with pytest.raises(ValueError, match="a driver goes with every form"):
        Excitement(form, module)
