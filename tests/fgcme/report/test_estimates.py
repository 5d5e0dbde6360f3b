from __future__ import annotations

import pytest
from matplotlib.axes import Axes

from fgcme.evaluation.intervals import Interval
from fgcme.report.comparison import stars
from fgcme.report.estimates import describe_estimates, describe_gaps, estimates_figure, gaps_figure
from fgcme.report.formatting import percent, points
from fgcme.report.results import selection_gaps
from fgcme.report.theme import LIGHT
from tests.fgcme.report.sample_report import CLASSES, ON_DEV, ON_TEST, TEST, predictions, sample_results

RESULTS = sample_results()


def whiskers(axes: Axes) -> dict[float, tuple[float, float]]:
    """Both ends of each horizontal line, by row."""
    return {
        line.get_ydata()[0]: tuple(line.get_xdata())
        for line in axes.lines
        if len(set(line.get_ydata())) == 1 and len(line.get_xdata()) == 2 and line.get_linestyle() == "-"
    }


def scaled(interval: Interval) -> tuple[float, float]:
    return 100 * interval.low, 100 * interval.high


def test_variants_and_differences_are_drawn_with_their_intervals() -> None:
    left, right = estimates_figure(RESULTS, LIGHT).axes
    drawn = whiskers(left)
    for row, name in enumerate(RESULTS.variants):
        assert drawn[row] == pytest.approx(scaled(RESULTS.table.estimates[name]["ua"].interval))
    drawn = whiskers(right)
    assert set(drawn) == {1, 2}
    for row, name in enumerate(RESULTS.variants[1:], start=1):
        assert drawn[row] == pytest.approx(scaled(RESULTS.table.comparisons[name].differences["ua"].interval))


def test_significant_differences_are_marked_by_stars() -> None:
    right = estimates_figure(RESULTS, LIGHT).axes[1]
    marks = [text.get_text() for text in right.texts]
    assert marks == [stars(each.differences["ua"].p_holm) for each in RESULTS.table.comparisons.values()]
    assert marks[0].startswith("*")


def test_titles_name_the_selection_rule() -> None:
    assert estimates_figure(RESULTS, LIGHT).get_suptitle() == "made/3class, epochs chosen on dev"
    optimistic = estimates_figure(sample_results(TEST, ON_TEST), LIGHT)
    assert "TEST (optimistic)" in optimistic.get_suptitle()
    labels = [label.get_text() for label in optimistic.axes[0].get_yticklabels()]
    assert labels[2] == "by_speaker\n(uses unlabelled\ntest audio)"


def test_chance_level_is_drawn_if_it_lies_within_the_axes() -> None:
    assert "chance" not in [text.get_text() for text in estimates_figure(RESULTS, LIGHT).axes[0].texts]
    poor = sample_results(tables=predictions({"fgcme": 0.5, "mean_max": 1 / 3, "by_speaker": 0.3}))
    assert "chance" in [text.get_text() for text in estimates_figure(poor, LIGHT).axes[0].texts]


def test_the_description_names_variants_that_differ_significantly() -> None:
    text = describe_estimates(RESULTS)
    difference = RESULTS.table.comparisons["mean_max"].differences["ua"].mean
    assert f"Significantly different from the reference: mean_max ({points(difference)} points)." in text
    assert f"the reference, fgcme, has {percent(RESULTS.ua('fgcme'))} %" in text
    same = sample_results(tables={"fgcme": ON_DEV["fgcme"], "by_speaker": ON_DEV["by_speaker"]})
    assert "No difference from the reference is significant." in describe_estimates(same)


def test_selection_gaps_are_drawn_from_dev_to_test() -> None:
    gaps = selection_gaps(ON_TEST, ON_DEV, CLASSES)
    axes = gaps_figure(RESULTS, gaps, "both", LIGHT).axes[0]
    dev, test = axes.lines
    on_test = sample_results(TEST, ON_TEST)
    assert list(dev.get_xdata()) == pytest.approx([100 * RESULTS.ua(name) for name in RESULTS.variants])
    assert list(test.get_xdata()) == pytest.approx([100 * on_test.ua(name) for name in RESULTS.variants])
    assert [text.get_text() for text in axes.get_legend().get_texts()] == [
        "chosen on dev",
        "chosen on TEST (optimistic)",
    ]
    assert f"{points(gaps['fgcme']['ua'].mean)} (fgcme)" in describe_gaps(gaps)
