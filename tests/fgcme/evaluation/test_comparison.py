import gc
import itertools
import math
from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from fgcme.errors import UserError
from fgcme.evaluation.comparison import (
    Counts,
    PredictionsBySeed,
    Table,
    compare_table,
    contributions,
    holm,
    interval,
    metric_interval,
    permutation_p,
    sign_flips,
    standard_error,
    standardised,
)
from fgcme.evaluation.cross_validation import PREDICTIONS, summarise
from fgcme.evaluation.metrics import confusion, measure

CLASSES = ["calm", "angry", "sad"]


@pytest.fixture(scope="module", autouse=True)
def _little_garbage() -> Iterator[None]:
    # statsmodels collects garbage at each correction; what the test run holds already need not be searched each time.
    gc.freeze()
    yield
    gc.unfreeze()


def predictions(
    speakers: Sequence[int], labels: np.ndarray, answers: np.ndarray, classes: Sequence[str] = CLASSES, folds: int = 3
) -> pa.Table:
    """A table of schema PREDICTIONS: labels [n] and answers [R, n] as class indices, seeds 0 to R - 1.

    Speakers take turns in belonging to one of the folds.
    """
    seeds, count = answers.shape
    names = np.array(classes)
    columns = {
        "id": np.tile([f"u{index:05}" for index in range(count)], seeds),
        "speaker": np.tile([f"s{speaker:03}" for speaker in speakers], seeds),
        "label": np.tile(names[labels], seeds),
        "prediction": names[answers].ravel(),
        "probabilities": pa.nulls(answers.size),
        "fold": np.tile(np.array(speakers) % folds, seeds),
        "seed": np.repeat(np.arange(seeds), count),
    }
    return pa.table([pa.array(columns[field.name]).cast(field.type) for field in PREDICTIONS], PREDICTIONS)


def ablation(
    generator: np.random.Generator, speakers: int = 5, variants: int = 3, seeds: int = 2
) -> dict[str, pa.Table]:
    """Variants that are right more often the later they come, on speakers of unlike size; the first is `plain`."""
    owner = np.repeat(np.arange(speakers), generator.integers(4, 12, speakers))
    labels = generator.integers(0, 3, len(owner))
    tables = {}
    for number in range(variants):
        right = generator.random((seeds, len(owner))) < 0.4 + 0.1 * number
        wrong = (labels + generator.integers(1, 3, right.shape)) % 3
        name = f"variant{number}" if number else "plain"
        tables[name] = predictions(owner, labels, np.where(right, labels, wrong))
    return tables


def one_utterance_a_speaker(*right: str) -> dict[str, pa.Table]:
    """Variants of one seed, `1` where the one utterance of a speaker is answered right; the first is `plain`."""
    labels = np.zeros(len(right[0]), int)
    return {
        f"variant{number}" if number else "plain": predictions(
            range(len(labels)), labels, np.array([[1 - int(mark) for mark in marks]])
        )
        for number, marks in enumerate(right)
    }


# Estimates


def test_estimates_are_those_of_the_cross_validation() -> None:
    tables = ablation(np.random.default_rng(0), seeds=3)
    table = compare_table(tables, "plain", CLASSES, resamples=50)
    for name, predicted in tables.items():
        summary = summarise(predicted, CLASSES)
        for metric, estimate in table.estimates[name].items():
            assert estimate.mean == pytest.approx(summary.mean[metric])
            assert estimate.deviation == pytest.approx(summary.deviation[metric])
    assert (table.speakers, table.utterances, table.seeds) == (5, summary.utterances, 3)


def test_one_seed_has_no_deviation() -> None:
    table = compare_table(ablation(np.random.default_rng(0), seeds=1), "plain", CLASSES, resamples=50)
    assert {estimate.deviation for estimate in table.estimates["plain"].values()} == {0.0}


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2), st.integers(0, 2)), min_size=1, max_size=40))
def test_measures_of_counts_are_those_of_the_confusion_matrix(rows: list[tuple[int, int, int]]) -> None:
    labels, first, second = np.array(rows).T
    answers = np.stack([first, second])
    table = predictions([0] * len(labels), labels, answers)
    measured = Counts.by_speaker(PredictionsBySeed.of("plain", table, CLASSES), 3).measure()
    for seed in range(2):
        expected = measure(confusion(labels, answers[seed], 3))
        assert {metric: values[0, seed] for metric, values in measured.items()} == pytest.approx(expected)


