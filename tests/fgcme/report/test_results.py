from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyarrow.compute as pc
import pytest

from fgcme.evaluation.comparison import ComparisonTable
from fgcme.evaluation.cross_validation import summarise
from fgcme.evaluation.intervals import Interval
from fgcme.report.results import Curve, selection_gaps, without_speakers
from tests.fgcme.report.sample_report import CLASSES, ON_DEV, ON_TEST, SPEAKERS, sample_results, single_model

RESULTS = sample_results()


def test_recalls_are_those_of_all_seeds_together() -> None:
    rows = ON_DEV["mean_max"].to_pylist()
    for index, name in enumerate(CLASSES):
        own = [row for row in rows if row["label"] == name]
        expected = sum(row["prediction"] == name for row in own) / len(own)
        assert RESULTS.recalls("mean_max")[index] == pytest.approx(expected)


def test_a_class_without_utterances_has_no_recall() -> None:
    matrix = RESULTS.matrices["fgcme"].copy()
    matrix[1] = 0
    recalls = replace(RESULTS, matrices={**RESULTS.matrices, "fgcme": matrix}).recalls("fgcme")
    assert np.isnan(recalls).tolist() == [False, True, False]


def test_metrics_of_a_speaker_are_computed_from_the_speaker_s_utterances() -> None:
    assert RESULTS.speakers == SPEAKERS
    assert RESULTS.utterance_counts.tolist() == [12] * 8
    for position, speaker in enumerate(SPEAKERS):
        own = ON_DEV["fgcme"].filter(pc.equal(ON_DEV["fgcme"]["speaker"], speaker))
        expected = summarise(own, CLASSES).mean
        found = {metric: values[position] for metric, values in RESULTS.by_speaker["fgcme"].items()}
        assert found == pytest.approx(expected)


def test_the_reference_comes_first_and_then_the_highest_ua() -> None:
    assert RESULTS.ranked == ["fgcme", "mean_max", "by_speaker"]
    assert RESULTS.variants == ["fgcme", "mean_max", "by_speaker"]
    assert single_model().ranked == ["fgcme"]


def changed(p_holm: float, low: float, high: float) -> ComparisonTable:
    """The table, with another p-value and interval of the difference in UA of `mean_max`."""
    table = RESULTS.table
    comparison = table.comparisons["mean_max"]
    difference = replace(comparison.differences["ua"], p_holm=p_holm, interval=Interval(low, high))
    comparisons = {"mean_max": replace(comparison, differences={**comparison.differences, "ua": difference})}
    return replace(table, comparisons=comparisons)


@pytest.mark.parametrize(
    ("p_holm", "low", "high", "differs"), [(0.04, 0.01, 0.1, True), (0.06, 0.01, 0.1, False), (0.001, -0.2, -0.1, True)]
)
def test_a_variant_differs_only_if_its_corrected_p_is_significant(
    p_holm: float, low: float, high: float, differs: bool
) -> None:
    assert replace(RESULTS, table=changed(p_holm, low, high)).differs_significantly("mean_max") is differs


def test_a_remark_is_part_of_the_title_in_short_lines() -> None:
    assert RESULTS.title("fgcme") == "fgcme"
    assert RESULTS.title("by_speaker").splitlines() == ["by_speaker", "(uses unlabelled", "test audio)"]


def test_leaving_speakers_out_keeps_all_utterances_of_the_others() -> None:
    left = without_speakers(ON_DEV, ["s0", "s3"])
    assert set(left) == set(ON_DEV)
    assert set(left["fgcme"]["speaker"].to_pylist()) == set(SPEAKERS) - {"s0", "s3"}
    assert left["fgcme"].num_rows == ON_DEV["fgcme"].num_rows * 6 // 8


def test_a_selection_gap_is_test_less_dev() -> None:
    gaps = selection_gaps(ON_TEST, ON_DEV, CLASSES)
    for name, gap in gaps.items():
        expected = summarise(ON_TEST[name], CLASSES).mean["ua"] - summarise(ON_DEV[name], CLASSES).mean["ua"]
        assert gap["ua"].mean == pytest.approx(expected)
        assert gap["ua"].interval.low < gap["ua"].mean < gap["ua"].interval.high
    assert list(gaps) == list(ON_DEV)


def test_a_curve_has_the_epochs_of_all_trainings_and_the_last_value_of_each() -> None:
    curve = Curve.of([[(1, 0.9), (1, 0.1), (2, 0.3)], [(1, 0.3), (2, 0.7), (3, 0.8)]])
    assert curve.epochs.tolist() == [1, 2]
    np.testing.assert_allclose(curve.mean, [0.2, 0.5])
    np.testing.assert_allclose(curve.deviation, np.array([0.2, 0.4]) / np.sqrt(2))


def test_a_curve_of_one_training_has_deviation_0_and_of_none_no_epoch() -> None:
    assert Curve.of([[(1, 0.5)]]).deviation.tolist() == [0.0]
    assert Curve.of([]).epochs.size == 0
    assert Curve.of([[(1, 0.5)], []]).mean.size == 0
