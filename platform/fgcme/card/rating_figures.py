"""The figures of a model card about ratings, from the out-of-fold predictions of a cross-validation."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fgcme.data import Tasks
from fgcme.evaluation.ratings import RatingsSummary, summarise_ratings


@dataclass(frozen=True)
class RatingGroup:
    """How well the ratings of some speakers are answered.

    Attributes:
        name: of the speaker, or of what the speakers have in common.
        summary: CCC, Pearson's correlation and RMSE of each dimension, with intervals where there are two speakers.
    """

    name: str
    summary: RatingsSummary

    @property
    def speakers(self) -> int:
        """How many speakers."""
        return self.summary.speakers

    @property
    def utterances(self) -> int:
        """How many utterances."""
        return self.summary.utterances


@dataclass(frozen=True)
class RatingFigures:
    """The figures of a model card about ratings.

    Attributes:
        scales: dimension -> the lowest and the highest value of its scale, for reading.
        seeds, folds: of the trainings.
        everybody: all speakers together.
        by_sex: of the speakers; none where the corpus does not say.
        by_speaker: each alone, by name.
    """

    scales: dict[str, str]
    seeds: list[int]
    folds: int
    everybody: RatingGroup
    by_sex: list[RatingGroup]
    by_speaker: list[RatingGroup]


def rating_figures(
    predictions: pa.Table, tasks: Tasks, sex_of: Callable[[str], str | None] = lambda speaker: None
) -> RatingFigures:
    """The figures of a model card about ratings.

    Args:
        predictions: all folds and seeds, with the columns of `fgcme.evaluation.ratings`.
        tasks: that were learnt, ratings among them.
        sex_of: a speaker's, or None where it is not known.

    Raises:
        UserError: a seed does not answer every utterance once.
    """
    speakers = sorted(set(predictions["speaker"].to_pylist()))
    sexes = {speaker: sex_of(speaker) for speaker in speakers}

    def group(name: str, chosen: Iterable[str]) -> RatingGroup:
        own = predictions.filter(pc.is_in(predictions["speaker"], pa.array(list(chosen), pa.string())))
        return RatingGroup(name, summarise_ratings(own, tasks.dimensions))

    return RatingFigures(
        scales={name: f"{low:g} to {high:g}" for name, (low, high) in tasks.dimensions.items()},
        seeds=np.unique(predictions["seed"].to_numpy()).tolist(),
        folds=len(np.unique(predictions["fold"].to_numpy())),
        everybody=group("everybody", speakers),
        by_sex=[
            group(sex, [speaker for speaker in speakers if sexes[speaker] == sex])
            for sex in sorted({sex for sex in sexes.values() if sex is not None})
        ],
        by_speaker=[group(speaker, [speaker]) for speaker in speakers],
    )
