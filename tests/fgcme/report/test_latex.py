from __future__ import annotations

import re
from dataclasses import replace

from fgcme.report.conditions import Conditions
from fgcme.report.formatting import MINUS, percent, points
from fgcme.report.latex import escape, results_latex
from tests.fgcme.report.sample_report import ON_TEST, TEST, sample_results, single_model

RESULTS = sample_results()
OTHER = {r"\ ": "", r"\_": "_"}


def body(text: str) -> list[list[str]]:
    """The cells of each row between the middle and the bottom rule."""
    inside = text.partition("\\midrule\n")[2].partition("    \\bottomrule")[0]
    return [line.strip().removesuffix(" \\\\").split(" & ") for line in inside.splitlines()]


def test_characters_special_in_latex_are_escaped() -> None:
    assert escape(r"a_b & 5% of $x {y} #1 ~^ \z <p>") == (
        r"a\_b \& 5\% of \$x \{y\} \#1 \textasciitilde{}\textasciicircum{} \textbackslash{}z \textless{}p\textgreater{}"
    )


def test_no_special_character_of_a_name_is_left_unescaped() -> None:
    odd = replace(RESULTS, conditions=Conditions("my_corpus/50%&more", "dev", [0, 1], missing="#3 {of} ~5"))
    text = results_latex(odd)
    assert r"my\_corpus/50\%\&more" in text
    assert r"\#3 \{of\} \textasciitilde{}5" in text
    bare = [
        line for line in text.splitlines() if not line.lstrip().startswith("%") and re.search(r"(?<!\\)[#%~]", line)
    ]
    assert bare == []
    assert text.count("{") - text.count(r"\{") == text.count("}") - text.count(r"\}")


def test_environments_are_nested_and_dollars_are_paired() -> None:
    for made in (RESULTS, sample_results(TEST, ON_TEST), single_model()):
        text = results_latex(made)
        open_ones = []
        for verb, name in re.findall(r"\\(begin|end)\{(\w+)\}", text):
            if verb == "begin":
                open_ones.append(name)
            else:
                assert open_ones.pop() == name
        assert open_ones == []
        assert all(len(re.findall(r"(?<!\\)\$", line)) % 2 == 0 for line in text.splitlines())


def test_rows_hold_the_table_s_numbers() -> None:
    cells = body(results_latex(RESULTS))
    assert [row[0] for row in cells] == ["fgcme", r"mean\_max", r"by\_speaker (uses unlabelled test audio)"]
    for row, name in zip(cells, RESULTS.variants, strict=True):
        for cell, metric in zip(row[1:4], ("wa", "ua", "macro_f1"), strict=True):
            estimate = RESULTS.table.estimates[name][metric]
            assert cell == rf"${percent(estimate.mean)} \pm {percent(estimate.deviation)}$"
    difference = RESULTS.table.comparisons["mean_max"].differences["ua"]
    assert cells[1][4].startswith(f"${points(difference.mean)}^{{*")
    assert cells[0][4] == r"\multicolumn{3}{c}{reference}"
    assert MINUS not in results_latex(RESULTS)


def test_every_row_has_as_many_cells_as_the_table_columns() -> None:
    text = results_latex(RESULTS)
    columns = re.search(r"\\begin\{tabular\}\{(\w+)\}", text)
    assert columns is not None
    for row in body(text)[1:]:
        assert len(row) == len(columns[1])


def test_the_table_uses_booktabs_and_names_the_packages_it_needs() -> None:
    lines = results_latex(RESULTS).splitlines()
    assert lines[0] == r"% Needs \usepackage{booktabs}"
    for rule in (r"\toprule", r"\midrule", r"\bottomrule"):
        assert sum(line.strip() == rule for line in lines) == 1
    assert not any("hline" in line for line in lines)


def test_the_caption_names_protocol_selection_and_seeds() -> None:
    text = results_latex(RESULTS)
    assert "on protocol made/3class, epochs chosen on dev, 2 seeds (0, 1), 96 utterances of 8 speakers" in text
    assert "ptimistic" not in text
    assert r"\label{tab:results-dev}" in text


def test_an_optimistic_table_is_called_so_in_caption_and_label() -> None:
    text = results_latex(sample_results(TEST, ON_TEST))
    assert "epochs chosen on TEST (optimistic)" in text
    assert "Optimistic: the epoch of each training is chosen on the test part itself" in text
    assert r"\label{tab:results-test-optimistic}" in text


def test_a_single_model_has_no_comparison() -> None:
    text = results_latex(single_model())
    assert "Delta" not in text
    assert "reference" not in text
    assert [len(row) for row in body(text)] == [4]
