"""Encoders of the two modalities."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from fgcme.data import Batch, lookahead
from fgcme.errors import UserError

Activation = Literal["none", "relu", "gelu"]

_ACTIVATIONS: dict[str, type[nn.Module]] = {"none": nn.Identity, "relu": nn.ReLU, "gelu": nn.GELU}


class AcousticEncoder(nn.Module):
    """1-D convolutions over time without padding (paper, section "acoustic encoder").

    The published code has no activation between them. Output j sees the inputs j .. j + reach.

    Args:
        frame_size: values of a frame, F.
        channels: output channels of each convolution.
        kernels: frames that each convolution sees.
        activation: after each convolution but the last.
        dropout: on the input of each convolution but the first.
        layer_normalisation: over the channels of each output, before the activation.
    """

    def __init__(
        self,
        frame_size: int,
        channels: Sequence[int],
        kernels: Sequence[int],
        activation: Activation = "none",
        dropout: float = 0.0,
        layer_normalisation: bool = False,
    ) -> None:
        super().__init__()
        sizes = [frame_size, *channels]
        self.convolutions = nn.ModuleList(
            nn.Conv1d(sizes[depth], sizes[depth + 1], kernel) for depth, kernel in enumerate(kernels)
        )
        self.normalisations = nn.ModuleList(
            ChannelNormalisation(size) if layer_normalisation else nn.Identity() for size in channels[:-1]
        )
        self.activation = _ACTIVATIONS[activation]()
        self.dropout = nn.Dropout(dropout)
        self.linear = activation == "none" and not layer_normalisation
        self.lookahead = lookahead(kernels)
        self.size = sizes[-1]

    def forward(self, frames: Tensor) -> Tensor:
        """[N, F] frames -> [N - reach, C] outputs."""
        if self.linear and not (self.training and self.dropout.p):
            return self._as_one_convolution(frames)
        first, *others = self.convolutions
        signal: Tensor = first(frames.t().unsqueeze(0))
        for normalise, convolution in zip(self.normalisations, others, strict=True):
            signal = convolution(self.dropout(self.activation(normalise(signal))))
        return signal.squeeze(0).t()

    def _as_one_convolution(self, frames: Tensor) -> Tensor:
        """Convolutions with nothing between them are one convolution, and its gradient needs none of their outputs."""
        # Composing is cheap, and the rounding of half precision would add up.
        with torch.autocast(frames.device.type, enabled=False):
            kernel, bias = self._composed()
        seen = frames.unfold(0, len(kernel), 1).transpose(1, 2).reshape(-1, len(kernel) * frames.shape[1])
        # Its rows overlap in memory: without this copy the product makes one, and its gradient another.
        return torch.addmm(bias, seen.contiguous(), kernel.flatten(0, 1))

    def _composed(self) -> tuple[Tensor, Tensor]:
        """What all convolutions together make of one frame, [reach + 1, F, C], and of zeros, [C]."""
        first, *others = cast("Iterable[nn.Conv1d]", self.convolutions)
        kernel = first.weight.permute(2, 1, 0)
        bias = cast("Tensor", first.bias)
        for convolution in others:
            taps = convolution.weight.permute(2, 1, 0)
            last = len(taps) - 1
            delayed = [functional.pad(kernel @ tap, (0, 0, 0, 0, lag, last - lag)) for lag, tap in enumerate(taps)]
            kernel = torch.stack(delayed).sum(0)
            bias = convolution(bias.unsqueeze(1).expand(-1, len(taps))).squeeze(1)
        return kernel, bias


class ChannelNormalisation(nn.LayerNorm):
    """Layer normalisation of a signal's channels, frame by frame."""

    def forward(self, input: Tensor) -> Tensor:
        """[1, C, N] -> [1, C, N]."""
        return super().forward(input.transpose(1, 2)).transpose(1, 2)


class Standardise(nn.Module):
    """Frames less a mean, over a deviation, per value; changes nothing until it is fitted.

    Args:
        frame_size: values of a frame.
    """

    def __init__(self, frame_size: int) -> None:
        super().__init__()
        self.mean: Tensor
        self.deviation: Tensor
        self.register_buffer("mean", torch.zeros(frame_size))
        self.register_buffer("deviation", torch.ones(frame_size))

    def set_statistics(self, mean: Tensor, deviation: Tensor) -> None:
        """Standardise by these [F] statistics from now on."""
        self.mean.copy_(mean)
        self.deviation.copy_(deviation)

    def forward(self, frames: Tensor) -> Tensor:
        """[N, F] -> [N, F]."""
        return (frames - self.mean) / self.deviation


class WordEmbedding(nn.Module):
    """A fine-tuned table by word.

    Args:
        vocabulary_size: rows of the table; row 0 is kept at zero, row 1 is the unknown word.
        size: values of an embedding; 300 for GloVe.
        dropout: on the embedding.
    """

    def __init__(self, vocabulary_size: int, size: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.table = word_table(vocabulary_size, size)
        self.dropout = nn.Dropout(dropout)
        self.size = size

    @torch.no_grad()
    def load_vectors(self, path: str, words: Sequence[str]) -> None:
        """Start from a GloVe text file: a word and its values a line, separated by spaces.

        Args:
            path: the file.
            words: the vocabulary, from row 2 on; words that the file lacks keep their random start.

        Raises:
            UserError: the file cannot be read, or its vectors have another size.
        """
        row = {word: index for index, word in enumerate(words, start=2)}
        try:
            with Path(path).open(encoding="utf-8") as lines:
                for number, line in enumerate(lines, start=1):
                    word, *values = line.rstrip().split(" ")
                    if len(values) != self.size:
                        raise UserError(
                            f"{path}: line {number} has {len(values)} values "
                            f"where model.semantic.embedding is {self.size}"
                        )
                    if word in row:
                        self.table.weight[row[word]] = torch.tensor([float(value) for value in values])
        except (OSError, ValueError) as error:
            raise UserError(f"{path}: cannot be read as word vectors: {error}") from None

    def forward(self, words: Tensor) -> Tensor:
        """[W] word indices -> [W, size]."""
        embedded: Tensor = self.dropout(self.table(words))
        return embedded


class SemanticEncoder(nn.Module):
    """Word embedding and a linear map (paper, section "text features").

    Args:
        embedding: of the words.
        size: values of a word's feature, D.
    """

    def __init__(self, embedding: WordEmbedding, size: int) -> None:
        super().__init__()
        self.embedding = embedding
        self.project = nn.Linear(embedding.size, size)
        self.size = size

    def forward(self, batch: Batch) -> Tensor:
        """A batch of W words -> [W, D] features."""
        features: Tensor = self.project(self.embedding(batch.words))
        return features


def word_table(vocabulary_size: int, size: int) -> nn.Embedding:
    """A table by word whose padding row (0) and unknown row (1), which training never meets, are zero."""
    table = nn.Embedding(vocabulary_size, size, padding_idx=0)
    with torch.no_grad():
        table.weight[:2] = 0
    return table