def drawn_by_a_loop(answers: PredictionsBySeed, weights: np.ndarray) -> np.ndarray:
    """UA, mean over seeds, of the utterances of whole speakers, each taken as often as its weight says."""
    speakers = np.unique(answers.speakers)
    drawn = []
    for weight in weights:
        rows = np.concatenate(
            [
                np.flatnonzero(answers.speakers == speaker)
                for speaker, times in zip(speakers, weight, strict=True)
                for _ in range(times)
            ]
        )
        by_seed = [measure(confusion(answers.labels[rows], row[rows], 3))["ua"] for row in answers.predictions]
        drawn.append(float(np.mean(by_seed)))
    return np.array(drawn)


def test_intervals_are_those_of_a_loop_that_draws_whole_speakers() -> None:
    tables = {name: ablation(np.random.default_rng(1), seeds=1)[name] for name in ("plain", "variant2")}
    table = compare_table(tables, "plain", CLASSES, resamples=200, seed=7)
    weights = np.random.default_rng(7).multinomial(5, [0.2] * 5, 200)
    drawn = {name: drawn_by_a_loop(PredictionsBySeed.of(name, each, CLASSES), weights) for name, each in tables.items()}

    # Student's t of 4 degrees of freedom, and the correction sqrt(5 / 4) of a bootstrap of five.
    widening = 2.7764451 * math.sqrt(5 / 4)
    deviation = np.std(drawn["variant2"] - drawn["plain"], ddof=1)
    difference = table.comparisons["variant2"].differences["ua"]
    assert difference.interval.low == pytest.approx(difference.mean - widening * deviation)
    assert difference.interval.high == pytest.approx(difference.mean + widening * deviation)

    estimate = table.estimates["plain"]["ua"]
    odds = estimate.mean / (1 - estimate.mean)
    factor = math.exp(widening * np.std(drawn["plain"], ddof=1) / (estimate.mean * (1 - estimate.mean)))
    assert estimate.interval.low == pytest.approx(odds / factor / (1 + odds / factor))
    assert estimate.interval.high == pytest.approx(odds * factor / (1 + odds * factor))


def test_intervals_are_wider_by_what_trainings_do_to_the_speakers_of_a_fold_alike() -> None:
    seeds = 3
    tables = {name: ablation(np.random.default_rng(2), seeds=seeds)[name] for name in ("plain", "variant2")}
    table = compare_table(tables, "plain", CLASSES, resamples=200, seed=7)
    weights = np.random.default_rng(7).multinomial(5, [0.2] * 5, 200)
    answers = {name: PredictionsBySeed.of(name, each, CLASSES) for name, each in tables.items()}

    def gap(groups: np.ndarray, seed_of_group: Sequence[int]) -> float:
        """With the answers to each group of utterances by one seed."""
        ua = {}
        for name, each in answers.items():
            answered = each.predictions[np.array(seed_of_group)[groups], np.arange(len(each.ids))]
            ua[name] = measure(confusion(each.labels, answered, 3))["ua"]
        return ua["variant2"] - ua["plain"]

    def over_seeds(groups: np.ndarray) -> float:
        """What seeds make the mean vary by each group alone, summed, by a loop over all ways to mix them."""
        variance, count = 0.0, groups.max() + 1
        gaps = {chosen: gap(groups, chosen) for chosen in itertools.product(range(seeds), repeat=count)}
        for group in range(count):
            means = [
                np.mean([value for chosen, value in gaps.items() if chosen[group] == seed]) for seed in range(seeds)
            ]
            variance += float(np.var(means, ddof=1)) / seeds
        return variance

    speakers = np.unique(answers["plain"].speakers, return_inverse=True)[1]
    shared = over_seeds(answers["plain"].folds) - over_seeds(speakers)
    assert shared > 0
    drawn = [drawn_by_a_loop(answers[name], weights) for name in ("variant2", "plain")]
    over_speakers = float(np.var(drawn[0] - drawn[1], ddof=1)) * 5 / 4
    freedom = (over_speakers + shared) ** 2 / (over_speakers**2 / 4 + shared**2 / 6)

    difference = table.comparisons["variant2"].differences["ua"]
    reach = stats.t.ppf(0.975, freedom) * math.sqrt(over_speakers + shared)
    assert difference.interval.low == pytest.approx(difference.mean - reach)
    assert difference.interval.high == pytest.approx(difference.mean + reach)


