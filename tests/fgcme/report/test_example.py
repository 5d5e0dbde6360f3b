from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
from matplotlib.colors import to_hex

from fgcme.report.example import describe_example, example_figure
from fgcme.report.theme import DARK, LIGHT, Picture, to_png
from tests.fgcme.report.sample_report import sample_example


def test_words_are_centred_over_their_spans() -> None:
    axes = example_figure(sample_example(), "a heading", LIGHT).axes
    words = axes[0].child_axes[0]
    assert [label.get_text() for label in words.get_xticklabels()] == ["good", "morning"]
    np.testing.assert_allclose(words.get_xticks(), [0.3, 0.75])
    assert axes[0].images[0].get_extent() == [0, 1.2, 0, 6]
    edges = [line.get_xdata()[0] for line in axes[0].lines]
    assert edges == [0.1, 0.5, 1.0]


def test_what_each_word_contributes_is_a_bar_under_it_with_its_number() -> None:
    axes = example_figure(sample_example(), "", DARK).axes[1]
    bars = [(round(bar.get_x(), 3), round(bar.get_width(), 3), bar.get_height()) for bar in axes.patches]
    assert bars == [(0.1, 0.4, 1.75), (0.5, 0.5, -0.5)]
    assert [to_hex(bar.get_facecolor()) for bar in axes.patches] == [DARK.cool, DARK.warm]
    assert [text.get_text() for text in axes.texts] == ["+1.8", "−0.5"]
    low, high = axes.get_ylim()
    assert low == -high and high > 1.75
    assert axes.get_ylabel() == "for calm"


def test_little_is_not_drawn_as_much() -> None:
    made = sample_example()
    little = replace(made, prediction=replace(made.prediction, contributions=[0.02, -0.01]))
    assert example_figure(little, "", LIGHT).axes[1].get_ylim()[1] >= 1


def test_a_model_without_contributions_has_fewer_rows() -> None:
    assert len(example_figure(sample_example(), "", LIGHT).axes) == 2
    assert len(example_figure(sample_example(contributions=False), "", LIGHT).axes) == 1


def test_words_without_frames_or_past_the_end_can_be_drawn() -> None:
    made = sample_example()
    cut = replace(made, frames=made.frames[:60], prediction=replace(made.prediction, begin=[0.1, 0.5], end=[0.1, 1.0]))
    figure = example_figure(cut, "", LIGHT)
    assert figure.axes[0].get_xlim() == (0, 0.6)
    picture = Picture("cut", partial(example_figure, cut, ""), "")
    assert to_png(picture, LIGHT).startswith(b"\x89PNG")


def test_the_description_has_the_prediction_and_what_each_word_contributes() -> None:
    text = describe_example(sample_example())
    assert "predicted calm with 70 % (wrong, it is happy)" in text
    assert "good (0.10 to 0.50 s, +1.8) and morning (0.50 to 1.00 s, −0.5); from −0.4 to +0.8 = calm 70 %" in text
    without = describe_example(sample_example(contributions=False))
    assert without.endswith("Words: good (0.10 to 0.50 s) and morning (0.50 to 1.00 s).")
