"""A search space read from its YAML file, and checked against the experiment that it is to vary."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from fgcme.errors import UserError
from fgcme.experiment.explanation import explain
from fgcme.experiment.loading import apply_configuration
from fgcme.experiment.parameter import Parameter, Value
from fgcme.experiment.search_space import Space
from fgcme.experiment.setting_names import RENAMED, did_you_mean, explain_unknown, setting_type
from fgcme.experiment.settings import Experiment
from fgcme.experiment.yaml_text import as_yaml, read_yaml

# How many configurations are drawn to find settings that are refused together, though accepted one by one.
_SAMPLES = 100


def load_space(path: Path, experiment: Experiment) -> Space:
    """Read a search space and check it against the experiment that it is to vary.

    The experiment is tried with every choice, with every step where they are few, with both ends of every range, and
    with configurations drawn at random.

    Returns:
        The space, its values as the experiment has them: `1e-3`, a text to YAML, is a number where one is wanted.

    Raises:
        UserError: the file cannot be read; a parameter is not a setting, or makes trials incomparable; the experiment
            would refuse one of its values; a choice is there twice; a condition comes before what it depends on, or
            never holds; an initial trial lies outside the space.
    """
    content = read_yaml(path)
    if "variants" in content:
        raise UserError(f"{path}: an ablation, not a search space: use it with fgcme ablate")
    try:
        return _fit_space(Space.model_validate(content), experiment)
    except ValidationError as error:
        raise UserError(f"{path}: {explain(error, _explain_unknown_key)[0]}") from None
    except UserError as error:
        raise UserError(f"{path}: {error}") from None


def _explain_unknown_key(key: str) -> str:
    if key == "first":
        return "first is now called initial_trials"
    if key.startswith(("model.", "training.")):
        return f"{key}: write it below `parameters`"
    section, _, last = key.rpartition(".")
    if section.startswith("parameters."):
        allowed = [field.alias or name for name, field in Parameter.model_fields.items()]
    else:
        allowed, last = list(Space.model_fields), key
    return f"{key}: no such key{did_you_mean(last, allowed)} (allowed here: {', '.join(allowed)})"


def _fit_space(space: Space, experiment: Experiment) -> Space:
    """The space with all values as the experiment has them.

    Raises:
        UserError: see `load_space`.
    """
    fitted: dict[str, Parameter] = {}
    # What has to be set besides, for a parameter's conditions to hold.
    contexts: dict[str, dict[str, Value]] = {}
    for name, parameter in space.parameters.items():
        _check_can_vary(name, parameter, experiment)
        when, context = _fit_conditions(name, parameter, space, fitted, experiment)
        for other in when:
            context = contexts.get(other, {}) | context
        values = [_fit_value(name, value, experiment, context) for value in parameter.boundary_values()]
        if parameter.choice is not None:
            _check_distinct(name, values)
            parameter = parameter.model_copy(update={"choice": values})
        fitted[name] = parameter.model_copy(update={"when": when})
        contexts[name] = context
    fitted_space = Space(parameters=fitted)
    _check_samples(fitted_space, experiment)
    trials = [
        _fit_initial_trial(number, trial, fitted_space, experiment)
        for number, trial in enumerate(space.initial_trials, 1)
    ]
    return fitted_space.model_copy(update={"initial_trials": trials})


def _check_can_vary(name: str, parameter: Parameter, experiment: Experiment) -> None:
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


def _fit_conditions(
    name: str, parameter: Parameter, space: Space, before: Mapping[str, Parameter], experiment: Experiment
) -> tuple[dict[str, list[Value]], dict[str, Value]]:
    """A parameter's conditions with values as the experiment has them, and what to set for them to hold.

    Args:
        name: of the parameter, for messages.
        parameter: whose conditions they are.
        space: the space as the file has it.
        before: the parameters that are drawn earlier, fitted.
        experiment: what is to vary.
    """
    settings = experiment.flat()
    when: dict[str, list[Value]] = {}
    context: dict[str, Value] = {}
    for other, values in parameter.when.items():
        try:
            setting_type(other)
            if other in space.parameters and other not in before:
                raise UserError(f"its condition {other} must be listed before it")
            when[other] = [_fit_value(other, value, experiment, {}) for value in values]
        except UserError as error:
            raise UserError(f"{name}: when: {error}") from None
        for value in when[other]:
            if other in before and not before[other].contains(value) and value != settings[other]:
                raise UserError(f"{name}: when: {other} never is {as_yaml(value)} in this space")
        if settings[other] not in when[other]:
            context[other] = when[other][0]
    return when, context


def _fit_value(name: str, value: Value, experiment: Experiment, context: Mapping[str, Value]) -> Value:
    """A value of a setting as the experiment has it once it is set, together with the settings of `context`."""
    fitted: Value = _try({**context, name: value}, experiment, name).flat()[name]
    return fitted


def _try(configuration: Mapping[str, Value], experiment: Experiment, key: str) -> Experiment:
    """The experiment with this configuration; if it refuses it, the message begins with `key`."""
    try:
        return apply_configuration(experiment, configuration)
    except UserError as error:
        reason = str(error)
        if reason.startswith(f"{key}:"):
            raise
        involved = ", ".join(f"{name}={as_yaml(value)}" for name, value in configuration.items() if name in reason)
        raise UserError(f"{key}: {f'with {involved}: ' if involved else ''}{reason}") from None


def _check_samples(space: Space, experiment: Experiment) -> None:
    uniform = _UniformTrial(random.Random(0))
    settings = experiment.flat()
    configurations = [space.draw(uniform, settings) for _ in range(_SAMPLES)]
    if not any(configurations):
        raise UserError("parameters: no condition holds under this experiment, so nothing varies")
    for configuration in configurations:
        _try(configuration, experiment, "parameters")


def _fit_initial_trial(
    number: int, configuration: Mapping[str, Value], space: Space, experiment: Experiment
) -> dict[str, Value]:
    where = f"initial_trials: configuration {number}"
    for name in configuration:
        if name in RENAMED:
            raise UserError(f"{where}: {explain_unknown(name)}")
        if name not in space.parameters:
            hint = did_you_mean(name, space.parameters)
            known = ", ".join(space.parameters)
            raise UserError(f"{where}: {name} is not a parameter of this space{hint} (there are {known})")
    settings = _try(configuration, experiment, where).flat()
    for name, parameter in space.parameters.items():
        active = parameter.is_active(settings)
        if name in configuration and not active:
            raise UserError(f"{where}: leave out {name}, whose condition does not hold there")
        if name not in configuration and active:
            raise UserError(f"{where}: give {name} too")
        if name in configuration and not parameter.contains(settings[name]):
            raise UserError(f"{where}: {name}={as_yaml(configuration[name])} lies outside the space")
    return {name: settings[name] for name in space.parameters if name in configuration}


def _check_distinct(name: str, values: Sequence[Value]) -> None:
    for index, value in enumerate(values):
        # In Python, true equals 1.
        if any(value == other and type(value) is type(other) for other in values[:index]):
            raise UserError(f"{name}: choice: {as_yaml(value)} is there twice")


@dataclass(frozen=True)
class _UniformTrial:
    """Draws evenly, without an Optuna study."""

    generator: random.Random

    def suggest_categorical(self, name: str, choices: list[Any]) -> Any:
        return self.generator.choice(choices)

    def suggest_int(self, name: str, low: int, high: int, *, step: int, log: bool) -> int:
        return self.generator.randrange(low, high + 1, step)

    def suggest_float(self, name: str, low: float, high: float, *, step: float | None, log: bool) -> float:
        if step is not None:
            return low + step * self.generator.randint(0, round((high - low) / step))
        return self.generator.uniform(low, high)
