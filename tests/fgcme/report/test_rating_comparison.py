"""The table of an ablation of ratings."""

from fgcme.evaluation.rating_comparison import compare_ratings
from fgcme.report.rating_comparison import comparison_metrics, describe_comparison
from tests.fgcme.evaluation.test_ratings import predictions


def test_each_variant_has_a_line_and_numbers_and_the_others_a_difference() -> None:
    tables = {"own": predictions(), "worse": predictions(noise=2.0)}
    compared = compare_ratings(tables, "own", ["valence"], resamples=200)
    title, own, worse, _ = describe_comparison(compared).splitlines()
    assert title.split()[:2] == ["CCC", "valence"]
    difference, ccc = compared.differences["worse"], compared.summaries["own"].metrics["ccc"].mean
    assert own.split() == ["own", f"{ccc:.3f}", f"{ccc:.3f}", "reference"]
    assert f"{difference.mean:+.3f} [" in worse and f"{difference.p_holm:.3f}" in worse
    numbers = comparison_metrics(compared)
    assert numbers["worse"]["ccc_difference"] == difference.mean
    assert numbers["own"]["ccc_valence"] == ccc and "ccc_p_holm" not in numbers["own"]
