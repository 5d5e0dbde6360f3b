from __future__ import annotations

from dataclasses import replace

import pytest

from fgcme.experiment import apply_configuration
from fgcme.report.sweep.trials import Trial
from tests.fgcme.report.sweep.sample_sweep import EXPERIMENT, mixed, sweep, telling, trial


def names(trials: list[Trial]) -> list[int]:
    return [int(each.name.split()[1]) for each in trials]


def test_the_best_is_the_first_of_the_highest_score_and_failed_trials_have_none() -> None:
    made = sweep(trial(0, 0.3), trial(1, 0.5), trial(2, None, state="failed"), trial(3, 0.5), trial(4, 0.4))
    assert names(made.ranked) == [1, 3, 4, 0]
    assert made.best is made.trials[1]
    assert sweep(trial(0, None, state="failed")).best is None


@pytest.mark.parametrize(("number", "leading"), [(1, 1), (2, 1), (3, 1), (6, 3), (12, 5), (20, 5), (21, 6), (60, 15)])
def test_the_leading_trials_are_a_quarter_or_up_to_half_of_a_few(number: int, leading: int) -> None:
    assert len(sweep(*(trial(index, index / 100) for index in range(number))).leading) == leading


def test_the_trial_of_the_experiment_s_own_settings_is_found() -> None:
    other = {"model.pooling.kind": "mean", "model.fusion.hidden": 64, "training.gradient_clip": None}
    own = {"model.pooling.kind": "mean_max", "model.fusion.hidden": 256, "training.gradient_clip": None}
    assert sweep(trial(0, 0.5, other), trial(1, 0.3, own)).own == trial(1, 0.3, own)
    assert sweep(trial(0, 0.5, other)).own is None


def test_the_pareto_front_has_the_trials_that_none_beats_in_both_objectives() -> None:
    points = [(0.5, 9.0), (0.4, 3.0), (0.4, 3.0), (0.3, 4.0), (0.5, 10.0), (0.2, 1.0), (0.1, 2.0), (0.6, float("inf"))]
    trials = [trial(index, score, cost=cost) for index, (score, cost) in enumerate(points)]
    made = sweep(*trials, trial(8, 0.9), cost="latency")
    assert names(made.front) == [5, 1, 0]
    for each in made.front:
        assert not any(
            (score >= each.score and cost < each.cost) or (score > each.score and cost <= each.cost)  # type: ignore[operator]
            for score, cost in points
        )
    assert replace(made, cost="").front == []


def test_drawn_values_are_parsed_from_mlflow_s_text() -> None:
    for configuration in (
        {"model.pooling.kind": "lse", "model.pooling.temperature": 2.5, "model.fusion.hidden": 128},
        {"model.pooling.kind": "mean", "model.fusion.hidden": 64},
    ):
        for clip in (None, 5.0):
            whole = configuration | {"training.gradient_clip": clip}
            texts = {name: str(value) for name, value in apply_configuration(EXPERIMENT, whole).flat().items()}
            drawn = sweep().drawn(texts)
            assert drawn == whole
            assert list(map(type, drawn.values())) == list(map(type, whole.values()))


def test_a_value_outside_the_space_does_not_count_as_drawn() -> None:
    texts = {name: str(value) for name, value in EXPERIMENT.flat().items()}
    changed = texts | {"model.fusion.hidden": "70", "training.gradient_clip": "0.5"}
    assert sweep().drawn(changed) == {"model.pooling.kind": "mean_max"}
    assert sweep().drawn({}) == {}


def test_the_label_names_folds_and_metric_and_calls_the_best_optimistic() -> None:
    label = telling().label
    assert label.startswith("demo/4class, dev scores of folds 0 and 2 (0.9 WA + 0.1 UA)")
    assert "optimistic by selection" in label
    by_ua = replace(telling(), settings=EXPERIMENT.flat() | {"tune.objective": "ua"})
    assert by_ua.measure == "UA"
    assert replace(telling(), settings=EXPERIMENT.flat() | {"training.score": "ccc"}).measure == "CCC"


def test_the_census_counts_the_trials_of_every_state() -> None:
    assert mixed().census == "12 trials: 6 finished, 3 stopped early, 1 running, 1 interrupted, 1 failed"
    assert sweep().census == "0 trials"
