"""The baselines by loops, one utterance at a time: slow, obvious, and independent of batches.

Each shares its weights with a core of the package, so that outputs and gradients can be compared. Nothing is padded,
packed or batched, and of PyTorch's layers only linear maps and tables are used.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from fgcme.data import Batch, scheme_of
from fgcme.experiment import ModelSettings
from fgcme.model import Network
from tests.fgcme.model.masked import Utterance, ragged_batch
from tests.fgcme.model.reference import (
    ReferenceOutput,
    encode_frames,
    outputs_read,
    pool_rows,
    spans,
    weights_of,
)


def draw_utterance(
    seed: int, frame_count: int, word_count: int, frame_size: int, vocabulary: int, classes: int
) -> Utterance:
    """Draw an utterance whose words lie end to end, some of them without a frame."""
    generator = np.random.default_rng([seed, frame_count, word_count])
    edges = np.sort(generator.integers(0, frame_count + 1, word_count + 1))
    return Utterance(
        frames=generator.normal(size=(frame_count, frame_size)).astype(np.float32),
        begin=edges[:-1],
        end=edges[1:],
        words=generator.integers(1, vocabulary, word_count),
        label=int(generator.integers(classes)),
        speech=(int(edges[0]), frame_count),
    )


def batch_for(settings: ModelSettings, utterances: Sequence[Utterance]) -> Batch:
    """Utterances packed end to end by the package, for a model of these settings."""
    return ragged_batch(utterances, scheme_of(settings))


def in_float64(batch: Batch) -> Batch:
    """The same batch with float64 frames, the precision of a reference."""
    return replace(batch, frames=batch.frames.double())


def reference_output(network: Network, settings: ModelSettings, utterance: Utterance) -> ReferenceOutput:
    """Classify one utterance by the equations of a baseline, with the weights of a float64 network."""
    standardise = network.standardise
    frames = (torch.from_numpy(utterance.frames).double() - standardise.mean) / standardise.deviation
    words = torch.from_numpy(utterance.words)
    if settings.kind == "can":
        return _can(network.core, settings, frames, utterance)
    if settings.kind == "framewise_text":
        return _framewise_text(network.core, settings, frames, utterance)
    return _REFERENCES[settings.kind](network.core, settings, frames, words)


def _acoustic_lstm(core: Any, settings: ModelSettings, frames: Tensor, words: Tensor) -> ReferenceOutput:
    outputs = frame_lstm(core.encoder, settings, frames)
    return ReferenceOutput(core.classify(attention_by_query(core.readout.query, outputs)))


def _semantic_lstm(core: Any, settings: ModelSettings, frames: Tensor, words: Tensor) -> ReferenceOutput:
    outputs = word_lstm(core.encoder, words)
    return ReferenceOutput(core.classify(attention_by_query(core.readout.query, outputs)))


def _late_fusion(core: Any, settings: ModelSettings, frames: Tensor, words: Tensor) -> ReferenceOutput:
    acoustic = _acoustic_lstm(core.acoustic, settings, frames, words).logits
    semantic = _semantic_lstm(core.semantic, settings, frames, words).logits
    mean = (softmax(acoustic) + softmax(semantic)) / 2
    return ReferenceOutput(mean.log(), modality_logits=(acoustic, semantic))


def _multi_hop_attention(core: Any, settings: ModelSettings, frames: Tensor, words: Tensor) -> ReferenceOutput:
    acoustic, semantic = frame_lstm(core.acoustic, settings, frames), word_lstm(core.semantic, words)
    hidden = settings.baseline.hidden
    summary = torch.cat([acoustic[-1][:hidden], acoustic[0][hidden:]])
    first_hop = weighted_sum(softmax(torch.stack([summary @ word for word in semantic])), semantic)
    second_hop = weighted_sum(softmax(torch.stack([first_hop @ step for step in acoustic])), acoustic)
    return ReferenceOutput(core.classify(torch.cat([summary, first_hop, second_hop])))


def _learned_alignment(core: Any, settings: ModelSettings, frames: Tensor, words: Tensor) -> ReferenceOutput:
    semantic = word_lstm(core.semantic, words)
    steps = frame_lstm(core.acoustic.frames, settings, frames)
    acoustic = [attention_by_heads(core.acoustic, word, steps) for word in semantic]
    return fused(core, settings, semantic, acoustic)


def _ctc_alignment(core: Any, settings: ModelSettings, frames: Tensor, words: Tensor) -> ReferenceOutput:
    positions = settings.baseline.positions
    steps = stacked(frames, settings.baseline.stack)
    lstm = core.acoustic.locate.forwards
    logits = run_lstm(lstm, run_lstm(lstm, steps, layer=0), layer=1)
    probabilities = [softmax(step) for step in logits]
    acoustic = []
    for word in range(len(words)):
        # The blank is first.
        label = 1 + min(word, positions - 1)
        acoustic.append(sum(by_label[label] * step for by_label, step in zip(probabilities, steps, strict=True)))
    semantic = [core.semantic.project(core.semantic.embedding.table.weight[word]) for word in words]
    label_count = min(len(words), positions)
    loss = ctc_loss(probabilities, label_count) / label_count
    return replace(fused(core, settings, semantic, acoustic), auxiliary_loss=loss)


def _can(core: Any, settings: ModelSettings, frames: Tensor, utterance: Utterance) -> ReferenceOutput:
    hidden = encode_frames(frames, settings.acoustic, weights_of(dict(core.named_parameters()), "acoustic.encoder"))
    lookahead = sum(settings.acoustic.kernels) - len(settings.acoustic.kernels)
    pooled = [
        pool_rows(settings.pooling.kind, hidden, outputs_read(*span, len(frames), lookahead))
        for span in spans(utterance, settings)
    ]
    lstm = core.acoustic_sequence.lstm
    acoustic = side_by_side(run_lstm(lstm, pooled), run_lstm(lstm, pooled, reverse=True))
    semantic = word_lstm(core.semantic, torch.from_numpy(utterance.words))
    features = []
    for side, query in ((acoustic, core.acoustic_query), (semantic, core.semantic_query)):
        weights = softmax(torch.stack([row @ query / math.sqrt(len(query)) for row in side]))
        features += [weighted_sum(weights, acoustic), weighted_sum(weights, semantic)]
    return ReferenceOutput(core.classify(torch.cat(features)))


def _framewise_text(core: Any, settings: ModelSettings, frames: Tensor, utterance: Utterance) -> ReferenceOutput:
    rows = []
    for number, frame in enumerate(frames):
        beside = torch.zeros(core.embedding.size, dtype=torch.float64)
        for word, begin, end in zip(utterance.words, utterance.begin, utterance.end, strict=True):
            if begin <= number < end:
                beside = core.embedding.table.weight[word]
        rows.append(torch.cat([frame, beside]))
    outputs = frame_lstm(core.frames, settings, torch.stack(rows))
    return ReferenceOutput(core.classify(attention_by_query(core.readout.query, outputs)))


def _pooled_statistics(core: Any, settings: ModelSettings, frames: Tensor, words: Tensor) -> ReferenceOutput:
    features: list[Tensor] = []
    if settings.modalities != "semantic":
        mean = sum(frames) / len(frames)
        variance = sum((frame - mean) ** 2 for frame in frames) / len(frames)
        features += [mean, (variance + 1e-8).sqrt()]
    if settings.modalities != "acoustic":
        features.append(sum(core.words.table.weight[word] for word in words) / len(words))
    return ReferenceOutput(core.classify(torch.cat(features)))


def _linear_probe(core: Any, settings: ModelSettings, frames: Tensor, words: Tensor) -> ReferenceOutput:
    mean = sum(frames) / len(frames)
    variance = sum((frame - mean) ** 2 for frame in frames) / len(frames)
    statistics = torch.cat([mean, (variance + 1e-8).sqrt()])
    return ReferenceOutput(
        core.classify((statistics - core.standardise.of_train.mean) / core.standardise.of_train.deviation)
    )


_REFERENCES: dict[str, Callable[[Any, ModelSettings, Tensor, Tensor], ReferenceOutput]] = {
    "acoustic_lstm": _acoustic_lstm,
    "semantic_lstm": _semantic_lstm,
    "late_fusion": _late_fusion,
    "multi_hop_attention": _multi_hop_attention,
    "learned_alignment": _learned_alignment,
    "ctc_alignment": _ctc_alignment,
    "linear_probe": _linear_probe,
    "pooled_statistics": _pooled_statistics,
}


def fused(core: Any, settings: ModelSettings, semantic: list[Tensor], acoustic: list[Tensor]) -> ReferenceOutput:
    """Classify the features of both sides by the sequence model, the readout and the classifier."""
    rows = [torch.cat(sides) for sides in zip(semantic, acoustic, strict=True)]
    sequence = side_by_side(run_lstm(core.sequence.lstm, rows), run_lstm(core.sequence.lstm, rows, reverse=True))
    if core.blank:
        word_logits = torch.stack([core.classify(row) for row in sequence])
        return ReferenceOutput(word_logits.sum(0)[:-1] / len(word_logits), word_logits)
    utterance = {
        "max": lambda: torch.stack(sequence).max(0).values,
        "mean": lambda: sum(sequence) / len(sequence),
        "attention": lambda: attention_by_query(core.readout.query, sequence),
    }[settings.fusion.readout]()
    return ReferenceOutput(core.classify(utterance))


def frame_lstm(encoder: Any, settings: ModelSettings, frames: Tensor) -> list[Tensor]:
    """Outputs of a bidirectional LSTM over the frames, `stack` of them at each step."""
    steps = stacked(frames, settings.baseline.stack)
    backwards = run_lstm(encoder.lstm.backwards, steps[::-1])[::-1]
    return side_by_side(run_lstm(encoder.lstm.forwards, steps), backwards)


def word_lstm(encoder: Any, words: Tensor) -> list[Tensor]:
    """Outputs of a bidirectional LSTM over the embedded words."""
    rows = [encoder.embedding.table.weight[word] for word in words]
    lstm = encoder.lstm.lstm
    return side_by_side(run_lstm(lstm, rows), run_lstm(lstm, rows, reverse=True))


def side_by_side(forwards: list[Tensor], backwards: list[Tensor]) -> list[Tensor]:
    """Outputs of both directions, concatenated."""
    return [torch.cat(directions) for directions in zip(forwards, backwards, strict=True)]


def stacked(frames: Tensor, stack: int) -> list[Tensor]:
    """Consecutive frames concatenated into steps; the last step is filled with the last frame."""
    last = len(frames) - 1
    return [
        torch.cat([frames[min(first + offset, last)] for offset in range(stack)])
        for first in range(0, len(frames), stack)
    ]


def run_lstm(lstm: nn.LSTM, rows: list[Tensor], layer: int = 0, reverse: bool = False) -> list[Tensor]:
    """One layer and one direction of an LSTM, by its equations."""
    suffix = f"_l{layer}_reverse" if reverse else f"_l{layer}"
    from_input, from_hidden = getattr(lstm, f"weight_ih{suffix}"), getattr(lstm, f"weight_hh{suffix}")
    bias = getattr(lstm, f"bias_ih{suffix}") + getattr(lstm, f"bias_hh{suffix}")
    hidden = cell = torch.zeros(lstm.hidden_size, dtype=torch.float64)
    outputs = []
    for row in rows[::-1] if reverse else rows:
        gates = from_input @ row + from_hidden @ hidden + bias
        enter, forget, new, leave = gates.view(4, -1)
        cell = forget.sigmoid() * cell + enter.sigmoid() * new.tanh()
        hidden = leave.sigmoid() * cell.tanh()
        outputs.append(hidden)
    return outputs[::-1] if reverse else outputs


def softmax(scores: Tensor) -> Tensor:
    """[N] -> [N]."""
    exponentials = (scores - scores.detach().max()).exp()
    return exponentials / exponentials.sum()


def weighted_sum(weights: Tensor, rows: list[Tensor]) -> Tensor:
    """Sum of rows times their weights."""
    total = torch.zeros_like(rows[0])
    for weight, row in zip(weights, rows, strict=True):
        total = total + weight * row
    return total


def attention_by_query(query: Tensor, rows: list[Tensor]) -> Tensor:
    """One learned query, scaled dot product."""
    scores = torch.stack([row @ query / math.sqrt(len(query)) for row in rows])
    return weighted_sum(softmax(scores), rows)


def attention_by_heads(attention: Any, word: Tensor, rows: list[Tensor]) -> Tensor:
    """Multi-head attention of one word to rows: each head has its own part of the projected values."""
    query = attention.query(word)
    keys, values = [attention.key(row) for row in rows], [attention.value(row) for row in rows]
    size = len(query) // attention.heads
    attended = []
    for head in range(attention.heads):
        part = slice(head * size, (head + 1) * size)
        scores = torch.stack([query[part] @ key[part] / math.sqrt(size) for key in keys])
        attended.append(weighted_sum(softmax(scores), [value[part] for value in values]))
    joined: Tensor = attention.join(torch.cat(attended))
    return joined


def ctc_loss(probabilities: Sequence[Tensor], label_count: int) -> Tensor:
    """CTC loss of the labels 1 .. `label_count`; 0 where they outnumber the steps.

    The forward recursion of Graves et al. (ICML 2006) over blank, 1, blank, 2, ..., blank. No label is repeated, so a
    blank can always be skipped.

    Args:
        probabilities: [labels + 1] of each step, blank first.
        label_count: labels of the target.
    """
    if label_count > len(probabilities):
        return torch.zeros((), dtype=torch.float64)
    labels = [0] + [label for target in range(1, label_count + 1) for label in (target, 0)]
    zero = torch.zeros((), dtype=torch.float64)
    first = probabilities[0]
    forward = [first[0], first[1]] + [zero] * (len(labels) - 2)
    for step in probabilities[1:]:
        forward = [
            step[label]
            * (
                forward[place]
                + (forward[place - 1] if place > 0 else zero)
                + (forward[place - 2] if place > 1 and label else zero)
            )
            for place, label in enumerate(labels)
        ]
    return -(forward[-1] + forward[-2]).log()


def ctc_loss_by_paths(probabilities: Sequence[Tensor], label_count: int) -> Tensor:
    """The same loss by its definition: a sum over all paths that read 1 .. `label_count` without repeats and blanks."""
    total = torch.zeros((), dtype=torch.float64)
    for path in itertools.product(range(len(probabilities[0])), repeat=len(probabilities)):
        collapsed = [label for label, _ in itertools.groupby(path) if label]
        if collapsed == list(range(1, label_count + 1)):
            total = total + math.prod(step[label] for step, label in zip(probabilities, path, strict=True))
    return -total.log()
