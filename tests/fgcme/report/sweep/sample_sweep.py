"""Hand-made sweeps of which it is known what decides."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from fgcme.experiment import Space, parse_experiment
from fgcme.report.sweep.trials import State, SweepData, Trial
from tests.fgcme.report.sample_report import sample_provenance

EXPERIMENT = parse_experiment(
    {
        "name": "made",
        "corpus": {"kind": "demo"},
        "protocol": {"name": "demo/4class"},
        "tune": {"folds": [0, 2], "trials": 40},
        "training": {"epochs": 10},
    }
)
SPACE = Space.model_validate(
    {
        "parameters": {
            "model.pooling.kind": {"choice": ["mean_max", "mean", "lse"]},
            "model.pooling.temperature": {"float": [0.1, 10.0], "log": True, "when": {"model.pooling.kind": ["lse"]}},
            "model.fusion.hidden": {"int": [64, 256], "step": 64},
            "training.gradient_clip": {"choice": [None, 5.0]},
        }
    }
)


def trial(
    number: int,
    score: float | None,
    configuration: Mapping[str, Any] | None = None,
    state: State = "finished",
    cost: float | None = None,
) -> Trial:
    """A trial; without a configuration of its own it has the experiment's."""
    own = {"model.pooling.kind": "mean_max", "model.fusion.hidden": 256, "training.gradient_clip": None}
    return Trial(f"trial {number}", f"{number:032x}", state, configuration or own, score, 10, 60.0, cost)


def sweep(*trials: Trial, cost: str = "") -> SweepData:
    """A sweep of these trials."""
    return SweepData(sample_provenance("sweep"), "demo/4class", SPACE, EXPERIMENT.flat(), trials, cost)


def telling(number: int = 40) -> SweepData:
    """A sweep that the kind of pooling decides, and among trials of lse its temperature; nothing else does."""
    generator = np.random.default_rng(0)
    trials = []
    for index in range(number):
        kind = ("mean_max", "mean", "lse")[index % 3]
        configuration: dict[str, Any] = {"model.pooling.kind": kind}
        score = 0.3 + 0.01 * generator.random()
        if kind == "lse":
            temperature = float(10 ** generator.uniform(-1, 1))
            configuration["model.pooling.temperature"] = temperature
            score += 0.2 + (0.2 if temperature > 1 else 0)
        configuration["model.fusion.hidden"] = 64 * int(generator.integers(1, 5))
        configuration["training.gradient_clip"] = (None, 5.0)[int(generator.integers(2))]
        trials.append(trial(index, score, configuration))
    return sweep(*trials)


def mixed(cost: str = "parameters") -> SweepData:
    """A sweep of trials in every state."""
    full = telling(12)
    states: list[State] = ["stopped early"] * 3 + ["finished"] * 6 + ["failed", "interrupted", "running"]
    trials = [
        replace(
            each,
            state=state,
            score=None if state == "failed" else each.score,
            reason="<b>out of memory</b>" if state == "failed" else "",
            seconds=None if state == "running" else 60.0,
            cost=1000.0 * (1 + index % 5) if cost else None,
        )
        for index, (each, state) in enumerate(zip(full.trials, states, strict=True))
    ]
    return replace(full, trials=trials, cost=cost)
