"""A version says in a few lines what it is, and its scores."""

from __future__ import annotations

from pathlib import Path

import pytest

from fgcme.card import summarise_version
from fgcme.serving import fitted
from tests.fitted_model import save_fitted


@pytest.mark.parametrize("copies", [[], [0.9, 1.1]])
def test_a_version_says_whether_it_answers_from_copies(tmp_path: Path, copies: list[float]) -> None:
    _, spec = fitted.load(save_fitted(tmp_path, copies=copies))
    keys = ("protocol", "selection", "corpus", "corpus_hash", "commit", "fold", "seed", "source_run")
    first = summarise_version(dict.fromkeys(keys, "x"), {}, spec, folds=1).partition("\n")[0]
    heard = "Speech emotion recognition from a recording and its transcript: angry, calm, happy."
    answers = " It answers by the mean logits of the recording and of its copies at speeds 0.9, 1.1."
    assert first == heard + (answers if copies else "")
