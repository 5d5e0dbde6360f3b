"""The table of an ablation of ratings, for a terminal and for MLflow."""

from __future__ import annotations

from fgcme.evaluation.rating_comparison import RatingComparison
from fgcme.report.comparison import stars


def describe_comparison(compared: RatingComparison) -> str:
    """One line a variant: its mean CCC and that of each dimension; its difference from the reference, with its p."""
    width = max(len(name) for name in compared.summaries)
    dimensions = next(iter(compared.summaries.values())).dimensions
    titles = "  ".join(f"{name:>9}" for name in ["CCC", *dimensions])
    lines = [f"  {'':<{width}}  {titles}  difference in CCC, 95 %, p"]
    for name, summary in compared.summaries.items():
        values = [summary.metrics[key].mean for key in ("ccc", *(f"ccc_{each}" for each in dimensions))]
        said = "reference"
        if (difference := compared.differences.get(name)) is not None:
            interval = difference.interval
            said = (
                f"{difference.mean:+.3f} [{interval.low:.3f}, {interval.high:.3f}] "
                f"{difference.p_holm:.3f}{stars(difference.p_holm)}"
            )
        lines.append(f"  {name:<{width}}  " + "  ".join(f"{value:9.3f}" for value in values) + f"  {said}")
    return "\n".join([*lines, "  intervals and p are over speakers; p Holm-corrected over the variants"])


def comparison_metrics(compared: RatingComparison) -> dict[str, dict[str, float]]:
    """Variant -> name -> number: its metrics and, but for the reference, `ccc_difference` and `ccc_p_holm`."""
    numbers = {
        name: {key: estimate.mean for key, estimate in summary.metrics.items()}
        for name, summary in compared.summaries.items()
    }
    for name, difference in compared.differences.items():
        numbers[name] |= {
            "ccc_difference": difference.mean,
            "ccc_difference_low": difference.interval.low,
            "ccc_difference_high": difference.interval.high,
            "ccc_p_holm": difference.p_holm,
        }
    return numbers
