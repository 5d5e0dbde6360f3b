"""A fitted model that classifies new speech, and its package as a model that MLflow serves.

The package holds the fitted model's folder, the source of fgcme and pinned requirements. It needs nothing of the
machine where the model was trained, and nothing in it is pickled.
"""

from __future__ import annotations

import io
import json
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fgcme import alignment, features
from fgcme.alignment import Aligner, Alignment, AlignmentError
from fgcme.alignment.sphinx_decoder import ENGLISH
from fgcme.alignment.words import normalise
from fgcme.audio import HOP, SAMPLE_RATE, AudioError, Samples, check
from fgcme.data import has_acoustics
from fgcme.errors import UserError
from fgcme.experiment import AlignmentSettings, PrepareSettings
from fgcme.features import WordEncoder
from fgcme.prepared.utterance import AnalysedSpeech, hear, place_words, word_features
from fgcme.recognition import Recogniser
from fgcme.serving import ensemble
from fgcme.serving.fitted import ModelSpec
from fgcme.serving.needs import needs_of
from fgcme.serving.prediction import GIVEN, NO_WORDS, Prediction, predict, why_no_contributions
from fgcme.serving.record import model_signature
from fgcme.threads import one_thread

if TYPE_CHECKING:
    import pandas as pd
    from mlflow.models import Model

FITTED_ARTIFACT = "fitted"
"""Name of the fitted model's folder among the artifacts of a packaged model."""

# What this module imports; aligners and feature extractors add to it.
_REQUIREMENTS = ("mlflow", "numpy", "pandas", "pyarrow", "pydantic", "pyyaml", "safetensors", "scipy", "soundfile")
_TORCH = ("torch", "torchaudio")

# Sections of `prepare` that may name a pretrained model.
_WITH_CHECKPOINT = ("alignment", "features", "text")
_MISSING = "the model was not trained to do without (training.augmentation.modality_dropout)"


class Classifier:
    """A fitted model or an ensemble with the aligner and the features that it was trained with, for new speech.

    A model trained with copies at other speeds answers from them as well: they are made of the speech it is given.

    New speech has no alignments to import, so a model trained on imported ones aligns with Sphinx; each prediction says
    how its words were aligned. Several threads may use one classifier.

    Args:
        folder: of the fitted model, or of an ensemble's members.

    Attributes:
        spec: of the model, or of an ensemble's first member.
        needs: what it has to be given.
        without_contributions: why its answers have no contributions of words; empty where they have.

    Raises:
        UserError: the folder holds no fitted model, or this machine lacks the aligner or the features.
    """

    def __init__(self, folder: Path) -> None:
        self._members = ensemble.load(folder)
        self.spec = self._members[0][1]
        self.needs = needs_of([spec for _, spec in self._members])
        self.without_contributions = why_no_contributions(self._members)
        prepare = self.spec.prepare
        aligned = prepare.alignment
        self._aligner = build_aligner(aligned, _resolve_checkpoint(folder, aligned.checkpoint))
        layers = prepare.features.layers
        self._extractor = features.build_extractor(
            prepare.features.kind,
            prepare.features.bins,
            _resolve_checkpoint(folder, prepare.features.checkpoint),
            layers if layers == "all" else tuple(layers),
            prepare.features.padded,
        )
        text = prepare.text
        self._word_encoder = features.build_word_encoder(
            _resolve_checkpoint(folder, text.checkpoint), text.layers if text.layers == "all" else tuple(text.layers)
        )
        hears = any(has_acoustics(spec.model) for _, spec in self._members)
        self._speeds = prepare.copies.speed if hears else []

    @property
    def seconds(self) -> float:
        """How much of an utterance every member hears."""
        return min(spec.frame_limit for _, spec in self._members) * HOP / SAMPLE_RATE

    def align(self, samples: Samples, text: str) -> Alignment:
        """Align a text with its speech, see `fgcme.alignment.Aligner.align`."""
        return self._aligner.align("", samples, text)

    @one_thread()
    def predict(self, samples: Samples | None, text: str | None, recogniser: Recogniser | None = None) -> Prediction:
        """Classify one utterance, by its sound and its words; by one of them if the model does without the other.

        Args:
            samples: mono at 16 kHz, as `fgcme.audio.read` returns them; None if there are none.
            text: the transcript; None if it is not known.
            recogniser: writes down what is said where `text` is None.

        Raises:
            AudioError, AlignmentError, FeatureError: see `fgcme.prepared.utterance`; or sound or text is missing, or
                no word is recognised, and this model needs it.
        """
        if samples is None and (text is None or self.needs.sound):
            raise AudioError("missing", f"there is no sound, and {_MISSING}")
        if text is not None:
            return self._predict(samples, text, GIVEN)
        if recogniser is not None and samples is not None:
            check(samples)
            text = recogniser.recognise(samples)
            if normalise(text):
                return self._predict(samples, text, f"recognised by {recogniser.name}")
            missing = f"{recogniser.name} recognises no word"
        else:
            missing = "there is no text"
        if self.needs.text:
            raise AlignmentError("no_words", f"{missing}, and {_MISSING}")
        prediction = self._predict(samples, None, NO_WORDS)
        if recogniser is None:
            return prediction
        remarks = (*prediction.unheard.remarks, f"{missing}: the answer is by sound alone")
        return replace(prediction, unheard=replace(prediction.unheard, remarks=remarks))

    @one_thread()
    def hear(self, samples: Samples) -> AnalysedSpeech:
        """The features of a recording and its copies: all but the words, for `predict_heard`.

        Raises:
            AudioError, FeatureError: see `fgcme.prepared.utterance.hear`.
        """
        return hear(samples, self._extractor, self._speeds)

    @one_thread()
    def predict_heard(self, heard: AnalysedSpeech, samples: Samples, text: str | None) -> Prediction:
        """Classify an utterance that has been heard: several texts of one recording cost its features once.

        Args:
            heard: what `hear` makes of the samples, of this classifier or of one with the same features.
            samples: mono at 16 kHz.
            text: what is said; None to answer by sound alone.

        Raises:
            AlignmentError, FeatureError: see `fgcme.prepared.utterance.place_words`.
        """
        if text is None:
            return predict(self._members, heard)
        speech = place_words(heard, samples, text, self._aligner, self._word_encoder)
        return replace(predict(self._members, speech), text=text)

    def _predict(self, samples: Samples | None, text: str | None, words_from: str) -> Prediction:
        if samples is not None:
            prediction = self.predict_heard(self.hear(samples), samples, text)
        else:
            prediction = replace(predict(self._members, _unheard(text or "", self._word_encoder)), text=text or "")
        return replace(prediction, words_from=words_from)


