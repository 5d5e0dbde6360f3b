"""One utterance as a model reads it: its words over its frames, their gates and their emotions, as a picture."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from fgcme.audio import SAMPLE_RATE
from fgcme.report.formatting import listing
from fgcme.report.predictions import likeliest
from fgcme.report.theme import Theme
from fgcme.serving.fitted import Prediction

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# A word that takes less of the utterance is narrower than its numbers, and stays without.
_NARROW = 0.04


@dataclass(frozen=True)
class UtteranceExample:
    """A test utterance, and what a model that was trained without its speaker says of it.

    Attributes:
        id, speaker, label: of the utterance; `label` is its true class.
        frames: [A, F] features.
        frame_step: samples from one frame to the next.
        features: what the values of a frame are, for a reader.
        prediction: with words, spans, gates and emotions.
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
    """Above, the features with the span of each word; below, if the model has them, gates and emotions word by word.

    Args:
        example: the utterance.
        heading: written above the figure: the model and its caveats.
        theme: its colours.
    """
    prediction = example.prediction
    sides = list(dict.fromkeys(itertools.chain.from_iterable(prediction.word_gates)))
    has_emotions = any(prediction.word_probabilities)
    heights = [2.0] + ([1.0] if sides else []) + ([0.3 + 0.2 * len(prediction.probabilities)] if has_emotions else [])
    figure = theme.canvas(8.6, 1.1 + sum(heights), heading)
    rows = list(np.atleast_1d(figure.subplots(len(heights), 1, sharex=True, height_ratios=heights)))
    _frames(rows[0], example, theme)
    for edge in sorted({*prediction.begin, *prediction.end}):
        rows[0].axvline(edge, color=theme.second, linewidth=1.2)
        for row in rows[1:]:
            row.axvline(edge, color=theme.grid, linewidth=0.8)
    if sides:
        _gates(rows[1], prediction, sides, theme)
    if has_emotions:
        _emotions(rows[-1], prediction, example.duration, theme)
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
    told = []
    for word, begin, end, gates, emotions in zip(
        prediction.words,
        prediction.begin,
        prediction.end,
        prediction.word_gates,
        prediction.word_probabilities,
        strict=True,
    ):
        facts = [f"{begin:.2f} to {end:.2f} s"]
        facts += [f"{side} gate {value:.2f}" for side, value in gates.items()]
        if emotions:
            facts.append(f"{likeliest(emotions)} {100 * emotions[likeliest(emotions)]:.0f} %")
        told.append(f"{word} ({', '.join(facts)})")
    return f"{text} Words: {listing(told)}."


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


def _gates(axes: Axes, prediction: Prediction, sides: list[str], theme: Theme) -> None:
    styles = {"semantic": (theme.first, "-", "o"), "acoustic": (theme.ink, (0, (3, 1.5)), "s")}
    for side in sides:
        colour, line, marker = styles[side]
        for word, (begin, end, gates) in enumerate(
            zip(prediction.begin, prediction.end, prediction.word_gates, strict=True)
        ):
            axes.plot([begin, end], [gates[side]] * 2, color=colour, linestyle=line, linewidth=1.6)
            label = f"on the {side} side" if word == 0 else None
            axes.plot((begin + end) / 2, gates[side], marker, color=colour, markersize=4, label=label, linestyle="none")
    values = [value for gates in prediction.word_gates for value in gates.values()]
    middle, reach = (min(values) + max(values)) / 2, max(0.1, 0.7 * (max(values) - min(values)))
    axes.set_ylim(max(0.0, middle - reach), min(1.0, middle + reach))
    axes.set_ylabel("mean gate")
    axes.grid(axis="y", color=theme.grid, linewidth=0.5)
    axes.legend(
        loc="lower right",
        bbox_to_anchor=(1, 0.97),
        ncols=2,
        frameon=False,
        fontsize=7.5,
        labelcolor=theme.ink,
        handletextpad=0.2,
        borderpad=0.1,
    )


def _emotions(axes: Axes, prediction: Prediction, duration: float, theme: Theme) -> None:
    classes = list(prediction.probabilities)
    for begin, end, emotions in zip(prediction.begin, prediction.end, prediction.word_probabilities, strict=True):
        values = np.array([emotions[name] for name in classes])
        edges = np.arange(len(classes) + 1) - 0.5
        if end > begin:
            axes.pcolormesh([begin, end], edges, values[:, None], cmap=theme.shades(), vmin=0, vmax=1)
        for row, value in enumerate(values):
            if end - begin > _NARROW * duration:
                axes.text(
                    (begin + end) / 2,
                    row,
                    f"{100 * value:.0f}",
                    ha="center",
                    va="center",
                    fontsize=7,
                    color=theme.ink,
                )
    axes.set_yticks(range(len(classes)), classes)
    axes.set_ylim(len(classes) - 0.5, -0.5)
    axes.set_ylabel("emotion, %")
