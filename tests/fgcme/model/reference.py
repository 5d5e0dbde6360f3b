"""FG-CME once more, straight from its equations: one utterance at a time, word by word, output by output, in float64.

It is told the weights by their names and the settings, and uses none of the package's modules: what the two agree in,
two independent programs agree in. PyTorch's autograd differentiates the loops as they stand.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from fgcme.experiment import AcousticSettings, ModelSettings
from fgcme.experiment.settings import ExcitementSettings
from fgcme.model import Network
from tests.fgcme.model.masked import Utterance

Weights = dict[str, Tensor]
Span = tuple[int, int]


@dataclass(frozen=True)
class Answer:
    """What is said of one utterance: [K] logits, and [T, K] (or [T, K + 1], blank last) of its words."""

    logits: Tensor
    word_logits: Tensor


class Reference:
    """The model of some settings, with the weights of a network, which it shares.

    Args:
        network: whose weights; float64.
        settings: that it was built from, of kind fgcme.
        blank: whether it was built for CTC.
    """

    def __init__(self, network: Network, settings: ModelSettings, blank: bool = False) -> None:
        self.weights: Weights = {**dict(network.named_parameters()), **dict(network.named_buffers())}
        self.settings = settings
        self.blank = blank

    def __call__(self, utterance: Utterance) -> Answer:
        """Classify one utterance."""
        settings, words, features = self.settings, None, []
        if settings.modalities != "acoustic":
            words = self.mean_of(utterance.words)
        sounds = self.heard(utterance) if settings.modalities != "semantic" else None
        if words is not None and sounds is not None:
            features = [
                excited(words, sounds, settings.excitement.semantic, part(self.weights, "core.excite_semantic.driver")),
                self.excited_sounds(words, sounds, utterance.words),
            ]
        else:
            features = [side for side in (words, sounds) if side is not None]
        sequence = bidirectional(torch.cat(features, dim=1), part(self.weights, "core.sequence.lstm"))
        classify = part(self.weights, "core.classify")
        word_logits = torch.stack([linear(word, classify) for word in sequence])
        if self.blank:
            return Answer(word_logits.mean(0)[:-1], word_logits)
        query = self.weights.get("core.readout.query")
        everything = list(range(len(sequence)))
        summary = pooled(settings.fusion.readout, sequence, everything, query=query)
        return Answer(linear(summary, classify), word_logits)

    def mean_of(self, words: np.ndarray) -> Tensor:
        """[T] word indices -> [T, D]: what the words mean."""
        table, project = (
            self.weights["core.semantic.embedding.table.weight"],
            part(self.weights, "core.semantic.project"),
        )
        return torch.stack([linear(table[word], project) for word in words.tolist()])

    def heard(self, utterance: Utterance) -> Tensor:
        """[T, D] what is heard of the words."""
        frames = torch.from_numpy(utterance.frames).double()
        frames = (frames - self.weights["standardise.mean"]) / self.weights["standardise.deviation"]
        acoustic, pooling = self.settings.acoustic, self.settings.pooling
        hidden = encoded(frames, acoustic, part(self.weights, "core.acoustic.encoder"))
        kind = "mean_max" if pooling.kind in ("utterance", "uniform") else pooling.kind
        query = self.weights.get("core.acoustic.pooling.query")
        vectors = []
        for span in spans(utterance, self.settings):
            read = outputs_read(*span, len(frames), sum(acoustic.kernels) - len(acoustic.kernels))
            inside = averaged_mask(span, len(frames), acoustic.kernels)
            vectors.append(pooled(kind, hidden, read, inside, pooling.temperature, query))
        return torch.stack(vectors)

    def excited_sounds(self, words: Tensor, sounds: Tensor, indices: np.ndarray) -> Tensor:
        """[T, D] acoustic features, excited by the words' features or by a table of the words."""
        excitement, driver = self.settings.excitement, part(self.weights, "core.excite_acoustic.driver")
        if excitement.driver == "features" or excitement.acoustic == "none":
            return excited(sounds, words, excitement.acoustic, driver)
        signal = torch.stack([word_signal(index, excitement, driver) for index in indices.tolist()])
        return by_form(sounds, signal, excitement.acoustic)


