"""Preparing, without Ray: what is refused before anything is touched."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fgcme.errors import UserError
from fgcme.experiment import Experiment, parse_experiment
from pipelines import prepare
from tests import small_corpus


def experiment(storage: Path | str, **sections: Any) -> Experiment:
    return parse_experiment(
        {"name": "x", "corpus": {"kind": "ravdess"}, "protocol": {"name": "p"}, "storage": {"path": str(storage)}}
        | sections
    )


def test_a_corpus_without_alignments_of_its_own_leaves_no_folder(tmp_path: Path) -> None:
    (tmp_path / "03-01-06-01-02-01-12.wav").touch()
    mine = experiment(
        tmp_path / "storage",
        corpus={"kind": "ravdess", "root": str(tmp_path)},
        prepare={"alignment": {"method": "corpus"}},
    )
    with pytest.raises(UserError, match=r"this copy of ravdess has no alignments of its own; .*method=sphinx"):
        prepare.run(mine, verbose=False)
    assert not (tmp_path / "storage").exists()


def test_a_missing_corpus_leaves_no_folder(tmp_path: Path) -> None:
    nowhere = experiment(tmp_path / "storage", corpus={"kind": "ravdess", "root": str(tmp_path / "nowhere")})
    with pytest.raises(UserError, match="nowhere"):
        prepare.run(nowhere, verbose=False)
    assert not (tmp_path / "storage").exists()


def test_other_settings_are_refused_before_anything_is_touched(tmp_path: Path) -> None:
    folder = small_corpus.write_description(experiment(tmp_path, prepare={"folder": str(tmp_path / "mine")}))
    before = (folder / "corpus.json").read_bytes()
    other = {"folder": str(folder), "alignment": {"method": "uniform"}, "features": {"bins": 8}}
    with pytest.raises(UserError) as caught:
        prepare.run(experiment(tmp_path, prepare=other), verbose=False)
    message = str(caught.value)
    assert "prepare.alignment.method is 'sphinx' there and 'uniform' here" in message
    assert "prepare.features.bins is 40 there and 8 here" in message
    assert "prepare.folder" in message
    assert (folder / "corpus.json").read_bytes() == before


def test_parts_without_a_description_are_refused(tmp_path: Path) -> None:
    folder = small_corpus.write_description(experiment(tmp_path))
    (folder / "utterances").mkdir()
    (folder / "utterances" / "part-1.parquet").touch()
    (folder / "corpus.json").unlink()
    with pytest.raises(UserError, match=r"without its corpus\.json; delete this folder"):
        prepare.run(experiment(tmp_path), verbose=False)
