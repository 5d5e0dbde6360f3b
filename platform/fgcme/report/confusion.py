"""The confusion matrix as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from fgcme.report.formatting import listing
from fgcme.report.theme import LIGHT, Theme

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def confusion_figure(
    matrix: np.ndarray, classes: Sequence[str], title: str = "", heading: str = "", theme: Theme = LIGHT
) -> Figure:
    """Draw a confusion matrix: true classes down, predicted ones across; colour and percentage are shares of the row.

    The diagonal thus shows the recalls, whose mean is UA. A class without utterances keeps an empty row.

    Args:
        matrix: [K, K] counts, as `fgcme.evaluation.metrics.confusion` gives them.
        classes: the K class names.
        title: written above the picture.
        heading: written above the title, small.
        theme: its colours.

    Returns:
        A figure that belongs to no window and no global state.
    """
    count = len(classes)
    if matrix.shape != (count, count):
        raise ValueError(f"a matrix of shape {matrix.shape} does not go with {count} classes")
    support = matrix.sum(1, keepdims=True)
    share = np.divide(matrix, support, out=np.zeros(matrix.shape), where=support > 0)
    side = 1.5 + 0.48 * count
    figure = theme.canvas(side, side + 0.1, heading)
    axes = figure.add_subplot()
    axes.imshow(share, vmin=0, vmax=1, cmap=theme.shades())
    for row, column in np.ndindex(count, count):
        if support[row, 0]:
            axes.text(
                column,
                row,
                f"{100 * share[row, column]:.0f}%\n{matrix[row, column]}",
                ha="center",
                va="center",
                fontsize=7.5,
                color=theme.ink,
            )
    axes.set_xticks(range(count), classes, rotation=45, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(count), [f"{name} ({total})" for name, total in zip(classes, support[:, 0], strict=True)])
    axes.set_xlabel("predicted")
    axes.set_ylabel("true (count)")
    axes.set_title(title)
    theme.style_axes(axes)
    return figure


def describe_confusion(matrix: np.ndarray, classes: Sequence[str]) -> str:
    """What can be seen in a confusion matrix.

    >>> describe_confusion(np.array([[3, 1], [0, 2]]), ["calm", "happy"])
    'Recall is 75 % for calm and 100 % for happy. The most frequent confusion is calm taken for happy, 25 % of calm.'
    """
    support = matrix.sum(1)
    recalls = [
        f"{100 * matrix[index, index] / support[index]:.0f} % for {name}"
        for index, name in enumerate(classes)
        if support[index]
    ]
    text = f"Recall is {listing(recalls)}."
    wrong = matrix / np.maximum(support, 1)[:, None] * (1 - np.eye(len(classes)))
    if not wrong.any():
        return f"{text} There is no confusion."
    true, answer = np.unravel_index(wrong.argmax(), wrong.shape)
    return (
        f"{text} The most frequent confusion is {classes[true]} taken for {classes[answer]}, "
        f"{100 * wrong[true, answer]:.0f} % of {classes[true]}."
    )
