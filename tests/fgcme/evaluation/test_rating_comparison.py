"""Variants that answer ratings, compared by speakers."""

from itertools import product

import numpy as np
import pyarrow as pa
import pytest

from fgcme.errors import UserError
from fgcme.evaluation.concordance import measure_ratings
from fgcme.evaluation.rating_comparison import compare_ratings
from fgcme.evaluation.ratings import read_ratings, summarise_ratings
from tests.fgcme.evaluation.test_ratings import predictions


def test_a_difference_is_that_of_the_means_and_its_p_that_of_all_swaps_or_more() -> None:
    tables = {"better": predictions(noise=0.6), "reference": predictions(noise=0.7)}
    found = compare_ratings(tables, "reference", ["valence"], resamples=500)
    difference = found.differences["better"]
    ccc = {name: summarise_ratings(each, ["valence"]).metrics["ccc"].mean for name, each in tables.items()}
    assert difference.mean == pytest.approx(ccc["better"] - ccc["reference"])
    assert difference.interval.low < difference.mean < difference.interval.high
    columns = {name: read_ratings(each.sort_by("id"), ["valence"]) for name, each in tables.items()}
    speakers = np.array(tables["better"].sort_by("id")["speaker"].to_pylist())
    ratings = columns["better"][0]
    answers = [columns[name][1]["valence"] for name in ("better", "reference")]
    swapped = []
    for signs in product([False, True], repeat=6):
        swap = np.isin(speakers, np.unique(speakers)[list(signs)])
        pair = [np.where(swap, other, own) for own, other in (answers, answers[::-1])]
        swapped.append(abs(np.subtract(*(measure_ratings(ratings, {"valence": each})["ccc"] for each in pair))))
    of_swaps = np.mean(np.array(swapped) >= abs(difference.mean) - 1e-12)
    assert difference.p_value >= of_swaps - 1e-9
    assert difference.p_value == pytest.approx(of_swaps, abs=0.15)


def test_the_same_answers_do_not_differ_and_far_better_ones_do() -> None:
    own = predictions(noise=2.0, each=30)
    tables = {"reference": own, "same": own, "better": predictions(noise=0.1, each=30)}
    found = compare_ratings(tables, "reference", ["valence"], resamples=500)
    assert (found.differences["same"].mean, found.differences["same"].p_holm) == (0, 1)
    assert found.differences["better"].mean > 0.2
    assert found.differences["better"].p_holm == 2 * found.differences["better"].p_value <= 0.07
    assert set(found.summaries) == set(tables)
    # Two variants of six speakers, whose 64 ways to be swapped come in pairs.
    assert found.smallest_p == 2 * 2 / 64 <= found.differences["better"].p_holm


def test_variants_of_other_utterances_or_ratings_are_refused() -> None:
    own = predictions()
    other = own.set_column(4, "valence", pa.array(np.full(own.num_rows, 3.0), pa.float32()))
    for table in (predictions(each=9), other):
        with pytest.raises(UserError, match="variant b: its utterances, ratings or seeds are not those of a"):
            compare_ratings({"a": own, "b": table}, "a", ["valence"], resamples=10)
