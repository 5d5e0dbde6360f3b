"""The confusion matrix as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def confusion_figure(matrix: np.ndarray, classes: Sequence[str], title: str = "") -> Figure:
    """Draw a confusion matrix: true classes down, predicted ones across; colour and percentage are shares of the row.

    The diagonal thus shows the recalls, whose mean is UA. A class without utterances keeps an empty row.

    Args:
        matrix: [K, K] counts, as `fgcme.metrics.confusion` gives them.
        classes: the K class names.
        title: written above the picture.

    Returns:
        A figure that belongs to no window and no global state.
    """
    from matplotlib.figure import Figure

    count = len(classes)
    if matrix.shape != (count, count):
        raise ValueError(f"a matrix of shape {matrix.shape} does not go with {count} classes")
    support = matrix.sum(1, keepdims=True)
    share = np.divide(matrix, support, out=np.zeros(matrix.shape), where=support > 0)
    side = 2.2 + 0.75 * count
    figure = Figure(figsize=(side + 0.6, side), layout="constrained")
    axes = figure.add_subplot()
    image = axes.imshow(share, vmin=0, vmax=1, cmap="Blues")
    for row, column in np.ndindex(count, count):
        if support[row, 0]:
            axes.text(
                column,
                row,
                f"{100 * share[row, column]:.0f}%\n{matrix[row, column]}",
                ha="center",
                va="center",
                fontsize=8,
                color="white" if share[row, column] > 0.5 else "black",
            )
    axes.set_xticks(range(count), classes, rotation=45, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(count), [f"{name} ({total})" for name, total in zip(classes, support[:, 0], strict=True)])
    axes.set_xlabel("predicted")
    axes.set_ylabel("true (utterances)")
    axes.set_title(title)
    figure.colorbar(image, ax=axes, shrink=0.8, label="share of the true class")
    return figure