def test_the_spread_by_hand() -> None:
    # Over clusters 2 x 4/3 with 3 degrees of freedom; over seeds (2 + 8) / 2 by folds, (2 + 2) / 2 by clusters, so
    # shared are 3, with 2 folds x 1.
    by_fold = np.array([[0.0, 2.0], [1.0, 5.0]])
    by_cluster = np.array([[0.0, 2.0], [1.0, 3.0], [1.0, 1.0], [0.0, 0.0]])
    around = standard_error(np.array([0.0, 2.0]), 4, by_fold, by_cluster)
    over_clusters, shared = 2 * 4 / 3, 3.0
    assert around.error == pytest.approx(math.sqrt(over_clusters + shared))
    assert around.freedom == pytest.approx((over_clusters + shared) ** 2 / (over_clusters**2 / 3 + shared**2 / 2))


@pytest.mark.parametrize(
    ("by_fold", "by_cluster"),
    [([[0.0], [1.0]], [[0.0], [0.5], [0.5], [0.0]]), ([[1.0, 1.0]], [[0.0, 1.0], [1.0, 0.0], [0.0, 0.0], [0.0, 0.0]])],
    ids=["one seed", "seeds that do to one speaker what they undo to another"],
)
def test_the_spread_is_that_over_clusters_where_trainings_do_nothing_to_them_alike(
    by_fold: list[list[float]], by_cluster: list[list[float]]
) -> None:
    around = standard_error(np.array([0.0, 2.0]), 4, np.array(by_fold), np.array(by_cluster))
    assert (around.error, around.freedom) == (pytest.approx(math.sqrt(2 * 4 / 3)), 3)


def test_a_fold_as_a_seed_has_it_keeps_the_other_folds_as_they_are_in_the_mean() -> None:
    # Two folds of two utterances, two seeds; right are 0 and 2 in fold 0, 1 and 1 in fold 1.
    labels = np.zeros(4, int)
    answers = np.array([[1, 1, 0, 1], [0, 0, 0, 1]])
    counts = Counts.by_fold(PredictionsBySeed.of("", predictions([0, 0, 1, 1], labels, answers), CLASSES), 3)
    assert counts.vary_one_group().correct[:, :, 0].tolist() == [[0 + 1, 2 + 1], [1 + 1, 1 + 1]]
    assert counts.vary_one_group().support[:, :, 0].tolist() == [[4], [4]]


@given(st.integers(0, 5000), st.lists(st.floats(0, 1), min_size=2, max_size=9))
def test_intervals_of_metrics_hold_the_metric_and_stay_between_zero_and_one(right: int, drawn: list[float]) -> None:
    value = right / 5000
    around = metric_interval(value, standard_error(np.array(drawn), 5, np.zeros((1, 1)), np.zeros((5, 1))))
    assert 0 <= around.low <= value + 1e-12
    assert value - 1e-12 <= around.high <= 1


# Differences


def test_a_difference_is_of_the_means_over_seeds() -> None:
    table = compare_table(ablation(np.random.default_rng(2)), "plain", CLASSES, resamples=50)
    for name, comparison in table.comparisons.items():
        assert list(comparison.differences) == ["ua", "wa"]
        for metric, difference in comparison.differences.items():
            expected = table.estimates[name][metric].mean - table.estimates["plain"][metric].mean
            assert difference.mean == pytest.approx(expected)
            assert difference.interval.low <= difference.mean <= difference.interval.high


def test_the_p_value_is_the_larger_of_swapping_whole_speakers_and_of_the_interval() -> None:
    for number in range(4):
        tables = ablation(np.random.default_rng(number))
        table = compare_table(tables, "plain", CLASSES, resamples=100)
        reference, variant = (PredictionsBySeed.of(each, tables[each], CLASSES) for each in ("plain", "variant2"))
        for metric, found in table.comparisons["variant2"].differences.items():
            by_swapping = swapping(variant, reference, metric)
            reaches_zero = abs(found.mean) <= found.interval.high - found.mean
            assert (found.p_value >= 0.05) == (reaches_zero or by_swapping >= 0.05)
            assert found.p_value >= by_swapping


