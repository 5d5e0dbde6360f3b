from __future__ import annotations

import math

import numpy as np
import pyarrow as pa
import pytest

from fgcme.evaluation.comparison import compare_variants
from fgcme.evaluation.counts import Counts
from fgcme.evaluation.predictions import PredictionsBySeed
from fgcme.evaluation.significance import (
    McNemar,
    cohens_dz,
    holm,
    mcnemar_tests,
    permutation_p,
    sign_flips,
    smallest_p,
    speaker_contributions,
)
from tests.fgcme.evaluation.sample_predictions import CLASSES, ablation, one_utterance_a_speaker, predictions


def test_an_exact_permutation_p_value_by_hand() -> None:
    # Of the eight signed sums of 1, 2 and 4, those of +-(4 + 2 + 1) and of +-(4 + 2 - 1) reach 5.
    assert permutation_p(np.array([4.0, 2.0, -1.0]), sign_flips(3, 8, np.random.default_rng())) == 4 / 8


def test_a_monte_carlo_test_counts_the_observed_table_among_the_swapped() -> None:
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
    assert smallest_p(sign_flips(10, 2**10, np.random.default_rng())) == 2 / 2**10


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
