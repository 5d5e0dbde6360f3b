"""Named variants of the model: each the settings that make it differ from FG-CME, in `variants.yaml`."""

from __future__ import annotations

import copy
import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from fgcme.errors import UserError
from fgcme.experiment.setting_names import did_you_mean


@functools.cache
def all_variants() -> dict[str, dict[str, Any]]:
    """Every variant: name -> its `model` settings, in the order of the file."""
    content: dict[str, dict[str, Any]] = yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text(encoding="utf-8"))
    return content


def find_variant(name: str) -> dict[str, Any]:
    """The `model` settings of one variant.

    >>> find_variant("mean")
    {'kind': 'fgcme', 'pooling': {'kind': 'mean'}}

    Raises:
        UserError: there is no such variant; names the closest.
    """
    if name not in all_variants():
        hint = did_you_mean(name, all_variants())
        raise UserError(f"model={name}: no such variant{hint} (there are {', '.join(all_variants())})")
    return copy.deepcopy(all_variants()[name])


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
