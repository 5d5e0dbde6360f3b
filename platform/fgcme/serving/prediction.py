"""The answer of fitted models for one utterance, and what each word contributes to it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from fgcme.audio import HOP, SAMPLE_RATE
from fgcme.model import FusedWords, Network, contributions, why_none
from fgcme.prepared.utterance import AnalysedSpeech
from fgcme.serving.fitted import ModelSpec, batch_of


@dataclass(frozen=True)
class Prediction:
    """The answer of a model, or of several together, for one utterance.

    Attributes:
        label: the most probable class.
        probabilities: class -> probability.
        words, begin, end: [W] the words and their spans in seconds; none if the words are not known.
        contributions: [W] what each word adds to the log-odds of `label`, see `fgcme.model.contribution`; none where
            the model does not go by words, or the words are not known.
        base: the log-odds of `label` without what the words add, so that the sum is that of the answer; None with no
            contributions. It holds what belongs to no word, such as the recording as a whole.
        alignment: the method that found the words' frames.
    """

    label: str
    probabilities: dict[str, float]
    words: list[str]
    begin: list[float]
    end: list[float]
    contributions: list[float]
    base: float | None
    alignment: str

    @property
    def log_odds(self) -> float | None:
        """Log-odds of `label` against all other classes: the base and what the words add."""
        return None if self.base is None else self.base + math.fsum(self.contributions)


@torch.no_grad()
def predict(members: Sequence[tuple[Network, ModelSpec]], speech: AnalysedSpeech) -> Prediction:
    """Classify one utterance, by the mean logits of all members, each the mean of its recordings' logits.

    Recordings are the utterance's own, and its copies at other speeds if it has any. Times are those of its own.

    Args:
        members: as `fgcme.serving.ensemble.load` returns them.
        speech: the words, their spans and the frames of the utterance; without words or without frames for a model
            with modality dropout.
    """
    networks, specs = zip(*members, strict=True)
    explains = bool(speech.words) and not why_none(networks)
    readings: list[tuple[Network, FusedWords]] = []
    logits = []
    for network, spec in members:
        batch = batch_of(spec, speech)
        if explains:
            readings.append((network, network.fuse(batch)))
            logits.append(network.conclude(readings[-1][1]).logits.mean(0))
        else:
            logits.append(network(batch).logits.mean(0))
    classes = specs[0].classes
    probabilities = dict(zip(classes, torch.stack(logits).mean(0).softmax(0).tolist(), strict=True))
    label = max(probabilities, key=lambda name: probabilities[name])
    base, of_words = contributions(readings, classes.index(label)) if explains else (None, torch.zeros(0))
    return Prediction(
        label=label,
        probabilities=probabilities,
        words=list(speech.words),
        begin=[frame * HOP / SAMPLE_RATE for frame in speech.begin.tolist()],
        end=[frame * HOP / SAMPLE_RATE for frame in speech.end.tolist()],
        contributions=of_words.tolist(),
        base=base,
        alignment=speech.alignment,
    )