def _unheard(text: str, word_encoder: WordEncoder | None) -> AnalysedSpeech:
    """An utterance of which only the text is known.

    Raises:
        AlignmentError: the text has no words.
        FeatureError: see `fgcme.prepared.utterance.word_features`.
    """
    if not (words := normalise(text)):
        raise AlignmentError("no_words", "the text has no words")
    nowhere = np.zeros(len(words), np.int32)
    nothing, encoded = np.zeros((0, 0), np.float32), word_features(words, word_encoder)
    return AnalysedSpeech(words, nowhere, nowhere, nothing, "none", float("nan"), None, word_features=encoded)


def input_example() -> pd.DataFrame:
    """A row that a served model accepts: a falling tone of 0.3 s, which shows the form only."""
    import numpy as np
    import pandas as pd
    import soundfile

    time = np.arange(0, 0.3, 1 / SAMPLE_RATE)
    file = io.BytesIO()
    soundfile.write(file, 0.3 * np.sin(2 * np.pi * (400 - 300 * time) * time), SAMPLE_RATE, format="WAV")
    return pd.DataFrame({"audio": [file.getvalue()], "text": ["hello"]})


def pip_requirements(prepare: PrepareSettings, lora: bool = False) -> list[str]:
    """The packages that serve a model prepared this way, pinned to the versions installed here.

    Args:
        prepare: of the model.
        lora: whether it holds layers of an encoder with LoRA's matrices beside them.

    >>> sorted(line.partition("==")[0] for line in pip_requirements(PrepareSettings()))[-3:]
    ['soundfile', 'torch', 'torchaudio']
    """
    names = [*_REQUIREMENTS, *_TORCH]
    if prepare.alignment.method in ("sphinx", "imported", "corpus"):
        names.append("pocketsphinx")
        if prepare.alignment.language != ENGLISH:
            names.append("espeakng-loader")
    encoded = prepare.features.kind == "speech_encoder" or prepare.text.checkpoint is not None
    if encoded or prepare.alignment.method in ("ctc", "whisper"):
        names.append("transformers")
    if lora:
        names.append("peft")
    # Not every machine can install a local build such as 2.11.0+cu130.
    return [f"{name}=={metadata.version(name).partition('+')[0]}" for name in names]


def requirements_of(specs: Sequence[ModelSpec]) -> list[str]:
    """The packages that serve a model, or several that answer together; see `pip_requirements`."""
    lora = any(spec.encoder is not None and spec.model.acoustic.lora_rank > 0 for spec in specs)
    return pip_requirements(specs[0].prepare, lora)


def package_model(folder: Path, destination: Path, description: Model | None = None) -> None:
    """Write an MLflow model, of flavour `python_function`, around a fitted model or an ensemble.

    If the aligner or an encoder has its checkpoint in a folder of this machine, the package gets a copy.

    Args:
        folder: of the fitted model, or of an ensemble's members.
        destination: folder to write into; created if it is missing, and must be empty if it is not.
        description: says which run and which logged model the package belongs to.

    Raises:
        UserError: the folder holds no fitted model.
    """
    import mlflow.pyfunc

    import fgcme

    specs = [spec for _, spec in ensemble.load(folder)]
    with tempfile.TemporaryDirectory() as staging:
        staged = Path(staging) / FITTED_ARTIFACT
        copy_fitted(folder, staged)
        source = Path(fgcme.__file__).parent
        mlflow.pyfunc.save_model(
            destination,
            mlflow_model=description,
            python_model=str(Path(__file__).with_name("served_model.py")),
            artifacts={FITTED_ARTIFACT: str(staged)},
            code_paths=[str(source)],
            signature=model_signature(needs_of(specs), specs[0].tasks),
            input_example=input_example(),
            pip_requirements=requirements_of(specs),
        )
    _remove_local_paths(destination)


