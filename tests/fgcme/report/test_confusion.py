from __future__ import annotations

import io

import numpy as np
import pytest

from fgcme.report.confusion import confusion_figure, describe_confusion
from fgcme.report.theme import DARK

MATRIX = np.array([[3, 1, 0], [0, 2, 0], [0, 0, 0]])
CLASSES = ["angry", "calm", "happy"]


def test_every_cell_shows_its_share_of_the_row_and_its_count() -> None:
    axes = confusion_figure(MATRIX, CLASSES, "a title").axes[0]
    cells = {text.get_position(): text.get_text() for text in axes.texts}
    assert cells[(0, 0)] == "75%\n3"
    assert cells[(1, 0)] == "25%\n1"
    assert cells[(1, 1)] == "100%\n2"
    np.testing.assert_allclose(axes.images[0].get_array(), [[0.75, 0.25, 0], [0, 1, 0], [0, 0, 0]])
    assert axes.get_title() == "a title"


def test_rows_are_true_classes_with_their_support() -> None:
    axes = confusion_figure(MATRIX, CLASSES).axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["angry (4)", "calm (2)", "happy (0)"]
    assert [label.get_text() for label in axes.get_xticklabels()] == CLASSES
    assert axes.get_xlabel() == "predicted"


def test_a_matrix_is_saved_without_a_display_and_its_figure_is_closed() -> None:
    from matplotlib import pyplot

    before = pyplot.get_fignums()
    picture = io.BytesIO()
    confusion_figure(MATRIX, CLASSES).savefig(picture, format="png")
    assert picture.getvalue().startswith(b"\x89PNG")
    assert pyplot.get_fignums() == before


def test_a_matrix_of_other_classes_is_refused() -> None:
    with pytest.raises(ValueError, match="does not go with 2 classes"):
        confusion_figure(MATRIX, CLASSES[:2])


def test_the_caller_chooses_heading_and_theme() -> None:
    figure = confusion_figure(MATRIX, CLASSES, "a title", "demo/4class, epochs chosen on dev", DARK)
    assert figure.get_suptitle() == "demo/4class, epochs chosen on dev"
    assert {text.get_color() for text in figure.axes[0].texts} == {DARK.ink}


def test_the_description_names_recalls_and_the_most_frequent_confusion() -> None:
    assert describe_confusion(MATRIX, CLASSES) == (
        "Recall is 75 % for angry and 100 % for calm. The most frequent confusion is angry taken for calm, 25 % of "
        "angry."
    )


def test_the_description_of_a_perfect_matrix_has_no_confusion() -> None:
    assert describe_confusion(np.diag([2, 3]), ["calm", "sad"]).endswith("There is no confusion.")
