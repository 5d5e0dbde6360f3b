from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pytest
from scipy import stats
from scipy.special import logit

from fgcme.errors import UserError
from fgcme.evaluation.comparison import ComparisonTable, compare_variants
from fgcme.evaluation.cross_validation import summarise
from fgcme.evaluation.metrics import confusion, measure
from fgcme.evaluation.predictions import PredictionsBySeed
from fgcme.evaluation.resampling import draw_swaps
from fgcme.evaluation.significance import holm, permutation_p
from tests.fgcme.evaluation.memory import peak_mebibytes
from tests.fgcme.evaluation.sample_predictions import CLASSES, ablation, one_utterance_a_speaker, predictions


def test_estimates_are_those_of_the_cross_validation() -> None:
    tables = ablation(np.random.default_rng(0), seeds=3)
    table = compare_variants(tables, "plain", CLASSES, resamples=50)
    for name, predicted in tables.items():
        summary = summarise(predicted, CLASSES)
        for metric, estimate in table.estimates[name].items():
            assert estimate.mean == pytest.approx(summary.mean[metric])
            assert estimate.deviation == pytest.approx(summary.deviation[metric])
    assert (table.speakers, table.utterances, table.seeds) == (5, summary.utterances, 3)


def test_one_seed_has_no_deviation() -> None:
    table = compare_variants(ablation(np.random.default_rng(0), seeds=1), "plain", CLASSES, resamples=50)
    assert {estimate.deviation for estimate in table.estimates["plain"].values()} == {0.0}


def resampled_by_a_loop(predicted: PredictionsBySeed, weights: np.ndarray) -> np.ndarray:
    """UA, mean over seeds, of the utterances of whole speakers, each taken as often as its weight says."""
    speakers = np.unique(predicted.speakers)
    drawn = []
    for weight in weights:
        rows = np.concatenate(
            [
                np.flatnonzero(predicted.speakers == speaker)
                for speaker, times in zip(speakers, weight, strict=True)
                for _ in range(times)
            ]
        )
        by_seed = [measure(confusion(predicted.labels[rows], row[rows], 3))["ua"] for row in predicted.predictions]
        drawn.append(float(np.mean(by_seed)))
    return np.array(drawn)


def test_intervals_match_a_loop_that_draws_whole_speakers() -> None:
    tables = {name: ablation(np.random.default_rng(1), seeds=1)[name] for name in ("plain", "variant2")}
    table = compare_variants(tables, "plain", CLASSES, resamples=200, seed=7)
    weights = np.random.default_rng(7).multinomial(5, [0.2] * 5, 200)
    drawn = {
        name: resampled_by_a_loop(PredictionsBySeed.of(name, each, CLASSES), weights) for name, each in tables.items()
    }

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


def test_intervals_widen_where_a_training_moves_all_speakers_of_its_fold() -> None:
    seeds = 3
    tables = {name: ablation(np.random.default_rng(2), seeds=seeds)[name] for name in ("plain", "variant2")}
    table = compare_variants(tables, "plain", CLASSES, resamples=200, seed=7)
    weights = np.random.default_rng(7).multinomial(5, [0.2] * 5, 200)
    answers = {name: PredictionsBySeed.of(name, each, CLASSES) for name, each in tables.items()}

    def gap(groups: np.ndarray, seed_of_group: Sequence[int]) -> float:
        """The difference where each group of utterances is predicted by one seed."""
        ua = {}
        for name, each in answers.items():
            predicted = each.predictions[np.array(seed_of_group)[groups], np.arange(len(each.ids))]
            ua[name] = measure(confusion(each.labels, predicted, 3))["ua"]
        return ua["variant2"] - ua["plain"]

    def over_seeds(groups: np.ndarray) -> float:
        """Variance of the mean over seeds by each group alone, summed, by a loop over all combinations of seeds."""
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
    drawn = [resampled_by_a_loop(answers[name], weights) for name in ("variant2", "plain")]
    over_speakers = float(np.var(drawn[0] - drawn[1], ddof=1)) * 5 / 4
    degrees_of_freedom = (over_speakers + shared) ** 2 / (over_speakers**2 / 4 + shared**2 / 6)

    difference = table.comparisons["variant2"].differences["ua"]
    margin = stats.t.ppf(0.975, degrees_of_freedom) * math.sqrt(over_speakers + shared)
    assert difference.interval.low == pytest.approx(difference.mean - margin)
    assert difference.interval.high == pytest.approx(difference.mean + margin)


