"""The baselines once more, one utterance at a time, by loops: slow, obvious, and independent of batches.

Each shares its weights with a core of the package, so that the two can be compared in what they say and in what they
would learn from it. Nothing is padded, packed or batched, and of PyTorch's layers only linear maps and tables are used.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from fgcme.data import Batch, collate, layout_frames, scheme_of
from fgcme.experiment import ModelSettings
from fgcme.model import Network
from tests.fgcme.model.masked import Utterance


@dataclass(frozen=True)
class Answer:
    """What a model says of one utterance; see `fgcme.model.Output`."""

    logits: Tensor
    word_logits: list[Tensor] = field(default_factory=list)
    modality_logits: tuple[Tensor, ...] = ()
    auxiliary_loss: Tensor | None = None


def draw_utterance(
    seed: int, frame_count: int, word_count: int, frame_size: int, vocabulary: int, classes: int
) -> Utterance:
    """An utterance whose words share its frames out between them, some of them without one."""
    generator = np.random.default_rng([seed, frame_count, word_count])
    edges = np.sort(generator.integers(0, frame_count + 1, word_count + 1))
    return Utterance(
        frames=generator.normal(size=(frame_count, frame_size)).astype(np.float32),
        begin=edges[:-1],
        end=edges[1:],
        words=generator.integers(1, vocabulary, word_count),
        label=int(generator.integers(classes)),
    )


def batch_for(settings: ModelSettings, utterances: Sequence[Utterance]) -> Batch:
    """Utterances laid end to end, as the package does it for a model of these settings."""
    read = scheme_of(settings)
    return collate(
        [utterance.frames for utterance in utterances],
        [layout_frames(read, utterance.begin, utterance.end, len(utterance.frames)) for utterance in utterances],
        [utterance.words for utterance in utterances],
        [utterance.label for utterance in utterances],
        read.lookahead + 1,
    )


def in_float64(batch: Batch) -> Batch:
    """The same batch in the precision of a reference."""
    return replace(batch, frames=batch.frames.double())


def answer(network: Network, settings: ModelSettings, utterance: Utterance) -> Answer:
    """What the network of a baseline, in float64, has to say of one utterance."""
    standardise = network.standardise
    frames = (torch.from_numpy(utterance.frames).double() - standardise.mean) / standardise.deviation
    words = torch.from_numpy(utterance.words)
    return _ANSWERS[settings.kind](network.core, settings, frames, words)


def _acoustic_lstm(core: Any, settings: ModelSettings, frames: Tensor, words: Tensor) -> Answer:
    outputs = frame_lstm(core.encoder, settings, frames)
    return Answer(core.classify(attention_by_query(core.readout.query, outputs)))


def _semantic_lstm(core: Any, settings: ModelSettings, frames: Tensor, words: Tensor) -> Answer:
    outputs = word_lstm(core.encoder, words)
    return Answer(core.classify(attention_by_query(core.readout.query, outputs)))


def _late_fusion(core: Any, settings: ModelSettings, frames: Tensor, words: Tensor) -> Answer:
    acoustic = _acoustic_lstm(core.acoustic, settings, frames, words).logits
    semantic = _semantic_lstm(core.semantic, settings, frames, words).logits
    mean = (softmax(acoustic) + softmax(semantic)) / 2
    return Answer(mean.log(), modality_logits=(acoustic, semantic))


def _multi_hop_attention(core: Any, settings: ModelSettings, frames: Tensor, words: Tensor) -> Answer:
    sounds, texts = frame_lstm(core.acoustic, settings, frames), word_lstm(core.semantic, words)
    hidden = settings.baseline.hidden
    whole = torch.cat([sounds[-1][:hidden], sounds[0][hidden:]])
    said = weighted(softmax(torch.stack([whole @ text for text in texts])), texts)
    heard = weighted(softmax(torch.stack([said @ sound for sound in sounds])), sounds)
    return Answer(core.classify(torch.cat([whole, said, heard])))


def _learned_alignment(core: Any, settings: ModelSettings, frames: Tensor, words: Tensor) -> Answer:
    texts = word_lstm(core.semantic, words)
    sounds = frame_lstm(core.acoustic.frames, settings, frames)
    heard = [attention_by_heads(core.acoustic, text, sounds) for text in texts]
    return fused(core, settings, texts, heard)


def _ctc_alignment(core: Any, settings: ModelSettings, frames: Tensor, words: Tensor) -> Answer:
    positions = settings.baseline.positions
    steps = stacked(frames, settings.baseline.stack)
    lstm = core.acoustic.locate.forwards
    logits = run_lstm(lstm, run_lstm(lstm, steps, layer=0), layer=1)
    probabilities = [softmax(step) for step in logits]
    heard = []
    for word in range(len(words)):
        position = min(word, positions - 1)
        # Blank comes first.
        heard.append(sum(share[1 + position] * step for share, step in zip(probabilities, steps, strict=True)))
    texts = [core.semantic.project(core.semantic.embedding.table.weight[word]) for word in words]
    turns = min(len(words), positions)
    loss = ctc_loss(probabilities, turns) / turns
    return replace(fused(core, settings, texts, heard), auxiliary_loss=loss)


def _pooled_statistics(core: Any, settings: ModelSettings, frames: Tensor, words: Tensor) -> Answer:
    features: list[Tensor] = []
    if settings.modalities != "semantic":
        mean = sum(frames) / len(frames)
        variance = sum((frame - mean) ** 2 for frame in frames) / len(frames)
        features += [mean, (variance + 1e-8).sqrt()]
    if settings.modalities != "acoustic":
        features.append(sum(core.words.table.weight[word] for word in words) / len(words))
    return Answer(core.classify(torch.cat(features)))


_ANSWERS: dict[str, Callable[[Any, ModelSettings, Tensor, Tensor], Answer]] = {
    "acoustic_lstm": _acoustic_lstm,
    "semantic_lstm": _semantic_lstm,
    "late_fusion": _late_fusion,
    "multi_hop_attention": _multi_hop_attention,
    "learned_alignment": _learned_alignment,
    "ctc_alignment": _ctc_alignment,
    "pooled_statistics": _pooled_statistics,
}


def fused(core: Any, settings: ModelSettings, texts: list[Tensor], heard: list[Tensor]) -> Answer:
    """The words' features and what is heard of them, through the sequence model to the classifier."""
    rows = [torch.cat(both) for both in zip(texts, heard, strict=True)]
    sequence = both_ways(run_lstm(core.sequence.lstm, rows), run_lstm(core.sequence.lstm, rows, reverse=True))
    word_logits = [core.classify(row) for row in sequence]
    if core.blank:
        return Answer(sum(word_logits)[:-1] / len(word_logits), word_logits)
    utterance = {
        "max": lambda: torch.stack(sequence).max(0).values,
        "mean": lambda: sum(sequence) / len(sequence),
        "attention": lambda: attention_by_query(core.readout.query, sequence),
    }[settings.fusion.readout]()
    return Answer(core.classify(utterance), word_logits)


