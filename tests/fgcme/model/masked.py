"""FG-CME once more, in the masked form of the published code: slow, obvious, and independent of the ragged one.

Utterances are padded to the longest, a words x frames mask is average-pooled by the kernels of the convolutions to find
which outputs each word reads, and a tensor of utterances x words x outputs x channels is multiplied by it and reduced.
It shares its weights with a ragged model, so that the two can be compared in what they compute and in what that costs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence, pad_sequence

from fgcme.data import Batch, collate, layout_frames
from fgcme.data.batch import SegmentScheme
from fgcme.model import FineGrainedExcitement, Network
from fgcme.model.encoders import SemanticEncoder
from fgcme.model.excitement import Excitement
from fgcme.model.word_acoustics import SpanPooling


@dataclass(frozen=True)
class Utterance:
    """What a model is told of an utterance: [A, F] frames, [T] words and their spans, and its class."""

    frames: np.ndarray
    begin: np.ndarray
    end: np.ndarray
    words: np.ndarray
    label: int = 0


@dataclass(frozen=True)
class PaddedBatch:
    """Utterances padded to the longest.

    Attributes:
        frames: [B, A, F], zeros after an utterance's end.
        frame_counts: [B] frames of each utterance.
        begin, end: [B, T] spans; empty after an utterance's last word.
        words: [B, T] vocabulary indices, 0 after an utterance's last word.
        word_counts: [B] words of each utterance.
        labels: [B].
    """

    frames: Tensor
    frame_counts: Tensor
    begin: Tensor
    end: Tensor
    words: Tensor
    word_counts: Tensor
    labels: Tensor

    def to(self, device: torch.device | str) -> PaddedBatch:
        """The same batch on a device; word counts stay on the CPU, as in the ragged batch."""
        moved = {name: tensor.to(device) for name, tensor in vars(self).items() if name != "word_counts"}
        return PaddedBatch(**moved, word_counts=self.word_counts)


def ragged_batch(utterances: Sequence[Utterance], reading: SegmentScheme) -> Batch:
    """Utterances laid end to end, as the package does it."""
    return collate(
        [utterance.frames for utterance in utterances],
        [layout_frames(reading, utterance.begin, utterance.end, len(utterance.frames)) for utterance in utterances],
        [utterance.words for utterance in utterances],
        [utterance.label for utterance in utterances],
        reading.lookahead + 1,
    )


def padded_batch(utterances: Sequence[Utterance], reach: int) -> PaddedBatch:
    """Utterances padded to the longest, and to what the convolutions need at least."""

    def pad(rows: list[np.ndarray]) -> Tensor:
        return pad_sequence([torch.from_numpy(np.array(row)) for row in rows], batch_first=True)

    frames = pad([utterance.frames for utterance in utterances])
    return PaddedBatch(
        frames=functional.pad(frames, (0, 0, 0, max(reach + 1 - frames.shape[1], 0))),
        frame_counts=torch.tensor([len(utterance.frames) for utterance in utterances]),
        begin=pad([utterance.begin for utterance in utterances]),
        end=pad([utterance.end for utterance in utterances]),
        words=pad([utterance.words for utterance in utterances]),
        word_counts=torch.tensor([len(utterance.words) for utterance in utterances]),
        labels=torch.tensor([utterance.label for utterance in utterances]),
    )


class MaskedExcitement(nn.Module):
    """A network whose core is `FineGrainedExcitement`, over padded batches.

    It listens word by word, without a margin, and its readout is the maximum.

    Args:
        network: whose weights it takes, and shares from then on.
    """

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network
        self.core = cast("FineGrainedExcitement", network.core)

    def forward(self, batch: PaddedBatch) -> Tensor:
        """[B, K] logits."""
        core = self.core
        words = sounds = None
        if core.semantic is not None:
            semantic = cast("SemanticEncoder", core.semantic)
            words = semantic.project(semantic.embedding(batch.words))
        if core.acoustic is not None:
            sounds = self.hear(batch)
        if words is not None and sounds is not None:
            excited_words = excite(words, sounds, core.excite_semantic)
            driver = batch.words if core.driven_by_word else words
            features = torch.cat([excited_words, excite(sounds, driver, core.excite_acoustic)], dim=2)
        else:
            features = cast("Tensor", words if words is not None else sounds)
        packed = pack_padded_sequence(features, batch.word_counts, batch_first=True, enforce_sorted=False)
        sequence, _ = pad_packed_sequence(core.sequence.lstm(packed)[0], batch_first=True, padding_value=-torch.inf)
        logits: Tensor = core.classify(core.dropout(sequence.max(dim=1).values))
        return logits

    def hear(self, batch: PaddedBatch) -> Tensor:
        """[B, T, D] acoustic features of the words."""
        hidden, kind = self.encode(batch), self.listening.pooling.kind
        if kind == "softmax":
            return weigh(hidden, batch, self.kernels)
        return masked_pool(hidden, read_mask(batch, self.kernels), kind)

    def encode(self, batch: PaddedBatch) -> Tensor:
        """[B, A', C] outputs of the acoustic encoder."""
        encoder, standardise = self.listening.encoder, self.network.standardise
        hidden = ((batch.frames - standardise.mean) / standardise.deviation).transpose(1, 2)
        for depth, convolution in enumerate(encoder.convolutions):
            if depth:
                hidden = encoder.dropout(encoder.activation(encoder.normalisations[depth - 1](hidden)))
            hidden = convolution(hidden)
        return hidden.transpose(1, 2)

    @property
    def listening(self) -> SpanPooling:
        """What hears the words."""
        return cast("SpanPooling", self.core.acoustic)

    @property
    def kernels(self) -> list[int]:
        """Frames that each convolution sees."""
        convolutions = cast("Sequence[nn.Conv1d]", self.listening.encoder.convolutions)
        return [convolution.kernel_size[0] for convolution in convolutions]


def averaged_mask(batch: PaddedBatch, kernels: Sequence[int]) -> Tensor:
    """[B, T, A'] how much of the word's span each output sees."""
    frame = torch.arange(batch.frames.shape[1], device=batch.frames.device)
    mask = ((batch.begin.unsqueeze(2) <= frame) & (frame < batch.end.unsqueeze(2))).float()
    for kernel in kernels:
        mask = functional.avg_pool1d(mask, kernel, stride=1)
    return mask


def read_mask(batch: PaddedBatch, kernels: Sequence[int]) -> Tensor:
    """[B, T, A'] whether each word reads each output: whether the output's receptive field meets the word's span."""
    mask = averaged_mask(batch, kernels)
    # Outputs past an utterance's own end see padding: alone, the utterance would not have them.
    own = batch.frame_counts - (batch.frames.shape[1] - mask.shape[2])
    return (mask > 0) & (torch.arange(mask.shape[2], device=mask.device) < own.view(-1, 1, 1))


def weigh(hidden: Tensor, batch: PaddedBatch, kernels: Sequence[int]) -> Tensor:
    """[B, A', C] outputs -> [B, T, C] weighted by the softmax of the averaged mask; zeros where nothing is read."""
    reads = read_mask(batch, kernels)
    weights = averaged_mask(batch, kernels).masked_fill(~reads, -1e6).softmax(dim=2) * reads
    return weights.to(hidden.dtype) @ hidden


def masked_pool(hidden: Tensor, mask: Tensor, kind: str) -> Tensor:
    """[B, A', C] outputs and [B, T, A'] mask -> [B, T, D]; zeros for a word that reads nothing."""
    reads = mask.to(hidden.dtype).unsqueeze(3)
    counts = reads.sum(2)
    product = hidden.unsqueeze(1) * reads
    parts = []
    if kind != "max":
        parts.append(product.sum(2) / counts.clamp(min=1))
    if kind != "mean":
        # Of the forms tried (masked_fill, amax, a product of its own) this one is the fastest, forward and backward.
        highest = (product - 1e6 * (1 - reads)).max(2).values
        parts.append(highest.masked_fill(counts == 0, 0))
    return torch.cat(parts, dim=2)


def excite(features: Tensor, source: Tensor, excitement: Excitement) -> Tensor:
    """Excitement by the module's weights, written out once more."""
    if excitement.form == "none":
        return features
    assert excitement.driver is not None
    signal: Tensor = excitement.driver(source)
    return {
        "gate": features * signal.sigmoid(),
        "residual_gate": features + features * signal.sigmoid(),
        "additive": features + signal,
    }[excitement.form]
