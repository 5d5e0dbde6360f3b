"""What each word contributes to an answer: integrated gradients (Sundararajan, Taly and Yan, ICML 2017).

An answer is a class, and F(x) its log-odds, log p / (1 - p), for the fused features x_i of the words i of an utterance.
With a the training part's average word, all words move from it to themselves, x_i(t) = a + t (x_i - a), and

    contribution of word i    integral over t from 0 to 1 of (x_i - a) . dF/dx_i at x(t)
    base                      F where every word is the average one

so that base and contributions add up to F, and an average word contributes nothing. What belongs to no word, such as
the statistics of the recording beside the words, stays as it is along the way, and so is part of the base.

Several recordings of an utterance, and several models, answer by their mean logits. All of them move together then: F
is that of the mean logits, and the contributions of a word in each of them are added.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from fgcme.model.network import FusedWords, Network

# Steps at first, and after how many no step is halved any more.
_FIRST, _MOST = 32, 512
# What may be open in a step: by how much the slopes at its ends differ in what they give a word; and how far what they
# give all words is from what F gains, as where it jumps between the ends.
_OPEN, _MISSING = 0.02, 0.002
# Rows of words that are computed at once, which bounds memory.
_ROWS = 20_000


class Contributions(NamedTuple):
    """What carried an answer; see the module.

    Attributes:
        base: log-odds of the class where every word is the average one.
        words: [W] what each word adds to that.
    """

    base: float
    words: Tensor


class _Wanted(NamedTuple):
    """Of which class the log-odds are wanted, and how many classes there are; None for as many as values."""

    label: int
    classes: int | None


class _Way(NamedTuple):
    """Places along the way from average words to those of an utterance.

    Attributes:
        places: t of each, from 0 to 1, rising.
        values: F of each.
        slopes: [places, W] how much each word changes F there, the derivative by t.
    """

    places: Tensor
    values: Tensor
    slopes: Tensor


def why_none(networks: Sequence[Network]) -> str:
    """Why the answer of some networks together has no contributions; empty where it has."""
    if not all(network.goes_by_words for network in networks):
        return "the model does not go by words"
    if any(network.average_word is None for network in networks):
        return "the model was fitted by a version that did not keep the average word"
    return ""


def log_odds(logits: Tensor, label: int) -> Tensor:
    """Log-odds of one class against all others together, [..., K] -> [...].

    >>> log_odds(torch.tensor([0.0, 0.0, 0.0]), 1).exp().item()  # 1/3 against 2/3
    0.5
    """
    others = torch.cat([logits[..., :label], logits[..., label + 1 :]], dim=-1)
    return logits[..., label] - others.logsumexp(-1)


def contributions(
    readings: Sequence[tuple[Network, FusedWords]], label: int, classes: int | None = None
) -> Contributions:
    """What each word contributes to a class, by one network or several together.

    Args:
        readings: each network, ready for evaluation and with its average word, and the fused words of the one
            utterance: of its recordings, which all have the same W words.
        label: index of the class.
        classes: how many of a network's values are logits of classes, its first; by default all.
    """
    wanted = _Wanted(label, classes)
    way = _look(readings, wanted, torch.linspace(0, 1, _FIRST + 1))
    while True:
        widths = way.places.diff()
        steps = _integrate(way)
        missing = (way.values.diff() - steps.sum(1)).abs()
        halved = (widths * way.slopes.diff(dim=0).abs().amax(1) > _OPEN) | (missing > _MISSING)
        if not halved.any() or len(widths) >= _MOST:
            return Contributions(way.values[0].item(), steps.sum(0))
        middles = (way.places[:-1] + widths / 2)[halved]
        both = [torch.cat(pair) for pair in zip(way, _look(readings, wanted, middles), strict=True)]
        order = both[0].argsort()
        way = _Way(*(column[order] for column in both))


def _integrate(way: _Way) -> Tensor:
    """Integrate the slopes of the words step by step, [steps, W].

    A readout by maximum bends F wherever another word takes a channel over. In a step with one bend, the slopes at its
    ends hold for a share of it each, and what F gains says which share: so they are weighed.
    """
    widths, gains, total = way.places.diff(), way.values.diff(), way.slopes.sum(1)
    share = ((gains / widths - total[1:]) / (total[:-1] - total[1:])).nan_to_num(0.5).clamp(0, 1).unsqueeze(1)
    return widths.unsqueeze(1) * (share * way.slopes[:-1] + (1 - share) * way.slopes[1:])


def _look(readings: Sequence[tuple[Network, FusedWords]], wanted: _Wanted, places: Tensor) -> _Way:
    """F and its slopes at some places; see `contributions`."""
    at_once = max(1, _ROWS // max(len(fused.features) for _, fused in readings))
    parts = [_look_at_once(readings, wanted, some) for some in torch.split(places, at_once)]
    return _Way(*map(torch.cat, zip(*parts, strict=True)))


def _look_at_once(readings: Sequence[tuple[Network, FusedWords]], wanted: _Wanted, places: Tensor) -> _Way:
    """F and its slopes at a few places; see `contributions`."""
    averages = [_average_word(network) for network, _ in readings]
    directions = [fused.features - average for (_, fused), average in zip(readings, averages, strict=True)]
    with torch.enable_grad():
        words = [
            (average + places[:, None, None] * direction).requires_grad_()
            for average, direction in zip(averages, directions, strict=True)
        ]
        logits = [_logits(network, fused, moved) for (network, fused), moved in zip(readings, words, strict=True)]
        values = log_odds(torch.stack(logits).mean(0)[..., : wanted.classes], wanted.label)
        # Places do not know of each other, so the gradient of the sum holds that of each.
        gradients = torch.autograd.grad(values.sum(), words)
    slopes = [
        (gradient * direction).sum(2).view(len(places), len(fused.word_counts), -1).sum(1)
        for gradient, direction, (_, fused) in zip(gradients, directions, readings, strict=True)
    ]
    return _Way(places, values.detach(), torch.stack(slopes).sum(0))


def _average_word(network: Network) -> Tensor:
    assert network.average_word is not None, "see `why_none`"
    return network.average_word


def _logits(network: Network, fused: FusedWords, words: Tensor) -> Tensor:
    """[places, K] the network's logits, the mean over the utterance's recordings, at each place.

    Args:
        network: to ask.
        fused: of the utterance's recordings.
        words: [places, rows, D] what stands for the words of all recordings at each place.
    """
    places, overall = len(words), fused.overall
    moved = FusedWords(
        features=words.flatten(0, 1),
        word_counts=fused.word_counts.repeat(places),
        overall=None if overall is None else overall.repeat(places, 1),
    )
    return network.conclude(moved).logits.view(places, len(fused.word_counts), -1).mean(1)
