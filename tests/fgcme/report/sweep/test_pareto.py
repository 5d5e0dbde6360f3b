from __future__ import annotations

from fgcme.report.sweep.pareto import describe_pareto, pareto_figure
from fgcme.report.theme import LIGHT
from tests.fgcme.report.sweep.sample_sweep import sweep, trial

RESULTS = sweep(
    trial(0, 0.5, cost=200.0), trial(1, 0.4, cost=100.0), trial(2, 0.3, cost=150.0), trial(3, 0.9), cost="parameters"
)


def test_the_front_is_joined_and_labelled_and_other_trials_are_drawn() -> None:
    axes = pareto_figure(RESULTS, LIGHT).axes[0]
    lines = {line.get_label(): line for line in axes.get_lines()}
    assert list(lines["Pareto front"].get_xdata()) == [100, 200]
    assert list(lines["Pareto front"].get_ydata()) == [40, 50]
    assert list(lines["other trials"].get_xdata()) == [150]
    assert {text.get_text() for text in axes.texts} == {"trial 0", "trial 1"}
    assert axes.get_xlabel() == "parameters of the model"
    assert axes.get_xscale() == "linear"


def test_costs_over_several_powers_of_ten_have_a_logarithmic_axis() -> None:
    wide = sweep(trial(0, 0.5, cost=1e6), trial(1, 0.4, cost=1e3), cost="parameters")
    assert pareto_figure(wide, LIGHT).axes[0].get_xscale() == "log"


def test_the_description_names_the_front_the_cheapest_first() -> None:
    assert describe_pareto(RESULTS).endswith(
        "2 trials that no other beats in both: 40.0 % at 100 (trial 1); 50.0 % at 200 (trial 0)."
    )
