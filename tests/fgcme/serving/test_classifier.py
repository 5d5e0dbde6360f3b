"""A fitted model classifies new speech, here and packed for MLflow."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import sys
import sysconfig
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from transformers import HubertConfig, HubertModel, Wav2Vec2FeatureExtractor

from fgcme import alignment, audio, features
from fgcme.alignment import AlignmentError
from fgcme.errors import UserError
from fgcme.experiment import ModelSettings, PrepareSettings
from fgcme.model import build_model, encoder_of
from fgcme.prepared.utterance import Copy, hear, place_words
from fgcme.serving import fitted
from fgcme.serving.classifier import (
    FITTED_ARTIFACT,
    Classifier,
    find_fitted_folder,
    input_example,
    package_model,
    pip_requirements,
)
from fgcme.serving.prediction import predict
from fgcme.serving.record import to_record
from tests.fitted_model import CLASSES, mean_logits, save_fitted, write_audio
from tests.speech import say
from tests.speech_encoder import save_encoder
from tests.text_encoder import save_text_encoder

SERVE = """
import importlib.util, json, os, sys
if os.environ["PYTHONPATH"] == sys.argv[4]:
    assert importlib.util.find_spec("fgcme") is None, "the checkout is still importable"
import mlflow.pyfunc, pandas
model = mlflow.pyfunc.load_model(sys.argv[1])
import fgcme
sound = open(sys.argv[2], "rb").read()
answer = {"source": fgcme.__file__, "ray": "ray" in sys.modules}
rows = pandas.DataFrame({"audio": [sound, sound], "text": ["dogs are", "by the door"]})
answer["rows"] = model.predict(rows).to_dict("records")
with open(sys.argv[3], "w") as file:
    json.dump(answer, file)
