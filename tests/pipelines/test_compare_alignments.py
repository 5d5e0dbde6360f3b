"""The verb that compares alignments: prepared corpora, and folders of files."""

from pathlib import Path

import pytest

from pipelines import cli
from tests import small_corpus

GRID = """File type = "ooTextFile"
Object class = "TextGrid"

0 {end} <exists> 1
"IntervalTier" "words" 0 {end} 3
0 {middle} "open"
{middle} 0.5 "it"
0.5 {end} ""
"""


def write_grid(path: Path, middle: float) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(GRID.format(middle=middle, end=1.0))


def test_two_folders_of_files_are_compared_by_the_name_of_the_utterance(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_grid(tmp_path / "one" / "speaker" / "a.TextGrid", 0.2)
    write_grid(tmp_path / "other" / "a.TextGrid", 0.3)
    assert cli.main(["compare-alignments", str(tmp_path / "one"), str(tmp_path / "other")]) == 0
    text = capsys.readouterr().out
    assert "compared: 2 words of 1 utterances" in text
    assert "a: 50 ms, most at `open`, 100 ms" in text


def test_a_prepared_corpus_is_the_same_as_itself(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = str(small_corpus.write(tmp_path / "corpus", speakers=2, each=2))
    assert cli.main(["compare-alignments", folder, folder]) == 0
    assert "100.0% within 50 ms" in capsys.readouterr().out


def test_a_file_of_many_utterances_is_compared_with_those_of_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_grid(tmp_path / "one" / "a.TextGrid", 0.2)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "all.ctm").write_text("a 1 0 0.3 open\na 1 0.3 0.2 it\nb 1 0 1 else\n")
    assert cli.main(["compare-alignments", str(tmp_path / "one"), str(tmp_path / "other")]) == 0
    text = capsys.readouterr().out
    assert "compared: 2 words of 1 utterances" in text and "only in the second: 1, such as b" in text


def test_nothing_in_common_is_a_failure(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_grid(tmp_path / "one" / "a.TextGrid", 0.2)
    write_grid(tmp_path / "other" / "b.TextGrid", 0.2)
    assert cli.main(["compare-alignments", str(tmp_path / "one"), str(tmp_path / "other")]) == 1
    assert "only in the first: 1, such as a" in capsys.readouterr().out


@pytest.mark.parametrize("kind", ["missing", "empty", "damaged", "twice"])
def test_what_cannot_be_compared_is_named(tmp_path: Path, kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    good, bad = tmp_path / "good", tmp_path / "bad"
    write_grid(good / "a.TextGrid", 0.2)
    if kind != "missing":
        bad.mkdir()
    if kind == "damaged":
        (bad / "a.TextGrid").write_text("no grid")
    if kind == "twice":
        write_grid(bad / "x" / "a.TextGrid", 0.2)
        write_grid(bad / "y" / "a.TextGrid", 0.2)
    assert cli.main(["compare-alignments", str(good), str(bad)]) == 2
    complaint = capsys.readouterr().err
    assert str(bad) in complaint and "Traceback" not in complaint
