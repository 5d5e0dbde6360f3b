"""Several fitted models answer as one: by their mean logits."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fgcme import audio
from fgcme.errors import UserError
from fgcme.serving import ensemble, fitted
from fgcme.serving.classifier import Classifier, package_model
from tests.fitted_model import mean_logits, save_fitted, write_audio


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An ensemble of two members."""
    for number in range(2):
        save_fitted(ensemble.member_folder(tmp_path / "both", number), fold=number)
    return tmp_path / "both"


def test_a_classifier_of_an_ensemble_averages_its_members_here_and_packaged(folder: Path, tmp_path: Path) -> None:
    samples = audio.read(write_audio(tmp_path / "a.wav"))
    alone = [
        Classifier(ensemble.member_folder(folder, number)).predict(samples, "dogs are sitting") for number in range(2)
    ]
    assert alone[0].probabilities != alone[1].probabilities
    expected = Classifier(folder).predict(samples, "dogs are sitting")
    assert list(expected.probabilities.values()) == pytest.approx(mean_logits(alone), rel=1e-5)
    package_model(folder, tmp_path / "package")
    packaged = Classifier(tmp_path / "package" / "artifacts" / "fitted")
    assert packaged.predict(samples, "dogs are sitting") == expected


def test_members_that_answer_another_question_and_folders_without_a_model_are_refused(
    folder: Path, tmp_path: Path
) -> None:
    path = ensemble.member_folder(folder, 1) / "model.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"classes": ["sad", "calm", "happy"]}))
    with pytest.raises(UserError, match="its members do not answer the same question"):
        ensemble.load(folder)
    with pytest.raises(UserError, match="not a fitted model"):
        ensemble.load(tmp_path / "nowhere")
    assert len(ensemble.load(save_fitted(tmp_path / "one"))) == 1
    assert fitted.load(tmp_path / "one")[1] == ensemble.load(tmp_path / "one")[0][1]
