"""The numbers of an ablation's table by their names."""

from __future__ import annotations

import re
from dataclasses import replace

from fgcme.report.comparison import to_metrics, to_text
from tests.fgcme.report.sample_report import sample_results


def test_every_number_of_the_table_has_a_distinct_metric_name() -> None:
    table = sample_results().table
    numbers = to_metrics(table)
    assert list(numbers) == list(table.estimates)
    for name, estimates in table.estimates.items():
        for metric, estimate in estimates.items():
            assert numbers[name][metric] == estimate.mean
            assert numbers[name][f"{metric}_deviation"] == estimate.deviation
            assert numbers[name][f"{metric}_low"] == estimate.interval.low < numbers[name][f"{metric}_high"]
    difference = table.comparisons["mean_max"].differences["ua"]
    assert numbers["mean_max"]["ua_difference"] == difference.mean > 0
    assert numbers["mean_max"]["ua_p_holm"] == difference.p_holm
    ends = (numbers["mean_max"]["ua_difference_low"], numbers["mean_max"]["ua_difference_high"])
    assert ends == (difference.interval.low, difference.interval.high)


def test_the_reference_has_no_difference_and_names_are_valid_in_mlflow() -> None:
    numbers = to_metrics(sample_results().table)
    assert not [name for name in numbers["fgcme"] if "difference" in name or "holm" in name]
    assert all(re.fullmatch(r"[\w.-]+", name) for each in numbers.values() for name in each)


def test_one_seed_has_no_deviation() -> None:
    table = sample_results().table
    assert table.seeds > 1
    assert "±" in to_text(table) and f"{table.seeds} seeds: mean ± deviation over\n  seeds; intervals" in to_text(table)
    alone = to_text(replace(table, seeds=1))
    assert "±" not in alone and "1 seed:\n  intervals and p are of other speakers for these very trainings" in alone
