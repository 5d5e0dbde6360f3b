from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np

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


def test_gates_are_drawn_over_their_words_on_both_sides() -> None:
    axes = example_figure(sample_example(), "", LIGHT).axes[1]
    marks = {
        (line.get_marker(), round(float(line.get_xdata()[0]), 3)): float(line.get_ydata()[0])
        for line in axes.lines
        if line.get_marker() in ("o", "s")
    }
    assert marks == {("o", 0.3): 0.4, ("s", 0.3): 0.55, ("o", 0.75): 0.6, ("s", 0.75): 0.5}
    low, high = axes.get_ylim()
    assert low < 0.4
    assert high > 0.6
    assert [text.get_text() for text in axes.get_legend().get_texts()] == [
        "on the semantic side",
        "on the acoustic side",
    ]


def test_every_word_has_its_emotions_in_per_cent() -> None:
    axes = example_figure(sample_example(), "", DARK).axes[2]
    cells = [text.get_text() for text in axes.texts]
    assert cells == ["60", "30", "10", "20", "10", "70"]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["calm", "happy", "sad"]


def test_a_model_without_gates_or_without_words_has_fewer_rows() -> None:
    assert len(example_figure(sample_example(gates=False), "", LIGHT).axes) == 2
    assert len(example_figure(sample_example(gates=False, emotions=False), "", LIGHT).axes) == 1


def test_words_without_frames_or_past_the_end_can_be_drawn() -> None:
    made = sample_example()
    cut = replace(made, frames=made.frames[:60], prediction=replace(made.prediction, begin=[0.1, 0.5], end=[0.1, 1.0]))
    figure = example_figure(cut, "", LIGHT)
    assert figure.axes[0].get_xlim() == (0, 0.6)
    picture = Picture("cut", partial(example_figure, cut, ""), "")
    assert to_png(picture, LIGHT).startswith(b"\x89PNG")


def test_the_description_has_the_prediction_and_the_emotion_of_each_word() -> None:
    text = describe_example(sample_example())
    assert "predicted calm with 70 % (wrong, it is happy)" in text
    assert "good (0.10 to 0.50 s, semantic gate 0.40, acoustic gate 0.55, calm 60 %)" in text
    assert "morning (0.50 to 1.00 s, semantic gate 0.60, acoustic gate 0.50, sad 70 %)" in text
    assert "gate" not in describe_example(sample_example(gates=False))
