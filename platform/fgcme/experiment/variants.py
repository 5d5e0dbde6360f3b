"""Named variants: each the settings of model and training that make it differ from FG-CME, in `variants.yaml`."""

from __future__ import annotations

import copy
import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from fgcme.errors import UserError
from fgcme.experiment.dotted import flatten, set_dotted
from fgcme.experiment.setting_names import did_you_mean
from fgcme.experiment.settings import Experiment

# What a complete variant keeps of an experiment: it says nothing about the model.
_KEPT = ("training.seeds", "model.semantic.vectors")
# Variants that have been renamed: whoever uses an old name is told the new one.
_RENAMED = {"gate": "figure", "uniform": "even", "utterance": "recording"}


@functools.cache
def all_variants() -> dict[str, dict[str, Any]]:
    """Every variant: name -> its sections, in the order of the file."""
    content: dict[str, dict[str, Any]] = yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text(encoding="utf-8"))
    return content


def find_variant(name: str) -> dict[str, Any]:
    """The sections of one variant, without those that a complete one sets back; see `apply_variant`.

    >>> find_variant("mean")
    {'model': {'kind': 'fgcme', 'pooling': {'kind': 'mean'}}}

    Raises:
        UserError: there is no such variant; names the closest, or its new name.
    """
    if name not in all_variants():
        raise UserError(f"model={name}: no such variant{hint(name)} (there are {', '.join(all_variants())})")
    return copy.deepcopy({section: value for section, value in all_variants()[name].items() if section != "complete"})


def hint(name: str, cutoff: float = 0.6) -> str:
    """What to append to a message about a name that no variant has: its new name, or the closest; perhaps nothing.

    >>> hint("utterance"), hint("meen")
    ('; it is now called recording', '; did you mean mean?')
    """
    if name in _RENAMED:
        return f"; it is now called {_RENAMED[name]}"
    return did_you_mean(name, all_variants(), cutoff)


def apply_variant(content: dict[str, Any], name: str) -> None:
    """Change an experiment's content in place to a named variant of it.

    What the variant does not name stays, or, under a complete variant, goes back to its default.

    >>> content = {"model": {"fusion": {"hidden": 64}}, "training": {"epochs": 40, "seeds": [1]}}
    >>> apply_variant(content, "mean")
    >>> content["model"]
    {'fusion': {'hidden': 64}, 'kind': 'fgcme', 'pooling': {'kind': 'mean'}}
    >>> apply_variant(content, "published")
    >>> content["model"]["fusion"]["hidden"], content["training"]["epochs"], content["training"]["seeds"]
    (256, 20, [1])

    Raises:
        UserError: there is no such variant.
    """
    sections = find_variant(name)
    if all_variants()[name].get("complete"):
        flat = flatten(content)
        for section in sections:
            content[section] = Experiment.model_fields[section].get_default().model_dump(mode="json")
        for dotted in _KEPT:
            if dotted in flat:
                set_dotted(content, dotted, flat[dotted])
    merge(content, sections)


def merge(settings: dict[str, Any], changes: Mapping[str, Any]) -> None:
    """Change nested settings in place; what `changes` does not name stays.

    >>> settings = {"pooling": {"kind": "max", "margin": 2}}
    >>> merge(settings, {"pooling": {"kind": "mean"}})
    >>> settings
    {'pooling': {'kind': 'mean', 'margin': 2}}
    """
    for key, value in changes.items():
        if isinstance(value, Mapping) and isinstance(settings.get(key), dict):
            merge(settings[key], value)
        else:
            settings[key] = value
