"""Nested settings under dotted names."""

from __future__ import annotations

from typing import Any

import pytest

from fgcme.errors import UserError
from fgcme.experiment.dotted import flatten, set_dotted


def test_flattening_stops_at_lists_empty_sections_and_labels() -> None:
    content = {"protocol": {"labels": {"a": "b"}, "folds": [1, 2]}, "model": {"pooling": {}, "kind": None}}
    assert flatten(content) == {
        "protocol.labels": {"a": "b"},
        "protocol.folds": [1, 2],
        "model.pooling": {},
        "model.kind": None,
    }


def test_a_section_that_is_missing_or_null_is_made() -> None:
    content: dict[str, Any] = {"model": None}
    set_dotted(content, "model.pooling.kind", "mean")
    set_dotted(content, "name", "x")
    assert content == {"model": {"pooling": {"kind": "mean"}}, "name": "x"}


def test_a_value_replaces_a_whole_section() -> None:
    content = {"model": {"pooling": {"kind": "mean", "margin": 3}}}
    set_dotted(content, "model.pooling", {"kind": "max"})
    assert content == {"model": {"pooling": {"kind": "max"}}}


def test_settings_read_back_as_they_were_set() -> None:
    content: dict[str, Any] = {}
    settings = {"a.b.c": 1, "a.b.d": [2], "a.e": None, "f": "x"}
    for dotted, value in settings.items():
        set_dotted(content, dotted, value)
    assert flatten(content) == settings


def test_a_value_has_no_keys_below_it() -> None:
    with pytest.raises(UserError, match=r"model\.kind\.x: model\.kind has no keys below it"):
        set_dotted({"model": {"kind": "fgcme"}}, "model.kind.x", 1)