@pytest.mark.parametrize("seeds", [1, 3])
def test_what_is_found_has_an_interval_that_leaves_zero_out(seeds: int) -> None:
    found = 0
    for number in range(8):
        table = compare_table(ablation(np.random.default_rng(number), 12, seeds=seeds), "plain", CLASSES, 200, 2000)
        for comparison in table.comparisons.values():
            for difference in comparison.differences.values():
                if difference.p_value < 0.05:
                    found += 1
                    assert difference.interval.low > 0 or difference.interval.high < 0
    assert found > 8


def swapping(variant: PredictionsBySeed, reference: PredictionsBySeed, metric: str) -> float:
    """The p-value of swapping the predictions of whole speakers, by a loop."""

    def gap(first: np.ndarray, second: np.ndarray) -> float:
        def mean(rows: np.ndarray) -> float:
            return float(np.mean([measure(confusion(variant.labels, row, 3))[metric] for row in rows]))

        return mean(first) - mean(second)

    observed = gap(variant.predictions, reference.predictions)
    speakers, hits = np.unique(variant.speakers), 0
    for swapped in itertools.product([False, True], repeat=len(speakers)):
        chosen = {speaker for speaker, swap in zip(speakers, swapped, strict=True) if swap}
        other = np.array([speaker in chosen for speaker in variant.speakers])
        first = np.where(other, reference.predictions, variant.predictions)
        second = np.where(other, variant.predictions, reference.predictions)
        hits += abs(gap(first, second)) >= abs(observed) - 1e-12
    return hits / 2 ** len(speakers)


def test_what_only_some_trainings_of_a_fold_gain_is_no_difference() -> None:
    # Twelve speakers in three folds; of one fold's three trainings one is right in all, the others in nothing.
    labels = np.zeros(12, int)
    plain = predictions(range(12), labels, np.ones((3, 12), int))
    lucky = np.ones((3, 12), int)
    for seed in range(3):
        lucky[seed, np.arange(12) % 3 == seed] = 0
    comparison = compare_table({"plain": plain, "lucky": predictions(range(12), labels, lucky)}, "plain", CLASSES, 500)
    difference = comparison.comparisons["lucky"].differences["ua"]
    assert permutation_p(np.full(12, 1 / 36), sign_flips(12, 4096, np.random.default_rng())) < 0.001
    assert difference.mean == pytest.approx(1 / 3)
    # By folds 3 x (1/3)^2 / 3 over seeds, by speakers 12 x (1/12)^2 / 3, each divided by the three seeds; 6 degrees of
    # freedom. Speakers are all alike.
    shared = (3 * (1 / 3) ** 2 / 3 - 12 * (1 / 12) ** 2 / 3) / 3
    assert difference.p_value == pytest.approx(2 * stats.t.sf((1 / 3) / math.sqrt(shared), 6))


def test_the_exact_p_value_by_hand() -> None:
    # Of the eight signed sums of 1, 2 and 4, those of +-(4 + 2 + 1) and of +-(4 + 2 - 1) reach 5.
    assert permutation_p(np.array([4.0, 2.0, -1.0]), sign_flips(3, 8, np.random.default_rng())) == 4 / 8


def test_a_monte_carlo_test_counts_the_real_table_among_the_swapped() -> None:
    flips = sign_flips(30, 999, np.random.default_rng(0))
    assert flips.shape == (1000, 30)
    assert permutation_p(np.ones(30), flips) == 1 / 1000


def test_a_monte_carlo_test_is_near_the_exact_one() -> None:
    generator = np.random.default_rng(5)
    gains = generator.normal(0.5, 1, 12)
    exact = permutation_p(gains, sign_flips(12, 2**12, generator))
    assert permutation_p(gains, sign_flips(12, 2**12 - 1, generator)) == pytest.approx(exact, abs=0.03)


def test_contributions_of_speakers_sum_to_the_difference() -> None:
    tables = ablation(np.random.default_rng(4))
    table = compare_table(tables, "plain", CLASSES, resamples=50)
    plain, variant = (
        Counts.by_speaker(PredictionsBySeed.of("", tables[name], CLASSES), 3) for name in ("plain", "variant1")
    )
    for metric, values in contributions(variant, plain).items():
        assert values.sum() == pytest.approx(table.comparisons["variant1"].differences[metric].mean)


def test_the_effect_is_of_the_speakers_own_differences() -> None:
    # Of four speakers two gain their one utterance, one loses it, one is right twice: 1, 1, -1, 0.
    table = compare_table(one_utterance_a_speaker("0011", "1101"), "plain", CLASSES, resamples=50)
    expected = np.mean([1, 1, -1, 0]) / np.std([1, 1, -1, 0], ddof=1)
    assert table.comparisons["variant1"].differences["ua"].effect == pytest.approx(expected)


