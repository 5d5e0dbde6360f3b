from __future__ import annotations

from dataclasses import replace

from fgcme.report.content import ReportData
from fgcme.report.results import ResultSet
from tests.fgcme.report.sample_report import ON_TEST, TEST, sample_content, sample_results

HONEST = sample_results()
TUNED = replace(HONEST, conditions=replace(HONEST.conditions, tuned_on=["s0"]))
ON_TEST_PART = sample_results(TEST, ON_TEST)


def report_of(*result_sets: ResultSet, without_tuned_on: tuple[ResultSet, ...] = ()) -> ReportData:
    return replace(sample_content(), result_sets=result_sets, without_tuned_on=without_tuned_on)


def test_the_first_result_set_is_shown_in_detail() -> None:
    assert report_of(HONEST, ON_TEST_PART).main is HONEST


def test_a_report_is_optimistic_if_any_of_its_result_sets_is() -> None:
    assert not report_of(HONEST).optimistic
    assert report_of(HONEST, ON_TEST_PART).optimistic
    assert report_of(TUNED).optimistic


def test_too_few_speakers_remain_if_a_tuned_result_has_none_without_them() -> None:
    assert report_of(TUNED).too_few_untuned
    assert not report_of(TUNED, without_tuned_on=(HONEST,)).too_few_untuned
    assert not report_of(HONEST).too_few_untuned


def test_of_many_variants_the_reference_and_the_five_best_are_shown() -> None:
    table = HONEST.table
    names = [f"variant{number}" for number in range(12)]
    estimates = {}
    for number, name in enumerate(names):
        ua = replace(table.estimates["by_speaker"]["ua"], mean=0.01 * number)
        estimates[name] = table.estimates["by_speaker"] | {"ua": ua}
    many = replace(HONEST, table=replace(table, estimates={"fgcme": table.estimates["fgcme"]} | estimates))
    assert report_of(many).shown == ["fgcme", "variant11", "variant10", "variant9", "variant8", "variant7"]
    assert report_of(HONEST).shown == ["fgcme", "mean_max", "by_speaker"]