def test_the_interval_of_a_metric_lies_around_its_mean_over_seeds() -> None:
    table = compare_variants(ablation(np.random.default_rng(2), seeds=3), "plain", CLASSES, resamples=50)
    for metrics in table.estimates.values():
        for estimate in metrics.values():
            low, mean, high = logit([estimate.interval.low, estimate.mean, estimate.interval.high])
            assert 0 < mean - low == pytest.approx(high - mean)


def test_a_difference_is_of_the_means_over_seeds() -> None:
    table = compare_variants(ablation(np.random.default_rng(2)), "plain", CLASSES, resamples=50)
    for name, comparison in table.comparisons.items():
        assert list(comparison.differences) == ["ua", "wa"]
        for metric, difference in comparison.differences.items():
            expected = table.estimates[name][metric].mean - table.estimates["plain"][metric].mean
            assert difference.mean == pytest.approx(expected)
            assert difference.interval.low <= difference.mean <= difference.interval.high


def test_the_p_value_is_the_larger_of_swapping_whole_speakers_and_of_the_interval() -> None:
    for number in range(4):
        tables = ablation(np.random.default_rng(number))
        table = compare_variants(tables, "plain", CLASSES, resamples=100)
        reference, variant = (PredictionsBySeed.of(each, tables[each], CLASSES) for each in ("plain", "variant2"))
        for metric, found in table.comparisons["variant2"].differences.items():
            by_swapping = p_by_swapping(variant, reference, metric)
            reaches_zero = abs(found.mean) <= found.interval.high - found.mean
            assert (found.p_value >= 0.05) == (reaches_zero or by_swapping >= 0.05)
            assert found.p_value >= by_swapping


@pytest.mark.parametrize("seeds", [1, 3])
def test_a_significant_difference_has_an_interval_without_zero(seeds: int) -> None:
    found = 0
    for number in range(8):
        table = compare_variants(ablation(np.random.default_rng(number), 12, seeds=seeds), "plain", CLASSES, 200, 2000)
        for comparison in table.comparisons.values():
            for difference in comparison.differences.values():
                if difference.p_value < 0.05:
                    found += 1
                    assert difference.interval.low > 0 or difference.interval.high < 0
    assert found > 8


def p_by_swapping(variant: PredictionsBySeed, reference: PredictionsBySeed, metric: str) -> float:
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


def test_a_gain_of_only_some_trainings_of_a_fold_is_judged_by_seeds_not_speakers() -> None:
    # Twelve speakers in three folds; of each fold's three trainings one is always right, the others never.
    labels = np.zeros(12, int)
    plain = predictions(range(12), labels, np.ones((3, 12), int))
    lucky = np.ones((3, 12), int)
    for seed in range(3):
        lucky[seed, np.arange(12) % 3 == seed] = 0
    comparison = compare_variants(
        {"plain": plain, "lucky": predictions(range(12), labels, lucky)}, "plain", CLASSES, 500
    )
    difference = comparison.comparisons["lucky"].differences["ua"]
    assert permutation_p(np.full(12, 1 / 36), draw_swaps(12, 4096, np.random.default_rng())) < 0.001
    assert difference.mean == pytest.approx(1 / 3)
    # By folds 3 x (1/3)^2 / 3 over seeds, by speakers 12 x (1/12)^2 / 3, each divided by the three seeds; 6 degrees of
    # freedom. Speakers do not differ.
    shared = (3 * (1 / 3) ** 2 / 3 - 12 * (1 / 12) ** 2 / 3) / 3
    assert difference.p_value == pytest.approx(2 * stats.t.sf((1 / 3) / math.sqrt(shared), 6))


def test_the_effect_is_of_the_speakers_own_differences() -> None:
    # Of four speakers two gain their one utterance, one loses it, one is right twice: 1, 1, -1, 0.
    table = compare_variants(one_utterance_a_speaker("0011", "1101"), "plain", CLASSES, resamples=50)
    expected = np.mean([1, 1, -1, 0]) / np.std([1, 1, -1, 0], ddof=1)
    assert table.comparisons["variant1"].differences["ua"].effect == pytest.approx(expected)


def test_holm_corrects_all_differences_of_one_metric_together() -> None:
    comparisons = compare_variants(ablation(np.random.default_rng(6), speakers=9), "plain", CLASSES, 600).comparisons
    for metric in ("ua", "wa"):
        differences = [each.differences[metric] for each in comparisons.values()]
        assert len(differences) == 2
        assert [each.p_holm for each in differences] == pytest.approx(holm([each.p_value for each in differences]))
    tests = [each.mcnemar for each in comparisons.values()]
    assert [each.p_holm for each in tests] == pytest.approx(holm([each.p_value for each in tests]))


