"""Search spaces: what a sweep may vary, read from YAML and drawn from, one parameter at a time, by an Optuna trial.

Parameters:
      model.pooling.kind: {choice: [mean_max, mean, max]}
      model.fusion.hidden: {int: [64, 256], step: 64}
      training.learning_rate: {float: [1.0e-4, 3.0e-3], log: true}
      model.excitement.driver: {choice: [features, word], when: {model.excitement.acoustic: [gate, residual_gate]}}
    first:
      - {model.pooling.kind: mean_max}

A parameter with `when` is drawn only if every parameter named there has one of the values given, or the experiment has
where the space does not vary it; otherwise it keeps the experiment's own value.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Protocol

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from fgcme import experiment as experiments
from fgcme.errors import UserError
from fgcme.experiment import Experiment

Value = bool | int | float | str | None


class Suggests(Protocol):
    """The part of an Optuna trial that a space draws from."""

    def suggest_categorical(self, name: str, choices: list[Any]) -> Any:
        """Draw one of the choices."""

    def suggest_int(self, name: str, low: int, high: int, *, step: int, log: bool) -> int:
        """Draw an integer, both ends included."""

    def suggest_float(self, name: str, low: float, high: float, *, step: float | None, log: bool) -> float:
        """Draw a number."""


class Parameter(BaseModel):
    """How one setting varies: exactly one of `choice`, `int` and `float`."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    choice: Annotated[list[Value], Field(min_length=1)] | None = None
    integer: Annotated[list[int], Field(min_length=2, max_length=2)] | None = Field(None, alias="int")
    number: Annotated[list[float], Field(min_length=2, max_length=2)] | None = Field(None, alias="float")
    step: Annotated[float, Field(gt=0)] | None = None
    log: bool = False
    when: dict[str, list[Value]] = {}

    @model_validator(mode="after")
    def _one_kind(self) -> Parameter:
        given = [bounds for bounds in (self.choice, self.integer, self.number) if bounds is not None]
        if len(given) != 1:
            raise ValueError("give exactly one of `choice`, `int` and `float`")
        bounds = self.integer or self.number
        if bounds is None and (self.step is not None or self.log):
            raise ValueError("`step` and `log` go with `int` or `float`")
        if bounds is not None and bounds[0] > bounds[1]:
            raise ValueError("the lower bound comes first")
        if bounds is not None and self.log and bounds[0] <= 0:
            raise ValueError("a logarithmic range is above 0")
        if self.log and self.step is not None:
            raise ValueError("`log` and `step` do not go together")
        return self

    def ends(self) -> list[Value]:
        """Values that stand for all: every choice, or both ends of the range."""
        return list(self.choice or self.integer or self.number or [])

    def draw(self, name: str, trial: Suggests) -> Value:
        """Draw a value."""
        if self.choice is not None:
            drawn: Value = trial.suggest_categorical(name, self.choice)
            return drawn
        if self.integer is not None:
            low, high = self.integer
            return trial.suggest_int(name, low, high, step=int(self.step or 1), log=self.log)
        assert self.number is not None
        number = trial.suggest_float(name, self.number[0], self.number[1], step=self.step, log=self.log)
        # Steps add up to 0.30000000000000004 where 0.3 is meant.
        return round(number, 12) if self.step else number

    def applies(self, settings: Mapping[str, Any]) -> bool:
        """Whether its condition holds under these settings, flat; always without one."""
        return all(settings[other] in values for other, values in self.when.items())

    def holds(self, value: Value) -> bool:
        """Whether a value lies within the range or is one of the choices."""
        if self.choice is not None:
            return value in self.choice
        low, high = self.integer or self.number or (0, 0)
        return isinstance(value, int | float) and low <= value <= high


class Space(BaseModel):
    """A search space.

    Attributes:
        parameters: dotted setting -> how it varies, drawn in this order.
        first: configurations to try before any is drawn.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    parameters: Annotated[dict[str, Parameter], Field(min_length=1)]
    first: list[dict[str, Value]] = []

    def draw(self, trial: Suggests, settings: Mapping[str, Any]) -> dict[str, Value]:
        """Draw one configuration.

        Args:
            trial: an Optuna trial.
            settings: the experiment's own, flat; they decide conditions on what the space does not vary.
        """
        drawn: dict[str, Value] = {}
        for name, parameter in self.parameters.items():
            current = {**settings, **drawn}
            if parameter.applies(current):
                drawn[name] = parameter.draw(name, trial)
        return drawn

    def point(self, settings: Mapping[str, Any]) -> dict[str, Value] | None:
        """The configuration that an experiment has already, or None if it lies outside the space.

        Args:
            settings: the experiment's own, flat.
        """
        active = [name for name, parameter in self.parameters.items() if parameter.applies(settings)]
        if not all(self.parameters[name].holds(settings[name]) for name in active):
            return None
        return {name: settings[name] for name in active}


def load(path: Path, experiment: Experiment) -> Space:
    """Read a search space and check it against the experiment that it is to vary.

    Raises:
        UserError: the file cannot be read; a parameter is not a setting, or the experiment would refuse one of its
            values; a condition comes before what it depends on; a configuration to try first lies outside the space.
    """
    content = experiments.read_yaml(path)
    if "variants" in content:
        raise UserError(f"{path}: an ablation, not a search space: use it with fgcme ablate")
    try:
        space = Space.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise UserError(f"{path}: {where}: {first['msg'].removeprefix('Value error, ')}") from None
    _check(space, experiment, path)
    return space


def apply(experiment: Experiment, configuration: Mapping[str, Any]) -> Experiment:
    """The experiment with some of its settings changed.

    Raises:
        UserError: a setting is not known or a value is refused.
    """
    content = experiment.model_dump(mode="json")
    for dotted, value in configuration.items():
        section = content
        *parents, last = dotted.split(".")
        for parent in parents:
            section = section[parent]
        section[last] = value
    return experiments.parse(content)


def _check(space: Space, experiment: Experiment, path: Path) -> None:
    settings = experiment.flat()
    seen: set[str] = set()
    for name, parameter in space.parameters.items():
        try:
            experiments.setting_type(name)
            if not name.startswith(("model.", "training.")):
                raise UserError(f"{name} cannot vary between trials: a space varies `model.` and `training.` settings")
            for value in parameter.ends():
                apply(experiment, {name: value})
            for other, values in parameter.when.items():
                experiments.setting_type(other)
                if other in space.parameters and other not in seen:
                    raise UserError(f"{name}: its condition {other} must be listed before it")
                for value in values:
                    apply(experiment, {other: value})
        except UserError as error:
            raise UserError(f"{path}: {str(error).removeprefix('experiment: ')}") from None
        seen.add(name)
    for configuration in space.first:
        for name, value in configuration.items():
            if name not in space.parameters or not space.parameters[name].holds(value):
                raise UserError(f"{path}: first: {name}={value} lies outside the space")
        missing = [
            name
            for name, parameter in space.parameters.items()
            if name not in configuration and parameter.applies({**settings, **configuration})
        ]
        if missing:
            raise UserError(f"{path}: first: give {', '.join(missing)} too")
