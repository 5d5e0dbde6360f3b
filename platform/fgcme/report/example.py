"""One utterance as a model reads it: its words over its frames, and what each contributes, as a picture."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from fgcme.audio import SAMPLE_RATE
from fgcme.report.formatting import listing, signed
from fgcme.report.predictions import summarise_log_odds
from fgcme.report.theme import Theme
from fgcme.serving.prediction import Prediction

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# What a word contributes to log-odds is drawn on a scale of at least so much, so that little looks little.
_LEAST = 1.0


@dataclass(frozen=True)
class UtteranceExample:
    """A test utterance, and what a model that was trained without its speaker says of it.

    Attributes:
        id, speaker, label: of the utterance; `label` is its true class.
        frames: [A, F] features.
        frame_step: samples from one frame to the next.
        features: what the values of a frame are, for a reader.
        prediction: with words, spans and contributions.
        fold, seed: of the model's training.
    """

    id: str
    speaker: str
    label: str
    frames: npt.NDArray[np.float32]
    frame_step: int
    features: str
    prediction: Prediction
    fold: int
    seed: int

    @property
    def duration(self) -> float:
        """Seconds that its frames take; audio may have been cut before the last word."""
        return len(self.frames) * self.frame_step / SAMPLE_RATE

    @property
    def text(self) -> str:
        """Its words."""
        return " ".join(self.prediction.words)


def example_figure(example: UtteranceExample, heading: str, theme: Theme) -> Figure:
    """Above, the features with the span of each word; below, if it is known, what each word contributes.

    Args:
        example: the utterance.
        heading: written above the figure: the model and its caveats.
        theme: its colours.
    """
    prediction = example.prediction
    heights = [2.0] if prediction.base is None else [2.0, 1.3]
    figure = theme.canvas(8.6, 1.1 + sum(heights), heading)
    rows = list(np.atleast_1d(figure.subplots(len(heights), 1, sharex=True, height_ratios=heights)))
    _frames(rows[0], example, theme)
    for edge in sorted({*prediction.begin, *prediction.end}):
        rows[0].axvline(edge, color=theme.second, linewidth=1.2)
        for row in rows[1:]:
            row.axvline(edge, color=theme.grid, linewidth=0.8)
    for row in rows[1:]:
        _contributions(row, prediction, theme)
    rows[-1].set_xlabel("seconds")
    for row in rows:
        theme.style_axes(row)
    rows[0].set_xlim(0, example.duration)
    return figure


def describe_example(example: UtteranceExample) -> str:
    """What can be seen in `example_figure`."""
    prediction = example.prediction
    verdict = "right" if prediction.label == example.label else f"wrong, it is {example.label}"
    text = (
        f"“{example.text}”, speaker {example.speaker}: predicted {prediction.label} with "
        f"{100 * prediction.probabilities[prediction.label]:.0f} % ({verdict})."
    )
    times = zip(prediction.words, prediction.begin, prediction.end, strict=True)
    told = [f"{word} ({begin:.2f} to {end:.2f} s" for word, begin, end in times]
    if prediction.base is None:
        return f"{text} Words: {listing([f'{word})' for word in told])}."
    told = [
        f"{word}, {'not heard' if number is None else signed(number)})"
        for word, number in zip(told, prediction.contributions, strict=True)
    ]
    return (
        f"{text} Words, with what each contributes to the log-odds of {prediction.label}: {listing(told)}; "
        f"{summarise_log_odds(prediction)}."
    )


def _frames(axes: Axes, example: UtteranceExample, theme: Theme) -> None:
    prediction = example.prediction
    size = example.frames.shape[1]
    low, high = np.percentile(example.frames, (2, 99))
    axes.imshow(
        example.frames.T,
        origin="lower",
        aspect="auto",
        cmap=theme.greys(),
        vmin=low,
        vmax=high,
        extent=(0, example.duration, 0, size),
        interpolation="nearest",
    )
    axes.set_ylabel(example.features)
    words = axes.secondary_xaxis("top")
    middles = [(begin + end) / 2 for begin, end in zip(prediction.begin, prediction.end, strict=True)]
    words.set_xticks(middles, prediction.words, rotation=35, ha="left", rotation_mode="anchor")
    words.tick_params(length=2, color=theme.second, labelcolor=theme.ink, labelsize=9)
    words.spines["top"].set_visible(False)


def _contributions(axes: Axes, prediction: Prediction, theme: Theme) -> None:
    known = [
        (begin, end, number)
        for begin, end, number in zip(prediction.begin, prediction.end, prediction.contributions, strict=True)
        if number is not None
    ]
    reach = 1.35 * max([_LEAST, *(abs(number) for _, _, number in known)])
    for begin, end, number in known:
        colour = theme.cool if number > 0 else theme.warm
        axes.bar(begin, number, max(end - begin, 0.0), align="edge", color=colour, edgecolor=theme.ground)
        axes.annotate(
            signed(number),
            ((begin + end) / 2, number),
            (0, 2 if number > 0 else -2),
            textcoords="offset points",
            ha="center",
            va="bottom" if number > 0 else "top",
            fontsize=7,
            color=theme.ink,
            annotation_clip=True,
        )
    axes.axhline(0, color=theme.muted, linewidth=0.8)
    axes.set_ylim(-reach, reach)
    axes.set_ylabel(f"for {prediction.label}")
