"""Settings that older versions stored, in the words of this one, so that their runs and models can still be read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

RENAMED_POOLING = {"utterance": "recording", "uniform": "even"}
"""Former values of `model.pooling.kind`, which were mean-max pooling of what `model.pooling.segments` says now."""


def renew_model(model: Mapping[str, Any]) -> dict[str, Any]:
    """A stored `model` section as this version writes it.

    >>> renew_model({"pooling": {"kind": "uniform", "margin": 2}})
    {'pooling': {'kind': 'mean_max', 'margin': 2, 'segments': 'even'}}
    """
    pooling = model.get("pooling", {})
    if (segments := RENAMED_POOLING.get(pooling.get("kind"))) is None:
        return dict(model)
    return {**model, "pooling": {**pooling, "kind": "mean_max", "segments": segments}}


def renew_experiment(content: Mapping[str, Any]) -> dict[str, Any]:
    """A stored experiment as this version writes it; see `renew_model`."""
    return {**content, "model": renew_model(content.get("model", {}))}
