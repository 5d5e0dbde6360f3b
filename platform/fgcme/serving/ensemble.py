"""Several fitted models that answer together: a folder with a folder `member-NN` for each, or one fitted model."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from fgcme.errors import UserError
from fgcme.model import Network
from fgcme.serving import fitted
from fgcme.serving.fitted import ModelSpec, Prediction

_MEMBERS = "member-[0-9]*"
# Keeps the logarithm of a probability that was rounded to 0 finite.
_SMALLEST = 1e-45


def member_folder(folder: Path, number: int) -> Path:
    """The folder of one member of an ensemble."""
    return folder / f"member-{number:02}"


def member_folders(folder: Path) -> list[Path]:
    """The folders of an ensemble's members; of a single fitted model its own."""
    return sorted(path.parent for path in folder.glob(f"{_MEMBERS}/model.json")) or [folder]


def has_model(folder: Path) -> bool:
    """Whether a folder holds a fitted model or an ensemble."""
    return all((member / "model.json").is_file() for member in member_folders(folder))


def load(folder: Path) -> list[tuple[Network, ModelSpec]]:
    """Read the members of an ensemble, or the one model of a folder.

    Raises:
        UserError: there is no model, or a damaged one, or the members differ in classes or in how speech is prepared.
    """
    members = [fitted.load(member) for member in member_folders(folder)]
    first = members[0][1]
    for _, spec in members[1:]:
        if (spec.classes, spec.prepare) != (first.classes, first.prepare):
            raise UserError(f"{folder}: its members do not answer the same question: classes or `prepare` differ")
    return members


def average(predictions: Sequence[Prediction]) -> Prediction:
    """The answer of an ensemble: the softmax of its members' mean logits, of the utterance and of each word.

    Args:
        predictions: of the members, for one utterance; gates are averaged over them.
    """
    first = predictions[0]
    if len(predictions) == 1:
        return first
    probabilities = _average([prediction.probabilities for prediction in predictions])
    by_word = zip(*(prediction.word_probabilities for prediction in predictions), strict=True)
    gates = zip(*(prediction.word_gates for prediction in predictions), strict=True)
    return Prediction(
        label=max(probabilities, key=lambda name: probabilities[name]),
        probabilities=probabilities,
        words=first.words,
        begin=first.begin,
        end=first.end,
        word_probabilities=[_average(word) for word in by_word],
        word_gates=[{side: float(np.mean([gate[side] for gate in word])) for side in word[0]} for word in gates],
        alignment=first.alignment,
    )


def _average(members: Sequence[dict[str, float]]) -> dict[str, float]:
    """Class -> probability. A logarithm of probabilities is a logit less a number that all classes share."""
    logits = {name: float(np.mean([math.log(max(own[name], _SMALLEST)) for own in members])) for name in members[0]}
    highest = max(logits.values(), default=0.0)
    weights = {name: math.exp(logit - highest) for name, logit in logits.items()}
    return {name: weight / sum(weights.values()) for name, weight in weights.items()}
