"""Search spaces: what a sweep may vary, read from YAML and drawn from, one parameter at a time, by an Optuna trial.

Parameters:
      model.pooling.kind: {choice: [mean_max, mean, max]}
      model.fusion.hidden: {int: [64, 256], step: 64}
      training.learning_rate: {float: [1.0e-4, 3.0e-3], log: true}
      model.excitement.driver: {choice: [features, word], when: {model.excitement.acoustic: [gate, residual_gate]}}
    initial_trials:
      - {model.pooling.kind: mean_max}

A parameter with `when` is drawn only if every parameter named there has one of the values given, or the experiment has
where the space does not vary it; otherwise it keeps the experiment's own value.
"""

from __future__ import annotations

import difflib
import json
import math
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Protocol

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from fgcme.errors import UserError
from fgcme.experiment.loading import parse_experiment, read_yaml, setting_type
from fgcme.experiment.settings import Experiment

Value = bool | int | float | str | None

_KINDS = "`choice`, `int` and `float`"
# Every value of a parameter that has no more of them is shown to the experiment; of others, the ends.
_FEW = 32
# Configurations that are drawn to see whether the experiment accepts what is accepted value by value.
_TRIED = 100


class OptunaTrial(Protocol):
    """The part of an Optuna trial that a space draws from."""

    def suggest_categorical(self, name: str, choices: list[Any]) -> Any:
        """Draw one of the choices."""

    def suggest_int(self, name: str, low: int, high: int, *, step: int, log: bool) -> int:
        """Draw an integer, both ends included."""

    def suggest_float(self, name: str, low: float, high: float, *, step: float | None, log: bool) -> float:
        """Draw a number."""


