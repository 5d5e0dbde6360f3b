"""The metrics of ratings against their definitions, and that sums of groups give those of all."""

import numpy as np
import pytest
from scipy.stats import pearsonr

from fgcme.evaluation.concordance import RatingSums, measure_ratings

NAN = float("nan")


def concordance(x: np.ndarray, y: np.ndarray) -> float:
    """Lin (1989), as the paper writes it."""
    covariance = ((x - x.mean()) * (y - y.mean())).mean()
    return float(2 * covariance / (x.var() + y.var() + (x.mean() - y.mean()) ** 2))


@pytest.mark.parametrize("seed", range(5))
def test_metrics_are_those_of_the_definitions(seed: int) -> None:
    generator = np.random.default_rng(seed)
    ratings = generator.uniform(1, 7, 40)
    answered = ratings + generator.normal(0.5, 1, 40)
    ratings[::5] = NAN
    found = measure_ratings({"valence": ratings}, {"valence": answered})
    x, y = ratings[~np.isnan(ratings)], answered[~np.isnan(ratings)]
    assert found["ccc_valence"] == pytest.approx(concordance(x, y))
    assert found["ccc"] == found["ccc_valence"]
    assert found["pearson_valence"] == pytest.approx(pearsonr(x, y).statistic)
    assert found["rmse_valence"] == pytest.approx(np.sqrt(((x - y) ** 2).mean()))


def test_lin_s_concordance_falls_with_a_shift_and_a_scale_and_correlation_does_not() -> None:
    x = np.linspace(0, 1, 50)
    for y in (x + 0.3, 0.5 * x + 0.25):
        found = measure_ratings({"v": x}, {"v": y})
        assert found["pearson_v"] == pytest.approx(1)
        assert 0.5 < found["ccc_v"] < 0.9
    assert measure_ratings({"v": x}, {"v": 1 - x})["ccc_v"] == pytest.approx(-1)
    assert measure_ratings({"v": x}, {"v": x})["ccc_v"] == pytest.approx(1)


@pytest.mark.parametrize("values", [[2.7, 2.7, 2.7], [0.1]])
def test_ratings_that_are_all_alike_have_no_correlation(values: list[float]) -> None:
    found = measure_ratings({"v": np.array(values)}, {"v": np.arange(len(values)) * 0.3})
    assert (found["ccc_v"], found["pearson_v"]) == (0, 0)


def test_an_answer_that_is_always_the_same_has_no_correlation() -> None:
    found = measure_ratings({"v": np.linspace(1, 5, 9)}, {"v": np.full(9, 3.3)})
    assert (found["ccc_v"], found["pearson_v"]) == (0, 0)


def test_the_mean_is_over_dimensions() -> None:
    x = np.linspace(0, 1, 10)
    found = measure_ratings({"a": x, "b": x}, {"a": x, "b": x[::-1]})
    assert found["ccc"] == pytest.approx(0)
    assert list(found) == ["ccc", "ccc_a", "ccc_b", "pearson_a", "pearson_b", "rmse_a", "rmse_b"]


def test_sums_of_groups_weighted_are_those_of_the_utterances_repeated() -> None:
    generator = np.random.default_rng(0)
    groups = generator.integers(0, 3, 30)
    ratings = {"a": generator.normal(size=30), "b": generator.normal(size=30)}
    ratings["b"][4] = NAN
    answered = {name: generator.normal(size=(2, 30)) for name in ratings}
    weights = np.array([[1, 1, 1], [2, 0, 1]], np.uint8)
    found = RatingSums.by_group(groups, ratings, answered).weighted(weights).measure()
    for draw, weight in enumerate(weights):
        times = weight[groups].astype(int)
        for seed in range(2):
            expected = measure_ratings(
                {name: np.repeat(each, times) for name, each in ratings.items()},
                {name: np.repeat(each[seed], times) for name, each in answered.items()},
            )
            assert {name: each[draw, seed] for name, each in found.items()} == pytest.approx(expected)


def test_one_group_varies_and_the_others_are_means_over_seeds() -> None:
    sums = RatingSums(["a"], np.random.default_rng(0).normal(size=(3, 2, 1, 6)))
    varied = sums.vary_one_group().values
    expected = sums.values[[0, 2]].mean(1).sum(0) + sums.values[1, 1]
    np.testing.assert_allclose(varied[1, 1], expected)
