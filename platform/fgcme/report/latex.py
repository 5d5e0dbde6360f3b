"""The table of results in LaTeX, as papers want it; needs the package booktabs."""

from __future__ import annotations

from fgcme.evaluation.comparison import Estimate
from fgcme.report.comparison import stars
from fgcme.report.formatting import MINUS, count, p_value, percent, points
from fgcme.report.results import ResultSet

_ESCAPED = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    '"': "''",
} | {mark: f"\\{mark}" for mark in "&%$#_"}
_METRICS = ("wa", "ua", "macro_f1")


def escape(text: str) -> str:
    r"""Plain text as LaTeX.

    >>> escape("mean_max & 50 %")
    'mean\\_max \\& 50 \\%'
    """
    return "".join(_ESCAPED.get(mark, mark) for mark in text)


def results_latex(results: ResultSet) -> str:
    r"""A `table` of WA, UA, macro-F1, the difference in UA from the reference, its interval and its corrected p-value.

    The caption says protocol, selection rule, seeds, sizes and whatever makes the numbers optimistic; the label is
    `tab:results-dev` or `tab:results-test-optimistic`.
    """
    table, conditions = results.table, results.conditions
    compared = bool(table.comparisons)
    columns = "lrrr" + "rrr" * compared
    header = ["Variant", "WA", "UA", "Macro-F1"]
    if compared:
        header += [r"$\Delta$UA", r"95\,\% interval", r"$p_\mathrm{Holm}$"]
    lines = [
        r"% Needs \usepackage{booktabs}",
        r"\begin{table}",
        r"  \centering",
        rf"  \caption{{{_caption(results)}}}",
        rf"  \label{{tab:results-{conditions.file_name}}}",
        rf"  \begin{{tabular}}{{{columns}}}",
        r"    \toprule",
        f"    {' & '.join(header)} \\\\",
        r"    \midrule",
    ]
    for name, estimate in table.estimates.items():
        remark = results.remarks.get(name)
        cells = [escape(f"{name} ({remark})" if remark else name)]
        cells += [_metric(estimate[metric], table.seeds > 1) for metric in _METRICS]
        if name in table.comparisons:
            difference = table.comparisons[name].differences["ua"]
            interval = f"[{points(difference.interval.low)}, {points(difference.interval.high)}]"
            marks = stars(difference.p_holm)
            cells += [
                f"${_signed(points(difference.mean))}{f'^{{{marks}}}' if marks else ''}$",
                f"${_signed(interval)}$",
                f"${p_value(difference.p_holm)}$",
            ]
        elif compared:
            cells += [r"\multicolumn{3}{c}{reference}"]
        lines.append(f"    {' & '.join(cells)} \\\\")
    return "\n".join([*lines, r"    \bottomrule", r"  \end{tabular}", r"\end{table}", ""])


def _caption(results: ResultSet) -> str:
    table, conditions = results.table, results.conditions
    seeds = f"{count(table.seeds, 'seed')} ({', '.join(map(str, conditions.seeds))})"
    sentences = [
        f"Results in per cent on protocol {conditions.protocol}, {conditions.rule}, {seeds}, "
        f"{count(table.utterances, 'utterance')} of {count(table.speakers, 'speaker')}"
        f"{'; mean ± deviation over seeds' if table.seeds > 1 else ''}.",
        *conditions.caveats,
    ]
    if table.comparisons:
        sentences.append(
            f"Differences in UA are from {results.reference}, in points; intervals and p-values are over speakers"
            f"{' and seeds' if table.seeds > 1 else ', for the models of this one seed'}, p Holm-corrected over the "
            "variants (* at most 0.05, ** 0.01, *** 0.001)."
        )
    return escape(" ".join(sentences)).replace("±", r"$\pm$")


def _metric(estimate: Estimate, several: bool) -> str:
    spread = rf" \pm {percent(estimate.deviation)}" if several else ""
    return f"${percent(estimate.mean)}{spread}$"


def _signed(text: str) -> str:
    return text.replace(MINUS, "-")