def test_the_effect_is_infinite_where_all_speakers_differ_alike() -> None:
    assert standardised(np.array([-0.1, -0.1, -0.1])) == -math.inf


def test_holm_by_hand() -> None:
    # In order: 4 x 0.005, 3 x 0.01, 2 x 0.03, and 1 x 0.04 raised to the one before.
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


def test_all_differences_of_the_table_in_one_metric_are_a_family() -> None:
    comparisons = compare_table(ablation(np.random.default_rng(6), speakers=9), "plain", CLASSES, 600).comparisons
    for metric in ("ua", "wa"):
        differences = [each.differences[metric] for each in comparisons.values()]
        assert len(differences) == 2
        assert [each.p_holm for each in differences] == pytest.approx(holm([each.p_value for each in differences]))
    tests = [each.mcnemar for each in comparisons.values()]
    assert [each.p_holm for each in tests] == pytest.approx(holm([each.p_value for each in tests]))


def test_a_gain_of_all_of_ten_speakers_is_found() -> None:
    table = compare_table(one_utterance_a_speaker("0" * 10, "1" * 10), "plain", CLASSES, resamples=2000)
    difference = table.comparisons["variant1"].differences["ua"]
    assert difference.mean == 1
    assert difference.p_value == 2 / 2**10
    assert difference.p_holm == table.smallest_p == 2 / 2**10


def test_the_smallest_p_shows_that_four_speakers_are_too_few() -> None:
    table = compare_table(one_utterance_a_speaker("0000", "1111", "0111"), "plain", CLASSES, resamples=50)
    assert table.smallest_p == 2 * 2 / 2**4


def test_ten_speakers_are_enough_to_tell_eighteen_variants_from_the_reference() -> None:
    right = ["0" * 10, *["1" * 10] * 18]
    table = compare_table(one_utterance_a_speaker(*right), "plain", CLASSES, resamples=50)
    assert table.smallest_p == 18 * 2 / 2**10 <= 0.05


# McNemar


def test_mcnemar_by_hand() -> None:
    # Nine gained and one lost, two alike: twice the chance of at most 1 of 10, 2 (1 + 10) / 1024.
    test = compare_table(one_utterance_a_speaker("000000000110", "111111111010"), "plain", CLASSES, 50)
    mcnemar = test.comparisons["variant1"].mcnemar
    assert (mcnemar.gained, mcnemar.lost) == (9, 1)
    assert mcnemar.p_value == pytest.approx(2 * 11 / 1024)
    assert mcnemar.odds_ratio == pytest.approx(9.5 / 1.5)


def test_mcnemar_of_many_utterances() -> None:
    # Counts of discordant pairs as in the textbook example of approval ratings: 150 and 86 of 1,600.
    right = "0" * 150 + "1" * 86 + "1" * 794 + "0" * 570
    other = "1" * 150 + "0" * 86 + "1" * 794 + "0" * 570
    mcnemar = compare_table(one_utterance_a_speaker(right, other), "plain", CLASSES, 20).comparisons["variant1"].mcnemar
    assert (mcnemar.gained, mcnemar.lost) == (150, 86)
    assert mcnemar.p_value == pytest.approx(2 * sum(math.comb(236, k) for k in range(87)) / 2**236)


def test_with_several_seeds_an_utterance_is_gained_where_more_seeds_are_right() -> None:
    labels = np.zeros(4, int)
    plain = predictions([0, 0, 1, 1], labels, np.array([[1, 0, 1, 0], [1, 1, 0, 0], [1, 1, 1, 0]]))
    # Right seeds of the reference: 0, 1, 1, 3; of the variant: 1, 1 (another one), 3, 2.
    variant = predictions([0, 0, 1, 1], labels, np.array([[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 0, 1]]))
    table = compare_table({"plain": plain, "variant": variant}, "plain", CLASSES, resamples=20)
    mcnemar = table.comparisons["variant"].mcnemar
    assert (mcnemar.gained, mcnemar.lost) == (2, 1)


# Invariances


