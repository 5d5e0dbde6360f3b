"""Encoders of the two modalities."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

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
    """

    def __init__(
        self,
        frame_size: int,
        channels: Sequence[int],
        kernels: Sequence[int],
        activation: Activation = "none",
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        # Fitted on the training part when asked for; otherwise they change nothing.
        self.mean: Tensor
        self.deviation: Tensor
        self.register_buffer("mean", torch.zeros(frame_size))
        self.register_buffer("deviation", torch.ones(frame_size))
        sizes = [frame_size, *channels]
        self.convolutions = nn.ModuleList(
            nn.Conv1d(sizes[depth], sizes[depth + 1], kernel) for depth, kernel in enumerate(kernels)
        )
        self.activation = _ACTIVATIONS[activation]()
        self.dropout = nn.Dropout(dropout)
        self.linear = activation == "none"
        self.reach = reach(kernels)
        self.size = sizes[-1]

    def standardise_by(self, mean: Tensor, deviation: Tensor) -> None:
        """Standardise every frame by these [F] statistics from now on."""
        self.mean.copy_(mean)
        self.deviation.copy_(deviation)

    def forward(self, frames: Tensor) -> Tensor:
        """[N, F] frames -> [N - reach, C] outputs."""
        frames = (frames - self.mean) / self.deviation
        if self.linear and not (self.training and self.dropout.p):
            return self._as_one_convolution(frames)
        first, *others = self.convolutions
        signal: Tensor = first(frames.t().unsqueeze(0))
        for convolution in others:
            signal = convolution(self.dropout(self.activation(signal)))
        return signal.squeeze(0).t()

    def _as_one_convolution(self, frames: Tensor) -> Tensor:
        """Convolutions with nothing between them are one convolution, and its gradient needs none of their outputs."""
        first, *others = cast("Iterable[nn.Conv1d]", self.convolutions)
        # What the convolutions so far make of one frame, [frames seen, F, channels], and of zeros, [channels].
        kernel = first.weight.permute(2, 1, 0)
        bias = first(frames.new_zeros(frames.shape[1], len(kernel))).squeeze(1)
        for convolution in others:
            taps = convolution.weight.permute(2, 1, 0)
            last = len(taps) - 1
            delayed = [functional.pad(kernel @ tap, (0, 0, 0, 0, lag, last - lag)) for lag, tap in enumerate(taps)]
            kernel = torch.stack(delayed).sum(0)
            bias = convolution(bias.unsqueeze(1).expand(-1, len(taps))).squeeze(1)
        seen = frames.unfold(0, len(kernel), 1).transpose(1, 2).reshape(-1, len(kernel) * frames.shape[1])
        # Its rows overlap in memory: without this copy the product makes one, and its gradient another.
        return torch.addmm(bias, seen.contiguous(), kernel.flatten(0, 1))


def reach(kernels: Sequence[int]) -> int:
    """How many frames past its own an output of the encoder sees.

    >>> reach([5, 2, 2])
    6
    """
    return sum(kernel - 1 for kernel in kernels)


class SemanticEncoder(nn.Module):
    """Word embedding and a linear map (paper, section "text features").

    Args:
        vocabulary_size: rows of the table; row 0 is kept at zero, row 1 is the unknown word.
        embedding: values of an embedding; 300 for GloVe.
        size: values of a word's feature, D.
        dropout: on the embedding.
    """

    def __init__(self, vocabulary_size: int, embedding: int, size: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.table = word_table(vocabulary_size, embedding)
        self.dropout = nn.Dropout(dropout)
        self.project = nn.Linear(embedding, size)

    @torch.no_grad()
    def start_from(self, path: str, words: Sequence[str]) -> None:
        """Start the embedding from a GloVe text file: a word and its values a line, separated by spaces.

        Args:
            path: the file.
            words: the vocabulary, from row 2 on; words that the file lacks keep their random start.

        Raises:
            UserError: the file cannot be read, or its vectors have another size.
        """
        row = {word: index for index, word in enumerate(words, start=2)}
        size = self.table.embedding_dim
        try:
            with Path(path).open(encoding="utf-8") as lines:
                for number, line in enumerate(lines, start=1):
                    word, *values = line.rstrip().split(" ")
                    if len(values) != size:
                        raise UserError(
                            f"{path}: line {number} has {len(values)} values where model.semantic.embedding is {size}"
                        )
                    if word in row:
                        self.table.weight[row[word]] = torch.tensor([float(value) for value in values])
        except (OSError, ValueError) as error:
            raise UserError(f"{path}: cannot be read as word vectors: {error}") from None

    def forward(self, words: Tensor) -> Tensor:
        """[W] word indices -> [W, D] features."""
        features: Tensor = self.project(self.dropout(self.table(words)))
        return features


def word_table(vocabulary_size: int, size: int) -> nn.Embedding:
    """A table by word whose padding row (0) and unknown row (1), which training never meets, are zero."""
    table = nn.Embedding(vocabulary_size, size, padding_idx=0)
    with torch.no_grad():
        table.weight[:2] = 0
    return table
