"""A fitted model on disk, with all that a prediction needs: a folder of safetensors and JSON, nothing pickled.

<folder>/model.safetensors   weights, the statistics that standardise the frames, the average word
<folder>/model.json          how to build the model, its words and classes, and how speech becomes its input
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from fgcme.audio import frames_within, spans_at, stretch_at
from fgcme.data import Batch, Tasks, Vocabulary, collate, has_acoustics, layout_frames, scheme_of
from fgcme.data.batch import FrameLayout
from fgcme.data.hearing import front_end_of
from fgcme.data.missing import without_sound, without_words
from fgcme.errors import UserError
from fgcme.experiment import ModelSettings, PrepareSettings, renew_model, renew_prepare
from fgcme.model import EncoderTop, Network, build_model
from fgcme.prepared.utterance import AnalysedSpeech, Copy


@dataclass(frozen=True)
class ModelSpec:
    """The content of `model.json`.

    Attributes:
        model: the `model` section of the experiment.
        prepare: its `prepare` section: how speech becomes frames and spans.
        classes: class names, by index.
        words: the vocabulary.
        frame_size: F, values of a frame as the model reads it.
        frame_limit: audio is cut after this many frames of 10 ms.
        origin: where the model comes from: corpus, protocol, selection rule, fold, seed.
        modality_dropout: whether it was trained with utterances without words or without sound, and answers for such.
        blank: whether it was trained by CTC and has one more class, for the blank.
        layers: how many layers of an encoder lie side by side in a frame.
        given_words: the words that have a vector but are not in the vocabulary.
        word_feature_size: values of what a text encoder says of a word; 0 for a model with a word table.
        word_layers: how many layers of it lie side by side.
        encoder: the last layers of the speech encoder, where the model holds them; their weights are among its own.
        dimensions: ratings that it answers -> the ends of their scales.
    """

    model: ModelSettings
    prepare: PrepareSettings
    classes: list[str]
    words: list[str]
    frame_size: int
    frame_limit: int
    origin: dict[str, Any]
    blank: bool = False
    modality_dropout: bool = False
    layers: int = 1
    given_words: list[str] = field(default_factory=list)
    word_feature_size: int = 0
    word_layers: int = 0
    encoder: EncoderTop | None = None
    dimensions: dict[str, list[float]] = field(default_factory=dict)

    @property
    def tasks(self) -> Tasks:
        """What it answers."""
        return Tasks(self.classes, self.dimensions)

    @property
    def vocabulary(self) -> Vocabulary:
        """Numbers the words as in training."""
        return Vocabulary(self.words, self.given_words)


def save(folder: Path, model: Network, spec: ModelSpec) -> None:
    """Write a fitted model.

    Args:
        folder: to write into; created if it does not exist.
        model: the fitted network.
        spec: what is needed to build and to use it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    save_file(
        {name: tensor.contiguous().cpu() for name, tensor in model.state_dict().items()}, folder / "model.safetensors"
    )
    content = {
        **vars(spec),
        "model": spec.model.model_dump(mode="json"),
        "prepare": spec.prepare.model_dump(mode="json"),
        "encoder": spec.encoder and spec.encoder.description,
    }
    if not spec.dimensions:
        # As in versions that knew classes alone.
        del content["dimensions"]
    (folder / "model.json").write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def load(folder: Path) -> tuple[Network, ModelSpec]:
    """Read a fitted model.

    Returns:
        The network, ready for evaluation, and what belongs to it.

    Raises:
        UserError: the folder holds no fitted model, or a damaged one.
    """
    try:
        content = json.loads((folder / "model.json").read_text(encoding="utf-8"))
        spec = ModelSpec(
            **{
                **content,
                "model": ModelSettings.model_validate(renew_model(content["model"])),
                "prepare": PrepareSettings.model_validate(renew_prepare(content["prepare"])),
                "encoder": EncoderTop(**content["encoder"]) if content.get("encoder") else None,
            }
        )
        model = build_model(
            spec.model,
            spec.frame_size,
            len(spec.vocabulary),
            spec.tasks.size,
            spec.blank,
            spec.layers,
            len(spec.given_words),
            spec.word_feature_size,
            spec.word_layers,
            spec.encoder,
        )
        weights = load_file(folder / "model.safetensors")
        # Models of older versions have none, nor have those that do not go by words.
        model.average_word = weights.get("average_word")
        model.load_state_dict(weights)
    except (OSError, KeyError, TypeError, ValueError, RuntimeError, SafetensorError) as error:
        raise UserError(f"{folder}: not a fitted model, or a damaged one ({' '.join(str(error).split())})") from None
    return model.eval(), spec


def batch_of(spec: ModelSpec, speech: AnalysedSpeech) -> Batch:
    """One utterance as a model reads it: its recording, then its copies if the model hears any.

    The speaker is unknown, so a model trained on frames normalised by speaker gets frames normalised by utterance.
    """
    scheme = scheme_of(spec.model)
    recordings = [Copy(1.0, speech.frames), *(speech.copies if has_acoustics(spec.model) else ())]
    frames, layouts, words = zip(*(_heard(spec, speech, recording) for recording in recordings), strict=True)
    batch = collate(frames, layouts, words, [-1] * len(recordings), scheme.lookahead + 1)
    if not spec.word_feature_size:
        return batch
    known = speech.word_features if speech.words else None
    unknown = [np.zeros((len(own), spec.word_feature_size), np.float16) for own in words]
    features = np.concatenate(unknown if known is None else [known] * len(recordings))
    return replace(batch, word_features=torch.from_numpy(features.astype(np.float32)))


def _heard(spec: ModelSpec, speech: AnalysedSpeech, recording: Copy) -> tuple[np.ndarray, FrameLayout, np.ndarray]:
    """The frames of one recording of an utterance, [A, F], what the model reads of them, and its words, [W]."""
    scheme, words = scheme_of(spec.model), spec.vocabulary.index(speech.words)
    speed, step, count = recording.speed, speech.frame_step, len(recording.frames)
    stretch = speech.speech and stretch_at(speech.speech, step, count, speed)
    if count:
        frames = front_end_of(spec.model.acoustic)(recording.frames[: frames_within(spec.frame_limit, step)])
        layout = layout_frames(scheme, *spans_at(speech.begin, speech.end, step, count, speed), len(frames), stretch)
    else:
        frames, layout = np.zeros((0, spec.frame_size), np.float32), without_sound(scheme, len(words))
    if not len(words):
        layout, words = without_words(scheme, len(frames), stretch or (0, len(frames)), step)
    return frames, layout, words
