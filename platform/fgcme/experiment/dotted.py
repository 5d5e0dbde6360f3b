"""Nested settings under dotted names, such as `model.pooling.kind`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fgcme.errors import UserError


def flatten(content: Mapping[str, Any]) -> dict[str, Any]:
    """Every setting of nested sections under its dotted name.

    >>> flatten({"name": "x", "model": {"pooling": {"kind": "mean", "margin": 2}}})
    {'name': 'x', 'model.pooling.kind': 'mean', 'model.pooling.margin': 2}
    """
    flat: dict[str, Any] = {}
    for key, value in content.items():
        # The keys of `protocol.labels` are raw labels, not settings.
        if isinstance(value, dict) and value and key != "labels":
            flat |= {f"{key}.{inner}": setting for inner, setting in flatten(value).items()}
        else:
            flat[key] = value
    return flat


def set_dotted(content: dict[str, Any], dotted: str, value: Any) -> None:
    """Set one nested setting in place; sections that are missing, or null, are made.

    >>> content = {"model": {"kind": "fgcme"}}
    >>> set_dotted(content, "model.pooling.kind", "mean")
    >>> content
    {'model': {'kind': 'fgcme', 'pooling': {'kind': 'mean'}}}

    Args:
        content: nested sections.
        dotted: the setting's name.
        value: its new value; if the name is that of a section, it replaces the whole section.

    Raises:
        UserError: a name on the way holds a value where there should be a section.
    """
    *sections, last = dotted.split(".")
    for depth, section in enumerate(sections, 1):
        if content.get(section) is None:
            content[section] = {}
        content = content[section]
        if not isinstance(content, dict):
            raise UserError(f"{dotted}: {'.'.join(sections[:depth])} has no keys below it")
    content[last] = value