"""


@pytest.fixture(scope="module")
def packaged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("packaged")
    package_model(save_fitted(folder / "fitted"), folder / "package")
    return folder / "package"


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_audio(tmp_path_factory.mktemp("recording") / "speech.wav")


def test_a_classifier_predicts_from_samples_and_text(tmp_path: Path, recording: Path) -> None:
    prediction = Classifier(save_fitted(tmp_path)).predict(audio.read(recording), "Dogs are sitting, by the door!")
    assert prediction.words == ["dogs", "are", "sitting", "by", "the", "door"]
    assert list(prediction.probabilities) == CLASSES
    assert sum(prediction.probabilities.values()) == pytest.approx(1)
    assert prediction.label == max(prediction.probabilities, key=lambda name: prediction.probabilities[name])
    assert prediction.alignment == "uniform"
    assert 0 <= prediction.begin[0] < prediction.end[-1] <= 1


def test_a_model_with_modality_dropout_answers_with_sound_or_text_alone(tmp_path: Path, recording: Path) -> None:
    classifier = Classifier(save_fitted(tmp_path, modality_dropout=True))
    samples = audio.read(recording)
    both = classifier.predict(samples, "dogs are sitting")
    heard, said = classifier.predict(samples, None), classifier.predict(None, "Dogs are sitting!")
    assert (heard.words, heard.begin, heard.alignment) == ([], [], "none")
    # Nobody's words contribute nothing.
    assert (heard.contributions, heard.base, heard.log_odds) == ([], None, None)
    assert (said.words, said.alignment) == (["dogs", "are", "sitting"], "none")
    assert len(said.contributions) == 3 and said.base is not None
    answers = [list(answer.probabilities.values()) for answer in (both, heard, said)]
    assert all(sum(probabilities) == pytest.approx(1) for probabilities in answers)
    assert np.ptp(answers, axis=0).max() > 1e-3
    # Text alone is no recording of silence, and sound alone no text of one unknown word.
    assert said.probabilities != classifier.predict(samples * 1e-3, "Dogs are sitting!").probabilities
    assert [answer.words_from for answer in (both, heard, said)] == ["given", "none", "given"]
    with pytest.raises(AlignmentError, match="the text has no words"):
        classifier.predict(None, "...")
    with pytest.raises(audio.AudioError, match="there is no sound"):
        classifier.predict(None, None)


def test_a_model_without_modality_dropout_needs_sound_and_text(tmp_path: Path, recording: Path) -> None:
    classifier = Classifier(save_fitted(tmp_path))
    with pytest.raises(AlignmentError, match=r"there is no text, .*trained to do without .*modality_dropout"):
        classifier.predict(audio.read(recording), None)
    with pytest.raises(audio.AudioError, match=r"there is no sound, .*trained to do without .*modality_dropout"):
        classifier.predict(None, "dogs")


class _Recogniser:
    """Hears the same words in everything."""

    name = "ears"

    def __init__(self, text: str) -> None:
        self.text = text

    def recognise(self, samples: audio.Samples) -> str:
        return self.text


def test_words_that_nobody_gives_are_recognised_and_the_answer_says_by_whom(tmp_path: Path, recording: Path) -> None:
    classifier, samples = Classifier(save_fitted(tmp_path)), audio.read(recording)
    recognised = classifier.predict(samples, None, _Recogniser("Dogs are sitting!"))
    assert (recognised.text, recognised.words_from) == ("Dogs are sitting!", "recognised by ears")
    given = classifier.predict(samples, "Dogs are sitting!", _Recogniser("kids"))
    assert (given.text, given.words_from) == ("Dogs are sitting!", "given")
    assert recognised == replace(given, words_from="recognised by ears")


def test_where_no_word_is_recognised_a_model_that_can_answers_by_sound_alone_and_says_so(
    tmp_path: Path, recording: Path
) -> None:
    samples, deaf = audio.read(recording), _Recogniser("[NOISE] ...")
    either = Classifier(save_fitted(tmp_path / "either", modality_dropout=True))
    answer, alone = either.predict(samples, None, deaf), either.predict(samples, None)
    assert answer.unheard.notes == ["ears recognises no word: the answer is by sound alone"]
    assert (answer.probabilities, answer.words_from, answer.text) == (alone.probabilities, "none", "")
    assert alone.unheard.notes == []
    with pytest.raises(AlignmentError, match="ears recognises no word, and the model was not trained to do without"):
        Classifier(save_fitted(tmp_path / "both")).predict(samples, None, deaf)
    with pytest.raises(audio.AudioError, match="silence"):
        either.predict(np.zeros(16_000, np.float32), None, deaf)


@pytest.mark.parametrize(
    ("kind", "needs_text", "needs_sound"),
    [("acoustic_lstm", False, True), ("linear_probe", False, True), ("semantic_lstm", True, False)],
)
def test_a_model_of_one_modality_needs_no_other(
    tmp_path: Path, recording: Path, kind: str, needs_text: bool, needs_sound: bool
) -> None:
    classifier, samples = Classifier(save_fitted(tmp_path, kind=kind)), audio.read(recording)
    assert (classifier.needs.text, classifier.needs.sound) == (needs_text, needs_sound)
    both = classifier.predict(samples, "dogs are sitting")
    alone = classifier.predict(samples, None) if needs_sound else classifier.predict(None, "dogs are sitting")
    assert alone.probabilities == both.probabilities


def test_speech_that_cannot_be_classified_is_refused_with_a_reason(tmp_path: Path, recording: Path) -> None:
    classifier = Classifier(save_fitted(tmp_path))
    with pytest.raises(AlignmentError):
        classifier.predict(audio.read(recording), "...")
    with pytest.raises(audio.AudioError, match="silence"):
        classifier.predict(np.zeros(16_000, np.float32), "dogs")


def test_a_model_of_imported_alignments_aligns_new_speech_by_sphinx_and_says_so(tmp_path: Path) -> None:
    folder = save_fitted(tmp_path)
    content = json.loads((folder / "model.json").read_text())
    content["prepare"]["alignment"] = {"method": "imported", "folder": "/gone", "checkpoint": None}
    (folder / "model.json").write_text(json.dumps(content))
    samples, _ = say("dogs are sitting by the door")
    prediction = Classifier(folder).predict(samples, "Dogs are sitting by the door")
    assert prediction.alignment == "sphinx"
    assert prediction.words[-1] == "door"


def test_a_model_without_contributions_answers_all_the_same_and_says_why(tmp_path: Path, recording: Path) -> None:
    older, new = save_fitted(tmp_path / "older", average_word=False), save_fitted(tmp_path / "new")
    with_them, without = Classifier(new), Classifier(older)
    assert with_them.without_contributions == ""
    assert "did not keep the average word" in without.without_contributions
    answers = [each.predict(audio.read(recording), "dogs are") for each in (with_them, without)]
    assert answers[0].probabilities == answers[1].probabilities
    assert len(answers[0].contributions) == 2 and (answers[1].contributions, answers[1].base) == ([], None)


def test_a_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="not a fitted model"):
        Classifier(tmp_path)


def test_requirements_are_pinned_and_follow_what_the_model_uses() -> None:
    plain = pip_requirements(PrepareSettings.model_validate({"alignment": {"method": "uniform"}}))
    assert all("==" in line and "+" not in line for line in plain)
    names = {line.partition("==")[0] for line in plain}
    assert not {"pocketsphinx", "transformers", "ray", "optuna"} & names
    assert {"torch", "safetensors", "soundfile", "mlflow"} <= names
    assert any(line.startswith("pocketsphinx==") for line in pip_requirements(PrepareSettings()))
    encoder = PrepareSettings.model_validate({"features": {"kind": "speech_encoder", "checkpoint": "x"}})
    assert any(line.startswith("transformers==") for line in pip_requirements(encoder))


def test_a_package_contains_weights_and_text_and_nothing_pickled(packaged: Path) -> None:
    files = [path for path in packaged.rglob("*") if path.is_file()]
    text = {".json", ".yaml", ".txt", ".py", ".typed", ".md", ".j2", ".html", ""}
    assert {path.suffix for path in files} <= {".safetensors", *text}
    assert [path for path in files if path.suffix == ""] == [packaged / "MLmodel"]
    for path in files:
        # The first bytes of pickles since protocol 2, and of torch's zip archives.
        assert not path.read_bytes().startswith((b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05", b"PK")), path


def test_a_package_contains_no_path_of_the_machine_that_made_it(packaged: Path) -> None:
    local_paths = {str(Path(fitted.__file__).parents[2]), str(packaged.parent), str(Path.home()) + "/", "/tmp/"}
    for name in ("MLmodel", "conda.yaml", "python_env.yaml", "requirements.txt", "artifacts/fitted/model.json"):
        text = (packaged / name).read_text()
        assert not [path for path in local_paths if path in text], name


def test_a_package_serves_where_only_its_requirements_are_installed(
    packaged: Path, recording: Path, tmp_path: Path
) -> None:
    moved = shutil.copytree(packaged, tmp_path / "elsewhere")
    libraries = sysconfig.get_path("purelib")
    # -S ignores .pth files, and so an editable install of this checkout.
    subprocess.run(
        [sys.executable, "-S", "-c", SERVE, str(moved), str(recording), str(tmp_path / "answer.json"), libraries],
        cwd=tmp_path,
        env={"PYTHONPATH": libraries, "HOME": str(tmp_path), "PATH": ""},
        check=True,
        timeout=300,
    )
    answer = json.loads((tmp_path / "answer.json").read_text())
    assert Path(answer["source"]).is_relative_to(moved)
    assert answer["ray"] is False
    local = Classifier(moved / "artifacts" / FITTED_ARTIFACT)
    for row, text in zip(answer["rows"], ["dogs are", "by the door"], strict=True):
        expected = to_record(local.predict(audio.read(recording), text))
        assert row["label"] == expected["label"]
        assert row["probabilities"] == pytest.approx(expected["probabilities"], rel=1e-5)
        assert [word["word"] for word in row["words"]] == text.split()
        assert row["base"] == pytest.approx(expected["base"], abs=1e-4)
        assert row["words"][1]["contribution"] == pytest.approx(expected["words"][1]["contribution"], abs=1e-4)


def test_a_checkpoint_on_this_machine_is_copied_into_the_package(tmp_path: Path) -> None:
    folder = save_fitted(tmp_path / "fitted")
    encoder = tmp_path / "encoder"
    encoder.mkdir()
    (encoder / "config.json").write_text("{}")
    content = json.loads((folder / "model.json").read_text())
    content["prepare"]["features"] |= {"kind": "speech_encoder", "checkpoint": str(encoder)}
    (folder / "model.json").write_text(json.dumps(content))
    package_model(folder, tmp_path / "package")
    packaged = find_fitted_folder(tmp_path / "package")
    assert packaged is not None
    assert (packaged / "features_checkpoint" / "config.json").is_file()
    assert fitted.load(packaged)[1].prepare.features.checkpoint == "features_checkpoint"
    assert str(encoder) not in (packaged / "model.json").read_text()


def test_a_fitted_folder_is_found_bare_or_packaged(packaged: Path, tmp_path: Path) -> None:
    bare = save_fitted(tmp_path / "bare")
    assert find_fitted_folder(bare) == bare
    assert find_fitted_folder(packaged) == packaged / "artifacts" / FITTED_ARTIFACT
    assert find_fitted_folder(tmp_path) is None


def test_the_input_example_can_be_predicted(tmp_path: Path) -> None:
    row = input_example().iloc[0]
    assert soundfile.info(io.BytesIO(row["audio"])).samplerate == audio.SAMPLE_RATE
    Classifier(save_fitted(tmp_path)).predict(audio.read(io.BytesIO(row["audio"])), row["text"])


def test_a_model_of_an_encoder_s_layers_hears_new_speech_through_the_encoder_in_its_package(
    tmp_path: Path, recording: Path
) -> None:
    """The same answer from the package, wherever the encoder's folder is by then."""
    encoder = tmp_path / "encoder"
    torch.manual_seed(0)
    config = HubertConfig(
        hidden_size=8,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=8,
        conv_dim=(8,) * 7,
        num_conv_pos_embeddings=4,
        num_conv_pos_embedding_groups=2,
    )
    HubertModel(config).save_pretrained(encoder)
    Wav2Vec2FeatureExtractor().save_pretrained(encoder)
    features = {"kind": "speech_encoder", "checkpoint": str(encoder), "layers": [0, 2]}
    prepare = PrepareSettings.model_validate({"alignment": {"method": "uniform"}, "features": features})
    settings = ModelSettings.model_validate({"acoustic": {"channels": [8], "kernels": [1]}, "fusion": {"hidden": 4}})
    model = build_model(settings, 16, vocabulary_size=2, classes=len(CLASSES), layers=2)
    with torch.no_grad():
        assert model.mix is not None
        model.mix.weights.copy_(torch.tensor([0.0, 2.0]))
    spec = fitted.ModelSpec(settings, prepare, CLASSES, [], 16, 3000, {}, layers=2)
    fitted.save(tmp_path / "fitted", model, spec)
    samples = audio.read(recording)
    expected = Classifier(tmp_path / "fitted").predict(samples, "dogs are sitting")
    package_model(tmp_path / "fitted", tmp_path / "package")
    shutil.rmtree(encoder)
    packaged = find_fitted_folder(tmp_path / "package")
    assert packaged is not None
    assert Classifier(packaged).predict(samples, "dogs are sitting") == expected


