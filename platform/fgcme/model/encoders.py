"""Encoders of the two modalities, and the standardisation of frames."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Literal, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from fgcme.data import UNKNOWN, Batch, lookahead

Activation = Literal["none", "relu", "gelu"]

# Smallest deviation of a pooled value, so that one that never varies becomes 0.
_MIN_DEVIATION = 1e-5
_ACTIVATIONS: dict[str, type[nn.Module]] = {"none": nn.Identity, "relu": nn.ReLU, "gelu": nn.GELU}


class AcousticEncoder(nn.Module):
    """1-D convolutions over time without padding: output j sees the frames j .. j + lookahead.

    Published code (Li et al., Interspeech 2021): channels 64, 128, 128, kernels 5, 2, 2, no activation between.

    Args:
        frame_size: values of a frame, F.
        channels: output channels of each convolution; the last is C. Without any, frames stay as they are.
        kernels: frames that each convolution sees.
        activation: after each convolution but the last.
        dropout: on the input of each convolution but the first.
        layer_normalisation: over the channels after each convolution but the last, before the activation.
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
        self.is_linear = activation == "none" and not layer_normalisation
        self.lookahead = lookahead(kernels)
        self.size = sizes[-1]

    def forward(self, frames: Tensor) -> Tensor:
        """Encode frames, [N, F] -> [N - lookahead, C]."""
        if not len(self.convolutions):
            return frames
        if self.is_linear and not (self.training and self.dropout.p):
            return self._as_one_convolution(frames)
        first, *others = self.convolutions
        signal: Tensor = first(frames.t().unsqueeze(0))
        for normalise, convolution in zip(self.normalisations, others, strict=True):
            signal = convolution(self.dropout(self.activation(normalise(signal))))
        return signal.squeeze(0).t()

    def _as_one_convolution(self, frames: Tensor) -> Tensor:
        """Encode by one convolution, which is cheaper: without activations a stack of them is linear."""
        # Composing is cheap, and rounding errors of half precision would add up.
        with torch.autocast(frames.device.type, enabled=False):
            kernel, bias = self._composed_kernel()
        windows = frames.unfold(0, len(kernel), 1).transpose(1, 2).reshape(-1, len(kernel) * frames.shape[1])
        # The rows overlap in memory: one copy here saves one in the product and one in its gradient.
        return torch.addmm(bias, windows.contiguous(), kernel.flatten(0, 1))

    def _composed_kernel(self) -> tuple[Tensor, Tensor]:
        """Kernel [lookahead + 1, F, C] and bias [C] of the one convolution that all of them make together."""
        first, *others = cast("Iterable[nn.Conv1d]", self.convolutions)
        kernel = first.weight.permute(2, 1, 0)
        bias = cast("Tensor", first.bias)
        for convolution in others:
            taps = convolution.weight.permute(2, 1, 0)
            last = len(taps) - 1
            # As one product: of three dimensions, whether a gradient is wanted would decide how the sums are rounded.
            rows, shape = kernel.flatten(0, 1), kernel.shape[:2]
            products = [(rows @ tap).unflatten(0, shape) for tap in taps]
            delayed = [functional.pad(each, (0, 0, 0, 0, lag, last - lag)) for lag, each in enumerate(products)]
            kernel = torch.stack(delayed).sum(0)
            bias = convolution(bias.unsqueeze(1).expand(-1, len(taps))).squeeze(1)
        return kernel, bias


class ChannelNormalisation(nn.LayerNorm):
    """Layer normalisation of a signal's channels, frame by frame."""

    def forward(self, input: Tensor) -> Tensor:
        """Normalise each frame, [1, C, N] -> [1, C, N]."""
        return super().forward(input.transpose(1, 2)).transpose(1, 2)


