"""The values of one parameter of a search space."""

from __future__ import annotations

import tracemalloc
from typing import Any

import pytest
from pydantic import ValidationError

from fgcme.experiment import Parameter, Value


def parameter(**content: Any) -> Parameter:
    return Parameter.model_validate(content)


@pytest.mark.parametrize(
    ("content", "grid"),
    [
        ({"choice": ["mean", None, True]}, ["mean", None, True]),
        ({"int": [2, 5]}, [2, 3, 4, 5]),
        ({"int": [2, 6], "step": 2}, [2, 4, 6]),
        ({"float": [0.0, 0.3], "step": 0.1}, [0.0, 0.1, 0.2, 0.3]),
        ({"float": [0.5, 0.5]}, [0.5]),
        ({"float": [0.1, 0.5]}, None),
    ],
)
def test_a_grid_lists_every_value_in_order(content: dict[str, Any], grid: list[Value] | None) -> None:
    values = parameter(**content).grid()
    assert (None if values is None else list(values)) == grid


@pytest.mark.parametrize(
    ("content", "values"),
    [
        ({"choice": list(range(40))}, list(range(40))),
        ({"int": [1, 3]}, [1, 2, 3]),
        ({"int": [1, 1000]}, [1, 1000]),
        ({"float": [0.1, 0.5]}, [0.1, 0.5]),
    ],
)
def test_boundary_values_are_all_values_where_they_are_few_and_else_the_ends(
    content: dict[str, Any], values: list[Value]
) -> None:
    assert parameter(**content).boundary_values() == values


@pytest.mark.parametrize(
    ("content", "inside", "outside"),
    [
        ({"choice": ["mean", 3]}, ["mean", 3], ["max", None]),
        ({"int": [2, 6], "step": 2}, [2, 6, 4.0], [0, 3, 8, True, "4"]),
        ({"float": [0.0, 0.3], "step": 0.1}, [0, 0.1, 0.2, 0.3], [0.15, 0.4, False, None]),
    ],
)
def test_a_value_is_contained_if_it_is_a_choice_or_on_a_step_of_the_range(
    content: dict[str, Any], inside: list[Value], outside: list[Value]
) -> None:
    assert all(parameter(**content).contains(value) for value in inside)
    assert not any(parameter(**content).contains(value) for value in outside)


def test_a_parameter_is_active_only_under_all_its_conditions() -> None:
    conditional = parameter(choice=[1], when={"a": [1, 2], "b": ["x"]})
    assert conditional.is_active({"a": 2, "b": "x", "c": 0})
    assert not conditional.is_active({"a": 2, "b": "y"})
    assert parameter(choice=[1]).is_active({})


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ({"int": [5, 1]}, r"the lower bound comes first: write \[1, 5\]"),
        ({}, "give exactly one of"),
        ({"choice": [1], "log": True}, "`step` and `log` go with `int` or `float`"),
        ({"int": [1, 5], "log": True, "step": 1}, "`log` and `step` do not go together: leave one out"),
        ({"choice": "mean"}, "'mean' is no list of choices"),
        ({"int": [None, 5]}, "null is no whole number"),
    ],
)
def test_a_wrong_parameter_is_refused_with_the_way_out(content: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValidationError, match=sentence):
        parameter(**content)


@pytest.mark.parametrize("content", [{"int": [1, 10**12]}, {"float": [0, 1e9], "step": 1e-3}])
def test_of_a_wide_range_only_the_ends_are_looked_at(content: dict[str, Any]) -> None:
    tracemalloc.start()
    try:
        assert parameter(**content).boundary_values() == content.get("int", content.get("float"))
        assert tracemalloc.get_traced_memory()[1] < 100_000
    finally:
        tracemalloc.stop()