def test_a_gain_of_all_ten_speakers_is_significant() -> None:
    table = compare_variants(one_utterance_a_speaker("0" * 10, "1" * 10), "plain", CLASSES, resamples=2000)
    difference = table.comparisons["variant1"].differences["ua"]
    assert difference.mean == 1
    assert difference.p_value == 2 / 2**10
    assert difference.p_holm == table.smallest_p == 2 / 2**10


def test_the_smallest_p_shows_that_four_speakers_are_too_few() -> None:
    table = compare_variants(one_utterance_a_speaker("0000", "1111", "0111"), "plain", CLASSES, resamples=50)
    assert table.smallest_p == 2 * 2 / 2**4


def test_ten_speakers_are_enough_to_tell_eighteen_variants_from_the_reference() -> None:
    right = ["0" * 10, *["1" * 10] * 18]
    table = compare_variants(one_utterance_a_speaker(*right), "plain", CLASSES, resamples=50)
    assert table.smallest_p == 18 * 2 / 2**10 <= 0.05


def test_a_copy_of_the_reference_does_not_differ() -> None:
    plain = ablation(np.random.default_rng(8))["plain"]
    comparison = compare_variants({"plain": plain, "again": plain}, "plain", CLASSES, 50).comparisons["again"]
    for difference in comparison.differences.values():
        assert (difference.mean, difference.effect, difference.p_value, difference.p_holm) == (0, 0, 1, 1)
        assert (difference.interval.low, difference.interval.high) == (0, 0)
    assert (comparison.mcnemar.p_value, comparison.mcnemar.odds_ratio) == (1, 1)


def test_a_table_of_the_reference_alone_has_estimates_and_no_comparison() -> None:
    table = compare_variants({"plain": ablation(np.random.default_rng(8))["plain"]}, "plain", CLASSES, 50)
    assert list(table.estimates) == ["plain"]
    assert table.comparisons == {}


def test_the_same_seed_gives_the_same_table_and_another_seed_other_intervals() -> None:
    tables = ablation(np.random.default_rng(9))
    assert compare_variants(tables, "plain", CLASSES, 50, seed=1) == compare_variants(
        tables, "plain", CLASSES, 50, seed=1
    )
    assert compare_variants(tables, "plain", CLASSES, 50, seed=1) != compare_variants(
        tables, "plain", CLASSES, 50, seed=2
    )


def test_the_order_of_rows_does_not_matter() -> None:
    tables = ablation(np.random.default_rng(10))
    generator = np.random.default_rng(0)
    shuffled = {name: table.take(generator.permutation(table.num_rows)) for name, table in tables.items()}
    assert compare_variants(shuffled, "plain", CLASSES, 50) == compare_variants(tables, "plain", CLASSES, 50)


def test_a_table_of_1500_speakers_takes_little_memory() -> None:
    # The signs of 20,000 swaps alone would take 229 MiB as floats.
    tables = ablation(np.random.default_rng(16), speakers=1500, variants=2)
    assert peak_mebibytes(lambda: compare_variants(tables, "plain", CLASSES, resamples=2000, swaps=20_000)) < 60


def flat(table: ComparisonTable) -> dict[str, float]:
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
    expected = flat(compare_variants(tables, "plain", CLASSES, 50))
    assert flat(compare_variants(tables, "plain", ["sad", "calm", "angry"], 50)) == pytest.approx(expected)
    renamed = {
        name: table.set_column(2, "label", pa.array(word.upper() for word in table["label"].to_pylist())).set_column(
            3, "prediction", pa.array(word.upper() for word in table["prediction"].to_pylist())
        )
        for name, table in tables.items()
    }
    assert flat(compare_variants(renamed, "plain", [word.upper() for word in CLASSES], 50)) == pytest.approx(expected)


def test_a_class_without_utterances_changes_nothing() -> None:
    tables = ablation(np.random.default_rng(12))
    with_another = compare_variants(tables, "plain", [*CLASSES, "bored"], 50)
    assert flat(with_another) == pytest.approx(flat(compare_variants(tables, "plain", CLASSES, 50)))


