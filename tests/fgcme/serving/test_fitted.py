"""A fitted model is saved, loaded, and predicts as it did when it was evaluated."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from fgcme.data import SpeechCorpus, assign_folds, make_fold_loaders
from fgcme.data.protocol import named_protocols
from fgcme.errors import UserError
from fgcme.evaluation.cross_validation import probabilities_of
from fgcme.prepared.utterance import AnalysedSpeech
from fgcme.serving import fitted
from fgcme.serving.prediction import predict
from fgcme.training.learning import FoldTrainer
from tests import small_corpus
from tests.fitted_model import save_fitted


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> SpeechCorpus:
    return SpeechCorpus(small_corpus.write(tmp_path_factory.mktemp("prepared") / "corpus"))


def fit_model(
    corpus: SpeechCorpus, modalities: str = "both", semantic: dict[str, object] | None = None, **acoustic: object
) -> tuple[FoldTrainer, fitted.ModelSpec]:
    """A model after two epochs, and its spec."""
    experiment = small_corpus.experiment(
        model={
            "acoustic": {"channels": [8, 8], "kernels": [3, 2], **acoustic},
            "modalities": modalities,
            "semantic": semantic or {"embedding": 8},
        },
        training={"epochs": 2, "frame_limit": 60},
    )
    assignment = assign_folds(named_protocols()["demo/4class"], corpus.table)
    loaders = make_fold_loaders(corpus, assignment, 0, "dev", experiment.model, experiment.training)
    trainer = FoldTrainer(loaders, experiment.model, experiment.training, seed=0)
    list(trainer.epochs())
    spec = fitted.ModelSpec(
        experiment.model,
        experiment.prepare,
        loaders.tasks.classes,
        loaders.vocabulary.words,
        loaders.frame_size,
        experiment.training.frame_limit,
        origin={},
        layers=loaders.layers,
        given_words=loaders.vocabulary.given,
        word_feature_size=loaders.word_feature_size,
        word_layers=loaders.word_layers,
    )
    return trainer, spec


@pytest.fixture(scope="module")
def copied(tmp_path_factory: pytest.TempPathFactory) -> SpeechCorpus:
    """The corpus of `corpus`, each utterance at three speeds."""
    return SpeechCorpus(small_corpus.write(tmp_path_factory.mktemp("prepared") / "copied", copies=[0.9, 1.1]))


def speech_of(corpus: SpeechCorpus, utterance: int) -> AnalysedSpeech:
    return corpus.analysed(utterance)


@pytest.mark.parametrize("normalisation", ["none", "train", "utterance"])
@pytest.mark.parametrize("modalities", ["both", "acoustic", "semantic"])
@pytest.mark.parametrize(("kind", "deltas"), [("prepared", 0), ("mfcc", 2)])
def test_a_loaded_model_predicts_as_in_the_evaluation(
    corpus: SpeechCorpus, tmp_path: Path, normalisation: str, modalities: str, kind: str, deltas: int
) -> None:
    trainer, spec = fit_model(corpus, modalities, normalisation=normalisation, input=kind, deltas=deltas)
    loaders, evaluation = trainer.loaders, trainer.answer(trainer.loaders.test)
    fitted.save(tmp_path, trainer.model, spec)
    model, loaded_spec = fitted.load(tmp_path)
    assert loaded_spec == spec
    expected = probabilities_of(evaluation.logits)
    for utterance, probabilities in zip(loaders.test.utterances, expected, strict=True):
        speech = speech_of(corpus, utterance)
        prediction = predict([(model, loaded_spec)], speech)
        assert list(prediction.probabilities.values()) == probabilities.tolist()
        assert prediction.label == loaders.tasks.classes[int(probabilities.argmax())]


def test_a_loaded_model_knows_the_words_that_only_had_a_vector(tmp_path: Path) -> None:
    corpus = SpeechCorpus(small_corpus.write(tmp_path / "corpus", unlike=True))
    (tmp_path / "vectors.txt").write_text("".join(f"word{n} {n} 0 1\n" for n in range(8)))
    trainer, spec = fit_model(corpus, semantic={"embedding": 3, "vectors": str(tmp_path / "vectors.txt")})
    assert spec.given_words
    fitted.save(tmp_path / "model", trainer.model, spec)
    model, loaded = fitted.load(tmp_path / "model")
    (utterance,) = [each for each in trainer.loaders.test.utterances[:1] if corpus.words[each][0] in spec.given_words]
    expected = probabilities_of(trainer.answer(trainer.loaders.test).logits)[0]
    answer = predict([(model, loaded)], speech_of(corpus, utterance))
    assert list(answer.probabilities.values()) == expected.tolist()
    # Without them the model does not load: its weights have their vectors.
    fitted.save(tmp_path / "less", trainer.model, replace(spec, given_words=[]))
    with pytest.raises(UserError, match="not a fitted model"):
        fitted.load(tmp_path / "less")


@pytest.mark.parametrize("copies", [(), (0.9, 1.1)], ids=str)
def test_a_loaded_model_reads_a_text_encoder_as_in_the_evaluation(tmp_path: Path, copies: tuple[float, ...]) -> None:
    corpus = SpeechCorpus(small_corpus.write(tmp_path / "corpus", word_layers=3, copies=copies))
    trainer, spec = fit_model(corpus)
    assert (spec.word_feature_size, spec.word_layers) == (3 * small_corpus.WORD_SIZE, 3)
    fitted.save(tmp_path / "model", trainer.model, spec)
    model, loaded = fitted.load(tmp_path / "model")
    expected = probabilities_of(trainer.answer(trainer.loaders.test).logits)
    for utterance, probabilities in zip(trainer.loaders.test.utterances, expected, strict=True):
        speech = speech_of(corpus, utterance)
        answer = list(predict([(model, loaded)], speech).probabilities.values())
        assert answer == probabilities.tolist()
        # Other values of the same words are another answer; nobody's words are those of nobody.
        assert speech.word_features is not None
        changed = predict([(model, loaded)], speech._replace(word_features=speech.word_features[::-1] + 1))
        assert list(changed.probabilities.values()) != answer
    # A model with a table of words ignores what the corpus has besides.
    table, table_spec = fit_model(corpus, semantic={"embedding": 4, "input": "table"})
    assert (table_spec.word_feature_size, table_spec.word_layers) == (0, 0)
    answering = [(table.model.eval(), table_spec)]
    assert predict(answering, speech) == predict(answering, speech._replace(word_features=None))


def test_an_unknown_speaker_is_normalised_by_the_recording(corpus: SpeechCorpus) -> None:
    trainer, spec = fit_model(corpus, normalisation="speaker")
    speech = speech_of(corpus, trainer.loaders.test.utterances[0])
    acoustic = spec.model.acoustic.model_copy(update={"normalisation": "utterance"})
    by_utterance = replace(spec, model=spec.model.model_copy(update={"acoustic": acoustic}))
    trainer.model.eval()
    by_speaker = predict([(trainer.model, spec)], speech)
    assert by_speaker == predict([(trainer.model, by_utterance)], speech)


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


@pytest.mark.parametrize(
    ("layers", "normalisation", "deltas"),
    [("mix", "train", 0), ("concatenate", "train", 0), ("mix", "utterance", 0), ("mix", "none", 1)],
)
def test_a_model_of_an_encoder_s_layers_predicts_as_in_the_evaluation(
    tmp_path: Path, layers: str, normalisation: str, deltas: int
) -> None:
    """Frames of 20 ms in half precision, also behind a front end; cut at the limit, spans and all."""
    corpus = SpeechCorpus(small_corpus.write(tmp_path / "corpus", layers=3))
    trainer, spec = fit_model(corpus, layers=layers, normalisation=normalisation, deltas=deltas)
    evaluation = trainer.answer(trainer.loaders.test)
    fitted.save(tmp_path / "model", trainer.model, spec)
    model, loaded_spec = fitted.load(tmp_path / "model")
    assert loaded_spec == spec
    expected = probabilities_of(evaluation.logits)
    for utterance, probabilities in zip(trainer.loaders.test.utterances, expected, strict=True):
        prediction = predict([(model, loaded_spec)], corpus.analysed(utterance))
        assert list(prediction.probabilities.values()) == probabilities.tolist()
        assert prediction.begin == pytest.approx(corpus.analysed(utterance).begin / 100)


@pytest.mark.parametrize("modalities", ["both", "semantic"])
@pytest.mark.parametrize("normalisation", ["train", "utterance"])
def test_an_utterance_with_copies_is_answered_as_in_the_evaluation(
    copied: SpeechCorpus, modalities: str, normalisation: str
) -> None:
    trainer, spec = fit_model(copied, modalities, normalisation=normalisation)
    trainer.model.eval()
    evaluation = trainer.answer(trainer.loaders.test)
    expected = probabilities_of(evaluation.logits)
    for utterance, probabilities in zip(trainer.loaders.test.utterances, expected, strict=True):
        prediction = predict([(trainer.model, spec)], speech_of(copied, utterance))
        assert list(prediction.probabilities.values()) == probabilities.tolist()
        assert prediction.label == trainer.loaders.tasks.classes[int(probabilities.argmax())]


def test_times_of_an_utterance_with_copies_are_those_of_the_recording(copied: SpeechCorpus) -> None:
    trainer, spec = fit_model(copied)
    trainer.model.eval()
    speech = speech_of(copied, trainer.loaders.test.utterances[2])
    alone, together = (predict([(trainer.model, spec)], each) for each in (speech._replace(copies=()), speech))
    assert together.probabilities != alone.probabilities
    assert (together.words, together.begin, together.end) == (alone.words, alone.begin, alone.end)


def test_a_model_keeps_its_average_word_and_one_of_an_older_version_has_none(tmp_path: Path) -> None:
    model, _ = fitted.load(save_fitted(tmp_path / "new"))
    again, _ = fitted.load(save_fitted(tmp_path / "again"))
    assert model.average_word is not None and torch.equal(model.average_word, again.average_word)
    older, _ = fitted.load(save_fitted(tmp_path / "older", average_word=False))
    assert older.average_word is None
    assert older.state_dict().keys() == model.state_dict().keys() - {"average_word"}
