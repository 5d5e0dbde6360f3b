"""How a sweep goes on, without running one."""

from __future__ import annotations

import json
from pathlib import Path

from optuna.samplers import RandomSampler
from ray.tune.search import ConcurrencyLimiter
from ray.tune.search.optuna import OptunaSearch
from ray.tune.search.search_generator import SearchGenerator

from pipelines import tune


def searching(parallel: int) -> ConcurrencyLimiter:
    search = OptunaSearch(dict, metric="objective", mode="max", sampler=RandomSampler(seed=0))
    return ConcurrencyLimiter(search, max_concurrent=parallel)


def test_a_sweep_goes_on_under_the_limits_of_now(tmp_path: Path) -> None:
    state = {"trial_data": [], "runner_data": {"_stopper": "of then", "_iteration": 7}, "stats": {}}
    (tmp_path / "experiment_state-1.json").write_text(json.dumps(state))
    before = searching(parallel=1)
    before.live_trials.add("one")
    SearchGenerator(before).save_to_dir(str(tmp_path), "1")
    tune._forget_limits(tmp_path, slots=5)
    kept = json.loads((tmp_path / "experiment_state-1.json").read_text())
    assert kept == {**state, "runner_data": {"_iteration": 7}}
    after = searching(parallel=5)
    SearchGenerator(after).restore_from_dir(str(tmp_path))
    assert (after.max_concurrent, after.live_trials) == (5, {"one"})
