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


def renew_prepare(prepare: Mapping[str, Any]) -> dict[str, Any]:
    """A stored `prepare` section as this version writes it; an encoder's frames of 10 ms have no new name.

    >>> renew_prepare({"features": {"bins": 80, "layer": -1}})
    {'features': {'bins': 80}}
    """
    features = prepare.get("features", {})
    if "layer" not in features or features.get("kind", "log_mel") != "log_mel":
        return dict(prepare)
    return {**prepare, "features": {name: value for name, value in features.items() if name != "layer"}}


def renew_experiment(content: Mapping[str, Any]) -> dict[str, Any]:
    """A stored experiment as this version writes it; see `renew_model` and `renew_prepare`."""
    renewed = {**content, "model": renew_model(content.get("model", {}))}
    return renewed | ({"prepare": renew_prepare(content["prepare"])} if "prepare" in content else {})
