"""A small fitted model with random weights, and recordings for it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import soundfile
import torch

from fgcme.audio import SAMPLE_RATE
from fgcme.experiment import ModelSettings, PrepareSettings
from fgcme.model import build_model
from fgcme.serving import fitted
from fgcme.serving.prediction import Prediction

CLASSES = ["angry", "calm", "happy"]
WORDS = ["dogs", "are", "sitting", "by", "the", "door"]


def save_fitted(
    folder: Path,
    method: str = "uniform",
    selection: str = "dev",
    fold: int = 0,
    modality_dropout: bool = False,
    copies: Sequence[float] = (),
    text_encoder: Path | None = None,
    average_word: bool = True,
    kind: str = "fgcme",
    frame_limit: int = 3000,
) -> Path:
    """Write a small model with random weights into a folder; where one is given, it reads a text encoder's layers.

    Without an average word it is as a version wrote it that kept none.
    """
    settings = ModelSettings.model_validate(
        {
            "kind": kind,
            "acoustic": {"channels": [8, 8], "kernels": [3, 2]},
            "semantic": {"embedding": 6},
            "fusion": {"hidden": 5},
        }
    )
    prepare = PrepareSettings.model_validate(
        {
            "alignment": {"method": method},
            "features": {"bins": 20},
            "copies": {"speed": copies},
            "text": {"checkpoint": text_encoder and str(text_encoder), "layers": [0, 3]},
        }
    )
    torch.manual_seed(fold)
    # Two layers of the tiny encoders of `tests.text_encoder`.
    words = {} if text_encoder is None else {"word_feature_size": 32, "word_layers": 2}
    model = build_model(settings, frame_size=20, vocabulary_size=len(WORDS) + 2, classes=len(CLASSES), **words)
    if average_word and kind == "fgcme":
        model.average_word = 0.1 * torch.randn(model.core.sequence.lstm.input_size)
    spec = fitted.ModelSpec(
        model=settings,
        prepare=prepare,
        classes=CLASSES,
        words=WORDS,
        frame_size=20,
        frame_limit=frame_limit,
        origin={"corpus": "demo", "protocol": "demo/4class", "selection": selection, "fold": fold, "seed": 0},
        modality_dropout=modality_dropout,
        **words,
    )
    fitted.save(folder, model, spec)
    return folder


def write_audio(path: Path, seconds: float = 1.0, seed: int = 0) -> Path:
    """Write bursts of noise, loud and quiet in turn, as a WAV file."""
    count = int(seconds * SAMPLE_RATE)
    noise = np.random.default_rng(seed).normal(0, 0.1, count)
    loudness = 0.2 + np.abs(np.sin(np.arange(count) / SAMPLE_RATE * 8))
    soundfile.write(path, (noise * loudness).astype(np.float32), SAMPLE_RATE, subtype="PCM_16")
    return path


def mean_logits(answers: Sequence[Prediction]) -> list[float]:
    """Probabilities by the mean of logarithms of probabilities, which are logits but for what all classes share."""
    logits = np.log([list(answer.probabilities.values()) for answer in answers]).mean(0)
    probabilities: list[float] = (np.exp(logits) / np.exp(logits).sum()).tolist()
    return probabilities
