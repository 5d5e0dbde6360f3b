"""Each form of excitement follows its equation."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from fgcme.model.excitement import Excitement, Form, feature_driver, word_driver

FEATURE, SOURCE, WEIGHT, BIAS = 3.0, 0.5, 2.0, -0.25
SIGNAL = WEIGHT * SOURCE + BIAS
GATE = 1 / (1 + math.exp(-SIGNAL))


def linear() -> nn.Linear:
    module = nn.Linear(1, 1)
    with torch.no_grad():
        module.weight.fill_(WEIGHT)
        module.bias.fill_(BIAS)
    return module


@pytest.mark.parametrize(
    ("form", "expected"),
    [("gate", FEATURE * GATE), ("residual_gate", FEATURE + FEATURE * GATE), ("additive", FEATURE + SIGNAL)],
)
def test_a_form_follows_its_equation(form: Form, expected: float) -> None:
    excited = Excitement(form, linear())(torch.tensor([[FEATURE]]), torch.tensor([[SOURCE]]))
    assert excited.item() == pytest.approx(expected)


def test_form_none_leaves_the_features_unchanged() -> None:
    features = torch.randn(3, 4)
    assert Excitement("none", None)(features, torch.randn(3, 7)) is features


def test_a_table_of_words_drives_the_gate() -> None:
    table = nn.Embedding(5, 4)
    features, words = torch.randn(3, 4), torch.tensor([4, 0, 4])
    excited = Excitement("gate", table)(features, words)
    torch.testing.assert_close(excited, features * torch.sigmoid(table.weight[words]))


@pytest.mark.parametrize(("form", "module"), [("none", nn.Linear(1, 1)), ("gate", None)])
def test_every_form_but_none_needs_a_driver(form: Form, module: nn.Module | None) -> None:
    with pytest.raises(ValueError, match="a driver goes with every form"):
        Excitement(form, module)


@pytest.mark.parametrize(("reduction_ratio", "bottleneck"), [(1, None), (2, 4), (4, 2), (100, 1)])
def test_the_driver_of_features_is_one_linear_map_or_has_a_bottleneck(
    reduction_ratio: int, bottleneck: int | None
) -> None:
    module, source = feature_driver(6, 8, reduction_ratio), torch.randn(5, 6)
    weights = dict(module.named_parameters())
    if bottleneck is None:
        expected = source @ weights["weight"].T + weights["bias"]
    else:
        assert weights["0.weight"].shape == (bottleneck, 6)
        hidden = (source @ weights["0.weight"].T + weights["0.bias"]).clamp(min=0)
        expected = hidden @ weights["2.weight"].T + weights["2.bias"]
    torch.testing.assert_close(module(source), expected)


@pytest.mark.parametrize(("reduction_ratio", "bottleneck"), [(1, None), (4, 2), (100, 1)])
def test_the_driver_of_words_is_a_table_or_a_narrow_one_with_a_linear_map(
    reduction_ratio: int, bottleneck: int | None
) -> None:
    module, words = word_driver(9, 8, reduction_ratio), torch.tensor([1, 4, 8, 4])
    weights = dict(module.named_parameters())
    if bottleneck is None:
        expected = weights["weight"][words]
    else:
        assert weights["0.weight"].shape == (9, bottleneck)
        expected = weights["0.weight"][words] @ weights["1.weight"].T + weights["1.bias"]
    torch.testing.assert_close(module(words), expected)


@pytest.mark.parametrize("reduction_ratio", [1, 4])
def test_every_value_of_the_table_of_words_has_a_gradient(reduction_ratio: int) -> None:
    module, words = word_driver(9, 8, reduction_ratio), torch.arange(2, 9)
    table = next(iter(module.parameters()))
    weight = torch.randn(7, 8, generator=torch.Generator().manual_seed(0))
    (gradient,) = torch.autograd.grad((module(words) * weight).sum(), table)
    assert gradient[2:].all()


@pytest.mark.parametrize("reduction_ratio", [1, 4])
def test_an_unknown_word_initially_has_the_signal_of_padding(reduction_ratio: int) -> None:
    unknown, padding = word_driver(9, 8, reduction_ratio)(torch.tensor([1, 0]))
    assert torch.equal(unknown, padding)


@pytest.mark.parametrize("form", ["gate", "residual_gate", "additive"])
@pytest.mark.parametrize("size", [-1e4, 1e4])
def test_a_signal_of_any_size_is_finite_forward_and_backward(form: Form, size: float) -> None:
    features, source = torch.randn(3, 4, requires_grad=True), torch.full((3, 6), size, requires_grad=True)
    excited = Excitement(form, feature_driver(6, 4))(features, source)
    gradients = torch.autograd.grad(excited.sum(), [features, source])
    assert excited.isfinite().all() and all(gradient.isfinite().all() for gradient in gradients)
