"""The figures of a model card, from the out-of-fold predictions of a cross-validation."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fgcme.evaluation.agreement import VOTES, Agreement, measure_agreement
from fgcme.evaluation.calibration import Calibration, calibrate
from fgcme.evaluation.comparison import compare_variants
from fgcme.evaluation.cross_validation import summarise
from fgcme.evaluation.intervals import Interval

METRICS = ("ua", "wa", "macro_f1")


@dataclass(frozen=True)
class Measured:
    """A metric.

    Attributes:
        value: the mean over seeds.
        deviation: sample deviation over seeds; 0 with one.
        interval: of 95 % over speakers and seeds; None with fewer than two speakers.
    """

    value: float
    deviation: float
    interval: Interval | None


@dataclass(frozen=True)
class Group:
    """How well some speakers are recognised.

    Attributes:
        name: of the speaker, or of what the speakers have in common.
        speakers, utterances: how many.
        metrics: `ua`, `wa` and `macro_f1`; UA over the classes that the group has.
        recalls: [K] of each class, mean over seeds; NaN for a class that it has not.
    """

    name: str
    speakers: int
    utterances: int
    metrics: dict[str, Measured]
    recalls: np.ndarray


@dataclass(frozen=True)
class Figures:
    """The figures of a model card.

    Attributes:
        classes: names of the K classes.
        seeds, folds: of the trainings.
        everybody: all speakers together.
        support: [K] utterances of each class.
        confused: [K] the class that each is taken for most often, and the share of its utterances; None where never.
        by_sex: of the speakers; none where the corpus does not say.
        by_speaker: each alone, by name.
        calibration: of all answers of all seeds.
        agreement: of the raters, and of the model with them; None where their shares were not learnt.
    """

    classes: list[str]
    seeds: list[int]
    folds: int
    everybody: Group
    support: list[int]
    confused: list[tuple[str, float] | None]
    by_sex: list[Group]
    by_speaker: list[Group]
    calibration: Calibration
    agreement: Agreement | None = None


def card_figures(
    predictions: pa.Table, classes: Sequence[str], sex_of: Callable[[str], str | None] = lambda speaker: None
) -> Figures:
    """The figures of a model card.

    Args:
        predictions: all folds and seeds, schema `fgcme.evaluation.cross_validation.PREDICTIONS`.
        classes: class names.
        sex_of: a speaker's, or None where it is not known.

    Raises:
        UserError: the predictions are not complete, see `fgcme.evaluation.comparison.compare_variants`.
    """
    names = sorted(set(predictions["speaker"].to_pylist()))
    sexes = {name: sex_of(name) for name in names}
    matrix = summarise(predictions, classes).matrix
    seeds = sorted(set(predictions["seed"].to_pylist()))
    index = {name: number for number, name in enumerate(classes)}
    labels = np.array([index[name] for name in predictions["label"].to_pylist()])
    return Figures(
        classes=list(classes),
        seeds=seeds,
        folds=len(set(predictions["fold"].to_pylist())),
        everybody=_group("everybody", predictions, names, classes),
        support=(matrix.sum(1) // len(seeds)).tolist(),
        confused=[_most_confused(row, number, classes) for number, row in enumerate(matrix)],
        by_sex=[
            _group(sex, predictions, [name for name in names if sexes[name] == sex], classes)
            for sex in sorted({sex for sex in sexes.values() if sex is not None})
        ],
        by_speaker=[_group(name, predictions, [name], classes) for name in names],
        calibration=calibrate(np.array(predictions["probabilities"].to_pylist(), np.float64), labels),
        agreement=measure_agreement(predictions, [*classes]) if VOTES in predictions.column_names else None,
    )


def _group(title: str, predictions: pa.Table, speakers: Iterable[str], classes: Sequence[str]) -> Group:
    chosen = list(speakers)
    own = predictions.filter(pc.is_in(predictions["speaker"], pa.array(chosen, pa.string())))
    summary = summarise(own, classes)
    # An interval over speakers needs two of them; one table has no swaps to draw.
    estimates = compare_variants({title: own}, title, classes, swaps=1).estimates[title] if len(chosen) > 1 else {}
    support = summary.matrix.sum(1)
    recalls = np.full(len(support), np.nan)
    np.divide(np.diag(summary.matrix), support, out=recalls, where=support > 0)
    return Group(
        name=title,
        speakers=len(chosen),
        utterances=summary.utterances,
        metrics={
            metric: Measured(
                summary.mean[metric],
                summary.deviation[metric],
                estimates[metric].interval if metric in estimates else None,
            )
            for metric in METRICS
        },
        recalls=recalls,
    )


def _most_confused(row: np.ndarray, own: int, classes: Sequence[str]) -> tuple[str, float] | None:
    """The other class that utterances of a class are taken for most often; see `Figures`."""
    others = np.where(np.arange(len(row)) == own, 0, row)
    return (classes[int(others.argmax())], float(others.max() / row.sum())) if others.any() else None
