from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from fgcme.data import SpeechCorpus, assign_folds, make_fold_loaders
from fgcme.data.protocol import named_protocols
from fgcme.errors import UserError
from fgcme.prepared.utterance import AnalysedSpeech
from fgcme.serving import fitted
from fgcme.training.learning import FoldTrainer
from tests import small_corpus
from tests.fitted_model import save_fitted


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> SpeechCorpus:
    return SpeechCorpus(small_corpus.write(tmp_path_factory.mktemp("prepared") / "corpus"))


def fitting(corpus: SpeechCorpus, modalities: str = "both", **acoustic: object) -> tuple[FoldTrainer, fitted.ModelSpec]:
    """A model that was trained a little, and what is kept with it."""
    experiment = small_corpus.experiment(
        model={"acoustic": {"channels": [8, 8], "kernels": [3, 2], **acoustic}, "modalities": modalities},
        training={"epochs": 2, "frame_limit": 60},
    )
    assignment = assign_folds(named_protocols()["demo/4class"], corpus.table)
    parts = make_fold_loaders(corpus, assignment, 0, "dev", experiment.model, experiment.training)
    fit = FoldTrainer(parts, experiment.model, experiment.training, seed=0)
    list(fit.epochs())
    card = fitted.ModelSpec(
        experiment.model,
        experiment.prepare,
        parts.classes,
        parts.vocabulary.words,
        parts.frame_size,
        experiment.training.frame_limit,
        origin={},
    )
    return fit, card


def speech_of(corpus: SpeechCorpus, utterance: int) -> AnalysedSpeech:
    begin, end = corpus.spans(utterance)
    return AnalysedSpeech(corpus.words[utterance], begin, end, corpus.frames(utterance), "imported", 0.0)


@pytest.mark.parametrize("normalisation", ["none", "train", "utterance"])
@pytest.mark.parametrize("modalities", ["both", "acoustic", "semantic"])
@pytest.mark.parametrize(("kind", "deltas"), [("prepared", 0), ("mfcc", 2)])
def test_a_saved_model_predicts_what_it_answered_in_evaluation(
    corpus: SpeechCorpus, tmp_path: Path, normalisation: str, modalities: str, kind: str, deltas: int
) -> None:
    fit, card = fitting(corpus, modalities, normalisation=normalisation, input=kind, deltas=deltas)
    parts, evaluation = fit.loaders, fit.evaluate(fit.loaders.test)
    fitted.save(tmp_path, fit.model, card)
    model, read = fitted.load(tmp_path)
    assert read == card
    expected = torch.from_numpy(evaluation.logits).softmax(1).numpy()
    for utterance, probabilities in zip(parts.test.utterances, expected, strict=True):
        speech = speech_of(corpus, utterance)
        prediction = fitted.predict(model, read, speech)
        np.testing.assert_allclose(list(prediction.probabilities.values()), probabilities, atol=1e-5)
        assert prediction.label == parts.classes[int(probabilities.argmax())]
        assert len(prediction.word_probabilities) == len(speech.words)


def test_word_probabilities_and_gates_are_the_model_s_for_each_word(corpus: SpeechCorpus) -> None:
    fit, card = fitting(corpus)
    fit.model.eval()
    utterance = fit.loaders.test.utterances[2]
    with torch.inference_mode():
        output = fit.model(fit.loaders.test.batch(np.array([2])))
    prediction = fitted.predict(fit.model, card, speech_of(corpus, utterance))
    expected = output.word_logits.softmax(1).numpy()
    assert np.ptp(expected, axis=0).max() > 1e-3
    found = [list(probabilities.values()) for probabilities in prediction.word_probabilities]
    np.testing.assert_allclose(found, expected, atol=1e-5)
    for side, gate in (("semantic", output.semantic_gate), ("acoustic", output.acoustic_gate)):
        # A gate near 1/2 would hide that it was turned around.
        assert (gate.mean(1) - 0.5).abs().max() > 1e-3
        np.testing.assert_allclose([gates[side] for gates in prediction.word_gates], gate.mean(1), atol=1e-5)


def test_a_speaker_nobody_knows_is_normalised_by_the_recording(corpus: SpeechCorpus) -> None:
    fit, card = fitting(corpus, normalisation="speaker")
    speech = speech_of(corpus, fit.loaders.test.utterances[0])
    acoustic = card.model.acoustic.model_copy(update={"normalisation": "utterance"})
    by_itself = replace(card, model=card.model.model_copy(update={"acoustic": acoustic}))
    fit.model.eval()
    assert fitted.predict(fit.model, card, speech) == fitted.predict(fit.model, by_itself, speech)


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
