"""The picture of answers against ratings."""

import numpy as np
import pytest

from fgcme.data import Tasks
from fgcme.evaluation.ratings import summarise_ratings
from fgcme.report.ratings import describe_scatter, ratings_figure
from tests.fgcme.evaluation.test_ratings import predictions

TASKS = Tasks([], {"valence": (1, 5)})


def test_each_answer_to_a_rating_is_a_point_at_its_place() -> None:
    table = predictions()
    (axes,) = ratings_figure(table, TASKS, "somewhere").axes
    (points,) = (each.get_offsets() for each in axes.collections)
    rated = table.filter(table["valence"].is_valid()).sort_by("id")
    np.testing.assert_allclose(points, np.stack([rated["valence"], rated["valence_predicted"]], axis=1))
    assert axes.get_title() == "valence"
    assert axes.lines[0].get_xydata().tolist() == [[1, 1], [5, 5]]


def test_more_points_than_can_be_told_apart_are_thinned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fgcme.report.ratings._POINTS", 7)
    (axes,) = ratings_figure(predictions(), TASKS).axes
    assert len(axes.collections[0].get_offsets()) == 7


def test_the_description_says_how_well_they_agree() -> None:
    summary = summarise_ratings(predictions(), ["valence"])
    assert f"valence has a CCC of {summary.metrics['ccc'].mean:.3f}" in describe_scatter(summary)
