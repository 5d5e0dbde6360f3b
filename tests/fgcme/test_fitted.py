from pathlib import Path

import numpy as np
import pytest
import torch

from fgcme import fitted
from fgcme.dataset import SpeechCorpus
from fgcme.errors import UserError
from fgcme.learning import Fit, divide
from fgcme.preparation import Speech
from fgcme.protocol import assign, named
from tests import small_corpus
from tests.fitted_model import save_fitted


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> SpeechCorpus:
    return SpeechCorpus(small_corpus.write(tmp_path_factory.mktemp("prepared") / "corpus"))


@pytest.mark.parametrize("normalisation", ["none", "train", "utterance"])
@pytest.mark.parametrize("modalities", ["both", "acoustic", "semantic"])
def test_a_saved_model_predicts_what_it_answered_in_evaluation(
    corpus: SpeechCorpus, tmp_path: Path, normalisation: str, modalities: str
) -> None:
    acoustic = {"channels": [8, 8], "kernels": [3, 2], "normalisation": normalisation}
    experiment = small_corpus.experiment(
        model={"acoustic": acoustic, "modalities": modalities}, training={"epochs": 2, "frame_limit": 60}
    )
    assignment = assign(named()["demo/4class"], corpus.members)
    parts = divide(corpus, assignment, 0, "dev", experiment.model, experiment.training)
    fit = Fit(parts, experiment.model, experiment.training, seed=0)
    list(fit.epochs())
    evaluation = fit.evaluate(parts.test)
    card = fitted.Card(
        experiment.model,
        experiment.prepare,
        parts.classes,
        parts.vocabulary.words,
        parts.frame_size,
        experiment.training.frame_limit,
        origin={},
    )
    fitted.save(tmp_path, fit.model, card)
    model, read = fitted.load(tmp_path)
    assert read == card
    expected = torch.from_numpy(evaluation.logits).softmax(1).numpy()
    for utterance, probabilities in zip(parts.test.utterances, expected, strict=True):
        begin, end = corpus.spans(utterance)
        speech = Speech(corpus.words[utterance], begin, end, corpus.frames(utterance), "imported", 0.0)
        prediction = fitted.predict(model, read, speech)
        np.testing.assert_allclose(list(prediction.probabilities.values()), probabilities, atol=1e-5)
        assert prediction.label == parts.classes[int(probabilities.argmax())]
        assert len(prediction.word_probabilities) == len(speech.words)


@pytest.mark.parametrize("damage", ["missing", "cut", "other"])
@pytest.mark.parametrize("name", ["model.json", "model.safetensors"])
def test_a_damaged_model_is_refused_in_one_line(tmp_path: Path, name: str, damage: str) -> None:
    path = save_fitted(tmp_path / "model") / name
    if damage == "missing":
        path.unlink()
    elif damage == "cut":
        path.write_bytes(path.read_bytes()[:-20])
    else:
        path.write_text("{}")
    with pytest.raises(UserError, match="not a fitted model, or a damaged one") as raised:
        fitted.load(tmp_path / "model")
    assert "\n" not in str(raised.value)
