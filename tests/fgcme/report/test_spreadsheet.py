from __future__ import annotations

import csv
import io

import numpy as np
import pytest

from fgcme.report.spreadsheet import confusions_csv, results_csv, speakers_csv
from tests.fgcme.report.sample_report import ON_TEST, SPEAKERS, TEST, sample_results, single_model

RESULTS, OPTIMISTIC = sample_results(), sample_results(TEST, ON_TEST)


def rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_every_number_of_the_csv_equals_the_table_s() -> None:
    written = rows(results_csv([RESULTS, OPTIMISTIC]))
    assert [(row["selection"], row["variant"]) for row in written] == [
        (selection, name) for selection in ("dev", "test") for name in RESULTS.variants
    ]
    each = [(result, name) for result in (RESULTS, OPTIMISTIC) for name in result.variants]
    for row, (made, name) in zip(written, each, strict=True):
        for metric, estimate in made.table.estimates[name].items():
            assert float(row[metric]) == estimate.mean
            assert float(row[f"{metric}_deviation"]) == estimate.deviation
            assert float(row[f"{metric}_low"]) == estimate.interval.low
            assert float(row[f"{metric}_high"]) == estimate.interval.high
        if name == made.reference:
            continue
        comparison = made.table.comparisons[name]
        for metric, difference in comparison.differences.items():
            assert float(row[f"{metric}_difference"]) == difference.mean
            assert float(row[f"{metric}_difference_low"]) == difference.interval.low
            assert float(row[f"{metric}_difference_high"]) == difference.interval.high
            assert float(row[f"{metric}_difference_p"]) == difference.p_value
            assert float(row[f"{metric}_difference_p_holm"]) == difference.p_holm
            assert float(row[f"{metric}_difference_effect"]) == difference.effect
        assert int(row["mcnemar_gained"]) == comparison.mcnemar.gained
        assert int(row["mcnemar_lost"]) == comparison.mcnemar.lost
        assert float(row["mcnemar_p_holm"]) == comparison.mcnemar.p_holm
        assert float(row["mcnemar_odds_ratio"]) == comparison.mcnemar.odds_ratio
    assert {row["speakers"] for row in written} == {"8"}
    assert {row["utterances"] for row in written} == {"96"}
    assert {row["seeds"] for row in written} == {"2"}


def test_the_reference_is_not_compared_with_itself() -> None:
    first = rows(results_csv([RESULTS]))[0]
    assert first["variant"] == first["reference"] == "fgcme"
    assert {value for key, value in first.items() if "difference" in key or "mcnemar" in key} == {""}
    assert [row["variant"] for row in rows(results_csv([single_model()]))] == ["fgcme"]


@pytest.mark.parametrize("write", [results_csv, speakers_csv, confusions_csv])
def test_optimistic_numbers_are_marked_in_their_row(write) -> None:  # type: ignore[no-untyped-def]
    for row in rows(write([RESULTS, OPTIMISTIC])):
        assert ("Optimistic: the epoch" in row["caveats"]) == (row["selection"] == "test")
        assert ("uses unlabelled test audio" in row["caveats"]) == (row["variant"] == "by_speaker")


def test_confusions_count_the_predictions_of_all_seeds() -> None:
    written = rows(confusions_csv([RESULTS]))
    assert [(row["variant"], row["true"]) for row in written] == [
        (name, true) for name in RESULTS.variants for true in RESULTS.classes
    ]
    answers = [[int(row[f"as_{name}"]) for name in RESULTS.classes] for row in written]
    assert np.array_equal(answers, np.concatenate([RESULTS.matrices[name] for name in RESULTS.variants]))


def test_every_speaker_has_a_row_under_every_variant() -> None:
    written = rows(speakers_csv([RESULTS]))
    assert len(written) == len(SPEAKERS) * len(RESULTS.variants)
    for row in written:
        position = RESULTS.speakers.index(row["speaker"])
        assert int(row["utterances"]) == RESULTS.utterance_counts[position]
        for metric, values in RESULTS.by_speaker[row["variant"]].items():
            assert float(row[metric]) == values[position]
