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
from fgcme.experiment import Experiment, Space, ablation, apply_configuration, load_experiment, load_space, variants
from fgcme.experiment.dotted import flatten
from pipelines import bundled

# Where files lie and how work is spread; decides no result.
_OF_THE_MACHINE = ("scaling.", "storage.", "tracking.", "prepare.folder", "corpus.root")
# Files and folders of which only the name is told.
_PATHS = ("corpus.manifest", "prepare.alignment.folder", "model.semantic.vectors")
# Characters of a command's line.
_LINE = 96


@dataclass(frozen=True)
class Repetition:
    """How to do a run again.

    Attributes:
        experiment: what was run, with the seeds that it has in the end.
        commands: in their order; a long one is broken over several lines.
        files: name -> content of what the commands name, and of what to read beside them.
    """

    experiment: Experiment
    commands: Sequence[str]
    files: Mapping[str, str]


def repeat_training(experiment: Experiment) -> Repetition:
    """How to do a cross-validation again."""
    argument, overrides = _arguments(experiment)
    commands = [_prepare(experiment, argument, overrides), _command("fgcme", "train", argument, *overrides)]
    return Repetition(experiment, commands, {"experiment.yaml": _portable(experiment).to_yaml()})


def repeat_ablation(
    experiment: Experiment,
    name: str,
    reference: str,
    compared: Mapping[str, Experiment],
    selections: Sequence[Selection],
) -> Repetition:
    """How to do an ablation again.

    Args:
        experiment: what its variants change.
        name: of the ablation's file, without ending.
        reference: the variant that the others are compared with.
        compared: variant -> its experiment.
        selections: the rules by which epochs were selected.
    """
    argument, overrides = _arguments(experiment)
    files = {"experiment.yaml": _portable(experiment).to_yaml()}
    space = name
    if not _is_bundled_ablation(experiment, name, reference, compared):
        space = f"{name}.yaml"
        files[space] = _ablation_yaml(experiment, reference, compared)
    rule = "both" if len(selections) > 1 else selections[0]
    selection = [] if rule == experiment.protocol.selection else ["--selection", rule]
    commands = [
        _prepare(experiment, argument, overrides),
        _command("fgcme", "ablate", argument, "--space", space, *selection, *overrides),
    ]
    return Repetition(experiment, commands, files)


def repeat_sweep(experiment: Experiment, name: str, searched: Space, best: Experiment | None) -> Repetition:
    """How to do a sweep again, and how to train its best configuration.

    Args:
        experiment: what was varied.
        name: of the space's file, without ending.
        searched: the search space.
        best: the best configuration, if there is one.
    """
    argument, overrides = _arguments(experiment)
    files = {"experiment.yaml": _portable(experiment).to_yaml()}
    space = name
    if not _is_bundled_space(experiment, name, searched):
        space = f"{name}.yaml"
        files[space] = _dump(searched.model_dump(mode="json", by_alias=True, exclude_defaults=True))
    commands = [
        _prepare(experiment, argument, overrides),
        _command("fgcme", "tune", argument, "--space", space, *overrides),
    ]
    if best is not None:
        files["best.yaml"] = _portable(best).to_yaml()
        commands.append("fgcme train best.yaml")
    return Repetition(experiment, commands, files)


def _arguments(experiment: Experiment) -> tuple[str, list[str]]:
    """The experiment's name and overrides if it is a bundled one; else the name of its file."""
    portable = _portable(experiment)
    try:
        file = bundled.EXPERIMENTS / f"{experiment.name}.yaml"
        base = load_experiment(file).flat()
        overrides = [
            f"{key}={_value(value)}"
            for key, value in portable.flat().items()
            if value != base.get(key) and not key.startswith(_OF_THE_MACHINE)
        ]
        if _portable(load_experiment(file, overrides)) == portable:
            return experiment.name, overrides
    except UserError:
        # It is not bundled, or overrides no longer lead to it.
        pass
    return "experiment.yaml", []


def _prepare(experiment: Experiment, argument: str, overrides: Sequence[str]) -> str:
    root = [] if experiment.corpus.kind == "demo" else ["--root", f"path/to/{experiment.corpus.kind}"]
    relevant = [override for override in overrides if override.startswith(("corpus.", "prepare."))]
    return _command("fgcme", "prepare", argument, *root, *relevant)


def _portable(experiment: Experiment) -> Experiment:
    """The experiment without what belongs to the machine."""
    flat = experiment.flat()
    names = {path: Path(flat[path]).name for path in _PATHS if flat[path] is not None}
    defaults: dict[str, Any] = {section: {} for section in ("scaling", "storage", "tracking")}
    return apply_configuration(experiment, names | defaults | {"corpus.root": None, "prepare.folder": None})


def _is_bundled_ablation(experiment: Experiment, name: str, reference: str, compared: Mapping[str, Experiment]) -> bool:
    """Whether the bundled ablation of this name compares exactly these variants."""
    try:
        bundled_reference, variants_of_it = ablation.load_ablation(bundled.SEARCH_SPACES / f"{name}.yaml", experiment)
    except UserError:
        return False
    return bundled_reference == reference and _varied_sections(variants_of_it) == _varied_sections(compared)


def _is_bundled_space(experiment: Experiment, name: str, space: Space) -> bool:
    """Whether the bundled search space of this name equals this one."""
    try:
        return load_space(bundled.SEARCH_SPACES / f"{name}.yaml", experiment) == space
    except UserError:
        return False


def _varied_sections(compared: Mapping[str, Experiment]) -> list[Any]:
    """What an ablation can vary, by variant, in their order."""
    return [
        (name, variant.model.model_dump(mode="json"), variant.training.model_dump(mode="json"))
        for name, variant in compared.items()
    ]


def _ablation_yaml(experiment: Experiment, reference: str, compared: Mapping[str, Experiment]) -> str:
    """The file of an ablation that compares exactly these variants."""
    changes = {name: _own_settings(experiment, name, variant) for name, variant in compared.items()}
    return _dump({"reference": reference, "variants": changes})


def _own_settings(experiment: Experiment, name: str, variant: Experiment) -> dict[str, Any] | None:
    """The settings that a variant changes beyond those of the named variant; None if there are none."""
    base = flatten(ablation.variant_content(experiment, name))
    settings = variant.flat()
    own = {
        key: value
        for key, value in settings.items()
        if key.startswith(("model.", "training.")) and key != "training.seeds" and value != base[key]
    }
    if own or name in variants.all_variants():
        return own or None
    # A variant that is not a named one needs a setting, even one that changes nothing.
    return {"model.kind": settings["model.kind"]}


def _dump(content: Mapping[str, Any]) -> str:
    text: str = yaml.safe_dump(dict(content), sort_keys=False, default_flow_style=None, width=120, allow_unicode=True)
    return text


def _value(value: Any) -> str:
    """A value as an override has it: plain text where YAML reads it back unchanged, else JSON."""
    if isinstance(value, str) and yaml.safe_load(value) == value:
        return value
    return json.dumps(value)


def _command(*words: str) -> str:
    """Words quoted for a shell, broken over several lines where one is too short."""
    lines: list[str] = []
    for word in map(shlex.quote, words):
        if lines and len(lines[-1]) + 1 + len(word) <= _LINE:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return " \\\n  ".join(lines)
