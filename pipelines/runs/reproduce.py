"""The commands that repeat a run, and the files that they need: nothing of the machine that it ran on."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from fgcme.data import Selection
from fgcme.errors import UserError
from fgcme.experiment import (
    Experiment,
    Space,
    ablation,
    apply_configuration,
    load_experiment,
    load_space,
    parse_experiment,
    variants,
)
from pipelines import bundled

# Where things lie and how work is spread, which decides no result.
_OF_THE_MACHINE = ("scaling.", "storage.", "tracking.", "prepare.folder", "corpus.root")
# Of these files and folders only the name says something to others.
_PATHS = ("corpus.manifest", "prepare.alignment.folder", "model.semantic.vectors")
_LINE = 96


@dataclass(frozen=True)
class Repetition:
    """How to do a run again.

    Attributes:
        experiment: with whatever seeds it has in the end.
        commands: one a line, a long one over several.
        files: name -> content, of what the commands name or leave to read.
    """

    experiment: Experiment
    commands: Sequence[str]
    files: Mapping[str, str]


def of_training(experiment: Experiment) -> Repetition:
    """How to do a cross-validation again."""
    argument, overrides = _arguments(experiment)
    commands = [_prepare(experiment, argument, overrides), _command("fgcme", "train", argument, *overrides)]
    return Repetition(experiment, commands, {"experiment.yaml": _portable(experiment).to_yaml()})


def of_ablation(
    experiment: Experiment,
    space: str,
    reference: str,
    compared: Mapping[str, Experiment],
    selections: Sequence[Selection],
) -> Repetition:
    """How to do an ablation again.

    Args:
        experiment: what its variants change.
        space: the name of the ablation's file, without ending.
        reference, compared: its variants.
        selections: the rules by which epochs were chosen.
    """
    argument, overrides = _arguments(experiment)
    files = {"experiment.yaml": _portable(experiment).to_yaml()}
    named = space
    if not _is_shipped(experiment, space, reference, compared):
        named = f"{space}.yaml"
        files[named] = _space(experiment, reference, compared)
    rule = "both" if len(selections) > 1 else selections[0]
    selection = [] if rule == experiment.protocol.selection else ["--selection", rule]
    commands = [
        _prepare(experiment, argument, overrides),
        _command("fgcme", "ablate", argument, "--space", named, *selection, *overrides),
    ]
    return Repetition(experiment, commands, files)


def of_sweep(experiment: Experiment, name: str, space: Space, best: Experiment | None) -> Repetition:
    """How to do a sweep again, and what to do with its best configuration.

    Args:
        experiment: what it varied.
        name: of the space's file, without ending.
        space: what varied.
        best: the best configuration, if there is one.
    """
    argument, overrides = _arguments(experiment)
    files = {"experiment.yaml": _portable(experiment).to_yaml()}
    named = name
    if not _is_shipped_space(experiment, name, space):
        named = f"{name}.yaml"
        content = space.model_dump(mode="json", by_alias=True, exclude_defaults=True)
        files[named] = yaml.safe_dump(content, sort_keys=False, default_flow_style=None, width=120, allow_unicode=True)
    commands = [
        _prepare(experiment, argument, overrides),
        _command("fgcme", "tune", argument, "--space", named, *overrides),
    ]
    if best is not None:
        files["best.yaml"] = _portable(best).to_yaml()
        commands.append("fgcme train best.yaml")
    return Repetition(experiment, commands, files)


def _arguments(experiment: Experiment) -> tuple[str, list[str]]:
    """The experiment's name and overrides if it comes with the package; else the name of its file."""
    wanted = _portable(experiment)
    try:
        file = bundled.EXPERIMENTS / f"{experiment.name}.yaml"
        base = load_experiment(file).flat()
        overrides = [
            f"{key}={_value(value)}"
            for key, value in wanted.flat().items()
            if value != base.get(key) and not key.startswith(_OF_THE_MACHINE)
        ]
        if _portable(load_experiment(file, overrides)) == wanted:
            return experiment.name, overrides
    except UserError:
        # It is no shipped one, or one that has changed too much since to be overridden.
        pass
    return "experiment.yaml", []


def _prepare(experiment: Experiment, argument: str, overrides: Sequence[str]) -> str:
    root = [] if experiment.corpus.kind == "demo" else ["--root", f"path/to/{experiment.corpus.kind}"]
    deciding = [override for override in overrides if override.startswith(("corpus.", "prepare."))]
    return _command("fgcme", "prepare", argument, *root, *deciding)


def _portable(experiment: Experiment) -> Experiment:
    """The experiment without what belongs to the machine."""
    flat = experiment.flat()
    names = {path: Path(flat[path]).name for path in _PATHS if flat[path] is not None}
    defaults: dict[str, Any] = {section: {} for section in ("scaling", "storage", "tracking")}
    return apply_configuration(experiment, names | defaults | {"corpus.root": None, "prepare.folder": None})


def _is_shipped(experiment: Experiment, space: str, reference: str, compared: Mapping[str, Experiment]) -> bool:
    """Whether the package comes with an ablation of this name that compares just these variants."""
    try:
        loaded_reference, loaded = ablation.load_ablation(bundled.SEARCH_SPACES / f"{space}.yaml", experiment)
    except UserError:
        return False
    return loaded_reference == reference and _deciding(loaded) == _deciding(compared)


def _is_shipped_space(experiment: Experiment, name: str, space: Space) -> bool:
    """Whether the package comes with a search space of this name that is just this one."""
    try:
        return load_space(bundled.SEARCH_SPACES / f"{name}.yaml", experiment) == space
    except UserError:
        return False


def _deciding(compared: Mapping[str, Experiment]) -> list[Any]:
    return [
        (name, variant.model.model_dump(mode="json"), variant.training.model_dump(mode="json"))
        for name, variant in compared.items()
    ]


def _space(experiment: Experiment, reference: str, compared: Mapping[str, Experiment]) -> str:
    """An ablation's file that gives just these variants."""
    content = {
        "reference": reference,
        "variants": {name: _own_settings(experiment, name, variant) for name, variant in compared.items()},
    }
    return yaml.safe_dump(content, sort_keys=False, default_flow_style=None, width=120, allow_unicode=True)


def _own_settings(experiment: Experiment, name: str, variant: Experiment) -> dict[str, Any] | None:
    """What a variant changes beyond what its name says."""
    content = experiment.model_dump(mode="json")
    known = name in variants.all_variants()
    if known:
        variants.merge(content["model"], variants.find_variant(name))
    base = parse_experiment(content).flat()
    wanted = variant.flat()
    own = {
        key: value
        for key, value in wanted.items()
        if key.startswith(("model.", "training.")) and key != "training.seeds" and value != base[key]
    }
    if own or known:
        return own or None
    # A name that says nothing needs a setting, if only one that changes nothing.
    return {"model.kind": wanted["model.kind"]}


def _value(value: Any) -> str:
    """A value as an override has it: plain text where YAML reads it back."""
    if isinstance(value, str) and yaml.safe_load(value) == value:
        return value
    return json.dumps(value)


def _command(*words: str) -> str:
    """Words as a shell wants them, over several lines where one is too short."""
    lines: list[str] = []
    for word in map(shlex.quote, words):
        if lines and len(lines[-1]) + 1 + len(word) <= _LINE:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return " \\\n  ".join(lines)