class Standardise(nn.Module):
    """Subtract a mean from each value of a frame, divide by a deviation; the identity until these are set.

    Args:
        frame_size: values of a frame.
    """

    def __init__(self, frame_size: int) -> None:
        super().__init__()
        self.mean: Tensor
        self.deviation: Tensor
        self.register_buffer("mean", torch.zeros(frame_size))
        self.register_buffer("deviation", torch.ones(frame_size))

    @property
    def is_identity(self) -> bool:
        """Whether it leaves frames as they are."""
        return not bool(self.mean.any()) and bool((self.deviation == 1).all())

    def set_statistics(self, mean: Tensor, deviation: Tensor) -> None:
        """Use these statistics, both [F]; they are saved with the weights and not trained."""
        self.mean.copy_(mean)
        self.deviation.copy_(deviation)

    def forward(self, frames: Tensor) -> Tensor:
        """Standardise frames, [N, F] -> [N, F]."""
        return (frames - self.mean) / self.deviation


class LayerMix(nn.Module):
    """A learned mix of an encoder's layers (Peters et al., "Deep contextualized word representations", 2018, eq. 1).

    Each layer has one weight, the softmax of a parameter, and one scale multiplies the sum. Untrained, it is the mean.

    Args:
        layers: how many lie side by side in a frame, L.
        blocks: how many such blocks a frame has: values, and each order of their deltas.
    """

    def __init__(self, layers: int, blocks: int = 1) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.zeros(layers))
        self.scale = nn.Parameter(torch.ones(1))
        self.blocks = blocks

    def forward(self, frames: Tensor) -> Tensor:
        """Mix the layers of each frame, [N, blocks x L x F] -> [N, blocks x F]."""
        weights = self.scale * self.weights.softmax(0)
        layers = frames.reshape(-1, self.blocks, len(weights), frames.shape[1] // (self.blocks * len(weights)))
        mixed: Tensor = torch.tensordot(layers, weights, ([2], [0]))
        return mixed.flatten(1)


class StandardisePooled(nn.Module):
    """Standardise pooled values by their moments over the training part, or over all that a speaker says.

    The moments are those of the values that pass while it watches (`watch`). A speaker whom it has not watched, as in
    serving, has the moments of the training part.

    Args:
        size: values of a pooled vector, D.
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        self.of_train = Standardise(size)
        self.mean: Tensor
        self.deviation: Tensor
        self.register_buffer("mean", torch.zeros(0, size), persistent=False)
        self.register_buffer("deviation", torch.ones(0, size), persistent=False)
        self._sums: Tensor | None = None

    @contextmanager
    def watch(self, speakers: int | None = None) -> Iterator[None]:
        """Take moments of the values that pass in a block.

        Args:
            speakers: moments of each of so many speakers, by number; None for one of all, the training part.
        """
        self._sums = torch.zeros(3, speakers or 1, self.of_train.mean.numel(), dtype=torch.float64)
        try:
            yield
            count, total, squares = self._sums
        finally:
            self._sums = None
        mean = total / count.clamp(min=1)
        deviation = (squares / count.clamp(min=1) - mean.square()).clamp(min=_MIN_DEVIATION**2).sqrt()
        mean, deviation = (moment.to(self.of_train.mean) for moment in (mean, deviation))
        if speakers is None:
            self.of_train.set_statistics(mean[0], deviation[0])
        else:
            self.mean, self.deviation = mean, deviation

    def forward(self, pooled: Tensor, speakers: Tensor | None) -> Tensor:
        """Standardise pooled vectors, [G, D] -> [G, D].

        Args:
            pooled: the vectors.
            speakers: [G] number of each one's speaker; None for the moments of the training part.
        """
        if self._sums is not None:
            values = pooled.detach().double().cpu()
            for sums, terms in zip(self._sums, (torch.ones_like(values), values, values.square()), strict=True):
                if len(sums) == 1 or speakers is None:
                    sums[0] += terms.sum(0)
                else:
                    sums.index_add_(0, speakers.cpu(), terms)
        if speakers is None or not len(self.mean):
            standardised: Tensor = self.of_train(pooled)
            return standardised
        return (pooled - self.mean.index_select(0, speakers)) / self.deviation.index_select(0, speakers)


class WordEmbedding(nn.Module):
    """A trained table with one embedding a word, and vectors of words that the training part lacks.

    As in the published code (Li et al., Interspeech 2021), words that only dev or test have keep the vectors of the
    file that the table starts from. Nothing trains these.

    Args:
        vocabulary_size: rows of the table; row 0 (padding) stays zero, row 1 is the unknown word.
        size: values of an embedding; 300 for GloVe.
        dropout: on the embedding.
        given: how many words have a vector and no row in the table; their numbers follow those of the table.
    """

    def __init__(self, vocabulary_size: int, size: int, dropout: float = 0.0, given: int = 0) -> None:
        super().__init__()
        self.table = WordTable(vocabulary_size, size)
        self.given: Tensor | None
        # Models without such words have the same weights as ever.
        self.register_buffer("given", torch.zeros(given, size) if given else None)
        self.dropout = nn.Dropout(dropout)
        self.size = size

    @torch.no_grad()
    def set_vectors(self, vectors: Tensor) -> None:
        """Start from vectors.

        Args:
            vectors: [words, size] of the words from number 2 on: those of the table, then the given ones. A word of the
                table whose values are not numbers keeps its random embedding.
        """
        rows = self.table.weight[UNKNOWN + 1 :]
        own = vectors[: len(rows)]
        rows.copy_(torch.where(own.isfinite(), own, rows))
        if self.given is not None:
            self.given.copy_(vectors[len(rows) :])

    def forward(self, words: Tensor) -> Tensor:
        """Look word indices up, [W] -> [W, size]."""
        embedded: Tensor = self.table(words)
        if self.given is not None:
            place = words - self.table.num_embeddings
            embedded = torch.where((place < 0).unsqueeze(1), embedded, self.given[place.clamp(min=0)])
        dropped: Tensor = self.dropout(embedded)
        return dropped


class EncodedWords(nn.Module):
    """What a frozen text encoder says of each word, its layers mixed by learned weights (`LayerMix`).

    A word of which it says nothing, because nobody knows it or it was dropped in training, has a learned vector, which
    starts from zero as the unknown word's in a table.

    Args:
        size: values of a word, those of its layers side by side.
        layers: how many layers.
        dropout: on the mix.
    """

    def __init__(self, size: int, layers: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.size = size // layers
        self.mix = LayerMix(layers) if layers > 1 else None
        self.unknown = nn.Parameter(torch.zeros(self.size))
        self.dropout = nn.Dropout(dropout)

    def forward(self, features: Tensor) -> Tensor:
        """Mix the layers of words, [W, layers x size] -> [W, size]."""
        mixed = features if self.mix is None else self.mix(features)
        dropped: Tensor = self.dropout(torch.where(features.any(1, keepdim=True), mixed, self.unknown))
        return dropped


def embed_words(embedding: WordEmbedding | EncodedWords, batch: Batch) -> Tensor:
    """A vector for each word of a batch, [W, embedding.size], by its number or by what a text encoder says of it."""
    embedded: Tensor = embedding(batch.words if isinstance(embedding, WordEmbedding) else batch.word_features)
    return embedded


class SemanticEncoder(nn.Module):
    """Word embedding and a linear map: the semantic features of words (Li et al., Interspeech 2021).

    Args:
        embedding: of the words; published: GloVe, 300 values.
        size: values of a word's feature, D; published: 256.
    """

    def __init__(self, embedding: WordEmbedding | EncodedWords, size: int) -> None:
        super().__init__()
        self.embedding = embedding
        self.project = nn.Linear(embedding.size, size)
        self.size = size

    def forward(self, batch: Batch) -> Tensor:
        """Semantic features of the words of a batch, [W, D]."""
        features: Tensor = self.project(embed_words(self.embedding, batch))
        return features


class WordTable(nn.Embedding):
    """A table with a row a word; those for padding (0) and for unknown words (1) start from zero.

    The unknown word's is trained where training has such words, as with word dropout. A number beyond the table is that
    of an unknown word.

    Args:
        vocabulary_size: rows of the table, the padding and unknown rows included.
        size: values of a row.
    """

    def __init__(self, vocabulary_size: int, size: int) -> None:
        super().__init__(vocabulary_size, size, padding_idx=0)
        with torch.no_grad():
            self.weight[: UNKNOWN + 1] = 0

    def forward(self, input: Tensor) -> Tensor:
        """Look word indices up, [W] -> [W, size]."""
        return super().forward(torch.where(input < self.num_embeddings, input, UNKNOWN))