def test_a_variant_like_the_reference_does_not_differ() -> None:
    plain = ablation(np.random.default_rng(8))["plain"]
    comparison = compare_table({"plain": plain, "again": plain}, "plain", CLASSES, 50).comparisons["again"]
    for difference in comparison.differences.values():
        assert (difference.mean, difference.effect, difference.p_value, difference.p_holm) == (0, 0, 1, 1)
        assert (difference.interval.low, difference.interval.high) == (0, 0)
    assert (comparison.mcnemar.p_value, comparison.mcnemar.odds_ratio) == (1, 1)


def test_a_table_of_the_reference_alone_has_estimates_and_no_comparison() -> None:
    table = compare_table({"plain": ablation(np.random.default_rng(8))["plain"]}, "plain", CLASSES, 50)
    assert list(table.estimates) == ["plain"]
    assert table.comparisons == {}


def test_the_same_seed_gives_the_same_table_and_another_seed_other_intervals() -> None:
    tables = ablation(np.random.default_rng(9))
    assert compare_table(tables, "plain", CLASSES, 50, seed=1) == compare_table(tables, "plain", CLASSES, 50, seed=1)
    assert compare_table(tables, "plain", CLASSES, 50, seed=1) != compare_table(tables, "plain", CLASSES, 50, seed=2)


def test_the_order_of_rows_does_not_matter() -> None:
    tables = ablation(np.random.default_rng(10))
    generator = np.random.default_rng(0)
    shuffled = {name: table.take(generator.permutation(table.num_rows)) for name, table in tables.items()}
    assert compare_table(shuffled, "plain", CLASSES, 50) == compare_table(tables, "plain", CLASSES, 50)


def flat(table: Table) -> dict[str, float]:
    """The numbers of a table by name."""
    numbers = {}
    for name, metrics in table.estimates.items():
        for metric, estimate in metrics.items():
            numbers[f"{name} {metric}"] = estimate.mean
            numbers[f"{name} {metric} low"] = estimate.interval.low
    for name, comparison in table.comparisons.items():
        numbers[f"{name} mcnemar"] = comparison.mcnemar.p_value
        for metric, difference in comparison.differences.items():
            numbers[f"{name} {metric} p"] = difference.p_holm
            numbers[f"{name} {metric} effect"] = difference.effect
            numbers[f"{name} {metric} high"] = difference.interval.high
    return numbers


def test_the_order_and_the_names_of_classes_do_not_matter() -> None:
    tables = ablation(np.random.default_rng(11))
    expected = flat(compare_table(tables, "plain", CLASSES, 50))
    assert flat(compare_table(tables, "plain", ["sad", "calm", "angry"], 50)) == pytest.approx(expected)
    renamed = {
        name: table.set_column(2, "label", pa.array(word.upper() for word in table["label"].to_pylist())).set_column(
            3, "prediction", pa.array(word.upper() for word in table["prediction"].to_pylist())
        )
        for name, table in tables.items()
    }
    assert flat(compare_table(renamed, "plain", [word.upper() for word in CLASSES], 50)) == pytest.approx(expected)


def test_a_class_that_nobody_shows_does_not_matter() -> None:
    tables = ablation(np.random.default_rng(12))
    with_another = compare_table(tables, "plain", [*CLASSES, "bored"], 50)
    assert flat(with_another) == pytest.approx(flat(compare_table(tables, "plain", CLASSES, 50)))


def test_variant_and_reference_change_places_by_the_sign() -> None:
    tables = {name: ablation(np.random.default_rng(13))[name] for name in ("plain", "variant1")}
    there = compare_table(tables, "plain", CLASSES, 50).comparisons["variant1"]
    back = compare_table(tables, "variant1", CLASSES, 50).comparisons["plain"]
    for metric in ("ua", "wa"):
        assert back.differences[metric].mean == pytest.approx(-there.differences[metric].mean)
        assert back.differences[metric].interval.low == pytest.approx(-there.differences[metric].interval.high)
        assert back.differences[metric].p_value == there.differences[metric].p_value
    assert back.mcnemar.odds_ratio == pytest.approx(1 / there.mcnemar.odds_ratio)


# Wrong input


def refused(tables: dict[str, pa.Table], reference: str = "plain") -> str:
    with pytest.raises(UserError) as caught:
        compare_table(tables, reference, CLASSES, resamples=20)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def changed(table: pa.Table, column: str, values: dict[int, object]) -> pa.Table:
    """The table with other values in some rows of a column."""
    field = table.schema.field(column)
    rows = [values.get(row, value) for row, value in enumerate(table[column].to_pylist())]
    return table.set_column(table.schema.get_field_index(column), field, pa.array(rows, field.type))


