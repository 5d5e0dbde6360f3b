"""Standard errors by the cluster bootstrap, and the intervals that follow from them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.special import expit, logit, stdtr, stdtrit

from fgcme.evaluation.metrics import ROUNDING

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Interval:
    """An interval that covers the true value in 95 of 100 experiments with as many other speakers."""

    low: float
    high: float


@dataclass(frozen=True)
class StandardError:
    """How far a value may be from the true one.

    Attributes:
        value: the standard error.
        degrees_of_freedom: of Student's t that goes with it.
    """

    value: float
    degrees_of_freedom: float

    @property
    def margin(self) -> float:
        """Half the width of the interval that covers the true value in 95 of 100 experiments."""
        return float(stdtrit(self.degrees_of_freedom, (1 + CONFIDENCE) / 2) * self.value)

    def p_value(self, difference: float) -> float:
        """p-value of the two-sided t-test that a difference is 0; below 0.05 where the interval leaves 0 out.

        >>> standard_error = StandardError(1.0, 10.0)
        >>> standard_error.p_value(0.0), round(standard_error.p_value(-2.228), 3), StandardError(0.0, 1.0).p_value(0.1)
        (1.0, 0.05, 0.0)
        """
        if abs(difference) <= ROUNDING:
            return 1.0
        return (
            float(2 * stdtr(self.degrees_of_freedom, -abs(difference) / self.value)) if self.value > ROUNDING else 0.0
        )


def standard_error(
    replicates: np.ndarray, cluster_count: int, by_fold: np.ndarray, by_cluster: np.ndarray
) -> StandardError:
    """Standard error by the cluster bootstrap, plus what one training does to all clusters of its fold.

    The standard error over P clusters (speakers) is the deviation of the replicates times sqrt(P / (P - 1)), because a
    bootstrap of P clusters is too narrow by that factor (Efron and Tibshirani 1993; Hesterberg 2015), and t has P - 1
    degrees of freedom, as is due with few clusters (Cameron, Gelbach and Miller 2008). To its square is added what one
    training does to all clusters of its fold, which the bootstrap takes for independent: the variance over seeds by
    folds less that by clusters, each divided by R, as in clustering two ways (Cameron, Gelbach and Miller 2011);
    nothing where that is below 0. It has folds x (R - 1) degrees of freedom, and the sum those of Welch and
    Satterthwaite (1946).

    This kind of interval was chosen by simulation. Without noise of training, in twelve settings of 3,000 tables each,
    3 to 24 speakers, similar and dissimilar: for differences with 10 speakers the percentile interval covered the true
    value in 89 to 92 % and the bias-corrected accelerated one (BCa) in no more, with 3 speakers in 74 % and 70 %:
    neither widens for few clusters. The studentised bootstrap covered 93 to 96 % with 10 and 24, but becomes infinite
    with 3, and whenever a resample may hold no speaker on whom two variants differ. This one covered 94 to 96 % with 10
    and 24, and 95 % with 3. No kind helps where two variants differ in a handful of utterances only: there it covered
    88 % with 10 speakers. With noise of training that moves a fold's UA by 3 to 4 points, the part over clusters alone
    covered 69 to 94 %, the whole 94 to 95 %.

    Args:
        replicates: [resamples] the value in resamples of the clusters.
        cluster_count: P, at least two.
        by_fold: [folds, R] the value with one fold as seed r predicts it, see `Counts.vary_one_group`.
        by_cluster: [S, R] the same with one cluster.
    """
    over_clusters = float(replicates.var(ddof=1)) * cluster_count / (cluster_count - 1)
    folds, seeds = by_fold.shape
    shared = 0.0
    if seeds > 1:
        shared = float(by_fold.var(1, ddof=1).sum() - by_cluster.var(1, ddof=1).sum()) / seeds
    if shared <= ROUNDING**2:
        return StandardError(math.sqrt(over_clusters), cluster_count - 1)
    terms = over_clusters**2 / (cluster_count - 1) + shared**2 / (folds * (seeds - 1))
    return StandardError(math.sqrt(over_clusters + shared), (over_clusters + shared) ** 2 / terms)


def difference_interval(difference: float, error: StandardError) -> Interval:
    """Interval of a difference, by Student's t."""
    return Interval(difference - error.margin, difference + error.margin)


def metric_interval(value: float, error: StandardError) -> Interval:
    """Interval of a metric between 0 and 1, made on the logit scale so that it stays between them.

    Near 1 the distribution is skewed: in simulations of an accuracy of 0.95 with 10 speakers, the 95 % interval held
    the true value in 93 % of cases, without the logit in 91 %. At 0 and 1 all speakers are alike, and the
    interval has no width.
    """
    if not 0 < value < 1:
        return Interval(value, value)
    margin, centre = error.margin / (value * (1 - value)), logit(value)
    return Interval(float(expit(centre - margin)), float(expit(centre + margin)))


def correlation_interval(value: float, error: StandardError) -> Interval:
    """Interval of a correlation between -1 and 1, made on Fisher's scale, as Lin (1989) does for the concordance.

    >>> interval = correlation_interval(0.9, StandardError(0.03, 20))
    >>> round(interval.low, 2), round(interval.high, 2)
    (0.82, 0.95)
    """
    if not -1 < value < 1:
        return Interval(value, value)
    margin, centre = error.margin / (1 - value**2), math.atanh(value)
    return Interval(math.tanh(centre - margin), math.tanh(centre + margin))
