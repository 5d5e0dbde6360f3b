from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from fgcme.evaluation.intervals import StandardError, difference_interval, metric_interval, standard_error

SIMULATIONS = 1000


@pytest.mark.parametrize("degrees_of_freedom", [3, 23])
def test_the_t_test_and_the_interval_agree_on_what_is_significant(degrees_of_freedom: int) -> None:
    error = StandardError(0.01, degrees_of_freedom)
    edge = 0.01 * stats.t.ppf(0.975, degrees_of_freedom)
    for difference in (0.99 * edge, 1.01 * edge, -0.99 * edge, -1.01 * edge):
        interval = difference_interval(difference, error)
        assert (error.p_value(difference) < 0.05) == (interval.low > 0 or interval.high < 0)


def test_a_standard_error_by_hand() -> None:
    # Over clusters: 2 x 4/3, 3 degrees of freedom. Shared: (2 + 8) / 2 by folds less (2 + 2) / 2 by clusters is 3, with
    # 2 folds x (2 - 1 seeds) degrees of freedom.
    by_fold = np.array([[0.0, 2.0], [1.0, 5.0]])
    by_cluster = np.array([[0.0, 2.0], [1.0, 3.0], [1.0, 1.0], [0.0, 0.0]])
    error = standard_error(np.array([0.0, 2.0]), 4, by_fold, by_cluster)
    over_clusters, shared = 2 * 4 / 3, 3.0
    assert error.value == pytest.approx(math.sqrt(over_clusters + shared))
    assert error.degrees_of_freedom == pytest.approx(
        (over_clusters + shared) ** 2 / (over_clusters**2 / 3 + shared**2 / 2)
    )


@pytest.mark.parametrize(
    ("by_fold", "by_cluster"),
    [([[0.0], [1.0]], [[0.0], [0.5], [0.5], [0.0]]), ([[1.0, 1.0]], [[0.0, 1.0], [1.0, 0.0], [0.0, 0.0], [0.0, 0.0]])],
    ids=["one seed", "seeds that raise one speaker and lower another"],
)
def test_only_clusters_count_where_no_training_moves_a_whole_fold(
    by_fold: list[list[float]], by_cluster: list[list[float]]
) -> None:
    error = standard_error(np.array([0.0, 2.0]), 4, np.array(by_fold), np.array(by_cluster))
    assert (error.value, error.degrees_of_freedom) == (pytest.approx(math.sqrt(2 * 4 / 3)), 3)


@given(st.integers(0, 5000), st.lists(st.floats(0, 1), min_size=2, max_size=9))
def test_a_metric_s_interval_contains_it_and_stays_between_zero_and_one(right: int, drawn: list[float]) -> None:
    value = right / 5000
    interval = metric_interval(value, standard_error(np.array(drawn), 5, np.zeros((1, 1)), np.zeros((5, 1))))
    assert 0 <= interval.low <= value + 1e-12
    assert value - 1e-12 <= interval.high <= 1


@pytest.mark.slow
def test_percentile_intervals_of_ten_speakers_cover_too_seldom() -> None:
    generator = np.random.default_rng(0)
    gains = generator.gamma(4, 1, (SIMULATIONS, 10))
    weights = generator.multinomial(10, [0.1] * 10, 1000) / 10
    percentile = chosen = 0
    for sample in gains:
        replicates = weights @ sample
        low, high = np.quantile(replicates, [0.025, 0.975])
        percentile += low <= 4 <= high
        interval = difference_interval(
            sample.mean(), standard_error(replicates, 10, np.zeros((1, 1)), np.zeros((10, 1)))
        )
        chosen += interval.low <= 4 <= interval.high
    print(f"percentile {percentile}, chosen {chosen} of {SIMULATIONS}")
    assert percentile < 0.92 * SIMULATIONS < chosen
