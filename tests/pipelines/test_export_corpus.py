"""A prepared corpus in the formats of others: what is written, refused and said."""

from pathlib import Path

import pytest

from fgcme.interchange import read_utterances
from fgcme.interchange.contract import Told
from pipelines import cli
from pipelines.runs.corpus import prepared_folder
from tests import small_corpus


@pytest.fixture
def overrides(tmp_path: Path) -> list[str]:
    """A small prepared corpus, and what asks for it."""
    storage = f"storage.path={tmp_path / 'storage'}"
    small_corpus.write(prepared_folder(small_corpus.experiment(storage={"path": str(tmp_path / "storage")})))
    return [storage]


def export(overrides: list[str], to: str, output: Path) -> int:
    return cli.main(["export-corpus", "demo", *overrides, "--to", to, "--output", str(output)])


def test_it_says_what_it_wrote(tmp_path: Path, overrides: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "new" / "out"
    assert export(overrides, "ctm", output) == 0
    (folder,) = (tmp_path / "storage" / "prepared").iterdir()
    words = sum(len(each.words) for each in read_utterances(folder, None, lambda speaker: None, Told()))
    assert f"{output}: 64 utterances with {words} words, as words.ctm" in capsys.readouterr().out
    assert len((output / "words.ctm").read_text().splitlines()) == words
    assert [path.name for path in output.parent.iterdir()] == ["out"]


def test_a_folder_that_holds_something_is_refused_and_an_empty_one_is_taken(
    tmp_path: Path, overrides: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "out"
    output.mkdir()
    assert export(overrides, "textgrid", output) == 0
    assert len(list(output.iterdir())) == 64
    assert export(overrides, "textgrid", output) == 2
    assert "is not empty; give a new folder with --output" in capsys.readouterr().err


def test_a_corpus_that_is_not_prepared_is_refused_and_leaves_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert export([f"storage.path={tmp_path / 'none'}"], "ctm", tmp_path / "out") == 2
    assert "run `fgcme prepare demo" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_place_that_cannot_be_written_is_named(
    tmp_path: Path, overrides: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    assert export(overrides, "ctm", tmp_path / "file" / "out") == 2
    assert "out: cannot be written (Not a directory)" in capsys.readouterr().err
