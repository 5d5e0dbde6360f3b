"""What a search space draws, holds and counts."""

from __future__ import annotations

import json
from typing import Any

import optuna
import pytest

from fgcme.errors import UserError
from fgcme.experiment import Space, apply_configuration, load_space, parse_experiment
from pipelines.bundled import SEARCH_SPACES

EXPERIMENT = parse_experiment({"name": "x", "corpus": {"kind": "demo"}, "protocol": {"name": "demo/4class"}})
SETTINGS = EXPERIMENT.flat()


def space_of(parameters: dict[str, Any]) -> Space:
    return Space.model_validate({"parameters": parameters})


def draw(space: Space, count: int, seed: int = 0) -> list[dict[str, Any]]:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
    return [space.draw(study.ask(), SETTINGS) for _ in range(count)]


def test_a_space_survives_json() -> None:
    space = load_space(SEARCH_SPACES / "joint.yaml", EXPERIMENT)
    assert Space.model_validate(json.loads(space.model_dump_json(by_alias=True, exclude_defaults=True))) == space


def test_a_grid_holds_every_configuration_once_and_its_size_is_known_beforehand() -> None:
    space = space_of(
        {
            "model.pooling.kind": {"choice": ["mean", "lse", "attention"]},
            "model.pooling.temperature": {
                "float": [0.5, 1.5],
                "step": 0.5,
                "when": {"model.pooling.kind": ["lse"]},
            },
            "model.pooling.margin": {"int": [0, 4], "step": 2, "when": {"model.pooling.kind": ["mean", "lse"]}},
            "training.batch_size": {"int": [7, 8]},
            "model.excitement.driver": {
                "choice": ["features", "word"],
                "when": {"model.excitement.acoustic": ["none"]},
            },
        }
    )
    grid = list(space.grid(SETTINGS))
    # mean: 3 margins; lse: 3 temperatures of 3 margins; utterance: one; each with 2 sizes, and never a driver.
    assert len(grid) == space.grid_size(SETTINGS) == 2 * (3 + 9 + 1)
    assert len({tuple(sorted(row.items())) for row in grid}) == len(grid)
    assert grid[0] == {"model.pooling.kind": "mean", "model.pooling.margin": 0, "training.batch_size": 7}
    assert {row["model.pooling.temperature"] for row in grid if row["model.pooling.kind"] == "lse"} == {0.5, 1.0, 1.5}
    assert all(row in grid for row in draw(space, 50))


def test_a_range_without_steps_has_no_grid_and_is_named() -> None:
    space = space_of({"training.batch_size": {"int": [1, 3]}, "training.learning_rate": {"float": [0.1, 0.2]}})
    for ask in (space.grid, space.grid_size):
        with pytest.raises(UserError, match=r"training\.learning_rate has no grid: give its range a `step`"):
            ask(SETTINGS)


def test_draws_stay_in_their_ranges_and_on_their_steps() -> None:
    space = space_of(
        {
            "model.fusion.hidden": {"int": [64, 256], "step": 64},
            "model.fusion.dropout": {"float": [0.0, 0.4], "step": 0.2},
            "training.learning_rate": {"float": [1.0e-4, 1.0e-2], "log": True},
        }
    )
    drawn = draw(space, 100, seed=1)
    assert {row["model.fusion.hidden"] for row in drawn} == {64, 128, 192, 256}
    assert {row["model.fusion.dropout"] for row in drawn} == {0.0, 0.2, 0.4}
    rates = [row["training.learning_rate"] for row in drawn]
    assert all(1e-4 <= rate <= 1e-2 for rate in rates)
    # Uniform in the logarithm: half of them below the geometric mean.
    assert 30 < sum(rate < 1e-3 for rate in rates) < 70


def test_a_conditional_parameter_is_drawn_only_when_its_condition_holds() -> None:
    space = space_of(
        {
            "model.excitement.acoustic": {"choice": ["none", "gate"]},
            "model.excitement.driver": {
                "choice": ["features", "word"],
                "when": {"model.excitement.acoustic": ["gate"]},
            },
        }
    )
    drawn = draw(space, 40)
    assert all(("model.excitement.driver" in row) == (row["model.excitement.acoustic"] == "gate") for row in drawn)
    assert len({len(row) for row in drawn}) == 2


def test_a_condition_on_a_setting_outside_the_space_uses_the_experiment_s_value() -> None:
    space = space_of(
        {
            "model.excitement.driver": {
                "choice": ["features", "word"],
                "when": {"model.excitement.acoustic": ["none"]},
            },
            "training.batch_size": {"int": [8, 64], "log": True},
        }
    )
    assert all("model.excitement.driver" not in row for row in draw(space, 5))


def test_the_experiment_s_own_configuration_is_a_point_if_it_lies_in_the_space() -> None:
    space = space_of(
        {
            "model.fusion.hidden": {"int": [128, 512]},
            "model.excitement.acoustic": {"choice": ["none", "residual_gate"]},
            "training.batch_size": {"choice": [16, 32], "when": {"model.excitement.acoustic": ["residual_gate"]}},
        }
    )
    own = {"model.fusion.hidden": 256, "model.excitement.acoustic": "residual_gate", "training.batch_size": 32}
    assert space.as_point(SETTINGS) == own
    without = apply_configuration(EXPERIMENT, {"model.excitement.acoustic": "none"}).flat()
    assert space.as_point(without) == {"model.fusion.hidden": 256, "model.excitement.acoustic": "none"}
    assert space.as_point(apply_configuration(EXPERIMENT, {"model.fusion.hidden": 1024}).flat()) is None
