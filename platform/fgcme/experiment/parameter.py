"""How one setting varies in a search space: over choices, or within a range of numbers."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Protocol

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from fgcme.experiment.yaml_text import quoted

Value = bool | int | float | str | None

_KINDS = "`choice`, `int` and `float`"
# Up to this many values of a range are all checked; of more, only both ends.
_FEW = 32


class OptunaTrial(Protocol):
    """The part of an Optuna trial that a space draws from."""

    def suggest_categorical(self, name: str, choices: list[Any]) -> Any:
        """Draw one of the choices."""

    def suggest_int(self, name: str, low: int, high: int, *, step: int, log: bool) -> int:
        """Draw an integer.

        Args:
            name: of the setting.
            low: the smallest.
            high: the largest.
            step: distance of neighbours.
            log: draw evenly in the logarithm.
        """

    def suggest_float(self, name: str, low: float, high: float, *, step: float | None, log: bool) -> float:
        """Draw a number.

        Args:
            name: of the setting.
            low: the smallest.
            high: the largest.
            step: distance of neighbours; None draws any number.
            log: draw evenly in the logarithm.
        """


class Parameter(BaseModel):
    """How one setting varies: exactly one of `choice`, `int` and `float`.

    Attributes:
        choice: the values to choose from.
        integer: `int` in YAML: lowest and highest whole number, both included.
        number: `float` in YAML: lowest and highest number, both included.
        step: between the values of a range, from its lowest on; None draws whole numbers by 1, others continuously.
        log: whether a range is drawn evenly in the logarithm.
        when: dotted setting -> values under which this parameter is drawn; all conditions must hold.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    choice: Annotated[list[Value], Field(min_length=1)] | None = None
    integer: list[int] | None = Field(None, alias="int")
    number: list[float] | None = Field(None, alias="float")
    step: float | None = None
    log: bool = False
    when: dict[str, list[Value]] = {}

    @model_validator(mode="before")
    @classmethod
    def _check_is_mapping(cls, content: Any) -> Any:
        if not isinstance(content, Mapping | Parameter):
            raise ValueError(f"{quoted(content)} does not say how it varies: give it one of {_KINDS}")
        return content

    @field_validator("choice", mode="before")
    @classmethod
    def _check_choices(cls, values: Any) -> Any:
        if not isinstance(values, list) or not values:
            raise ValueError(f"{quoted(values)} is no list of choices: write it as [value, value]")
        return [check_scalar(value) for value in values]

    @field_validator("integer", mode="before")
    @classmethod
    def _check_integers(cls, bounds: Any) -> Any:
        for bound in _two(bounds):
            if isinstance(bound, bool) or not isinstance(bound, int):
                raise ValueError(f"{quoted(bound)} is no whole number")
        return bounds

    @field_validator("number", mode="before")
    @classmethod
    def _check_numbers(cls, bounds: Any) -> Any:
        return [_finite(bound) for bound in _two(bounds)]

    @field_validator("step", mode="before")
    @classmethod
    def _check_step(cls, value: Any) -> Any:
        step = _finite(value)
        if step <= 0:
            raise ValueError(f"{quoted(value)} is no step: give a number above 0")
        return step

    @field_validator("log", mode="before")
    @classmethod
    def _check_log(cls, value: Any) -> Any:
        if not isinstance(value, bool):
            raise ValueError(f"{quoted(value)} is neither true nor false")
        return value

    @field_validator("when", mode="before")
    @classmethod
    def _check_conditions(cls, conditions: Any) -> Any:
        if not isinstance(conditions, Mapping):
            raise ValueError(f"{quoted(conditions)} is no condition: write it as {{setting: [value, value]}}")
        for other, values in conditions.items():
            if not isinstance(values, list) or not values:
                raise ValueError(f"{other}: {quoted(values)} is no list of the values under which it is drawn")
        return {other: [check_scalar(value) for value in values] for other, values in conditions.items()}

    @model_validator(mode="after")
    def _check_kind(self) -> Parameter:
        given = [bounds for bounds in (self.choice, self.integer, self.number) if bounds is not None]
        if len(given) != 1:
            raise ValueError(f"give exactly one of {_KINDS}")
        bounds = self.integer or self.number
        if bounds is not None:
            self._check_range(*bounds)
        elif self.step is not None or self.log:
            raise ValueError("`step` and `log` go with `int` or `float`")
        return self

    def _check_range(self, low: float, high: float) -> None:
        if low > high:
            raise ValueError(f"the lower bound comes first: write [{high}, {low}]")
        if self.log and low <= 0:
            raise ValueError("a logarithmic range is above 0")
        if self.step is None:
            return
        if self.log:
            raise ValueError("`log` and `step` do not go together: leave one out")
        if self.integer and not self.step.is_integer():
            raise ValueError(f"a step of {self.step:g} leaves the whole numbers")
        if not _divides(self.step, high - low):
            last = _rounded(low + (high - low) // self.step * self.step)
            raise ValueError(
                f"steps of {self.step:g} from {low:g} never meet {high:g}: end at {last:g} or "
                f"{_rounded(last + self.step):g}"
            )

    def grid(self) -> Sequence[Value] | None:
        """Every value that it can have, in order; None for a range of numbers without steps.

        >>> Parameter.model_validate({"float": [0.0, 0.3], "step": 0.1}).grid()
        [0.0, 0.1, 0.2, 0.3]
        """
        if self.choice is not None:
            return list(self.choice)
        if self.integer is not None:
            low, high = self.integer
            # Not a list: a wide range would fill the memory.
            return range(low, high + 1, int(self.step or 1))
        assert self.number is not None
        lowest, highest = self.number
        if lowest == highest:
            return [lowest]
        if self.step is None:
            return None
        return [_rounded(lowest + index * self.step) for index in range(round((highest - lowest) / self.step) + 1)]

    def boundary_values(self) -> list[Value]:
        """The values to check in place of all: every one if they are few, else both ends of the range."""
        low, high = self.integer or self.number or (0, 0)
        step = self.step or (1 if self.integer else None)
        if self.choice is None and low < high and (step is None or (high - low) / step >= _FEW):
            return [low, high]
        return list(self.grid() or [])

    def draw(self, name: str, trial: OptunaTrial) -> Value:
        """Draw a value from a trial, which knows the parameter by `name`."""
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
        """Whether its conditions hold under these settings, flat; always without any."""
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


def check_scalar(value: Any) -> Value:
    """A value that can be drawn.

    Raises:
        ValueError: it is none.
    """
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float) and math.isfinite(value):
        return value
    raise ValueError(f"{quoted(value)} cannot be drawn: a value is a text, a finite number, true, false or null")


def _two(bounds: Any) -> list[Any]:
    if not isinstance(bounds, list) or len(bounds) != 2:
        raise ValueError(f"{quoted(bounds)} is no range: write it as [lowest, highest]")
    return bounds


def _finite(value: Any) -> float:
    # YAML reads 1e-4, without a point, as text.
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise ValueError(f"{quoted(value)} is no finite number")
    return number


def _divides(step: float, width: float) -> bool:
    steps = width / step
    return abs(steps - round(steps)) < 1e-9 * max(1.0, abs(steps))


def _rounded(number: float) -> float:
    """Without the error that steps add up to: 0.3 for 0.30000000000000004."""
    return round(number, 12)
