"""The LaTeX of ratings, of one model and of several variants."""

from fgcme.report.ratings_latex import ratings_latex
from tests.fgcme.report.test_ratings_page import ablation, report


def test_a_table_has_a_line_a_dimension_of_one_model_and_a_line_a_variant_of_several() -> None:
    (one,) = report().results
    latex, estimate = ratings_latex(one), one.summary.metrics["ccc_valence"]
    assert estimate.interval is not None
    assert (
        f"valence & ${estimate.mean:.3f} \\pm {estimate.deviation:.3f}$ & ${estimate.interval.low:.3f}$ to $" in latex
    )
    assert "\\label{tab:ratings-dev}" in latex and "rated/dimensions, epochs chosen on dev, 2 seeds (0, 1)" in latex
    content = ablation()
    of_dev, of_test = content.results
    comparison = of_dev.comparison
    assert comparison is not None
    line = next(line for line in ratings_latex(of_dev).splitlines() if "far" in line and "&" in line)
    difference = comparison.differences["far_worse"]
    assert line.startswith(r"    far\_worse & $") and f"${difference.mean:.3f}^{{*" in line
    assert "Optimistic" in ratings_latex(of_test) and "tab:ratings-test-optimistic" in ratings_latex(of_test)
