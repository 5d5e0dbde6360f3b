"""Cross-modal alignment: losses that make alike what sound and words say of an utterance, before they are fused.

Multi-granularity cross-modal alignment, MGCMA (Wang et al., ICASSP 2025, arXiv 2412.20821), has three parts. Its
formulas could not be had: what its abstract and public summaries tell is marked (a), what is taken from the named
papers and their code (b), what is ours (c).

    distribution   (a) Multi-head self-attention, then two branches, give each side a Gaussian; the similarity of two
                   follows from their 2-Wasserstein distance W. (b) As in the code of MAP (Ji et al., CVPR 2023):
                   W^2 = |m - m'|^2 + |d - d'|^2, with m the mean and d the deviation of a diagonal Gaussian, and the
                   similarity s = -W^2 / 200 + 4. (c) The 4 is left out: it cancels in a softmax. The branches are
                   linear maps of the normalised mean of an utterance's attended words; MAP's have an MLP each, and read
                   a class token. d = softplus(branch); MAP's exp(branch) diverges at a learning rate of 1e-2.
    instance       (a) Contrastive learning of pairs of speech and text. (b) As in CLIP (Radford et al., ICML 2021) s is
                   the cosine of linear maps without bias, (c) here of the mean of an utterance's words.
    tokens         (a) Self- and cross-attention: a part of the network, no loss, and not here.

Either loss is (b) the mean of two cross-entropies, from sound to words and from words to sound, of the softmax of
s / temperature over the utterances of a batch. CLIP, ALBEF (Li et al., NeurIPS 2021) and MAP learn the temperature from
0.07 on; (c) here it is a setting. (c) Utterances that say the same are left out of each other's softmax: their words
cannot tell whose sound it is. As positives they would make an acted sentence sound alike in every emotion.

With several workers each compares the utterances of its own share of a batch. The parts that these losses alone need
are the training's: the model that is kept has none of them.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence

from fgcme.data import Batch
from fgcme.experiment import CrossModalSettings
from fgcme.model import Network, Output
from fgcme.seeds import derive_seed

# Values of the space that both sides are mapped to, and heads of the attention.
_SIZE, _HEADS = 128, 4
# Of MAP's code.
_DISTANCE_SCALE = 1 / 200


class Gaussians(NamedTuple):
    """Diagonal Gaussians: their means and standard deviations, [B, D] each."""

    mean: Tensor
    deviation: Tensor


def squared_wasserstein(rows: Gaussians, columns: Gaussians) -> Tensor:
    """Squared 2-Wasserstein distance of each of B Gaussians to each of B' others, [B, B'].

    >>> narrow, wide = (Gaussians(torch.zeros(1, 2), torch.full((1, 2), spread)) for spread in (1.0, 3.0))
    >>> squared_wasserstein(narrow, wide).tolist()
    [[8.0]]
    """
    # The distance of two such Gaussians is that of their means and deviations, side by side.
    one, other = (torch.cat(gaussians, dim=1) for gaussians in (rows, columns))
    return ((one.unsqueeze(1) - other.unsqueeze(0)) ** 2).sum(2)


def contrastive_losses(similarities: Tensor, texts: Tensor) -> Tensor:
    """Contrastive losses of pairs, the mean of both ways (InfoNCE, van den Oord et al., 2018; CLIP).

    Args:
        similarities: [B, B] of each utterance's sound (rows) to each one's words (columns), over the temperature.
        texts: [B] what each utterance says, by number: those that say the same are left out of each other's losses;
            those below 0 lack a side, and are left out altogether.

    Returns:
        [B]; 0 for an utterance that lacks a side or has nobody to be told from.

    >>> similarities = torch.zeros(3, 3)
    >>> contrastive_losses(similarities, torch.tensor([0, 0, 1])).exp().tolist()
    [2.0, 2.0, 3.0]
    """
    has_both = texts >= 0
    negatives = (texts.unsqueeze(1) != texts.unsqueeze(0)) & has_both.unsqueeze(1) & has_both.unsqueeze(0)
    pairs = torch.arange(len(texts), device=texts.device)
    compared = negatives | (pairs.unsqueeze(1) == pairs.unsqueeze(0))
    logits = similarities.masked_fill(~compared, -math.inf)
    ways = [functional.cross_entropy(way, pairs, reduction="none") for way in (logits, logits.T)]
    return (ways[0] + ways[1]) / 2


class GaussianHead(nn.Module):
    """From the words of one side to a Gaussian of each utterance.

    Args:
        size: values of a word.
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        self.project = nn.Linear(size, _SIZE)
        self.attention = nn.MultiheadAttention(_SIZE, _HEADS, batch_first=True)
        self.normalise = nn.LayerNorm(_SIZE)
        self.mean = nn.Linear(_SIZE, _SIZE)
        self.deviation = nn.Linear(_SIZE, _SIZE)

    def forward(self, words: Tensor, counts: Tensor) -> Gaussians:
        """Attend among the words of each utterance, and describe their mean.

        Args:
            words: [W, size].
            counts: [B] words of each utterance, on the CPU.
        """
        padded = _pad(self.project(words), counts)
        is_padding = (torch.arange(padded.shape[1]) >= counts.unsqueeze(1)).to(words.device, non_blocking=True)
        attended, _ = self.attention(padded, padded, padded, key_padding_mask=is_padding, need_weights=False)
        summary = self.normalise(_mean((padded + attended).masked_fill(is_padding.unsqueeze(2), 0), counts))
        return Gaussians(_exact(self.mean(summary)), functional.softplus(_exact(self.deviation(summary))))


