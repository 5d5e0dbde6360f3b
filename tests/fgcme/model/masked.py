"""FG-CME in the masked form of the published code: slow, obvious, and independent of the ragged form.

Utterances are padded to the longest, a words x frames mask is average-pooled by the kernels of the convolutions to find
which outputs each word reads, and a tensor of utterances x words x outputs x channels is multiplied by it and reduced.
It shares its weights with a ragged model, so that results and costs can be compared.
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
from fgcme.data.batch import FrameLayout, SegmentScheme, Stretch
from fgcme.model import FineGrainedExcitement, Network
from fgcme.model.encoders import SemanticEncoder
from fgcme.model.excitement import Excitement
from fgcme.model.word_acoustics import SpanPooling


@dataclass(frozen=True)
class Utterance:
    """The input of a model: [A, F] frames, [W] words and their spans, the class, and where the speech is."""

    frames: np.ndarray
    begin: np.ndarray
    end: np.ndarray
    words: np.ndarray
    label: int = 0
    speech: Stretch | None = None


@dataclass(frozen=True)
class PaddedBatch:
    """Utterances padded to the longest.

    Attributes:
        frames: [B, A, F], zeros after an utterance's end.
        frame_counts: [B] frames of each utterance.
        begin, end: [B, W] spans; empty after an utterance's last word.
        words: [B, W] vocabulary indices, 0 after an utterance's last word.
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


def layout_of(utterance: Utterance, scheme: SegmentScheme) -> FrameLayout:
    """Which frames are read of an utterance."""
    return layout_frames(scheme, utterance.begin, utterance.end, len(utterance.frames), utterance.speech)


def ragged_batch(utterances: Sequence[Utterance], scheme: SegmentScheme) -> Batch:
    """Utterances packed end to end by the package."""
    return collate(
        [utterance.frames for utterance in utterances],
        [layout_of(utterance, scheme) for utterance in utterances],
        [utterance.words for utterance in utterances],
        [utterance.label for utterance in utterances],
        scheme.lookahead + 1,
    )


def padded_batch(utterances: Sequence[Utterance], lookahead: int) -> PaddedBatch:
    """Utterances padded to the longest, and to the shortest that the convolutions take."""

    def pad(rows: list[np.ndarray]) -> Tensor:
        return pad_sequence([torch.from_numpy(np.array(row)) for row in rows], batch_first=True)

    frames = pad([utterance.frames for utterance in utterances])
    return PaddedBatch(
        frames=functional.pad(frames, (0, 0, 0, max(lookahead + 1 - frames.shape[1], 0))),
        frame_counts=torch.tensor([len(utterance.frames) for utterance in utterances]),
        begin=pad([utterance.begin for utterance in utterances]),
        end=pad([utterance.end for utterance in utterances]),
        words=pad([utterance.words for utterance in utterances]),
        word_counts=torch.tensor([len(utterance.words) for utterance in utterances]),
        labels=torch.tensor([utterance.label for utterance in utterances]),
    )


