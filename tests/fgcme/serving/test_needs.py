"""What a model has to be given follows from what it reads, and from whether it learnt to do without."""

from __future__ import annotations

from pathlib import Path

import pytest

from fgcme.serving import fitted
from fgcme.serving.needs import Needs, needs_of
from tests.fitted_model import save_fitted


@pytest.mark.parametrize(
    ("kind", "sound", "text"),
    [
        ("fgcme", True, True),
        ("acoustic_lstm", True, False),
        ("semantic_lstm", False, True),
        ("late_fusion", True, True),
    ],
)
def test_what_is_needed_is_what_is_read(tmp_path: Path, kind: str, sound: bool, text: bool) -> None:
    assert needs_of([fitted.load(save_fitted(tmp_path, kind=kind))[1]]) == Needs(sound, text)


def test_models_that_answer_together_need_what_one_of_them_needs(tmp_path: Path) -> None:
    either = fitted.load(save_fitted(tmp_path / "either", modality_dropout=True))[1]
    heard = fitted.load(save_fitted(tmp_path / "heard", kind="acoustic_lstm"))[1]
    assert needs_of([either]) == Needs(sound=False, text=False)
    assert needs_of([either, heard]) == Needs(sound=True, text=False)


def test_the_sound_of_words_is_found_by_the_words(tmp_path: Path) -> None:
    spec = fitted.load(save_fitted(tmp_path))[1]
    heard = spec.model.model_copy(update={"modalities": "acoustic"})
    assert needs_of([fitted.ModelSpec(**{**vars(spec), "model": heard})]) == Needs(sound=True, text=True)
