from __future__ import annotations

from dataclasses import replace

from fgcme.evaluation.comparison import Comparison, Difference
from fgcme.evaluation.intervals import Interval
from fgcme.report.formatting import percent, points
from fgcme.report.results import ResultSet, selection_gaps
from fgcme.report.summary import summarise_gaps, summarise_results
from tests.fgcme.report.sample_report import CLASSES, ON_DEV, ON_TEST, TEST, sample_results, single_model

RESULTS = sample_results()


def having(p_holm: float, low: float, high: float, smallest_p: float = 0.01) -> ResultSet:
    """Findings of one comparison, with this p-value and interval."""
    mean = (low + high) / 2
    difference = Difference(mean, Interval(low, high), p_holm / 2, p_holm, 1.0)
    mcnemar = RESULTS.table.comparisons["mean_max"].mcnemar
    comparison = Comparison({"ua": difference, "wa": difference}, mcnemar)
    return replace(RESULTS, table=replace(RESULTS.table, comparisons={"mean_max": comparison}, smallest_p=smallest_p))


def test_a_summary_begins_with_the_reference_its_interval_and_sample_sizes() -> None:
    first = summarise_results(RESULTS)[0]
    estimate = RESULTS.table.estimates["fgcme"]["ua"]
    assert first == (
        f"With epochs chosen on dev, fgcme, the reference, reaches a UA of {percent(estimate.mean)} % (95 % interval "
        f"{percent(estimate.interval.low)} to {percent(estimate.interval.high)}) on made/3class, where chance is "
        "33.3 %: 96 utterances of 8 speakers, 2 seeds."
    )


def test_a_significant_difference_is_reported_with_direction_interval_and_p() -> None:
    above = " ".join(summarise_results(having(0.03, 0.02, 0.06)))
    assert "Significantly above it: mean_max (+4.0 points, 95 % interval +2.0 to +6.0, corrected p = 0.030)." in above
    below = " ".join(summarise_results(having(0.0004, -0.06, -0.02)))
    assert "Significantly below it: mean_max (−4.0 points, 95 % interval −6.0 to −2.0, corrected p < 0.001)." in below
    assert "not shown" not in above + below


def test_a_difference_that_is_not_significant_makes_no_claim() -> None:
    text = " ".join(summarise_results(having(0.2, -0.01, 0.09)))
    assert "Significantly" not in text
    assert "It is not shown that mean_max differs from it, nor that the two are equal" in text
    assert "room for differences of −1.0 to +9.0 points" in text


def test_too_few_speakers_for_significance_are_reported() -> None:
    text = " ".join(summarise_results(having(0.2, 0.02, 0.06, smallest_p=0.094)))
    assert "No difference could have been significant here, whatever its size: with 8 speakers and 1 comparison" in text
    assert "0.094" in text


def test_a_summary_of_selection_on_test_begins_with_optimistic() -> None:
    assert summarise_results(sample_results(TEST, ON_TEST))[0].startswith("Optimistic: with epochs chosen on TEST")
    tuned = replace(RESULTS, conditions=replace(RESULTS.conditions, tuned_on=["s0"]))
    assert summarise_results(tuned)[0].startswith("Optimistic: ")


def test_the_use_of_unlabelled_test_audio_is_reported() -> None:
    made = replace(RESULTS, remarks={"fgcme": "uses unlabelled test audio"})
    assert "(uses unlabelled test audio)" in summarise_results(made)[0]


def test_a_summary_of_a_single_model_reports_emotions_and_speakers() -> None:
    made = single_model()
    sentences = summarise_results(made)
    assert "the reference" not in sentences[0]
    assert "is recognised most often" in sentences[1]
    assert "speaker" in sentences[1]


def test_a_summary_of_one_seed_says_so() -> None:
    one = replace(RESULTS, table=replace(RESULTS.table, seeds=1))
    assert "With one seed" in summarise_results(one)[-1]
    assert not any("one seed" in sentence for sentence in summarise_results(RESULTS))


def test_the_selection_gap_is_reported_if_both_rules_were_run() -> None:
    gaps = selection_gaps(ON_TEST, ON_DEV, CLASSES)
    (sentence,) = summarise_gaps(RESULTS, gaps)
    assert f"changes the UA of fgcme by {points(gaps['fgcme']['ua'].mean)} points" in sentence
    assert "optimistic" in sentence
    assert summarise_gaps(RESULTS, {}) == []