def test_a_model_with_copies_answers_from_those_of_the_recording_here_and_packaged(
    tmp_path: Path, recording: Path
) -> None:
    samples, text = audio.read(recording), "dogs are sitting by the door"
    folder = save_fitted(tmp_path / "copied", copies=[0.9, 1.1], modality_dropout=True)
    classifier, plain = Classifier(folder), Classifier(save_fitted(tmp_path / "plain", modality_dropout=True))
    extractor, aligner = features.build_extractor("log_mel", 20), alignment.build("uniform")
    speech = place_words(hear(samples, extractor), samples, text, aligner)
    copies = [Copy(speed, extractor([audio.at_speed(samples, speed)])[0].values) for speed in (0.9, 1.1)]
    expected = predict([fitted.load(folder)], speech._replace(copies=tuple(copies)))
    answer = classifier.predict(samples, text)
    assert answer == expected and answer.probabilities != plain.predict(samples, text).probabilities
    assert classifier.predict(samples, None).probabilities != plain.predict(samples, None).probabilities
    # Nobody hears a text faster.
    assert classifier.predict(None, text) == plain.predict(None, text)
    package_model(folder, tmp_path / "package")
    packed = find_fitted_folder(tmp_path / "package")
    assert packed is not None and Classifier(packed).predict(samples, text) == answer


