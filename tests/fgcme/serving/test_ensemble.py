"""Several fitted models answer as one: by their mean logits."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from fgcme import audio
from fgcme.errors import UserError
from fgcme.serving import ensemble, fitted
from fgcme.serving.classifier import Classifier, package_model
from fgcme.serving.fitted import Prediction
from tests.fitted_model import save_fitted, write_audio


def prediction(logits: list[float], words: list[list[float]], gate: float) -> Prediction:
    names = ["angry", "calm", "happy"]

    def named(values: list[float]) -> dict[str, float]:
        return dict(zip(names, torch.tensor(values).softmax(0).tolist(), strict=True))

    of_words, gates = [named(word) for word in words], [{"semantic": gate}] * 2
    return Prediction("", named(logits), ["a", "b"], [0.0, 0.1], [0.1, 0.2], of_words, gates, "x")


def test_logits_are_averaged_of_the_utterance_and_of_each_word() -> None:
    first = prediction([1.0, 2.0, 0.0], [[0.0, 0.0, 3.0], [1.0, 1.0, 1.0]], 0.2)
    second = prediction([4.0, -1.0, 0.5], [[2.0, 0.0, -9.0], [0.0, 0.0, 7.0]], 0.6)
    answer = ensemble.average([first, second])
    expected = torch.tensor([2.5, 0.5, 0.25]).softmax(0).tolist()
    assert list(answer.probabilities.values()) == pytest.approx(expected, rel=1e-5)
    assert answer.label == "angry"
    for word, logits in zip(answer.word_probabilities, ([1.0, 0.0, -3.0], [0.5, 0.5, 4.0]), strict=True):
        assert list(word.values()) == pytest.approx(torch.tensor(logits).softmax(0).tolist(), rel=1e-5)
    assert answer.word_gates == [{"semantic": pytest.approx(0.4)}] * 2
    assert (answer.words, answer.begin, answer.alignment) == (["a", "b"], [0.0, 0.1], "x")
    assert ensemble.average([first]) is first


def test_a_class_that_one_member_excludes_is_not_the_answer_and_nothing_is_undefined() -> None:
    answer = ensemble.average([prediction([200.0, 0.0, 0.0], [], 0.1), prediction([0.0, 0.0, 1.0], [], 0.1)])
    assert answer.label == "angry"
    assert np.isfinite(list(answer.probabilities.values())).all()
    assert sum(answer.probabilities.values()) == pytest.approx(1)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An ensemble of two members."""
    for number in range(2):
        save_fitted(ensemble.member_folder(tmp_path / "both", number), fold=number)
    return tmp_path / "both"


def test_a_classifier_of_an_ensemble_averages_its_members_here_and_packaged(folder: Path, tmp_path: Path) -> None:
    samples = audio.read(write_audio(tmp_path / "a.wav"))
    answers = [
        Classifier(ensemble.member_folder(folder, number)).predict(samples, "dogs are sitting") for number in range(2)
    ]
    assert answers[0].probabilities != answers[1].probabilities
    expected = ensemble.average(answers)
    assert Classifier(folder).predict(samples, "dogs are sitting") == expected
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
