"""The statistics of an ablation: several variants of a model, trained on the same folds with the same seeds.

What is independent and what is not:

- Speakers are. They are drawn, swapped and counted as wholes here; their number is the sample size. (Where two of them
  talk to each other, as in IEMOCAP, they share topics and mood; that is not accounted for.)
- Utterances of one speaker are not: a voice that is hard to read is hard in all of them. Counting them as independent
  makes intervals too narrow and p-values too small.
- Seeds are not: they repeat a training on the same data, so their deviation is the noise of training alone. Metrics
  are means over seeds, and no seed counts as further data.
- All test speakers of a fold are predicted by the same models: chance in one training affects all of them, and speakers
  alone cannot tell it from a true difference. Seeds can. So with two seeds or more, intervals and p-values count how
  much a fold's result varies from seed to seed beside how much it varies from speaker to speaker (see
  `fgcme.evaluation.intervals.standard_error`). With one seed this is unknown, and they speak only of the very models
  that were trained.
- Folds are not: any two of them share most of their training data. No interval and no p-value accounts for that; only
  other corpora say more.

Intervals are of the cluster bootstrap: whole speakers are drawn with replacement, with all their utterances and seeds,
the same speakers for all variants; what differs from seed to seed comes on top.

A difference is tested twice, and has to pass both tests. First by swapping the predictions of the two variants, whole
speakers at a time: if it does not matter which of the two predicted, each of the swapped tables was as likely as the
real one. All swaps are tried if they are few, otherwise random ones (see `fgcme.evaluation.resampling.draw_swaps`).
Second by the t-test of its interval, which accounts for the noise of training. In simulations of 24 speakers in 6
folds, where trainings moved a fold's UA by 3 to 4 points and no difference was true, swaps alone claimed one in 7 to 12
of 100 tables of 6 comparisons, and in 50 of 100 where speakers were much alike; both tests together in 4 to 6.

The differences of all variants in UA are one family of Holm (1979), those in WA another, McNemar's tests a third: with
no true difference in the table, the chance that any `p_holm` of a family is at or below 0.05 is at most 0.05, if the
family's tests are valid. P speakers can give no p-value below 2^(1 - P) (see `ComparisonTable.smallest_p`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa

from fgcme.errors import UserError
from fgcme.evaluation.counts import Counts
from fgcme.evaluation.intervals import Interval, difference_interval, metric_interval, standard_error
from fgcme.evaluation.predictions import PredictionsBySeed, require_same_test_data
from fgcme.evaluation.resampling import draw_swaps, draw_weights
from fgcme.evaluation.significance import (
    McNemar,
    cohens_dz,
    holm,
    mcnemar_tests,
    permutation_p,
    smallest_p,
    speaker_contributions,
)

# Of these, swapping a speaker's predictions changes only the sign of its contribution.
TESTED_METRICS = ("ua", "wa")


@dataclass(frozen=True)
class Estimate:
    """One metric of one variant.

    Attributes:
        mean: over seeds, of the pooled out-of-fold predictions of each.
        deviation: sample deviation over seeds, 0 with one seed; the noise of training.
        interval: of the mean; the noise of who was recorded, and with several seeds that of training too.
    """

    mean: float
    deviation: float
    interval: Interval


@dataclass(frozen=True)
class Difference:
    """One metric of a variant less that of the reference, on the same utterances.

    Attributes:
        mean: over seeds; 0.01 is one point.
        interval: of the mean; the noise of who was recorded, and with several seeds that of training too.
        p_value: two-sided, the larger of two: that of the paired permutation test over speakers, and that of the t-test
            which belongs to the interval. So what is below 0.05 has an interval that leaves 0 out.
        p_holm: the same, corrected for all variants of the table; of each metric by itself.
        effect: Cohen's d_z over speakers: each speaker's own difference (of the mean over seeds), their mean divided by
            their sample deviation. 0 if there is no difference, infinite if all speakers' are equal.
    """

    mean: float
    interval: Interval
    p_value: float
    p_holm: float
    effect: float


@dataclass(frozen=True)
class Comparison:
    """A variant against the reference.

    Attributes:
        differences: metric, one of `TESTED_METRICS` -> its difference.
        mcnemar: the test over utterances.
    """

    differences: dict[str, Difference]
    mcnemar: McNemar


@dataclass(frozen=True)
class ComparisonTable:
    """The statistics of an ablation.

    Attributes:
        reference: the variant that the others are compared with.
        estimates: variant, the reference too -> metric (`wa`, `ua`, `macro_f1`) -> estimate.
        comparisons: variant, the reference not -> its comparison.
        smallest_p: the smallest `p_holm` of a difference can be no less, whatever the predictions: where this is above
            0.05 there are too few speakers for so many variants to tell any of them apart.
        speakers, utterances, seeds: how many of each.
    """

    reference: str
    estimates: dict[str, dict[str, Estimate]]
    comparisons: dict[str, Comparison]
    smallest_p: float
    speakers: int
    utterances: int
    seeds: int


def compare_variants(
    variants: Mapping[str, pa.Table],
    reference: str,
    classes: Sequence[str],
    resamples: int = 10_000,
    swaps: int = 100_000,
    seed: int = 0,
) -> ComparisonTable:
    """Estimates of all variants, and comparisons of each with the reference.

    Args:
        variants: name -> predictions of all folds and seeds, schema `fgcme.evaluation.cross_validation.PREDICTIONS`.
        reference: one of the names.
        classes: class names.
        resamples: draws of the bootstrap.
        swaps: of speakers, at most.
        seed: of the draws and the swaps; the same seed gives the same table.

    Raises:
        UserError: the reference is not there; variants differ in utterances, labels, speakers, folds or seeds; there
            are fewer than two speakers; or the predictions of a variant are not complete (see `PredictionsBySeed.of`).
    """
    predictions = _paired(variants, reference, classes)
    speakers = len(np.unique(predictions[reference].speakers))
    if speakers < 2:
        raise UserError(f"variant {reference}: statistics over speakers need at least two, there is {speakers}")

    generator = np.random.default_rng(seed)
    weights = draw_weights(speakers, resamples, generator)
    drawn_swaps = draw_swaps(speakers, swaps, generator)

    measured = {name: _Measured.of(each, len(classes), weights) for name, each in predictions.items()}
    others = [name for name in predictions if name != reference]
    differences = {
        metric: _differences({name: measured[name] for name in others}, measured[reference], metric, drawn_swaps)
        for metric in TESTED_METRICS
    }
    mcnemar = mcnemar_tests({name: predictions[name] for name in others}, predictions[reference])
    return ComparisonTable(
        reference=reference,
        estimates={
            name: {metric: _estimate(each, metric) for metric in each.metrics} for name, each in measured.items()
        },
        comparisons={
            name: Comparison({metric: differences[metric][name] for metric in TESTED_METRICS}, mcnemar[name])
            for name in others
        },
        smallest_p=min(1.0, smallest_p(speakers, drawn_swaps) * max(1, len(others))),
        speakers=speakers,
        utterances=len(predictions[reference].ids),
        seeds=len(predictions[reference].seeds),
    )


def _paired(variants: Mapping[str, pa.Table], reference: str, classes: Sequence[str]) -> dict[str, PredictionsBySeed]:
    if reference not in variants:
        raise UserError(f"reference {reference}: there is no such variant; choose one of {', '.join(variants)}")
    predictions = {name: PredictionsBySeed.of(name, table, classes) for name, table in variants.items()}
    for name, each in predictions.items():
        require_same_test_data(name, each, reference, predictions[reference])
    return predictions


@dataclass(frozen=True)
class _Measured:
    """What the statistics need of one variant; each dictionary maps a metric to its values.

    Attributes:
        counts: of each speaker.
        metrics: [R] of all utterances.
        replicates: [resamples] in resamples of the speakers, mean over seeds.
        by_fold, by_speaker: [folds, R], [S, R] with one group as seed r predicts it, see `Counts.vary_one_group`.
        of_speakers: [S] of each speaker alone, mean over seeds.
    """

    counts: Counts
    metrics: dict[str, np.ndarray]
    replicates: dict[str, np.ndarray]
    by_fold: dict[str, np.ndarray]
    by_speaker: dict[str, np.ndarray]
    of_speakers: dict[str, np.ndarray]

    @classmethod
    def of(cls, predictions: PredictionsBySeed, class_count: int, weights: np.ndarray) -> _Measured:
        counts = Counts.by_speaker(predictions, class_count)
        speakers = weights.shape[1]
        return cls(
            counts=counts,
            metrics={metric: values[0] for metric, values in counts.weighted(np.ones((1, speakers))).measure().items()},
            replicates=_seed_means(counts.weighted(weights)),
            by_fold=Counts.by_fold(predictions, class_count).vary_one_group().measure(),
            by_speaker=counts.vary_one_group().measure(),
            of_speakers=_seed_means(counts),
        )

    @property
    def speakers(self) -> int:
        return len(self.counts.correct)


def _seed_means(counts: Counts) -> dict[str, np.ndarray]:
    return {metric: values.mean(-1) for metric, values in counts.measure().items()}


def _estimate(variant: _Measured, metric: str) -> Estimate:
    values = variant.metrics[metric]
    error = standard_error(
        variant.replicates[metric], variant.speakers, variant.by_fold[metric], variant.by_speaker[metric]
    )
    return Estimate(
        mean=float(values.mean()),
        deviation=float(values.std(ddof=1)) if len(values) > 1 else 0.0,
        interval=metric_interval(float(values.mean()), error),
    )


def _differences(
    variants: Mapping[str, _Measured], reference: _Measured, metric: str, swaps: np.ndarray
) -> dict[str, Difference]:
    """The differences of all variants in one metric, which are one family of Holm."""
    uncorrected = {name: _difference(variant, reference, metric, swaps) for name, variant in variants.items()}
    corrected = holm([difference.p_value for difference in uncorrected.values()])
    return {
        name: replace(difference, p_holm=p_holm)
        for (name, difference), p_holm in zip(uncorrected.items(), corrected, strict=True)
    }


def _difference(variant: _Measured, reference: _Measured, metric: str, swaps: np.ndarray) -> Difference:
    """The difference in one metric, not yet corrected for the number of variants."""
    mean = float(variant.metrics[metric].mean() - reference.metrics[metric].mean())
    error = standard_error(
        variant.replicates[metric] - reference.replicates[metric],
        reference.speakers,
        variant.by_fold[metric] - reference.by_fold[metric],
        variant.by_speaker[metric] - reference.by_speaker[metric],
    )
    contributions = speaker_contributions(variant.counts, reference.counts)[metric]
    p_value = max(permutation_p(contributions, swaps), error.p_value(mean))
    effect = cohens_dz(variant.of_speakers[metric] - reference.of_speakers[metric])
    return Difference(mean, difference_interval(mean, error), p_value, p_holm=p_value, effect=effect)
