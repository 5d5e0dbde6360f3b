"""The table of results of ratings in LaTeX, as papers want it; needs the package booktabs."""

from __future__ import annotations

from fgcme.evaluation.rating_comparison import RatingComparison
from fgcme.evaluation.ratings import RatingEstimate
from fgcme.report.comparison import stars
from fgcme.report.formatting import MINUS, count, decimals, decimals_range, p_value, signed_decimals
from fgcme.report.latex import escape
from fgcme.report.ratings_page import RatingResults


def ratings_latex(results: RatingResults) -> str:
    r"""A `table` of ratings: of one model a line for each dimension, of several variants a line for each of these.

    The caption says protocol, selection rule, seeds, sizes and whatever makes the numbers optimistic; the label is
    `tab:ratings-dev` or `tab:ratings-test-optimistic`.
    """
    header, rows = _dimensions(results) if results.comparison is None else _variants(results, results.comparison)
    lines = [
        r"% Needs \usepackage{booktabs}",
        r"\begin{table}",
        r"  \centering",
        rf"  \caption{{{_caption(results)}}}",
        rf"  \label{{tab:ratings-{results.conditions.file_name}}}",
        rf"  \begin{{tabular}}{{l{'r' * (len(header) - 1)}}}",
        r"    \toprule",
        f"    {' & '.join(header)} \\\\",
        r"    \midrule",
        *(f"    {' & '.join(row)} \\\\" for row in rows),
    ]
    return "\n".join([*lines, r"    \bottomrule", r"  \end{tabular}", r"\end{table}", ""])


def _dimensions(results: RatingResults) -> tuple[list[str], list[list[str]]]:
    """Header and rows of one model."""
    interval = r"95\,\% interval"
    header = ["Dimension", "CCC", interval, "Pearson", interval, "RMSE", interval]
    rows = []
    for name in results.summary.dimensions:
        row = [escape(name)]
        for measure in ("ccc", "pearson", "rmse"):
            estimate = results.summary.metrics[f"{measure}_{name}"]
            row += [_metric(estimate, results), _range(estimate)]
        rows.append(row)
    mean = results.summary.metrics["ccc"]
    return header, [*rows, ["mean", _metric(mean, results), _range(mean), "", "", "", ""]]


def _variants(results: RatingResults, comparison: RatingComparison) -> tuple[list[str], list[list[str]]]:
    """Header and rows of several variants."""
    dimensions = results.summary.dimensions
    header = ["Variant", "CCC", *map(escape, dimensions), r"$\Delta$CCC", r"95\,\% interval", r"$p_\mathrm{Holm}$"]
    rows = []
    for name, summary in comparison.summaries.items():
        row = [
            escape(name),
            *(_metric(summary.metrics[key], results) for key in ("ccc", *map("ccc_{}".format, dimensions))),
        ]
        difference = comparison.differences.get(name)
        if difference is None:
            rows.append([*row, r"\multicolumn{3}{c}{reference}"])
            continue
        marks = stars(difference.p_holm)
        ends = f"[{signed_decimals(difference.interval.low)}, {signed_decimals(difference.interval.high)}]"
        rows.append(
            [
                *row,
                f"${_minus(signed_decimals(difference.mean))}{f'^{{{marks}}}' if marks else ''}$",
                f"${_minus(ends)}$",
                f"${p_value(difference.p_holm)}$",
            ]
        )
    return header, rows


def _caption(results: RatingResults) -> str:
    conditions, summary = results.conditions, results.summary
    several = len(conditions.seeds) > 1
    seeds = f"{count(len(conditions.seeds), 'seed')} ({', '.join(map(str, conditions.seeds))})"
    sentences = [
        f"Answers of ratings on protocol {conditions.protocol}, {conditions.rule}, {seeds}, "
        f"{count(summary.utterances, 'utterance')} of {count(summary.speakers, 'speaker')}"
        f"{'; mean ± deviation over seeds' if several else ''}.",
        *conditions.caveats,
    ]
    if results.comparison is not None:
        scope = " and seeds" if several else ", for the models of this one seed"
        sentences.append(
            f"CCC is the mean over the dimensions, then of each; differences are from {results.comparison.reference}; "
            f"intervals and p-values are over speakers{scope}, p Holm-corrected over the variants (* at most 0.05, ** "
            "0.01, *** 0.001)."
        )
    return escape(" ".join(sentences)).replace("±", r"$\pm$")


def _metric(estimate: RatingEstimate, results: RatingResults) -> str:
    spread = rf" \pm {decimals(estimate.deviation)}" if len(results.conditions.seeds) > 1 else ""
    return f"${_minus(decimals(estimate.mean))}{spread}$"


def _range(estimate: RatingEstimate) -> str:
    return (
        "" if estimate.interval is None else f"${_minus(decimals_range(estimate.interval)).replace(' to ', '$ to $')}$"
    )


def _minus(text: str) -> str:
    return text.replace(MINUS, "-")