class CrossModalAlignment(nn.Module):
    """The losses of a training, and the parts that they alone need.

    Args:
        side_sizes: values of a word on the semantic and on the acoustic side.
        settings: weights of the losses; a loss of no weight has no part.
    """

    def __init__(self, side_sizes: Sequence[int], settings: CrossModalSettings) -> None:
        super().__init__()
        self.settings = settings
        self.gaussians = nn.ModuleList(GaussianHead(size) for size in side_sizes if settings.distribution)
        self.vectors = nn.ModuleList(nn.Linear(size, _SIZE, bias=False) for size in side_sizes if settings.instance)

    @classmethod
    def of(cls, settings: CrossModalSettings, side_sizes: Sequence[int], seed: int) -> CrossModalAlignment | None:
        """The losses of a training, with weights that follow from its seed; None where none has a weight.

        Args:
            settings: weights of the losses.
            side_sizes: see `Output.sides`.
            seed: of the training.
        """
        if not settings.is_on:
            return None
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(derive_seed(seed, zlib.crc32(b"cross-modal alignment")))
            return cls(side_sizes, settings)

    def forward(self, sides: Sequence[Tensor], counts: Tensor, texts: Tensor) -> Tensor:
        """The losses of a batch times their weights, a scalar: the mean over the utterances that have both sides.

        Args:
            sides: [W, values] of the words, semantic and acoustic.
            counts: [B] words of each utterance, on the CPU.
            texts: [B] see `contrastive_losses`.
        """
        losses = torch.zeros_like(texts, dtype=torch.float32)
        if self.settings.distribution:
            semantic, acoustic = (head(side, counts) for head, side in zip(self.gaussians, sides, strict=True))
            similarities = -_DISTANCE_SCALE * squared_wasserstein(acoustic, semantic)
            losses = losses + self.settings.distribution * self._contrasted(similarities, texts)
        if self.settings.instance:
            of_sides = zip(self.vectors, sides, strict=True)
            means = (_exact(vector(_mean(_pad(side, counts), counts))) for vector, side in of_sides)
            semantic_vectors, acoustic_vectors = (functional.normalize(mean, dim=1) for mean in means)
            with torch.autocast(texts.device.type, enabled=False):
                similarities = acoustic_vectors @ semantic_vectors.T
            losses = losses + self.settings.instance * self._contrasted(similarities, texts)
        return losses.sum() / (texts >= 0).sum().clamp(min=1)

    def _contrasted(self, similarities: Tensor, texts: Tensor) -> Tensor:
        return contrastive_losses(similarities / self.settings.temperature, texts)


class AlignedNetwork(nn.Module):
    """A network that is trained with cross-modal alignment: one module, so that workers average all its gradients.

    Args:
        network: that goes by words of both sides.
        alignment: its losses.
    """

    def __init__(self, network: Network, alignment: CrossModalAlignment) -> None:
        super().__init__()
        self.network = network
        self.alignment = alignment

    def forward(self, batch: Batch, texts: Tensor) -> tuple[Output, Tensor]:
        """Classify every utterance of a batch, and compare its sides.

        Args:
            batch: of utterances.
            texts: [B] see `contrastive_losses`.

        Returns:
            The network's output, and the losses of the alignment.
        """
        output: Output = self.network(batch)
        texts = texts.to(output.logits.device, non_blocking=True)
        loss: Tensor = self.alignment(output.sides, batch.word_counts, texts)
        return output, loss


def _pad(words: Tensor, counts: Tensor) -> Tensor:
    """[W, D] words of utterances, end to end -> [B, longest, D], zeros after an utterance's last."""
    return pad_sequence(list(torch.split(words, counts.tolist())), batch_first=True)


def _mean(padded: Tensor, counts: Tensor) -> Tensor:
    """The mean of the words of each utterance, [B, longest, D], zeros after its last, -> [B, D]."""
    return padded.sum(1) / counts.unsqueeze(1).to(padded.device, non_blocking=True)


def _exact(values: Tensor) -> Tensor:
    """The same in float32 at least, in which distances are taken."""
    return values.to(torch.promote_types(values.dtype, torch.float32))
