"""What pydantic refuses, in sentences."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from fgcme.experiment.explanation import explain
from fgcme.experiment.section import Name


class Inner(BaseModel):
    model_config = ConfigDict(extra="forbid")

    low: int = 0
    high: int = 1

    @model_validator(mode="after")
    def _check_order(self) -> Inner:
        if self.low > self.high:
            raise ValueError("`low` comes first")
        return self


class Outer(BaseModel):
    model_config = ConfigDict(extra="forbid")

    name: Name
    inner: Inner = Inner()
    by_name: dict[Name, int] = {}
    either: int | list[list[str]] = 0


@pytest.mark.parametrize(
    ("content", "sentences"),
    [
        ({}, ["name is missing"]),
        ({"nam": "x"}, ["nam is unknown", "name is missing"]),
        ({"name": "x", "inner": {"hig": 3}}, ["inner.hig is unknown"]),
        ({"name": "x", "inner": {"low": 5}}, ["inner: `low` comes first"]),
        ({"name": "x", "inner": {"low": None}}, ["inner.low: null is refused: expects a whole number"]),
        ({"name": "x", "inner": 5}, ["inner: 5 is refused: expects keys and values"]),
        (
            {"name": "x", "either": "many"},
            ["either: 'many' is refused: expects a whole number", "either: 'many' is refused: expects a list"],
        ),
        ({"name": "a b"}, ["name: 'a b' is refused: a name has letters, digits, `.`, `-` and `_`"]),
        (
            {"name": "x", "by_name": {"a b": 1}},
            ["by_name.a b: 'a b' is refused: a name has letters, digits, `.`, `-` and `_`"],
        ),
    ],
)
def test_every_error_is_a_sentence_that_names_its_key(content: dict[str, Any], sentences: list[str]) -> None:
    with pytest.raises(ValidationError) as refusal:
        Outer.model_validate(content)
    assert explain(refusal.value, lambda key: f"{key} is unknown") == sentences
