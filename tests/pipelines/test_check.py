from pathlib import Path

import pytest

from pipelines import check
from tests import small_corpus


def test_a_corpus_that_fits_its_protocol_passes_and_shows_its_folds(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = small_corpus.write(tmp_path / "corpus")
    assert check.run(small_corpus.experiment(prepare={"folder": str(folder)})) == 0
    text = capsys.readouterr().out
    assert "demo/4class" in text
    assert "64 imported" in text
    assert "mismatch" not in text


def test_a_corpus_without_a_class_fails_and_names_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = small_corpus.write(tmp_path / "corpus")
    protocol = {"name": "mine", "labels": {"happy": "happy", "sad": "sad", "bored": "bored"}, "folds": 4}
    experiment = small_corpus.experiment(prepare={"folder": str(folder)}, protocol=protocol)
    assert check.run(experiment) == 1
    text = capsys.readouterr().out
    assert "no utterance of class bored" in text
    assert "16 x label neutral" in text
