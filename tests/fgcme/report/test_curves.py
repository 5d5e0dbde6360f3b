from __future__ import annotations

import numpy as np
import pytest

from fgcme.report.curves import describe_learning, learning_figure, ua_limits
from fgcme.report.results import Curve, LearningCurves
from fgcme.report.theme import LIGHT
from tests.fgcme.report.sample_report import sample_learning

NOTHING = LearningCurves(Curve.of([]), Curve.of([]), 0)


def test_ua_is_above_and_loss_below_over_epochs() -> None:
    above, below = learning_figure(sample_learning(), "mean", "a heading", LIGHT).axes
    np.testing.assert_allclose(above.lines[0].get_xydata(), [[1, 35], [2, 60], [3, 50]])
    np.testing.assert_allclose(below.lines[0].get_ydata(), [1.1, 0.9, 0.8])
    band = above.collections[0].get_datalim(above.transData)
    deviation = 100 * float(sample_learning().dev_ua.deviation[0])
    assert band.y0 == pytest.approx(35 - deviation)
    assert above.get_title() == "mean"


def test_the_reference_is_dashed_and_named() -> None:
    above, below = learning_figure(sample_learning(), "mean", "", LIGHT, reference=sample_learning(0.8)).axes
    assert above.lines[0].get_ydata()[1] == pytest.approx(80)
    assert above.lines[0].get_linestyle() == "--"
    assert [text.get_text() for text in below.get_legend().get_texts()] == ["reference"]


def test_figures_that_are_compared_have_the_same_limits() -> None:
    limits = ua_limits([sample_learning(0.6), sample_learning(0.9)])
    assert limits is not None
    above = learning_figure(sample_learning(), "mean", "", LIGHT, limits=limits).axes[0]
    assert above.get_ylim() == pytest.approx((100 * limits[0], 100 * limits[1]))
    assert limits[0] < 0.35 - float(sample_learning().dev_ua.deviation[0])
    assert limits[1] > 0.9
    assert ua_limits([NOTHING]) is None


def test_the_description_has_the_ends_and_the_maximum_of_the_curve() -> None:
    text = describe_learning(sample_learning())
    assert "Of 2 trainings" in text
    assert "35.0 % in epoch 1 to 50.0 % in epoch 3" in text
    assert "highest in epoch 2 with 60.0 %" in text
    assert "1.10 to 0.80" in text
    assert describe_learning(NOTHING) == "Of 0 trainings, no epoch is recorded by all."