@pytest.fixture
def tables() -> dict[str, pa.Table]:
    return ablation(np.random.default_rng(14), variants=2)


def test_a_reference_that_is_not_there_is_refused(tables: dict[str, pa.Table]) -> None:
    assert refused(tables, "paper") == "reference paper: there is no such variant; choose one of plain, variant1"


def test_a_variant_without_predictions_is_refused(tables: dict[str, pa.Table]) -> None:
    assert "variant variant1: there is no prediction" in refused({**tables, "variant1": tables["variant1"].slice(0, 0)})


def test_other_utterances_are_refused_with_their_number(tables: dict[str, pa.Table]) -> None:
    count = tables["plain"].num_rows // 2
    other = changed(tables["variant1"], "id", {0: "x", count: "x", 1: "y", count + 1: "y"})
    assert "variant variant1: 4 utterances are only in it or only in plain" in refused({**tables, "variant1": other})


def test_other_labels_speakers_and_folds_are_refused_with_their_number(tables: dict[str, pa.Table]) -> None:
    count = tables["plain"].num_rows // 2
    label = tables["plain"]["label"][0].as_py()
    other = next(name for name in CLASSES if name != label)
    relabelled = changed(tables["variant1"], "label", {0: other, count: other})
    assert "variant variant1: the labels of 1 utterances" in refused({**tables, "variant1": relabelled})
    moved = changed(tables["variant1"], "speaker", {0: "s004", count: "s004"})
    assert "variant variant1: the speakers of 1 utterances" in refused({**tables, "variant1": moved})
    folded = changed(tables["variant1"], "fold", {0: 9, count: 9})
    assert "variant variant1: the folds of 1 utterances" in refused({**tables, "variant1": folded})


def test_other_seeds_are_refused(tables: dict[str, pa.Table]) -> None:
    count = tables["plain"].num_rows // 2
    message = refused({**tables, "variant1": tables["variant1"].slice(0, count)})
    assert "variant variant1: its seeds are [0], those of plain [0, 1]" in message


def test_a_missing_and_a_repeated_prediction_are_refused(tables: dict[str, pa.Table]) -> None:
    count = tables["plain"].num_rows // 2
    complaint = f"variant variant1: 1 of {count} utterances are not answered once by each of its 2 seeds"
    assert complaint in refused({**tables, "variant1": tables["variant1"].slice(1)})
    repeated = pa.concat_tables([tables["variant1"], tables["variant1"].slice(0, 1)])
    assert complaint in refused({**tables, "variant1": repeated})


def test_a_label_that_differs_between_seeds_is_refused(tables: dict[str, pa.Table]) -> None:
    label = tables["plain"]["label"][0].as_py()
    other = changed(tables["variant1"], "label", {0: next(name for name in CLASSES if name != label)})
    assert "variant variant1: the label of 1 utterances differs from seed to seed" in refused(
        {**tables, "variant1": other}
    )


def test_an_unknown_class_is_refused(tables: dict[str, pa.Table]) -> None:
    other = changed(tables["variant1"], "prediction", {0: "bored"})
    assert "1 values of `prediction` are none of the classes calm, angry, sad" in refused({**tables, "variant1": other})


def test_one_speaker_is_refused() -> None:
    tables = ablation(np.random.default_rng(15), speakers=1)
    assert "variant plain: statistics over speakers need at least two, there is 1" in refused(tables)


# Simulations

SIMULATIONS = 1000