def part(weights: Weights, name: str) -> Weights:
    """The weights of one module, by their names within it."""
    return {key.removeprefix(f"{name}."): value for key, value in weights.items() if key.startswith(f"{name}.")}


def linear(vector: Tensor, weights: Weights) -> Tensor:
    """W x + b."""
    return weights["weight"] @ vector + weights["bias"]


def spans(utterance: Utterance, settings: ModelSettings) -> list[Span]:
    """Each word's frames, with its margin: by the alignment, by an even split, or all."""
    count, words = len(utterance.frames), len(utterance.words)
    kind, margin = settings.pooling.kind, settings.pooling.margin
    if kind == "utterance":
        return [(0, count)] * words
    aligned = list(zip(utterance.begin.tolist(), utterance.end.tolist(), strict=True))
    if kind == "uniform":
        aligned = [(word * count // words, (word + 1) * count // words) for word in range(words)]
    return [(begin - margin, end + margin) if begin < end else (begin, end) for begin, end in aligned]


def outputs_read(begin: int, end: int, frame_count: int, reach: int) -> list[int]:
    """Outputs that a word reads, by their definition: those that see a frame of its span.

    >>> outputs_read(3, 4, 10, 2)
    [1, 2, 3]
    """
    return [
        output
        for output in range(frame_count - reach)
        if any(begin <= frame < end for frame in range(output, output + reach + 1))
    ]


def averaged_mask(span: Span, frame_count: int, kernels: list[int]) -> list[float]:
    """Average pooling, by each kernel in turn, of a mask of the span's frames: how much an output sees of the word.

    >>> averaged_mask((2, 4), 6, [2, 2])
    [0.25, 0.75, 0.75, 0.25]
    """
    mask = [float(span[0] <= frame < span[1]) for frame in range(frame_count)]
    for kernel in kernels:
        mask = [sum(mask[first : first + kernel]) / kernel for first in range(len(mask) - kernel + 1)]
    return mask


def encoded(frames: Tensor, settings: AcousticSettings, weights: Weights) -> Tensor:
    """[A, F] frames -> [A', C]: h_j = b + sum_k W_k x_(j+k), layer after layer; no output for a short utterance."""
    signal = frames
    for depth, kernel in enumerate(settings.kernels):
        if depth:
            if settings.layer_normalisation:
                signal = normalised(signal, part(weights, f"normalisations.{depth - 1}"))
            signal = activated(signal, settings.activation)
        layer = part(weights, f"convolutions.{depth}")
        outputs = max(len(signal) - kernel + 1, 0)
        taps = (signal[tap : tap + outputs] @ layer["weight"][:, :, tap].T for tap in range(kernel))
        signal = layer["bias"] + sum(taps, torch.zeros(outputs, len(layer["bias"]), dtype=torch.float64))
    return signal


def normalised(signal: Tensor, weights: Weights) -> Tensor:
    """Layer normalisation of each frame (Ba, Kiros and Hinton, 2016)."""
    mean = signal.mean(1, keepdim=True)
    variance = (signal - mean).square().mean(1, keepdim=True)
    return (signal - mean) / (variance + 1e-5).sqrt() * weights["weight"] + weights["bias"]


def activated(signal: Tensor, activation: str) -> Tensor:
    """max(x, 0), x times the normal distribution's probability below x, or x."""
    if activation == "relu":
        return signal.clamp(min=0)
    if activation == "gelu":
        return signal * (1 + torch.erf(signal / math.sqrt(2))) / 2
    return signal


def pooled(
    kind: str,
    hidden: Tensor,
    read: list[int],
    inside: list[float] | None = None,
    temperature: float = 1.0,
    query: Tensor | None = None,
) -> Tensor:
    """[N, C] rows, of which some are read -> [D] one vector; zeros where none is.

    Args:
        kind: of pooling.
        hidden: the rows.
        read: which of them.
        inside: how much of the word each row sees (kind: softmax).
        temperature: of log-sum-exp (kind: lse).
        query: [C] (kind: attention).
    """
    size = hidden.shape[1] * (2 if kind in ("mean_max", "statistics") else 1)
    if not read:
        return torch.zeros(size, dtype=torch.float64)
    rows = [hidden[row] for row in read]
    if kind == "mean":
        return mean(rows)
    if kind == "max":
        return highest(rows)
    if kind == "mean_max":
        return torch.cat([mean(rows), highest(rows)])
    if kind == "softmax":
        assert inside is not None
        return weighted(rows, [torch.tensor(inside[row], dtype=torch.float64) for row in read])
    if kind == "attention":
        assert query is not None
        return weighted(rows, [torch.dot(row, query) / math.sqrt(len(query)) for row in rows])
    if kind == "lse":
        return temperature * (torch.logsumexp(torch.stack(rows) / temperature, dim=0) - math.log(len(rows)))
    assert kind == "statistics"
    centre = mean(rows)
    variance = mean([(row - centre) ** 2 for row in rows])
    return torch.cat([centre, (variance + 1e-8) ** 0.5])


def mean(rows: list[Tensor]) -> Tensor:
    """Sum over count."""
    total = torch.zeros_like(rows[0])
    for row in rows:
        total = total + row
    return total / len(rows)


def highest(rows: list[Tensor]) -> Tensor:
    """The largest value of each channel; of equal ones the first."""
    largest = rows[0]
    for row in rows[1:]:
        largest = torch.where(row > largest, row, largest)
    return largest


def weighted(rows: list[Tensor], scores: list[Tensor]) -> Tensor:
    """Mean weighted by the softmax of the scores."""
    weights = torch.softmax(torch.stack(scores), dim=0)
    total = torch.zeros_like(rows[0])
    for row, weight in zip(rows, weights, strict=True):
        total = total + weight * row
    return total


def excited(features: Tensor, source: Tensor, form: str, driver: Weights) -> Tensor:
    """[T, D] features, excited word by word by the other side's features."""
    if form == "none":
        return features
    return by_form(features, torch.stack([feature_signal(word, driver) for word in source]), form)


def feature_signal(features: Tensor, driver: Weights) -> Tensor:
    """W d + b, or V max(W d + b, 0) + c through a bottleneck."""
    if "weight" in driver:
        return linear(features, driver)
    return linear(linear(features, part(driver, "0")).clamp(min=0), part(driver, "2"))


def word_signal(index: int, settings: ExcitementSettings, driver: Weights) -> Tensor:
    """E[w], or W E[w] + b with a narrow table."""
    if settings.reduction_ratio == 1:
        return driver["weight"][index]
    return linear(driver["0.weight"][index], part(driver, "1"))


def by_form(features: Tensor, signal: Tensor, form: str) -> Tensor:
    """The four equations."""
    gate = 1 / (1 + torch.exp(-signal))
    return {
        "none": features,
        "gate": features * gate,
        "residual_gate": features + features * gate,
        "additive": features + signal,
    }[form]


def bidirectional(rows: Tensor, weights: Weights) -> Tensor:
    """[T, D] -> [T, 2 H]: an LSTM forwards beside one backwards."""
    forwards = recurrent(list(rows), weights, "")
    backwards = recurrent(list(rows)[::-1], weights, "_reverse")[::-1]
    return torch.stack([torch.cat(pair) for pair in zip(forwards, backwards, strict=True)])


def recurrent(rows: list[Tensor], weights: Weights, direction: str) -> list[Tensor]:
    """An LSTM (Hochreiter and Schmidhuber, 1997, with the forget gate of Gers et al., 2000), step by step."""
    names = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")
    from_input, from_hidden, bias, other_bias = (weights[name + direction] for name in names)
    hidden = cell = torch.zeros(from_hidden.shape[1], dtype=torch.float64)
    outputs = []
    for row in rows:
        signal = from_input @ row + bias + from_hidden @ hidden + other_bias
        enter, forget, candidate, leave = signal.chunk(4)
        cell = torch.sigmoid(forget) * cell + torch.sigmoid(enter) * torch.tanh(candidate)
        hidden = torch.sigmoid(leave) * torch.tanh(cell)
        outputs.append(hidden)
    return outputs