def test_an_ensemble_of_models_with_copies_averages_what_each_answers(tmp_path: Path, recording: Path) -> None:
    for number in range(2):
        save_fitted(tmp_path / "together" / f"member-0{number}", fold=number, copies=[0.9])
    samples, text = audio.read(recording), "dogs are sitting"
    members = [Classifier(folder).predict(samples, text) for folder in sorted((tmp_path / "together").iterdir())]
    together = Classifier(tmp_path / "together").predict(samples, text)
    assert list(together.probabilities.values()) == pytest.approx(mean_logits(members), rel=1e-5)


def test_a_text_encoder_is_packaged_and_read_through_with_sound_or_without(tmp_path: Path, recording: Path) -> None:
    """The same answers from the package, wherever the encoder's folder is by then."""
    encoder = save_text_encoder(tmp_path / "encoder")
    save_fitted(tmp_path / "fitted", modality_dropout=True, text_encoder=encoder)
    samples, classifier = audio.read(recording), Classifier(tmp_path / "fitted")
    asked = [(samples, "dogs are sitting"), (None, "dogs are sitting"), (samples, None), (samples, "kids by the door")]
    answers = [classifier.predict(*question) for question in asked]
    assert len({tuple(answer.probabilities.values()) for answer in answers}) == 4
    package_model(tmp_path / "fitted", tmp_path / "package")
    shutil.rmtree(encoder)
    packaged = find_fitted_folder(tmp_path / "package")
    assert packaged is not None and (packaged / "text_checkpoint" / "config.json").is_file()
    assert str(encoder) not in (packaged / "model.json").read_text()
    elsewhere = Classifier(packaged)
    assert [elsewhere.predict(*question) for question in asked] == answers
    assert any(line.startswith("transformers==") for line in pip_requirements(classifier.spec.prepare))