def copy_fitted(folder: Path, destination: Path) -> None:
    """Copy a fitted model or an ensemble, with the checkpoints that it has in folders of this machine.

    Args:
        folder: of the fitted model, or of an ensemble's members.
        destination: folder to write into; created if it is missing.
    """
    destination.mkdir(parents=True, exist_ok=True)
    for member in ensemble.member_folders(folder):
        _stage(folder, member, destination)


def require_contained(folder: Path) -> None:
    """Refuse a fitted model out of a package, which anybody may have made, if it refers to what is not in its folder.

    Args:
        folder: of the fitted model, or of an ensemble's members.

    Raises:
        UserError: there are links in it, or it names a checkpoint by a path that is not its own.
    """
    if link := next((path for path in folder.rglob("*") if path.is_symlink()), None):
        raise UserError(f"{link}: a link, which no model that `fgcme register` packs has; get the model anew")
    for member in ensemble.member_folders(folder):
        for part, settings in _read_prepare(member).items():
            checkpoint = settings.get("checkpoint") if part in _WITH_CHECKPOINT and isinstance(settings, dict) else None
            if isinstance(checkpoint, str) and Path(checkpoint).is_absolute():
                raise UserError(f"{folder}: prepare.{part}.checkpoint {checkpoint} is not in the model's folder")


def _read_prepare(member: Path) -> dict[str, Any]:
    """The section `prepare` of a fitted model; empty where the model is damaged, which is said when it is loaded."""
    try:
        prepare = json.loads((member / "model.json").read_text(encoding="utf-8"))["prepare"]
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    return prepare if isinstance(prepare, dict) else {}


def build_aligner(settings: AlignmentSettings, checkpoint: str | None) -> Aligner:
    """The aligner of new speech, which has no alignments to import: Sphinx stands in.

    Args:
        settings: by which a model's corpus was aligned.
        checkpoint: theirs, where it lies on this machine.

    Raises:
        UserError: this machine lacks the aligner.
    """
    method = "sphinx" if settings.method in ("imported", "corpus") else settings.method
    return alignment.build(method, checkpoint, language=settings.language)


def find_fitted_folder(folder: Path) -> Path | None:
    """The folder of the fitted model or ensemble: this one, or one inside a package; None if there is neither."""
    for candidate in (folder, folder / "artifacts" / FITTED_ARTIFACT):
        if ensemble.has_model(candidate):
            return candidate
    return None


def _stage(folder: Path, member: Path, staged: Path) -> None:
    """Copy one fitted model of a folder, the folder itself or a member, and the checkpoints that all of them share."""
    target = staged / member.relative_to(folder)
    target.mkdir(exist_ok=True)
    shutil.copy(member / "model.safetensors", target)
    content = json.loads((member / "model.json").read_text(encoding="utf-8"))
    for part in _WITH_CHECKPOINT:
        # Versions without text encoders wrote nothing of them.
        checkpoint = _resolve_checkpoint(folder, content["prepare"].get(part, {}).get("checkpoint"))
        if checkpoint is not None and Path(checkpoint).is_dir():
            if not (staged / f"{part}_checkpoint").exists():
                shutil.copytree(checkpoint, staged / f"{part}_checkpoint")
            content["prepare"][part]["checkpoint"] = f"{part}_checkpoint"
    (target / "model.json").write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def _remove_local_paths(package_folder: Path) -> None:
    """Remove the paths of this machine from a package's description; MLflow loads it without them."""
    from mlflow.models import Model

    description = Model.load(str(package_folder))
    flavour = description.flavors["python_function"]
    flavour["model_code_path"] = Path(flavour["model_code_path"]).name
    for artifact in flavour["artifacts"].values():
        artifact["uri"] = artifact["path"]
    description.save(str(package_folder / "MLmodel"))


def _resolve_checkpoint(folder: Path, checkpoint: str | None) -> str | None:
    """A checkpoint's path inside the fitted model's folder if it is there, else its name as it is.

    Raises:
        UserError: its name leads from the folder to another one.
    """
    if checkpoint is None or Path(checkpoint).is_absolute():
        return checkpoint
    inside = folder / checkpoint
    if ".." in Path(checkpoint).parts or not inside.resolve().is_relative_to(folder.resolve()):
        raise UserError(f"{folder}: the checkpoint {checkpoint!r} leads out of the model's folder")
    return str(inside) if inside.is_dir() else checkpoint
