"""Contributions of words straight from their definitions, in float64: one utterance, one place, one word at a time."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from fgcme.model import FineGrainedExcitement, FusedWords, Network

Readings = Sequence[tuple[Network, FusedWords]]


def log_odds_by_definition(logits: Tensor, label: int) -> Tensor:
    """Log p / (1 - p), [K] -> []."""
    probabilities = logits.softmax(0)
    return torch.log(probabilities[label] / (1 - probabilities[label]))


def moved(network: Network, fused: FusedWords, place: float) -> Tensor:
    """The words of an utterance on their way from the average word."""
    assert network.average_word is not None
    return network.average_word + place * (fused.features - network.average_word)


def answer(readings: Readings, words: Sequence[Tensor], label: int) -> Tensor:
    """Log-odds by the mean logits of all networks, each the mean over its recordings, for words in place of theirs."""
    logits = [
        network.conclude(replace(fused, features=own)).logits.mean(0)
        for (network, fused), own in zip(readings, words, strict=True)
    ]
    return log_odds_by_definition(torch.stack(logits).mean(0), label)


def integrated_gradients(readings: Readings, label: int, steps: int) -> tuple[float, list[float]]:
    """The base, and the contribution of each word by the midpoint rule."""
    count = int(readings[0][1].word_counts[0])
    of_words = [0.0] * count
    for step in range(steps):
        place = (step + 0.5) / steps
        words = [moved(network, fused, place).detach().requires_grad_() for network, fused in readings]
        gradients = torch.autograd.grad(answer(readings, words, label), words)
        for (network, fused), gradient in zip(readings, gradients, strict=True):
            for row in range(len(gradient)):
                direction = fused.features[row] - network.average_word
                of_words[row % count] += float(gradient[row] @ direction) / steps
    averages = [moved(network, fused, 0.0) for network, fused in readings]
    return answer(readings, averages, label).item(), of_words


def shares(network: Network, fused: FusedWords, label: int) -> tuple[float, list[float]]:
    """The base, and the share of each word in what the readout takes from the words, through the classifier.

    A readout is a sum of what it takes from each word: of the maximum the channels that the word wins, of the mean its
    part, of attention its weight's. What it takes from average words is taken off in the same shares. The log-odds of
    the logits follow by integrating along the line in the few logits, which is smooth.
    """
    core = network.core
    assert isinstance(core, FineGrainedExcitement) and len(fused.word_counts) == 1
    sequence = core.sequence(fused.features, fused.word_counts)
    count = len(sequence)
    average = core.sequence(moved(network, fused, 0.0), fused.word_counts)
    weights = {
        "max": lambda: (sequence.argmax(0) == torch.arange(count).unsqueeze(1)).to(sequence),
        "mean": lambda: torch.full_like(sequence, 1 / count),
        "attention": lambda: (sequence @ core.readout.query / math.sqrt(sequence.shape[1])).softmax(0).unsqueeze(1),
    }[core.readout.kind]()
    whole = network.conclude(replace(fused, features=moved(network, fused, 0.0))).logits[0].double()
    from_average = _readout(core, average)
    taken = weights * (sequence - from_average)
    of_logits = (taken @ core.classify.weight[:, : sequence.shape[1]].t()).double()
    gradient = torch.zeros_like(whole)
    for node, weight in zip(*np.polynomial.legendre.leggauss(60), strict=True):
        logits = (whole + (node + 1) / 2 * of_logits.sum(0)).detach().requires_grad_()
        gradient += weight / 2 * torch.autograd.grad(log_odds_by_definition(logits, label), logits)[0]
    return log_odds_by_definition(whole, label).item(), (of_logits @ gradient).tolist()


def _readout(core: FineGrainedExcitement, rows: Tensor) -> Tensor:
    """[W, D] -> [D]."""
    if core.readout.kind == "attention":
        return (rows @ core.readout.query / math.sqrt(rows.shape[1])).softmax(0) @ rows
    return rows.max(0).values if core.readout.kind == "max" else rows.mean(0)