@pytest.mark.parametrize("lora_rank", [0, 2])
def test_models_that_hold_layers_of_their_encoder_answer_alike_from_a_package_elsewhere(
    tmp_path: Path, recording: Path, lora_rank: int
) -> None:
    """Alone, and as an ensemble: each with its own layers, on one encoder, which the package has."""
    encoder = save_encoder("whisper", tmp_path / "encoder")
    features = {"kind": "speech_encoder", "checkpoint": encoder, "layers": [1]}
    prepare = PrepareSettings.model_validate({"alignment": {"method": "uniform"}, "features": features})
    acoustic = {"channels": [8], "kernels": [1], "trained_layers": 2, "lora_rank": lora_rank}
    settings = ModelSettings.model_validate({"acoustic": acoustic, "fusion": {"hidden": 4}})
    for number in range(2):
        torch.manual_seed(number)
        model = build_model(settings, 16, 2, len(CLASSES), encoder=encoder_of(settings, prepare.features))
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(0.1 * torch.randn_like(parameter))
        described = encoder_of(settings, prepare.features, weights=False)
        spec = fitted.ModelSpec(settings, prepare, CLASSES, [], 16, 3000, {}, encoder=described)
        fitted.save(tmp_path / "together" / f"member-0{number}", model, spec)
    samples, text = audio.read(recording), "dogs are sitting"
    folders = {"together": tmp_path / "together", "one": tmp_path / "together" / "member-00"}
    expected = {name: Classifier(folder).predict(samples, text) for name, folder in folders.items()}
    assert expected["one"].probabilities != expected["together"].probabilities
    for name, folder in folders.items():
        package_model(folder, tmp_path / f"package-{name}")
        requirements = (tmp_path / f"package-{name}" / "requirements.txt").read_text()
        assert ("peft==" in requirements) == (lora_rank > 0)
    shutil.rmtree(encoder)
    shutil.rmtree(tmp_path / "together")
    for name, answer in expected.items():
        packaged = find_fitted_folder(tmp_path / f"package-{name}")
        assert packaged is not None
        assert all(encoder not in path.read_text() for path in packaged.rglob("model.json"))
        assert Classifier(packaged).predict(samples, text) == answer