def frame_lstm(encoder: Any, settings: ModelSettings, frames: Tensor) -> list[Tensor]:
    """Outputs of a bidirectional LSTM over the frames, some of them side by side at each step."""
    steps = stacked(frames, settings.baseline.stack)
    backwards = run_lstm(encoder.lstm.backwards, steps[::-1])[::-1]
    return both_ways(run_lstm(encoder.lstm.forwards, steps), backwards)


def word_lstm(encoder: Any, words: Tensor) -> list[Tensor]:
    """Outputs of a bidirectional LSTM over the embedded words."""
    rows = [encoder.embedding.table.weight[word] for word in words]
    lstm = encoder.lstm.lstm
    return both_ways(run_lstm(lstm, rows), run_lstm(lstm, rows, reverse=True))


def both_ways(forwards: list[Tensor], backwards: list[Tensor]) -> list[Tensor]:
    """Outputs of either direction, side by side."""
    return [torch.cat(both) for both in zip(forwards, backwards, strict=True)]


def stacked(frames: Tensor, stack: int) -> list[Tensor]:
    """Consecutive frames side by side; the last group is filled by repeating the last frame."""
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


def weighted(weights: Tensor, rows: list[Tensor]) -> Tensor:
    """Sum of rows, each times its weight."""
    total = torch.zeros_like(rows[0])
    for weight, row in zip(weights, rows, strict=True):
        total = total + weight * row
    return total


def attention_by_query(query: Tensor, rows: list[Tensor]) -> Tensor:
    """One learned query, scaled dot product."""
    scores = torch.stack([row @ query / math.sqrt(len(query)) for row in rows])
    return weighted(softmax(scores), rows)


def attention_by_heads(listening: Any, asking: Tensor, rows: list[Tensor]) -> Tensor:
    """Multi-head attention of one query to rows: each head sees its own share of the projected values."""
    query = listening.query(asking)
    keys, values = [listening.key(row) for row in rows], [listening.value(row) for row in rows]
    size = len(query) // listening.heads
    found = []
    for head in range(listening.heads):
        own = slice(head * size, (head + 1) * size)
        scores = torch.stack([query[own] @ key[own] / math.sqrt(size) for key in keys])
        found.append(weighted(softmax(scores), [value[own] for value in values]))
    heard: Tensor = listening.join(torch.cat(found))
    return heard


def ctc_loss(probabilities: Sequence[Tensor], turns: int) -> Tensor:
    """Minus the logarithm of the probability that the positions 1 .. `turns` come in turn; 0 where they cannot.

    The forward recursion of Graves et al. (ICML 2006) over blank, 1, blank, 2, ..., blank. Equal labels never follow
    each other, so a blank can always be skipped.

    Args:
        probabilities: [P + 1] of each step, blank first.
        turns: how many positions.
    """
    if turns > len(probabilities):
        return torch.zeros((), dtype=torch.float64)
    labels = [0] + [label for turn in range(1, turns + 1) for label in (turn, 0)]
    nothing = torch.zeros((), dtype=torch.float64)
    first = probabilities[0]
    reached = [first[0], first[1]] + [nothing] * (len(labels) - 2)
    for step in probabilities[1:]:
        reached = [
            step[label]
            * (
                reached[place]
                + (reached[place - 1] if place > 0 else nothing)
                + (reached[place - 2] if place > 1 and label else nothing)
            )
            for place, label in enumerate(labels)
        ]
    return -(reached[-1] + reached[-2]).log()


def ctc_loss_by_paths(probabilities: Sequence[Tensor], turns: int) -> Tensor:
    """The same by its definition: the sum over all paths that read 1 .. `turns` without repetitions and blanks."""
    total = torch.zeros((), dtype=torch.float64)
    for path in itertools.product(range(len(probabilities[0])), repeat=len(probabilities)):
        told = [label for label, _ in itertools.groupby(path) if label]
        if told == list(range(1, turns + 1)):
            total = total + math.prod(step[label] for step, label in zip(probabilities, path, strict=True))
    return -total.log()
