"""The model as MLflow calls it: rows in, rows out, and every bad row named."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import soundfile
from mlflow.exceptions import MlflowException
from mlflow.pyfunc.model import PythonModelContext

from fgcme import audio
from fgcme.serving.classifier import FITTED_ARTIFACT, Classifier
from fgcme.serving.record import to_record
from fgcme.serving.served_model import ServedModel
from tests.fitted_model import save_fitted, write_audio


@pytest.fixture(scope="module")
def fitted_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_fitted(tmp_path_factory.mktemp("fitted"))


@pytest.fixture(scope="module")
def context(fitted_folder: Path) -> PythonModelContext:
    return PythonModelContext({FITTED_ARTIFACT: str(fitted_folder)}, {})


@pytest.fixture(scope="module")
def model(context: PythonModelContext) -> ServedModel:
    served = ServedModel()
    served.load_context(context)
    return served


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("recordings")
    return [write_audio(folder / f"{seed}.wav", seed=seed) for seed in range(2)]


def test_each_row_is_answered_as_the_classifier_answers(
    model: ServedModel, context: PythonModelContext, fitted_folder: Path, recordings: list[Path]
) -> None:
    texts = ["dogs are", "by the door"]
    rows = pd.DataFrame({"audio": [path.read_bytes() for path in recordings], "text": texts})
    classifier = Classifier(fitted_folder)
    expected = [
        to_record(classifier.predict(audio.read(path), text)) for path, text in zip(recordings, texts, strict=True)
    ]
    assert model.predict(context, rows).to_dict("records") == expected
    as_arrays = rows.assign(audio=[bytearray(sound) for sound in rows["audio"]])
    assert model.predict(context, as_arrays).to_dict("records") == expected


def test_audio_may_be_in_base64_as_mlflow_leaves_it_in_inputs(
    model: ServedModel, context: PythonModelContext, recordings: list[Path]
) -> None:
    sound = recordings[0].read_bytes()
    rows = pd.DataFrame({"audio": [sound, base64.b64encode(sound)], "text": ["dogs", "dogs"]})
    plain, decoded = model.predict(context, rows).to_dict("records")
    assert plain == decoded


def test_the_answer_has_a_column_for_each_field(
    model: ServedModel, context: PythonModelContext, recordings: list[Path]
) -> None:
    rows = pd.DataFrame({"audio": [recordings[0].read_bytes()], "text": ["dogs"]})
    columns = ["label", "probabilities", "base", "alignment", "text", "words_from", "unheard", "notes", "words"]
    assert list(model.predict(context, rows)) == columns


def test_every_bad_row_is_named_with_its_reason(
    model: ServedModel, context: PythonModelContext, recordings: list[Path]
) -> None:
    sound, long = recordings[0].read_bytes(), io.BytesIO()
    soundfile.write(long, np.zeros(61 * audio.SAMPLE_RATE), audio.SAMPLE_RATE, format="FLAC")

    def refusal(*rows: tuple[Any, Any]) -> str:
        with pytest.raises(MlflowException) as refused:
            model.predict(context, pd.DataFrame(rows, columns=["audio", "text"]))
        assert refused.value.error_code == "INVALID_PARAMETER_VALUE"
        return str(refused.value)

    damaged = refusal((sound, "a"), (sound[:200], "b"), (b"", "c"))
    assert "row 0" not in damaged
    assert "row 1: " in damaged
    assert "; row 2: the audio is empty" in damaged
    assert refusal((sound, "dogs"), (sound, "...")).startswith("row 1: ")
    assert refusal((sound, None)) == "row 0: `text` is missing; send what is said"
    assert refusal((sound, "None")).startswith("row 0: `text` is `None`")
    assert "lasts 61.0 s, and 60 s are allowed" in refusal((long.getvalue(), "dogs"))
    assert refusal((None, "dogs")) == "row 0: `audio` is missing; send the bytes of a sound file"


def test_a_model_with_modality_dropout_takes_rows_without_sound_or_text(
    tmp_path: Path, context: PythonModelContext, recordings: list[Path]
) -> None:
    folder = save_fitted(tmp_path, modality_dropout=True)
    served = ServedModel()
    served.load_context(PythonModelContext({FITTED_ARTIFACT: str(folder)}, {}))
    classifier, sound = Classifier(folder), recordings[0].read_bytes()
    heard, said = classifier.predict(audio.read(recordings[0]), None), classifier.predict(None, "dogs are")
    rows = pd.DataFrame([(sound, None), (None, "dogs are")], columns=["audio", "text"])
    assert served.predict(context, rows).to_dict("records") == [to_record(heard), to_record(said)]
    assert served.predict(context, rows[["audio"]][:1]).to_dict("records") == [to_record(heard)]
    with pytest.raises(MlflowException, match="row 0: `audio` is missing"):
        served.predict(context, pd.DataFrame([(None, None)], columns=["audio", "text"]))


@pytest.mark.parametrize(("kind", "given"), [("acoustic_lstm", "audio"), ("semantic_lstm", "text")])
def test_a_model_of_one_modality_takes_rows_of_it_alone(
    tmp_path: Path, context: PythonModelContext, recordings: list[Path], kind: str, given: str
) -> None:
    served = ServedModel()
    served.load_context(PythonModelContext({FITTED_ARTIFACT: str(save_fitted(tmp_path, kind=kind))}, {}))
    both = {"audio": recordings[0].read_bytes(), "text": "dogs are"}
    alone, whole = (served.predict(context, pd.DataFrame([row])) for row in ({given: both[given]}, both))
    assert alone["probabilities"].tolist() == whole["probabilities"].tolist()
    (other,) = both.keys() - {given}
    with pytest.raises(MlflowException, match=f"row 0: `{given}` is missing"):
        served.predict(context, pd.DataFrame([{other: both[other]}]))
