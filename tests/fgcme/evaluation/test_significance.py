from __future__ import annotations

import math

import numpy as np
import pyarrow as pa
import pytest

from fgcme.evaluation.comparison import compare_variants
from fgcme.evaluation.counts import Counts
from fgcme.evaluation.predictions import PredictionsBySeed
from fgcme.evaluation.resampling import draw_swaps
from fgcme.evaluation.significance import (
    McNemar,
    cohens_dz,
    holm,
    mcnemar_tests,
    permutation_p,
    smallest_p,
    speaker_contributions,
)
from tests.fgcme.evaluation.memory import peak_mebibytes
from tests.fgcme.evaluation.sample_predictions import CLASSES, ablation, one_utterance_a_speaker, predictions


def test_an_exact_permutation_p_value_by_hand() -> None:
    # Of the eight signed sums of 1, 2 and 4, those of +-(4 + 2 + 1) and of +-(4 + 2 - 1) reach 5.
    assert permutation_p(np.array([4.0, 2.0, -1.0]), draw_swaps(3, 8, np.random.default_rng())) == 4 / 8


def test_a_monte_carlo_test_counts_the_observed_table_among_the_swapped() -> None:
    swaps = draw_swaps(30, 999, np.random.default_rng(0))
    assert len(swaps) == 1000
    assert permutation_p(np.ones(30), swaps) == 1 / 1000


def test_a_monte_carlo_test_is_near_the_exact_one() -> None:
    generator = np.random.default_rng(5)
    gains = generator.normal(0.5, 1, 12)
    exact = permutation_p(gains, draw_swaps(12, 2**12, generator))
    assert permutation_p(gains, draw_swaps(12, 2**12 - 1, generator)) == pytest.approx(exact, abs=0.03)


def test_a_monte_carlo_p_value_is_that_of_all_signed_sums_at_once() -> None:
    gains = np.random.default_rng(3).normal(0.02, 1, 300)
    swapped = np.random.default_rng(4).integers(0, 2, (10_000, 300))
    sums = np.abs(np.where(swapped, -1.0, 1.0) @ gains)
    expected = (1 + (sums >= abs(gains.sum())).sum()) / 10_001
    assert 0.01 < expected < 0.99
    assert permutation_p(gains, draw_swaps(300, 10_000, np.random.default_rng(4))) == expected


def test_a_permutation_of_1500_speakers_takes_little_memory() -> None:
    swaps = draw_swaps(1500, 20_000, np.random.default_rng(0))
    assert peak_mebibytes(lambda: permutation_p(np.ones(1500), swaps)) < 40


def test_contributions_of_speakers_sum_to_the_difference() -> None:
    tables = ablation(np.random.default_rng(4))
    table = compare_variants(tables, "plain", CLASSES, resamples=50)
    plain, variant = (
        Counts.by_speaker(PredictionsBySeed.of("", tables[name], CLASSES), 3) for name in ("plain", "variant1")
    )
    for metric, values in speaker_contributions(variant, plain).items():
        assert values.sum() == pytest.approx(table.comparisons["variant1"].differences[metric].mean)


def test_the_effect_is_infinite_where_all_speakers_differ_by_the_same() -> None:
    assert cohens_dz(np.array([-0.1, -0.1, -0.1])) == -math.inf


def test_holm_by_hand() -> None:
    # In order: 4 x 0.005, 3 x 0.01, 2 x 0.03, and 1 x 0.04 raised to the one before.
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


def test_smallest_p_is_that_of_speakers_who_all_gain() -> None:
    assert smallest_p(10, draw_swaps(10, 2**10, np.random.default_rng())) == 2 / 2**10


def mcnemar(variant: pa.Table, reference: pa.Table) -> McNemar:
    first, second = (PredictionsBySeed.of("", table, CLASSES) for table in (variant, reference))
    return mcnemar_tests({"variant": first}, second)["variant"]


def test_mcnemar_by_hand() -> None:
    # Nine gained and one lost, two alike: twice the chance of at most 1 of 10, 2 (1 + 10) / 1024.
    plain, variant = one_utterance_a_speaker("000000000110", "111111111010").values()
    test = mcnemar(variant, plain)
    assert (test.gained, test.lost) == (9, 1)
    assert test.p_value == pytest.approx(2 * 11 / 1024)
    assert test.odds_ratio == pytest.approx(9.5 / 1.5)


def test_mcnemar_of_many_utterances() -> None:
    # Counts of discordant pairs as in the textbook example of approval ratings: 150 and 86 of 1,600.
    right = "0" * 150 + "1" * 86 + "1" * 794 + "0" * 570
    other = "1" * 150 + "0" * 86 + "1" * 794 + "0" * 570
    plain, variant = one_utterance_a_speaker(right, other).values()
    test = mcnemar(variant, plain)
    assert (test.gained, test.lost) == (150, 86)
    assert test.p_value == pytest.approx(2 * sum(math.comb(236, k) for k in range(87)) / 2**236)


def test_with_several_seeds_an_utterance_is_gained_where_more_seeds_are_right() -> None:
    labels = np.zeros(4, int)
    plain = predictions([0, 0, 1, 1], labels, np.array([[1, 0, 1, 0], [1, 1, 0, 0], [1, 1, 1, 0]]))
    # Right seeds of the reference: 0, 1, 1, 3; of the variant: 1, 1 (another one), 3, 2.
    variant = predictions([0, 0, 1, 1], labels, np.array([[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 0, 1]]))
    test = mcnemar(variant, plain)
    assert (test.gained, test.lost) == (2, 1)
