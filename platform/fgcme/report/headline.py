"""The metrics of a training or a cross-validation in a line."""

from __future__ import annotations

from collections.abc import Mapping

from fgcme.evaluation.agreement import Agreement
from fgcme.evaluation.ratings import RatingsSummary

_OF_CLASSES = {"WA": "wa", "UA": "ua", "macro-F1": "macro_f1"}
_CCC = "ccc_"
_CONCORDANCE = "ccc"


def headline(mean: Mapping[str, float], deviation: Mapping[str, float] | None = None) -> str:
    """Metrics of classes in per cent, and the concordance of ratings.

    Args:
        mean: metric, such as `ua` and `ccc_valence`, -> its value.
        deviation: metric -> its deviation over seeds; None with one seed.

    >>> headline({"wa": 0.51, "ua": 0.6, "macro_f1": 0.5}, {"wa": 0.01, "ua": 0.02, "macro_f1": 0.0})
    'WA 51.0 ± 1.0, UA 60.0 ± 2.0, macro-F1 50.0 ± 0.0'
    >>> headline({"ccc": 0.6, "ccc_valence": 0.5, "ccc_arousal": 0.7, "rmse_valence": 1.0})
    'CCC 0.600 (valence 0.500, arousal 0.700)'
    """

    def plus_minus(name: str, scale: float, digits: int) -> str:
        return "" if deviation is None else f" ± {scale * deviation[name]:.{digits}f}"

    said = [
        f"{title} {100 * mean[name]:.1f}{plus_minus(name, 100, 1)}"
        for title, name in _OF_CLASSES.items()
        if name in mean
    ]
    if "ccc" in mean:
        of_each = [f"{name.removeprefix(_CCC)} {mean[name]:.3f}" for name in mean if name.startswith(_CCC)]
        said.append(f"CCC {mean['ccc']:.3f}{plus_minus('ccc', 1, 3)} ({', '.join(of_each)})")
    return ", ".join(said)


def format_measure(name: str, value: float) -> str:
    """A metric by its name: in per cent, or for a concordance with three decimals.

    >>> format_measure("fold.test_ua", 0.5), format_measure("ensemble.test_ccc_valence", 0.5)
    ('50.0 %', '0.500')
    """
    return f"{value:.3f}" if _CONCORDANCE in name else f"{100 * value:.1f} %"


def describe_ratings(summary: RatingsSummary) -> list[str]:
    """A line for each dimension: its metrics, with their 95 % intervals over speakers, and how many were rated."""
    lines = []
    for name in summary.dimensions:
        said = []
        for title, measure in (("CCC", "ccc"), ("Pearson", "pearson"), ("RMSE", "rmse")):
            estimate = summary.metrics[f"{measure}_{name}"]
            interval = estimate.interval
            around = "" if interval is None else f" ({interval.low:.3f} to {interval.high:.3f})"
            said.append(f"{title} {estimate.mean:.3f}{around}")
        lines.append(f"{name}: {', '.join(said)}; {summary.counts[name]} of {summary.utterances} utterances rated")
    return lines


def describe_agreement(agreement: Agreement) -> list[str]:
    """Lines on how far raters agree, the model with them, and its probabilities with their shares."""

    def said(metrics: Mapping[str, float]) -> str:
        return f"WA {100 * metrics['wa']:.1f}, UA {100 * metrics['ua']:.1f}"

    distribution = agreement.distribution
    return [
        f"each rater against the majority of the others: {said(agreement.human)}; the model against the same "
        f"majorities: {said(agreement.model)} ({agreement.labels} labels of raters, {agreement.undecided} more whose "
        "fellows have no majority)",
        f"probabilities against the shares of raters: cross-entropy {distribution['cross_entropy']:.3f}, "
        f"Jensen-Shannon distance {distribution['jensen_shannon']:.3f}",
    ]