class Parameter(BaseModel):
    """How one setting varies: exactly one of `choice`, `int` and `float`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    choice: Annotated[list[Value], Field(min_length=1)] | None = None
    integer: list[int] | None = Field(None, alias="int")
    number: list[float] | None = Field(None, alias="float")
    step: float | None = None
    log: bool = False
    when: dict[str, list[Value]] = {}

    @model_validator(mode="before")
    @classmethod
    def _is_described(cls, content: Any) -> Any:
        if not isinstance(content, Mapping | Parameter):
            raise ValueError(f"{content!r} does not say how it varies: give it one of {_KINDS}")
        return content

    @field_validator("choice", mode="before")
    @classmethod
    def _are_choices(cls, values: Any) -> Any:
        if not isinstance(values, list) or not values:
            raise ValueError(f"{values!r} is no list of choices")
        return [_scalar(value) for value in values]

    @field_validator("integer", mode="before")
    @classmethod
    def _are_whole(cls, bounds: Any) -> Any:
        for bound in _two(bounds):
            if isinstance(bound, bool) or not isinstance(bound, int):
                raise ValueError(f"{bound!r} is no whole number")
        return bounds

    @field_validator("number", mode="before")
    @classmethod
    def _are_numbers(cls, bounds: Any) -> Any:
        return [_finite(bound) for bound in _two(bounds)]

    @field_validator("step", mode="before")
    @classmethod
    def _is_a_step(cls, value: Any) -> Any:
        step = _finite(value)
        if step <= 0:
            raise ValueError(f"{value!r} is no step: it is above 0")
        return step

    @field_validator("log", mode="before")
    @classmethod
    def _is_a_truth(cls, value: Any) -> Any:
        if not isinstance(value, bool):
            raise ValueError(f"{value!r} is neither true nor false")
        return value

    @field_validator("when", mode="before")
    @classmethod
    def _are_conditions(cls, conditions: Any) -> Any:
        if not isinstance(conditions, Mapping):
            raise ValueError(f"{conditions!r} is no condition: write it as {{setting: [value, value]}}")
        for other, values in conditions.items():
            if not isinstance(values, list) or not values:
                raise ValueError(f"{other}: {values!r} is no list of the values under which it is drawn")
        return {other: [_scalar(value) for value in values] for other, values in conditions.items()}

    @model_validator(mode="after")
    def _one_kind(self) -> Parameter:
        given = [bounds for bounds in (self.choice, self.integer, self.number) if bounds is not None]
        if len(given) != 1:
            raise ValueError(f"give exactly one of {_KINDS}")
        bounds = self.integer or self.number
        if bounds is None:
            if self.step is not None or self.log:
                raise ValueError("`step` and `log` go with `int` or `float`")
            return self
        low, high = bounds
        if low > high:
            raise ValueError("the lower bound comes first")
        if self.log and low <= 0:
            raise ValueError("a logarithmic range is above 0")
        if self.log and self.step is not None:
            raise ValueError("`log` and `step` do not go together")
        if self.step is not None:
            if self.integer and not self.step.is_integer():
                raise ValueError(f"a step of {self.step:g} leaves the whole numbers")
            if not _divides(self.step, high - low):
                last = _rounded(low + (high - low) // self.step * self.step)
                raise ValueError(
                    f"steps of {self.step:g} from {low:g} never meet {high:g}: end at {last:g} or "
                    f"{_rounded(last + self.step):g}"
                )
        return self

    def grid(self) -> list[Value] | None:
        """Every value that it can have, in order; None for a range of numbers without steps.

        >>> Parameter.model_validate({"float": [0.0, 0.3], "step": 0.1}).grid()
        [0.0, 0.1, 0.2, 0.3]
        """
        if self.choice is not None:
            return list(self.choice)
        if self.integer is not None:
            low, high = self.integer
            return list(range(low, high + 1, int(self.step or 1)))
        assert self.number is not None
        least, greatest = self.number
        if least == greatest:
            return [least]
        if self.step is None:
            return None
        return [_rounded(least + index * self.step) for index in range(round((greatest - least) / self.step) + 1)]

    def boundary_values(self) -> list[Value]:
        """Values that stand for all: every one if they are few, else both ends of the range."""
        values = self.grid()
        if values is not None and (self.choice is not None or len(values) <= _FEW):
            return values
        return list(self.integer or self.number or [])

    def draw(self, name: str, trial: OptunaTrial) -> Value:
        """Draw a value."""
        if self.choice is not None:
            drawn: Value = trial.suggest_categorical(name, self.choice)
            return drawn
        if self.integer is not None:
            low, high = self.integer
            return trial.suggest_int(name, low, high, step=int(self.step or 1), log=self.log)
        assert self.number is not None
        number = trial.suggest_float(name, self.number[0], self.number[1], step=self.step, log=self.log)
        return _rounded(number) if self.step else number

    def is_active(self, settings: Mapping[str, Any]) -> bool:
        """Whether its condition holds under these settings, flat; always without one."""
        return all(settings[other] in values for other, values in self.when.items())

    def contains(self, value: Value) -> bool:
        """Whether a value is one of the choices, or lies within the range and on one of its steps."""
        if self.choice is not None:
            return value in self.choice
        if isinstance(value, bool) or not isinstance(value, int | float):
            return False
        low, high = self.integer or self.number or (0, 0)
        step = self.step or (1 if self.integer else None)
        return low <= value <= high and (step is None or _divides(step, value - low))


class Space(BaseModel):
    """A search space.

    Attributes:
        parameters: dotted setting -> how it varies, drawn in this order.
        initial_trials: configurations to try before any is drawn.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    parameters: Annotated[dict[str, Parameter], Field(min_length=1)]
    initial_trials: list[dict[str, Value]] = []

    def draw(self, trial: OptunaTrial, settings: Mapping[str, Any]) -> dict[str, Value]:
        """Draw one configuration.

        Args:
            trial: an Optuna trial.
            settings: the experiment's own, flat; they decide conditions on what the space does not vary.
        """
        drawn: dict[str, Value] = {}
        for name, parameter in self.parameters.items():
            if parameter.is_active({**settings, **drawn}):
                drawn[name] = parameter.draw(name, trial)
        return drawn

    def as_point(self, settings: Mapping[str, Any]) -> dict[str, Value] | None:
        """The configuration that an experiment has already, or None if it lies outside the space.

        Args:
            settings: the experiment's own, flat.
        """
        active = [name for name, parameter in self.parameters.items() if parameter.is_active(settings)]
        if not all(self.parameters[name].contains(settings[name]) for name in active):
            return None
        return {name: settings[name] for name in active}

    def grid(self, settings: Mapping[str, Any]) -> Iterator[dict[str, Value]]:
        """Every configuration of a finite space, each once: what a condition leaves out makes no further ones.

        The last parameter varies fastest.

        Args:
            settings: the experiment's own, flat, as for `draw`.

        Raises:
            UserError: names a parameter that has no grid; raised here, before the first configuration is asked for.
        """
        values = self._values()

        def complete(names: Sequence[str], drawn: dict[str, Value]) -> Iterator[dict[str, Value]]:
            if not names:
                yield drawn
                return
            name, *rest = names
            if self.parameters[name].is_active({**settings, **drawn}):
                for value in values[name]:
                    yield from complete(rest, {**drawn, name: value})
            else:
                yield from complete(rest, drawn)

        return complete(list(self.parameters), {})

    def grid_size(self, settings: Mapping[str, Any]) -> int:
        """How many configurations `grid` gives, without making them.

        Raises:
            UserError: names a parameter that has no grid.
        """
        values = self._values()
        deciding = {other for parameter in self.parameters.values() for other in parameter.when}

        def ways(names: Sequence[str], decided: Mapping[str, Any]) -> int:
            product = 1
            for position, name in enumerate(names):
                if not self.parameters[name].is_active(decided):
                    continue
                if name in deciding:
                    rest = names[position + 1 :]
                    return product * sum(ways(rest, {**decided, name: value}) for value in values[name])
                product *= len(values[name])
            return product

        return ways(list(self.parameters), settings)

    def _values(self) -> dict[str, list[Value]]:
        grids = {}
        for name, parameter in self.parameters.items():
            values = parameter.grid()
            if values is None:
                raise UserError(f"{name} has no grid: give its range a `step`, or write it as a `choice`")
            grids[name] = values
        return grids