class World:
    """Speakers without end, of whom an experiment records a few; what a variant truly reaches is known.

    A speaker shows class k in 3 + Poisson(size) utterances, its size varying tenfold among speakers. The chance that
    an utterance is answered right is a mean of Beta variates: one of the speaker, one of the speaker and class (both
    shared by all variants), one of the speaker, class and variant, one of these and the seed, and one of the training,
    which all speakers of its fold share: it moves a fold's recalls by 3 points. Wrong answers are any other class.
    """

    sizes = np.array([4.0, 8.0, 12.0])
    shared = ((6, 4), (5, 5))
    training = (5, 5)
    folds = 5

    def __init__(self, own: Sequence[tuple[float, float]]) -> None:
        """`own`: parameters of the Beta variates of each variant."""
        self.own = own

    def truth(self, variant: int) -> dict[str, float]:
        """What a variant reaches over all speakers."""
        own = self.own[variant]
        recall = np.mean([a / (a + b) for a, b in (*self.shared, own, own, self.training)])
        support = 3 + self.sizes
        wrong = support * (1 - recall) / 2
        f1 = 2 * support * recall / (support + support * recall + wrong.sum() - wrong)
        return {"ua": float(recall), "wa": float(recall), "macro_f1": float(f1.mean())}

    def record(self, generator: np.random.Generator, speakers: int, seeds: int = 2) -> dict[str, pa.Table]:
        """An experiment with some of the speakers, its variants named by their number."""
        counts = 3 + generator.poisson(self.sizes * generator.gamma(2, 1 / 2, (speakers, 1)))
        cell = np.repeat(np.arange(speakers * 3), counts.ravel())
        common = generator.beta(*self.shared[0], (speakers, 1)) + generator.beta(*self.shared[1], (speakers, 3))
        tables = {}
        for variant, own in enumerate(self.own):
            both = common + generator.beta(*own, (speakers, 3))
            trained = generator.beta(*self.training, (seeds, self.folds, 1))[:, np.arange(speakers) % self.folds]
            chance = (both + generator.beta(*own, (seeds, speakers, 3)) + trained).reshape(seeds, -1)[:, cell] / 5
            wrong = (cell + generator.integers(1, 3, chance.shape)) % 3
            answers = np.where(generator.random(chance.shape) < chance, cell % 3, wrong)
            tables[str(variant)] = predictions(cell // 3, cell % 3, answers, folds=self.folds)
        return tables


@pytest.mark.slow
@pytest.mark.parametrize("speakers", [10, 24])
def test_without_a_true_difference_a_table_claims_one_in_at_most_five_of_a_hundred(speakers: int) -> None:
    world = World([(2, 2)] * 5)
    generator = np.random.default_rng(speakers)
    claimed = by_utterance = 0
    for simulation in range(SIMULATIONS):
        tables = world.record(generator, speakers)
        table = compare_table(tables, "0", CLASSES, resamples=1024, swaps=1024, seed=simulation)
        comparisons = table.comparisons.values()
        claimed += any(each.differences["ua"].p_holm <= 0.05 for each in comparisons)
        by_utterance += any(each.mcnemar.p_holm <= 0.05 for each in comparisons)
    print(f"{speakers} speakers: {claimed} tables with a difference, {by_utterance} by McNemar's test")
    # At a rate of just 5 % the count is above this with a chance of less than 0.001: 73 of 1,000.
    most = stats.binom.ppf(0.999, SIMULATIONS, 0.05)
    assert claimed <= most
    # Nor does it keep to that by never claiming anything: at a rate of 1 % the count is below this as seldom.
    assert claimed >= stats.binom.ppf(0.001, SIMULATIONS, 0.01)
    # With utterances for units there are too many claims, as `McNemar` warns.
    assert by_utterance > most


@pytest.mark.slow
@pytest.mark.parametrize("speakers", [10, 24])
def test_intervals_cover_the_true_value_in_nearly_95_of_100_experiments(speakers: int) -> None:
    world = World([(2, 2), (5, 2)])
    truth = [world.truth(variant) for variant in range(2)]
    generator = np.random.default_rng(speakers)
    covered: dict[str, int] = {}
    for simulation in range(SIMULATIONS):
        tables = world.record(generator, speakers)
        table = compare_table(tables, "0", CLASSES, resamples=1000, swaps=1000, seed=simulation)
        inside = {f"{metric} of 1": (truth[1][metric], each.interval) for metric, each in table.estimates["1"].items()}
        for metric, each in table.comparisons["1"].differences.items():
            inside[f"{metric} of 1 less 0"] = (truth[1][metric] - truth[0][metric], each.interval)
        for name, (true, around) in inside.items():
            covered[name] = covered.get(name, 0) + (around.low <= true <= around.high)
    print(f"{speakers} speakers: {covered} of {SIMULATIONS}")
    assert len(covered) == 5
    assert all(0.92 * SIMULATIONS <= count <= 0.98 * SIMULATIONS for count in covered.values())


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
        around = interval(sample.mean(), standard_error(replicates, 10, np.zeros((1, 1)), np.zeros((10, 1))))
        chosen += around.low <= 4 <= around.high
    print(f"percentile {percentile}, chosen {chosen} of {SIMULATIONS}")
    assert percentile < 0.92 * SIMULATIONS < chosen
