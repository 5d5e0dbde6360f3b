"""Answers of ratings in the predictions of a cross-validation, and what they say of all folds together.

Beside the columns of `cross_validation.PREDICTIONS`, or in place of those of classes where none are learnt, there is a
column `valence` for the rating, null where nobody rated, and `valence_predicted` for the answer, on the same scale.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from fgcme.errors import UserError
from fgcme.evaluation.concordance import RatingSums
from fgcme.evaluation.cross_validation import PREDICTIONS
from fgcme.evaluation.intervals import Interval, correlation_interval, difference_interval, standard_error
from fgcme.evaluation.resampling import draw_weights

_OF_CLASSES = ("label", "prediction", "probabilities")
_RESAMPLES = 10_000


def ratings_table(ids: Sequence[str], speakers: Sequence[str], fold: int, seed: int) -> pa.Table:
    """Predictions of one fold without any answer, where no class is learnt; `with_ratings` adds those.

    Args:
        ids: of the B utterances.
        speakers: of the B utterances.
        fold: of the training.
        seed: of the training.
    """
    columns = {"id": list(ids), "speaker": list(speakers), "fold": [fold] * len(ids), "seed": [seed] * len(ids)}
    schema = pa.schema([each for each in PREDICTIONS if each.name not in _OF_CLASSES])
    return pa.table([pa.array(columns[each.name], each.type) for each in schema], schema)


def with_ratings(
    predictions: pa.Table, ratings: Mapping[str, np.ndarray], answered: Mapping[str, np.ndarray]
) -> pa.Table:
    """Predictions with the columns of ratings.

    Args:
        predictions: of the B utterances.
        ratings: dimension -> [B] on its own scale; NaN where nobody rated.
        answered: dimension -> [B] on the same scale.
    """
    for name, values in ratings.items():
        true = pa.array(values, pa.float32(), from_pandas=True)
        predictions = predictions.append_column(name, true)
        predictions = predictions.append_column(answered_column(name), pa.array(answered[name], pa.float32()))
    return predictions


def read_ratings(predictions: pa.Table, dimensions: Iterable[str]) -> tuple[dict[str, np.ndarray], ...]:
    """The ratings of some predictions and the answers: dimension -> [B] each, NaN where nobody rated."""
    names = list(dimensions)
    return (
        {name: predictions[name].to_numpy().astype(np.float64) for name in names},
        {name: predictions[answered_column(name)].to_numpy().astype(np.float64) for name in names},
    )


@dataclass(frozen=True)
class RatingsBySeed:
    """Answers of ratings over all folds and seeds.

    Attributes:
        ids, speakers, folds: [B] of the utterances, sorted by id.
        seeds: [R] sorted.
        ratings: dimension -> [B]; NaN where nobody rated.
        answered: dimension -> [R, B].
    """

    ids: np.ndarray
    speakers: np.ndarray
    folds: np.ndarray
    seeds: np.ndarray
    ratings: dict[str, np.ndarray]
    answered: dict[str, np.ndarray]

    @classmethod
    def of(cls, predictions: pa.Table, dimensions: Iterable[str], name: str = "") -> RatingsBySeed:
        """Arrange predictions by seed and utterance.

        Args:
            predictions: of all folds and seeds, in any order.
            dimensions: that were learnt.
            name: of the variant, for messages.

        Raises:
            UserError: a seed does not answer every utterance once.
        """
        ids = np.unique(np.array(predictions["id"].to_pylist()))
        seeds = np.unique(predictions["seed"].to_numpy())
        ordered = predictions.sort_by([("seed", "ascending"), ("id", "ascending")])
        if ordered["id"].to_pylist() != ids.tolist() * len(seeds):
            raise UserError(
                f"{name or 'these predictions'}: not every one of {len(ids)} utterances is answered once by each of "
                f"{len(seeds)} seeds; train all folds with all seeds"
            )
        ratings, answered = read_ratings(ordered, dimensions)
        first = ordered.slice(0, len(ids))
        return cls(
            ids,
            np.array(first["speaker"].to_pylist()),
            first["fold"].to_numpy(),
            seeds,
            {name: values[: len(ids)] for name, values in ratings.items()},
            {name: values.reshape(len(seeds), len(ids)) for name, values in answered.items()},
        )

    def sums(self, groups: np.ndarray) -> RatingSums:
        """The sums of each group, such as the speakers or the folds, by seed."""
        return RatingSums.by_group(groups, self.ratings, self.answered)


@dataclass(frozen=True)
class RatingEstimate:
    """One metric of the answers of ratings.

    Attributes:
        mean: over seeds, of the pooled out-of-fold answers of each.
        deviation: sample deviation over seeds, 0 with one.
        interval: of the mean, over speakers and seeds; None with fewer than two speakers.
    """

    mean: float
    deviation: float
    interval: Interval | None


@dataclass(frozen=True)
class RatingsSummary:
    """Metrics of a cross-validation's answers of ratings.

    Attributes:
        dimensions: that were learnt.
        metrics: such as `ccc`, the mean over dimensions, and `ccc_valence` -> its estimate.
        by_fold: fold -> mean CCC over seeds; of one fold alone.
        counts: dimension -> utterances that have a rating.
        utterances, speakers: how many there are.
    """

    dimensions: list[str]
    metrics: dict[str, RatingEstimate]
    by_fold: dict[int, float]
    counts: dict[str, int]
    utterances: int
    speakers: int


def summarise_ratings(
    predictions: pa.Table, dimensions: Iterable[str], without_speakers: Iterable[str] = (), seed: int = 0
) -> RatingsSummary:
    """Metrics of the pooled out-of-fold answers of each seed, with intervals over speakers.

    Intervals are those of `fgcme.evaluation.comparison`: speakers are drawn as wholes, and what differs from seed to
    seed comes on top.

    Args:
        predictions: all folds and seeds.
        dimensions: that were learnt.
        without_speakers: leave these speakers out.
        seed: of the draws.

    Raises:
        UserError: a seed does not answer every utterance once.
    """
    kept = ~np.isin(np.array(predictions["speaker"].to_pylist()), list(without_speakers))
    names = list(dimensions)
    by_seed = RatingsBySeed.of(predictions.filter(pa.array(kept)), names)
    by_speaker, of_folds = by_seed.sums(by_seed.speakers), by_seed.sums(by_seed.folds)
    speakers = len(by_speaker.values)
    values = by_speaker.weighted(np.ones((1, speakers))).measure()
    estimates = {name: _estimate(of_seeds[0]) for name, of_seeds in values.items()}
    if speakers > 1:
        weights = draw_weights(speakers, _RESAMPLES, np.random.default_rng(seed))
        replicates = by_speaker.weighted(weights).measure()
        varied = of_folds.vary_one_group().measure(), by_speaker.vary_one_group().measure()
        for name, estimate in estimates.items():
            error = standard_error(replicates[name].mean(-1), speakers, varied[0][name], varied[1][name])
            make = difference_interval if name.startswith("rmse") else correlation_interval
            estimates[name] = RatingEstimate(estimate.mean, estimate.deviation, make(estimate.mean, error))
    of_each = of_folds.measure()["ccc"].mean(-1).tolist()
    return RatingsSummary(
        dimensions=names,
        metrics=estimates,
        by_fold=dict(zip(np.unique(by_seed.folds).tolist(), of_each, strict=True)),
        counts={name: int((~np.isnan(each)).sum()) for name, each in by_seed.ratings.items()},
        utterances=len(by_seed.ids),
        speakers=speakers,
    )


def _estimate(of_seeds: np.ndarray) -> RatingEstimate:
    deviation = float(of_seeds.std(ddof=1)) if len(of_seeds) > 1 else 0.0
    return RatingEstimate(float(of_seeds.mean()), deviation, None)


def answered_column(dimension: str) -> str:
    """The column of predictions that has the answers of a dimension, whose own column has the ratings."""
    return f"{dimension}_predicted"