def load_space(path: Path, experiment: Experiment) -> Space:
    """Read a search space and check it against the experiment that it is to vary.

    Every choice, every step where they are few, and both ends of every range are shown to the experiment, and so are
    configurations drawn at random, since settings may be refused together that are accepted one by one.

    Returns:
        The space, its values as the experiment has them: `1e-3`, a text to YAML, is a number where one is wanted.

    Raises:
        UserError: the file cannot be read; a parameter is not a setting, or makes trials incomparable; the experiment
            would refuse one of its values; a choice is there twice; a condition comes before what it depends on, or
            never holds; a configuration to try first lies outside the space.
    """
    content = read_yaml(path)
    if "variants" in content:
        raise UserError(f"{path}: an ablation, not a search space: use it with fgcme ablate")
    try:
        return _fit(Space.model_validate(content), experiment)
    except ValidationError as error:
        raise UserError(f"{path}: {_explain(error)}") from None
    except UserError as error:
        raise UserError(f"{path}: {error}") from None


def apply_configuration(experiment: Experiment, configuration: Mapping[str, Any]) -> Experiment:
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
    return parse_experiment(content)


def _fit(space: Space, experiment: Experiment) -> Space:
    """The space with all values as the experiment has them, if it would refuse none.

    Raises:
        UserError: see `load`.
    """
    fitted: dict[str, Parameter] = {}
    # Settings under which each parameter is drawn, as far as the experiment's own do not do.
    contexts: dict[str, dict[str, Value]] = {}
    for name, parameter in space.parameters.items():
        _require_variable(name, parameter, experiment)
        when, context = _conditions(name, parameter, space, fitted, experiment)
        for other in when:
            context = contexts.get(other, {}) | context
        values = [_settled(name, value, experiment, context) for value in parameter.boundary_values()]
        if parameter.choice is not None:
            _refuse_doubles(name, values)
            parameter = parameter.model_copy(update={"choice": values})
        fitted[name] = parameter.model_copy(update={"when": when})
        contexts[name] = context
    made = Space(parameters=fitted)
    dice = _UniformTrial(random.Random(0))
    settings = experiment.flat()
    drawn = [made.draw(dice, settings) for _ in range(_TRIED)]
    if not any(drawn):
        raise UserError("parameters: no condition holds under this experiment, so nothing varies")
    for configuration in drawn:
        _applied(configuration, experiment, "parameters")
    first = [_fit_point(index, point, made, experiment) for index, point in enumerate(space.initial_trials, 1)]
    return made.model_copy(update={"initial_trials": first})


def _require_variable(name: str, parameter: Parameter, experiment: Experiment) -> None:
    kind = setting_type(name)
    if not name.startswith(("model.", "training.")):
        raise UserError(f"{name} cannot vary between trials: a space varies `model.` and `training.` settings")
    if name == "training.epochs":
        raise UserError(f"{name} cannot vary between trials, which are compared epoch by epoch: set it for all of them")
    if name == "training.score" and experiment.tune.objective == "score":
        raise UserError(
            f"{name} cannot vary between trials that tune.objective=score compares by it: set tune.objective to ua, wa "
            "or macro_f1"
        )
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        raise UserError(f"{name} is a section of settings: name one of {', '.join(kind.model_fields)} in it")
    if kind is int and parameter.number is not None:
        raise UserError(f"{name} is a whole number: write its range with `int`")
    if kind is bool and parameter.choice is None:
        raise UserError(f"{name} is true or false: write `choice`")


def _conditions(
    name: str, parameter: Parameter, space: Space, before: Mapping[str, Parameter], experiment: Experiment
) -> tuple[dict[str, list[Value]], dict[str, Value]]:
    """Its conditions with values as the experiment has them, and settings under which they hold."""
    settings = experiment.flat()
    when: dict[str, list[Value]] = {}
    context: dict[str, Value] = {}
    for other, values in parameter.when.items():
        try:
            setting_type(other)
            if other in space.parameters and other not in before:
                raise UserError(f"its condition {other} must be listed before it")
            when[other] = [_settled(other, value, experiment, {}) for value in values]
        except UserError as error:
            raise UserError(f"{name}: when: {error}") from None
        for value in when[other]:
            if other in before and not before[other].contains(value) and value != settings[other]:
                raise UserError(f"{name}: when: {other} never is {_written(value)} in this space")
        if settings[other] not in when[other]:
            context[other] = when[other][0]
    return when, context


