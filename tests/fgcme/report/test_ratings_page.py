"""The page of a report on ratings, and its table."""

import csv
import io
from dataclasses import replace

from fgcme.data import Tasks
from fgcme.evaluation.rating_comparison import compare_ratings
from fgcme.evaluation.ratings import summarise_ratings
from fgcme.report.conditions import Conditions
from fgcme.report.ratings_page import RatingResults, RatingsReport, to_csv, to_html
from fgcme.report.theme import LIGHT, to_png
from tests.fgcme.evaluation.test_ratings import predictions
from tests.fgcme.report.page_text import Page
from tests.fgcme.report.sample_report import sample_content


def report(tuned_on: tuple[str, ...] = ()) -> RatingsReport:
    table, conditions = predictions(seeds=2), Conditions("rated/dimensions", "dev", [0, 1], tuned_on)
    results = [RatingResults(conditions, summarise_ratings(table, ["valence"]))]
    if tuned_on:
        untuned = summarise_ratings(table, ["valence"], tuned_on)
        results.append(RatingResults(conditions.without_tuned_on(), untuned))
    return RatingsReport(sample_content().provenance, Tasks([], {"valence": (1, 5)}), table, results)


def ablation() -> RatingsReport:
    tables = {"own": predictions(each=30), "far_worse": predictions(noise=2.0, each=30)}
    compared = compare_ratings(tables, "own", ["valence"], resamples=200)
    results = [
        RatingResults(Conditions("rated/dimensions", selection, [0]), compared.summaries["own"], compared)
        for selection in ("dev", "test")
    ]
    provenance = replace(sample_content().provenance, kind="ablation")
    return RatingsReport(provenance, Tasks([], {"valence": (1, 5)}), tables["own"], results)


def page(content: RatingsReport) -> str:
    return Page(to_html(content, to_png(content.scatter, LIGHT))).text


def test_a_page_shows_each_dimension_with_its_intervals_and_how_many_were_rated() -> None:
    content = report()
    text, estimate = page(content), content.results[0].summary.metrics["ccc_valence"]
    assert estimate.interval is not None
    interval = f"{estimate.interval.low:.3f} to {estimate.interval.high:.3f}"
    assert f"the CCC is {estimate.mean:.3f} (95 % interval {interval}) for valence." in text.replace("\xa0", " ")
    assert "Valence of 6 of 60 utterances was not rated." in text
    assert "1 to 5" in text and "fold 2" in text
    assert "With one seed it is unknown" not in text
    assert "optimistic" not in text.split("How to read")[0].lower()


def test_what_was_tuned_on_is_said_and_left_out_beside() -> None:
    text = page(report(("s0",)))
    assert "Optimistic: with epochs chosen on dev" in text
    assert "Without the speakers the configuration was tuned on" in text


def test_the_table_has_every_metric_once_for_each_result() -> None:
    rows = list(csv.DictReader(io.StringIO(to_csv(report(("s0",))))))
    assert {row["variant"] for row in rows} == {""}
    assert [row["metric"] for row in rows] == ["ccc", "ccc_valence", "pearson_valence", "rmse_valence"] * 2
    assert float(rows[0]["low"]) < float(rows[0]["mean"]) < float(rows[0]["high"])
    assert rows[0]["caveats"].startswith("Optimistic") and not rows[-1]["caveats"].startswith("Optimistic")


def test_variants_stand_beside_the_reference_by_each_selection_rule() -> None:
    content = ablation()
    text, compared = page(content), content.results[0].comparison
    assert compared is not None
    assert text.startswith("Ablation") or "Ablation on rated/dimensions" in text
    difference = compared.differences["far_worse"]
    assert difference.p_holm <= 0.05
    told = f"In the mean CCC these differ from it significantly: far_worse (\N{MINUS SIGN}{-difference.mean:.3f})."
    assert told in text.replace("\N{ZERO WIDTH SPACE}", "")
    assert "Epochs chosen on dev; epochs chosen on TEST (optimistic). 2 variants, 6 speakers" in text
    assert "no p can fall below" not in text
    assert "Epochs chosen on dev" in text and "Epochs chosen on TEST" in text
    assert "Answers of own against ratings" in text and "Holm-corrected" in text
    rows = list(csv.DictReader(io.StringIO(to_csv(content))))
    of_difference = [row for row in rows if row["metric"] == "ccc_difference"]
    assert [row["variant"] for row in of_difference] == ["far_worse"] * 2
    assert float(of_difference[0]["p_holm"]) == difference.p_holm
