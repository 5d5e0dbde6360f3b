"""Search spaces: what a sweep may vary, drawn from by an Optuna trial, one parameter at a time.

A parameter with `when` is drawn only if every setting named there has one of the values given: as drawn before it, or
as the experiment has it where the space does not vary it. Otherwise the parameter keeps the experiment's own value.
`search_spaces/pooling.yaml` explains how a space is written.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict, field_validator

from fgcme.errors import UserError
from fgcme.experiment.parameter import OptunaTrial, Parameter, Value, check_scalar


class Space(BaseModel):
    """A search space.

    Attributes:
        parameters: dotted setting -> how it varies, drawn in this order.
        initial_trials: configurations to try before any is drawn.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    parameters: dict[str, Parameter]
    initial_trials: list[dict[str, Value]] = []

    @field_validator("parameters", mode="before")
    @classmethod
    def _check_parameters(cls, parameters: Any) -> Any:
        if not isinstance(parameters, Mapping) or not parameters:
            raise ValueError("give at least one, as in {training.learning_rate: {float: [1.0e-4, 1.0e-3], log: true}}")
        return parameters

    @field_validator("initial_trials", mode="before")
    @classmethod
    def _check_initial_trials(cls, trials: Any) -> Any:
        if not isinstance(trials, list):
            raise ValueError("give configurations as a list, such as [{setting: value, setting: value}]")
        for number, configuration in enumerate(trials, 1):
            if not isinstance(configuration, Mapping):
                raise ValueError(f"configuration {number}: give its settings, as in {{setting: value, setting: value}}")
            for name, value in configuration.items():
                try:
                    check_scalar(value)
                except ValueError as error:
                    raise ValueError(f"configuration {number}: {name}: {error}") from None
        return trials

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
        """The configuration that an experiment already has, or None if it lies outside the space.

        Args:
            settings: the experiment's own, flat.
        """
        active = [name for name, parameter in self.parameters.items() if parameter.is_active(settings)]
        if not all(self.parameters[name].contains(settings[name]) for name in active):
            return None
        return {name: settings[name] for name in active}

    def grid(self, settings: Mapping[str, Any]) -> Iterator[dict[str, Value]]:
        """Every configuration of a finite space, each once: a parameter that is not active multiplies nothing.

        The last parameter varies fastest.

        Args:
            settings: the experiment's own, flat, as for `draw`.

        Raises:
            UserError: names a parameter that has no grid; raised here, before the first configuration is asked for.
        """
        values = self._grids()

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
        """Number of configurations in `grid`, without listing them.

        Args:
            settings: dotted settings of the experiment, as for `draw`.

        Raises:
            UserError: names a parameter that has no grid.
        """
        values = self._grids()
        # Parameters that decide whether others are active.
        deciding = {other for parameter in self.parameters.values() for other in parameter.when}

        def count(names: Sequence[str], decided: Mapping[str, Any]) -> int:
            product = 1
            for position, name in enumerate(names):
                if not self.parameters[name].is_active(decided):
                    continue
                # Later parameters may be active for some of its values only.
                if name in deciding:
                    rest = names[position + 1 :]
                    return product * sum(count(rest, {**decided, name: value}) for value in values[name])
                product *= len(values[name])
            return product

        return count(list(self.parameters), settings)

    def _grids(self) -> dict[str, Sequence[Value]]:
        grids = {}
        for name, parameter in self.parameters.items():
            values = parameter.grid()
            if values is None:
                raise UserError(f"{name} has no grid: give its range a `step`, or write it as a `choice`")
            grids[name] = values
        return grids