class MaskedExcitement(nn.Module):
    """A network whose core is `FineGrainedExcitement`, over padded batches.

    Segments are words without a margin, the readout is the maximum.

    Args:
        network: whose weights it shares.
    """

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network
        self.core = cast("FineGrainedExcitement", network.core)

    def forward(self, batch: PaddedBatch) -> Tensor:
        """[B, K] logits."""
        core = self.core
        semantic = acoustic = None
        if core.semantic is not None:
            encoder = cast("SemanticEncoder", core.semantic)
            semantic = encoder.project(encoder.embedding(batch.words))
        if core.acoustic is not None:
            acoustic = self.acoustic_features(batch)
        if semantic is not None and acoustic is not None:
            excited_semantic = excite(semantic, acoustic, core.excite_semantic)
            driver = batch.words if core.driven_by_word else semantic
            features = torch.cat([excited_semantic, excite(acoustic, driver, core.excite_acoustic)], dim=2)
        else:
            features = cast("Tensor", semantic if semantic is not None else acoustic)
        packed = pack_padded_sequence(features, batch.word_counts, batch_first=True, enforce_sorted=False)
        sequence, _ = pad_packed_sequence(core.sequence.lstm(packed)[0], batch_first=True, padding_value=-torch.inf)
        logits: Tensor = core.classify(core.dropout(sequence.max(dim=1).values))
        return logits

    def acoustic_features(self, batch: PaddedBatch) -> Tensor:
        """[B, W, D] acoustic features of the words."""
        hidden, kind = self.encode(batch), self.span_pooling.pooling.kind
        if kind == "softmax":
            return masked_softmax_pool(hidden, batch, self.kernels)
        return masked_pool(hidden, read_mask(batch, self.kernels), kind)

    def encode(self, batch: PaddedBatch) -> Tensor:
        """[B, A', C] outputs of the acoustic encoder."""
        encoder, standardise = self.span_pooling.encoder, self.network.standardise
        hidden = ((batch.frames - standardise.mean) / standardise.deviation).transpose(1, 2)
        for depth, convolution in enumerate(encoder.convolutions):
            if depth:
                hidden = encoder.dropout(encoder.activation(encoder.normalisations[depth - 1](hidden)))
            hidden = convolution(hidden)
        return hidden.transpose(1, 2)

    @property
    def span_pooling(self) -> SpanPooling:
        """The acoustic side of the core."""
        return cast("SpanPooling", self.core.acoustic)

    @property
    def kernels(self) -> list[int]:
        """Frames that each convolution sees."""
        convolutions = cast("Sequence[nn.Conv1d]", self.span_pooling.encoder.convolutions)
        return [convolution.kernel_size[0] for convolution in convolutions]


def padded_averaged_mask(batch: PaddedBatch, kernels: Sequence[int]) -> Tensor:
    """[B, W, A'] share of each output's receptive field that lies in the word's span."""
    frame = torch.arange(batch.frames.shape[1], device=batch.frames.device)
    mask = ((batch.begin.unsqueeze(2) <= frame) & (frame < batch.end.unsqueeze(2))).float()
    for kernel in kernels:
        mask = functional.avg_pool1d(mask, kernel, stride=1)
    return mask


def read_mask(batch: PaddedBatch, kernels: Sequence[int]) -> Tensor:
    """[B, W, A'] whether each word reads each output: whether the output's receptive field meets the word's span."""
    mask = padded_averaged_mask(batch, kernels)
    # Exclude outputs that see padding: the utterance alone would not have them.
    output_counts = batch.frame_counts - (batch.frames.shape[1] - mask.shape[2])
    return (mask > 0) & (torch.arange(mask.shape[2], device=mask.device) < output_counts.view(-1, 1, 1))


def masked_softmax_pool(hidden: Tensor, batch: PaddedBatch, kernels: Sequence[int]) -> Tensor:
    """[B, A', C] outputs -> [B, W, C] weighted by the softmax of the averaged mask; zeros if nothing is read."""
    reads = read_mask(batch, kernels)
    weights = padded_averaged_mask(batch, kernels).masked_fill(~reads, -1e6).softmax(dim=2) * reads
    return weights.to(hidden.dtype) @ hidden


def masked_pool(hidden: Tensor, mask: Tensor, kind: str) -> Tensor:
    """[B, A', C] outputs and [B, W, A'] mask -> [B, W, D]; zeros for a word that reads nothing."""
    reads = mask.to(hidden.dtype).unsqueeze(3)
    counts = reads.sum(2)
    product = hidden.unsqueeze(1) * reads
    reduced = []
    if kind != "max":
        reduced.append(product.sum(2) / counts.clamp(min=1))
    if kind != "mean":
        # The fastest of the forms tried (masked_fill, amax), forward and backward.
        highest = (product - 1e6 * (1 - reads)).max(2).values
        reduced.append(highest.masked_fill(counts == 0, 0))
    return torch.cat(reduced, dim=2)


def excite(features: Tensor, source: Tensor, excitement: Excitement) -> Tensor:
    """Excitement by its equations, with the weights of a module."""
    if excitement.form == "none":
        return features
    assert excitement.driver is not None
    signal: Tensor = excitement.driver(source)
    return {
        "gate": features * signal.sigmoid(),
        "residual_gate": features + features * signal.sigmoid(),
        "additive": features + signal,
    }[excitement.form]
