"""FG-CME straight from its equations: one utterance at a time, word by word, output by output, in float64.

It takes the weights by name and the settings, and uses none of the package's modules, so that it is an independent
program. PyTorch's autograd differentiates the loops.
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
class ReferenceOutput:
    """What a reference computes for one utterance; `fgcme.model.Output` without the axis of utterances.

    Attributes:
        logits: [K].
        word_logits: [W, K + 1] with the blank last; None without a blank.
        modality_logits: [K] of each modality (late fusion).
        auxiliary_loss: [] loss of the alignment (CTC alignment).
    """

    logits: Tensor
    word_logits: Tensor | None = None
    modality_logits: tuple[Tensor, ...] = ()
    auxiliary_loss: Tensor | None = None


class Reference:
    """FG-CME by its equations, sharing the weights of a network.

    Args:
        network: in float64.
        settings: of the network, of kind fgcme.
        blank: whether the network was built for CTC.
        layers: how many layers of an encoder lie side by side in a frame.
    """

    def __init__(self, network: Network, settings: ModelSettings, blank: bool = False, layers: int = 1) -> None:
        self.weights: Weights = {**dict(network.named_parameters()), **dict(network.named_buffers())}
        self.settings = settings
        self.blank = blank
        self.layer_size = len(network.standardise.mean) // layers

    def __call__(self, utterance: Utterance) -> ReferenceOutput:
        """Classify one utterance."""
        settings, semantic, acoustic = self.settings, None, None
        if settings.modalities != "acoustic":
            semantic = self.semantic_features(utterance.words)
        if settings.modalities != "semantic":
            acoustic = self.acoustic_features(utterance)
        if semantic is not None and acoustic is not None:
            driver = weights_of(self.weights, "core.excite_semantic.driver")
            features = [
                excite_words(semantic, acoustic, settings.excitement.semantic, driver),
                self.excited_acoustic(semantic, acoustic, utterance.words),
            ]
        else:
            features = [side for side in (semantic, acoustic) if side is not None]
        rows = torch.cat(features, dim=1)
        if settings.fusion.sequence == "wordwise":
            project = weights_of(self.weights, "core.sequence.project")
            sequence = torch.stack([activated(linear(row, project), "gelu") for row in rows])
        else:
            sequence = bidirectional(rows, weights_of(self.weights, "core.sequence.lstm"))
        classify = weights_of(self.weights, "core.classify")
        overall = self.overall(utterance)
        if self.blank:
            word_logits = torch.stack([linear(torch.cat([word, overall]), classify) for word in sequence])
            return ReferenceOutput(word_logits.mean(0)[:-1], word_logits)
        query = self.weights.get("core.readout.query")
        summary = pool_rows(settings.fusion.readout, sequence, list(range(len(sequence))), query=query)
        return ReferenceOutput(linear(torch.cat([summary, overall]), classify))

    def semantic_features(self, words: np.ndarray) -> Tensor:
        """[W] word indices -> [W, D]."""
        table, project = (
            self.weights["core.semantic.embedding.table.weight"],
            weights_of(self.weights, "core.semantic.project"),
        )
        return torch.stack([linear(table[word], project) for word in words.tolist()])

    def acoustic_features(self, utterance: Utterance) -> Tensor:
        """[W, D] pool_rows frames of the words."""
        frames, hidden = utterance.frames, self.encoded(utterance)
        acoustic, pooling = self.settings.acoustic, self.settings.pooling
        query = self.weights.get("core.acoustic.pooling.query")
        vectors = []
        for span in spans(utterance, self.settings):
            read = outputs_read(*span, len(frames), sum(acoustic.kernels) - len(acoustic.kernels))
            inside = averaged_mask(span, len(frames), acoustic.kernels)
            vector = pool_rows(pooling.kind, hidden, read, inside, pooling.temperature, query)
            twice = pooling.width == "equal" and len(vector) == hidden.shape[1]
            vectors.append(torch.cat([vector, vector]) if twice else vector)
        return torch.stack([self.refined(vector, "core.acoustic") for vector in vectors])

    def refined(self, vector: Tensor, module: str) -> Tensor:
        """A pooled vector standardised, then its layers mixed, where the network does so."""
        moments = weights_of(self.weights, f"{module}.standardise.of_train")
        if moments:
            vector = (vector - moments["mean"]) / moments["deviation"]
        mix = weights_of(self.weights, f"{module}.mix")
        if mix:
            shares = torch.exp(mix["weights"]) / torch.exp(mix["weights"]).sum()
            blocks = vector.reshape(-1, len(shares), self.layer_size)
            vector = mix["scale"] * sum(share * blocks[:, layer] for layer, share in enumerate(shares))
        return vector.flatten()

    def encoded(self, utterance: Utterance) -> Tensor:
        """[A', C] outputs of the acoustic encoder."""
        frames = torch.from_numpy(utterance.frames).double()
        frames = (frames - self.weights["standardise.mean"]) / self.weights["standardise.deviation"]
        return encode_frames(frames, self.settings.acoustic, weights_of(self.weights, "core.acoustic.encoder"))

    def overall(self, utterance: Utterance) -> Tensor:
        """What stands beside the words: of the statistics of the recording or its speech; else nothing, [0]."""
        overall = self.settings.pooling.overall
        if overall == "none" or self.settings.modalities == "semantic":
            return torch.zeros(0, dtype=torch.float64)
        count, hidden = len(utterance.frames), self.encoded(utterance)
        span = (0, count)
        if overall == "speech":
            assert utterance.speech is not None
            span = utterance.speech if utterance.speech[0] < count else span
        kernels = self.settings.acoustic.kernels
        vector = pool_rows("statistics", hidden, outputs_read(*span, count, sum(kernels) - len(kernels)))
        vector = self.refined(vector, "core.acoustic.overall")
        return activated(linear(vector, weights_of(self.weights, "core.overall.project")), "gelu")

    def excited_acoustic(self, semantic: Tensor, acoustic: Tensor, words: np.ndarray) -> Tensor:
        """[W, D] acoustic features, excite_words by the semantic features or by a table of the words."""
        excitement, driver = self.settings.excitement, weights_of(self.weights, "core.excite_acoustic.driver")
        if excitement.driver == "features" or excitement.acoustic == "none":
            return excite_words(acoustic, semantic, excitement.acoustic, driver)
        signal = torch.stack([word_signal(index, excitement, driver) for index in words.tolist()])
        return by_form(acoustic, signal, excitement.acoustic)


def weights_of(weights: Weights, name: str) -> Weights:
    """The weights of one module, by their names within it."""
    return {key.removeprefix(f"{name}."): value for key, value in weights.items() if key.startswith(f"{name}.")}


def linear(vector: Tensor, weights: Weights) -> Tensor:
    """W x + b."""
    return weights["weight"] @ vector + weights["bias"]


def spans(utterance: Utterance, settings: ModelSettings) -> list[Span]:
    """What stands for each word, with its margin: its span, an even part, or all; of the recording or the speech."""
    count, words = len(utterance.frames), len(utterance.words)
    segments, margin = settings.pooling.segments, settings.pooling.margin
    first, last = 0, count
    if segments in ("even_speech", "speech", "random"):
        assert utterance.speech is not None
        # The recording counts as speech where all of the speech is cut away.
        first, last = utterance.speech if utterance.speech[0] < count else (0, count)
        last = min(last, count)
    if segments == "words":
        spans = list(zip(utterance.begin.tolist(), utterance.end.tolist(), strict=True))
    elif segments in ("recording", "speech"):
        spans = [(first, last)] * words
    else:
        length = last - first
        spans = [(first + word * length // words, first + (word + 1) * length // words) for word in range(words)]
    return [(begin - margin, end + margin) if begin < end else (begin, end) for begin, end in spans]


def outputs_read(begin: int, end: int, frame_count: int, lookahead: int) -> list[int]:
    """Outputs that a word reads: those whose receptive field has a frame of its span.

    >>> outputs_read(3, 4, 10, 2)
    [1, 2, 3]
    """
    return [
        output
        for output in range(frame_count - lookahead)
        if any(begin <= frame < end for frame in range(output, output + lookahead + 1))
    ]


def averaged_mask(span: Span, frame_count: int, kernels: list[int]) -> list[float]:
    """Average pooling of a mask of the span's frames, by one kernel after another.

    >>> averaged_mask((2, 4), 6, [2, 2])
    [0.25, 0.75, 0.75, 0.25]
    """
    mask = [float(span[0] <= frame < span[1]) for frame in range(frame_count)]
    for kernel in kernels:
        mask = [sum(mask[first : first + kernel]) / kernel for first in range(len(mask) - kernel + 1)]
    return mask


def encode_frames(frames: Tensor, settings: AcousticSettings, weights: Weights) -> Tensor:
    """[A, F] frames -> [A', C]: h_j = b + sum_k W_k x_(j+k), layer after layer; no output for a short utterance."""
    signal = frames
    for depth, kernel in enumerate(settings.kernels):
        if depth:
            if settings.layer_normalisation:
                signal = normalised(signal, weights_of(weights, f"normalisations.{depth - 1}"))
            signal = activated(signal, settings.activation)
        layer = weights_of(weights, f"convolutions.{depth}")
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
    """ReLU, max(x, 0); GELU, x times the normal distribution's probability below x; or x."""
    if activation == "relu":
        return signal.clamp(min=0)
    if activation == "gelu":
        return signal * (1 + torch.erf(signal / math.sqrt(2))) / 2
    return signal


def pool_rows(
    kind: str,
    hidden: Tensor,
    read: list[int],
    inside: list[float] | None = None,
    temperature: float = 1.0,
    query: Tensor | None = None,
) -> Tensor:
    """Reduce the rows that are read to one vector, [D]; zeros where none is read.

    Args:
        kind: of pooling.
        hidden: [N, C] rows.
        read: positions of the rows that are read.
        inside: [N] share of each row's receptive field in the word's span (kind: softmax).
        temperature: of log-mean-exp (kind: lse).
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
    """Mean of rows."""
    total = torch.zeros_like(rows[0])
    for row in rows:
        total = total + row
    return total / len(rows)


def highest(rows: list[Tensor]) -> Tensor:
    """Maximum of each channel; of equal values the first."""
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


def excite_words(features: Tensor, source: Tensor, form: str, driver: Weights) -> Tensor:
    """[W, D] features, excite_words word by word by the other side's features."""
    if form == "none":
        return features
    return by_form(features, torch.stack([feature_signal(word, driver) for word in source]), form)


def feature_signal(features: Tensor, driver: Weights) -> Tensor:
    """W d + b, or V max(W d + b, 0) + c through a bottleneck."""
    if "weight" in driver:
        return linear(features, driver)
    return linear(linear(features, weights_of(driver, "0")).clamp(min=0), weights_of(driver, "2"))


def word_signal(index: int, settings: ExcitementSettings, driver: Weights) -> Tensor:
    """E[w], or W E[w] + b with a narrow table."""
    if settings.reduction_ratio == 1:
        return driver["weight"][index]
    return linear(driver["0.weight"][index], weights_of(driver, "1"))


def by_form(features: Tensor, signal: Tensor, form: str) -> Tensor:
    """The four forms of excitement."""
    gate = 1 / (1 + torch.exp(-signal))
    return {
        "none": features,
        "gate": features * gate,
        "residual_gate": features + features * gate,
        "additive": features + signal,
    }[form]


def bidirectional(rows: Tensor, weights: Weights) -> Tensor:
    """[W, D] -> [W, 2 * hidden]: outputs of a forward and a backward LSTM side by side."""
    forwards = run_lstm(list(rows), weights, "")
    backwards = run_lstm(list(rows)[::-1], weights, "_reverse")[::-1]
    return torch.stack([torch.cat(pair) for pair in zip(forwards, backwards, strict=True)])


def run_lstm(rows: list[Tensor], weights: Weights, direction: str) -> list[Tensor]:
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
