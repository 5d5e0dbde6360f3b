"""The answer of fitted models for one utterance, and what each word contributes to it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch

from fgcme.audio import HOP, SAMPLE_RATE
from fgcme.data import Tasks
from fgcme.evaluation.cross_validation import probabilities_of
from fgcme.model import FusedWords, Network, contributions, why_none
from fgcme.prepared.utterance import AnalysedSpeech
from fgcme.serving.fitted import ModelSpec, batch_of
from fgcme.serving.unheard import Unheard, find_unheard
from fgcme.threads import one_thread

GIVEN, NO_WORDS = "given", "none"
"""Where an answer's words come from; or `recognised by` and the recogniser's name."""


@dataclass(frozen=True)
class Prediction:
    """The answer of a model, or of several together, for one utterance.

    Attributes:
        label: the most probable class; empty for a model that answers ratings alone.
        probabilities: class -> probability; none for such a model.
        words, begin, end: [W] the words and their spans in seconds; none if the words are not known.
        contributions: [W] what each word adds to the log-odds of `label`, see `fgcme.model.contribution`; None for a
            word that was not heard; none at all where the model does not go by words, or the words are not known.
        base: the log-odds of `label` without what the words add, so that the sum is that of the answer; None with no
            contributions. It holds what belongs to no word that was heard, such as the recording as a whole.
        alignment: the method that found the words' frames.
        text: what is said; empty if that is not known.
        words_from: `given`, `recognised by` and the recogniser's name, or `none`.
        unheard: what the model did not hear, or does not know.
        ratings: dimension -> its value on its own scale, perhaps a little beyond; none for a model of classes alone.
    """

    label: str
    probabilities: dict[str, float]
    words: list[str]
    begin: list[float]
    end: list[float]
    contributions: list[float | None]
    base: float | None
    alignment: str
    text: str = ""
    words_from: str = NO_WORDS
    unheard: Unheard = field(default_factory=Unheard)
    ratings: dict[str, float] = field(default_factory=dict)

    @property
    def log_odds(self) -> float | None:
        """Log-odds of `label` against all other classes: the base and what the words add."""
        return None if self.base is None else self.base + math.fsum(filter(None, self.contributions))


@torch.no_grad()
@one_thread()
def predict(members: Sequence[tuple[Network, ModelSpec]], speech: AnalysedSpeech) -> Prediction:
    """Classify one utterance, by the mean logits of all members, each the mean of its recordings' logits.

    Recordings are the utterance's own, and its copies at other speeds if it has any. Times are those of its own.

    Args:
        members: as `fgcme.serving.ensemble.load` returns them.
        speech: the words, their spans and the frames of the utterance; without words or without frames for a model
            with modality dropout.
    """
    specs = [spec for _, spec in members]
    tasks = specs[0].tasks
    explains = bool(speech.words) and not why_no_contributions(members)
    readings: list[tuple[Network, FusedWords]] = []
    outputs = []
    for network, spec in members:
        batch = batch_of(spec, speech)
        if explains:
            readings.append((network, network.fuse(batch)))
            outputs.append(network.conclude(readings[-1][1]).answer)
        else:
            outputs.append(network(batch).answer)
    mean = torch.stack(outputs).mean(0)
    logits, values = mean[: len(tasks.classes)], mean[len(tasks.classes) :]
    probabilities = probabilities_of(logits[None].numpy())[0].tolist() if tasks.classes else []
    label = tasks.classes[int(logits.argmax())] if tasks.classes else ""
    unheard = find_unheard(specs, speech)
    base, of_words = _explain(readings, label, unheard, tasks) if explains else (None, [])
    return Prediction(
        label=label,
        probabilities=dict(zip(tasks.classes, probabilities, strict=True)),
        words=list(speech.words),
        begin=[frame * HOP / SAMPLE_RATE for frame in speech.begin.tolist()],
        end=[frame * HOP / SAMPLE_RATE for frame in speech.end.tolist()],
        contributions=of_words,
        base=base,
        alignment=speech.alignment,
        text=" ".join(speech.words),
        words_from=GIVEN if speech.words else NO_WORDS,
        unheard=unheard,
        ratings=dict(zip(tasks.dimensions, tasks.unscaled(values.numpy()).tolist(), strict=True)),
    )


def why_no_contributions(members: Sequence[tuple[Network, ModelSpec]]) -> str:
    """Why the answer of some models together has no contributions of words; empty where it has."""
    if not members[0][1].classes:
        return "they are those to a class, and the model answers ratings alone"
    return why_none([network for network, _ in members])


def _explain(
    readings: Sequence[tuple[Network, FusedWords]], label: str, unheard: Unheard, tasks: Tasks
) -> tuple[float, list[float | None]]:
    """The base and the words' contributions, what words add that were not heard counted to the base."""
    base, of_words = contributions(readings, tasks.classes.index(label), len(tasks.classes))
    heard = len(of_words) - len(unheard.words)
    return base + of_words[heard:].sum().item(), [*of_words[:heard].tolist(), *[None] * len(unheard.words)]