def test_swapping_variant_and_reference_changes_only_signs() -> None:
    tables = {name: ablation(np.random.default_rng(13))[name] for name in ("plain", "variant1")}
    there = compare_variants(tables, "plain", CLASSES, 50).comparisons["variant1"]
    back = compare_variants(tables, "variant1", CLASSES, 50).comparisons["plain"]
    for metric in ("ua", "wa"):
        assert back.differences[metric].mean == pytest.approx(-there.differences[metric].mean)
        assert back.differences[metric].interval.low == pytest.approx(-there.differences[metric].interval.high)
        assert back.differences[metric].p_value == there.differences[metric].p_value
    assert back.mcnemar.odds_ratio == pytest.approx(1 / there.mcnemar.odds_ratio)


def refused(tables: dict[str, pa.Table], reference: str = "plain") -> str:
    with pytest.raises(UserError) as caught:
        compare_variants(tables, reference, CLASSES, resamples=20)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_an_unknown_reference_is_refused() -> None:
    tables = ablation(np.random.default_rng(14), variants=2)
    assert refused(tables, "paper") == "reference paper: there is no such variant; choose one of plain, variant1"


def test_variants_with_different_seeds_are_refused() -> None:
    tables = ablation(np.random.default_rng(14), variants=2)
    one_seed = tables["variant1"].slice(0, tables["variant1"].num_rows // 2)
    assert "variant variant1: its seeds are [0], those of plain [0, 1]" in refused({**tables, "variant1": one_seed})


def test_one_speaker_is_refused() -> None:
    tables = ablation(np.random.default_rng(15), speakers=1)
    assert "variant plain: statistics over speakers need at least two, there is 1" in refused(tables)


SIMULATIONS = 400


class World:
    """An endless population of speakers, of whom an experiment records a few; a variant's true metrics are known.

    A speaker shows class k in 3 + Poisson(size) utterances, its size varying tenfold among speakers. The chance that
    an utterance is predicted right is a mean of Beta variates: one of the speaker, one of the speaker and class (both
    shared by all variants), one of the speaker, class and variant, one of these and the seed, and one of the training,
    which all speakers of its fold share: it moves a fold's recalls by 3 points. Wrong predictions are any other class.
    """

    sizes = np.array([4.0, 8.0, 12.0])
    shared = ((6, 4), (5, 5))
    training = (5, 5)
    folds = 5

    def __init__(self, own: Sequence[tuple[float, float]]) -> None:
        """Keep the parameters of the Beta variates of each variant."""
        self.own = own

    def truth(self, variant: int) -> dict[str, float]:
        """The metrics of a variant over all speakers."""
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
            predicted = np.where(generator.random(chance.shape) < chance, cell % 3, wrong)
            tables[str(variant)] = predictions(cell // 3, cell % 3, predicted, folds=self.folds)
        return tables


@pytest.mark.slow
@pytest.mark.parametrize("speakers", [10, 24])
def test_without_a_true_difference_at_most_five_of_a_hundred_tables_claim_one(speakers: int) -> None:
    world = World([(2, 2)] * 5)
    generator = np.random.default_rng(speakers)
    claimed = by_utterance = 0
    for simulation in range(SIMULATIONS):
        tables = world.record(generator, speakers)
        table = compare_variants(tables, "0", CLASSES, resamples=1024, swaps=1024, seed=simulation)
        comparisons = table.comparisons.values()
        claimed += any(each.differences["ua"].p_holm <= 0.05 for each in comparisons)
        by_utterance += any(each.mcnemar.p_holm <= 0.05 for each in comparisons)
    print(f"{speakers} speakers: {claimed} tables with a difference, {by_utterance} by McNemar's test")
    # At a true rate of 5 % the count exceeds this with a chance below 0.001: 35 of 400.
    most = stats.binom.ppf(0.999, SIMULATIONS, 0.05)
    assert claimed <= most
    # The tests are not too strict either: at a true rate of 1 % the count is 0 with a chance below 0.02.
    assert claimed > 0
    # Tests over utterances claim too much, as `McNemar` warns.
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
        table = compare_variants(tables, "0", CLASSES, resamples=1000, swaps=1000, seed=simulation)
        inside = {f"{metric} of 1": (truth[1][metric], each.interval) for metric, each in table.estimates["1"].items()}
        for metric, each in table.comparisons["1"].differences.items():
            inside[f"{metric} of 1 less 0"] = (truth[1][metric] - truth[0][metric], each.interval)
        for name, (true, around) in inside.items():
            covered[name] = covered.get(name, 0) + (around.low <= true <= around.high)
    print(f"{speakers} speakers: {covered} of {SIMULATIONS}")
    assert len(covered) == 5
    assert all(0.92 * SIMULATIONS <= count <= 0.98 * SIMULATIONS for count in covered.values())
