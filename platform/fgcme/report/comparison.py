"""The table of an ablation, for a terminal and for MLflow."""

from __future__ import annotations

from fgcme.evaluation.comparison import ComparisonTable
from fgcme.evaluation.intervals import Interval


def stars(p_value: float) -> str:
    """How a corrected p-value is marked.

    >>> [stars(p) for p in (0.0005, 0.005, 0.03, 0.2)]
    ['***', '**', '*', '']
    """
    return "*" * sum(p_value <= level for level in (0.05, 0.01, 0.001))


def to_metrics(table: ComparisonTable) -> dict[str, dict[str, float]]:
    """Variant -> name -> number: `ua`, its `ua_deviation` over seeds, and the ends of its interval, `ua_low` and
    `ua_high`; but for the reference, the difference from it likewise, `ua_difference`, with its corrected `ua_p_holm`.
    The same of `wa` and `macro_f1`.
    """
    numbers: dict[str, dict[str, float]] = {name: {} for name in table.estimates}
    for name, estimates in table.estimates.items():
        for metric, estimate in estimates.items():
            numbers[name] |= {
                metric: estimate.mean,
                f"{metric}_deviation": estimate.deviation,
                **_ends(metric, estimate.interval),
            }
    for name, comparison in table.comparisons.items():
        for metric, difference in comparison.differences.items():
            numbers[name] |= {
                f"{metric}_difference": difference.mean,
                **_ends(f"{metric}_difference", difference.interval),
                f"{metric}_p_holm": difference.p_holm,
            }
    return numbers


def _ends(name: str, interval: Interval) -> dict[str, float]:
    return {f"{name}_low": interval.low, f"{name}_high": interval.high}


def to_text(table: ComparisonTable) -> str:
    """One line a variant, and below how to read them.

    A line has WA, UA with its interval, and macro-F1, in per cent; then the difference in UA from the reference in
    points, with its interval and p.
    """
    width = max(len(name) for name in table.estimates)
    lines = [f"  {'':<{width}}  {'WA':>10}  {'UA':>10}  {'UA, 95 %':>12}  {'macro-F1':>10}  difference in UA, 95 %, p"]
    for name, estimate in table.estimates.items():
        row = [f"  {name:<{width}}"]
        for metric in ("wa", "ua", "macro_f1"):
            # One seed says nothing of others.
            deviation = f" ± {100 * estimate[metric].deviation:.1f}" if table.seeds > 1 else ""
            row.append(f"{100 * estimate[metric].mean:5.1f}{deviation}".rjust(10))
        row.insert(3, _interval(estimate["ua"].interval).rjust(12))
        if name in table.comparisons:
            difference = table.comparisons[name].differences["ua"]
            row.append(
                f"{100 * difference.mean:+5.1f} {_interval(difference.interval)} "
                f"{difference.p_holm:.3f}{stars(difference.p_holm)}"
            )
        else:
            row.append("reference")
        lines.append("  ".join(row))
    lines += [
        f"  {table.utterances} utterances of {table.speakers} speakers, "
        + (f"{table.seeds} seeds: mean ± deviation over" if table.seeds > 1 else "1 seed:"),
        f"  {'seeds; ' if table.seeds > 1 else ''}intervals and p {_scope(table)}; p",
        "  Holm-corrected over the variants: * at most 0.05, ** 0.01, *** 0.001",
    ]
    if table.smallest_p > 0.05:
        lines.append(
            f"  no p can fall below {table.smallest_p:.2f} here: too few speakers to tell so many variants apart"
        )
    return "\n".join(lines)


def _scope(table: ComparisonTable) -> str:
    """What intervals and p-values speak of."""
    if table.seeds > 1:
        return "are of other speakers and other seeds"
    return "are of other speakers for these very trainings: one seed says nothing of others"


def _interval(interval: Interval) -> str:
    return f"[{100 * interval.low:.1f}, {100 * interval.high:.1f}]"