def _settled(name: str, value: Value, experiment: Experiment, context: Mapping[str, Value]) -> Value:
    """A value as the experiment has it."""
    settled: Value = _applied({**context, name: value}, experiment, name).flat()[name]
    return settled


def _applied(configuration: Mapping[str, Value], experiment: Experiment, key: str) -> Experiment:
    """The experiment with this configuration; if it refuses it, `key` is named."""
    try:
        return apply_configuration(experiment, configuration)
    except UserError as error:
        reason = str(error).removeprefix("experiment: ")
        if reason.startswith(f"{key}:"):
            raise UserError(reason) from None
        told = ", ".join(f"{name}={_written(value)}" for name, value in configuration.items() if name in reason)
        raise UserError(f"{key}: {f'with {told}: ' if told else ''}{reason}") from None


def _fit_point(number: int, point: Mapping[str, Value], space: Space, experiment: Experiment) -> dict[str, Value]:
    where = f"initial_trials, configuration {number}"
    for name in point:
        if name not in space.parameters:
            close = difflib.get_close_matches(name, space.parameters, n=1)
            hint = f"; did you mean {close[0]}?" if close else ""
            raise UserError(f"{where}: {name} is not a parameter of this space{hint}")
    settings = _applied(point, experiment, where).flat()
    for name, parameter in space.parameters.items():
        applies = parameter.is_active(settings)
        if name in point and not applies:
            raise UserError(f"{where}: leave out {name}, whose condition does not hold there")
        if name not in point and applies:
            raise UserError(f"{where}: give {name} too")
        if name in point and not parameter.contains(settings[name]):
            raise UserError(f"{where}: {name}={_written(point[name])} lies outside the space")
    return {name: settings[name] for name in space.parameters if name in point}


def _refuse_doubles(name: str, values: Sequence[Value]) -> None:
    for index, value in enumerate(values):
        if any(value == other and type(value) is type(other) for other in values[:index]):
            raise UserError(f"{name}: choice: {_written(value)} is there twice")


@dataclass(frozen=True)
class _UniformTrial:
    """Draws evenly, without a study."""

    generator: random.Random

    def suggest_categorical(self, name: str, choices: list[Any]) -> Any:
        return self.generator.choice(choices)

    def suggest_int(self, name: str, low: int, high: int, *, step: int, log: bool) -> int:
        return self.generator.randrange(low, high + 1, step)

    def suggest_float(self, name: str, low: float, high: float, *, step: float | None, log: bool) -> float:
        if step is not None:
            return low + step * self.generator.randint(0, round((high - low) / step))
        return self.generator.uniform(low, high)


def _explain(error: ValidationError) -> str:
    """What is wrong first, on one line, with the key."""
    # What is misspelt is also missing.
    first = min(error.errors(), key=lambda each: each["type"] != "extra_forbidden")
    where = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        inside = len(first["loc"]) > 1
        known = "choice, int, float, step, log, when" if inside else "parameters, initial_trials"
        if where == "first":
            return "first is now called initial_trials"
        return f"{where}: no such key; allowed here: {known}"
    if first["loc"] == ("parameters",):
        return "parameters: give at least one, as in {training.learning_rate: {float: [1.0e-4, 1.0e-3], log: true}}"
    if first["loc"][:1] == ("initial_trials",):
        number = f", configuration {int(first['loc'][1]) + 1}" if len(first["loc"]) > 1 else ""
        return f"initial_trials{number}: give configurations as a list, such as [{{setting: value, setting: value}}]"
    return f"{where}: {first['msg'].removeprefix('Value error, ')}"


def _scalar(value: Any) -> Value:
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float) and math.isfinite(value):
        return value
    raise ValueError(f"{value!r} cannot be drawn: a value is a text, a finite number, true, false or null")


def _two(bounds: Any) -> list[Any]:
    if not isinstance(bounds, list) or len(bounds) != 2:
        raise ValueError(f"{bounds!r} is no range: write it as [lowest, highest]")
    return bounds


def _finite(value: Any) -> float:
    # To YAML, 1e-4 is a text.
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise ValueError(f"{value!r} is no finite number")
    return number


def _divides(step: float, width: float) -> bool:
    steps = width / step
    return abs(steps - round(steps)) < 1e-9 * max(1.0, abs(steps))


def _rounded(number: float) -> float:
    """Without what steps add up to: 0.30000000000000004 where 0.3 is meant."""
    return round(number, 12)


def _written(value: Value) -> str:
    """A value as YAML has it."""
    return json.dumps(value) if value is None or isinstance(value, bool) else str(value)
