"""Losses of single utterances.

The loss of a batch is a weighted mean: the sum of its utterances' losses, each times its weight, over the sum of the
weights. `utterance_losses` returns losses times weights, so that workers that share a batch can divide by the weights
of the whole batch; `focal` and `word_ctc` return plain losses.
"""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence

from fgcme.data import Batch
from fgcme.model import Output

_NO_SPREAD = 1e-8

LossKind = Literal["cross_entropy", "focal", "ctc"]


def balanced_class_weights(labels: np.ndarray, classes: int) -> np.ndarray:
    """Class weights that give every class the same total weight: B / (K x utterances of the class).

    Args:
        labels: [B] class indices of the training part.
        classes: number of classes, K.

    Returns:
        [K] float32; 0 for a class without utterances.

    >>> balanced_class_weights(np.array([0, 0, 1, 1, 1, 1]), classes=2).tolist()
    [1.5, 0.75]
    """
    counts = np.bincount(labels, minlength=classes)
    weights = np.divide(len(labels), classes * counts, out=np.zeros(classes), where=counts > 0)
    return weights.astype(np.float32)


def utterance_losses(
    output: Output,
    batch: Batch,
    kind: LossKind,
    class_weights: Tensor,
    label_smoothing: float = 0.0,
    focal_gamma: float = 2.0,
) -> Tensor:
    """The loss of each utterance times the weight of its class.

    Where a model has several decisions, their losses are added, and so is the model's own auxiliary loss. A mixed
    utterance has the losses of its own and its partner's label, in the shares of the mixture (Zhang et al., 2018).

    Args:
        output: the model's output for the batch.
        batch: with known labels, or the shares of raters, which then are what is learnt (kind: cross_entropy).
        kind: of loss.
        class_weights: [K] by class index.
        label_smoothing: share of the target that is spread over all classes (kind: cross_entropy).
        focal_gamma: exponent of the focal loss (kind: focal).

    Returns:
        [B] float32.
    """
    decisions = output.modality_logits or (output.logits,)

    def losses_for(labels: Tensor, shares: Tensor | None) -> Tensor:
        if kind == "ctc":
            if output.word_logits is None:
                raise ValueError("CTC needs a model that classifies words")
            return class_weights[labels] * word_ctc(output.word_logits, labels, batch.word_counts)
        if kind == "focal":
            losses = [class_weights[labels] * focal(logits, labels, focal_gamma) for logits in decisions]
        elif shares is not None:
            losses = [soft_cross_entropy(logits, shares, class_weights, label_smoothing) for logits in decisions]
        else:
            losses = [
                functional.cross_entropy(
                    logits.float(), labels, class_weights, reduction="none", label_smoothing=label_smoothing
                )
                for logits in decisions
            ]
        return torch.stack(losses).sum(0)

    losses = losses_for(batch.labels, batch.shares)
    if batch.mixture is not None:
        share = batch.mixture.weight
        partner = batch.mixture.partner
        partner_shares = None if batch.shares is None else batch.shares[partner]
        losses = share * losses + (1 - share) * losses_for(batch.labels[partner], partner_shares)
    if output.auxiliary_loss is not None:
        losses = losses + class_weights[batch.labels] * output.auxiliary_loss.float()
    return losses


def soft_cross_entropy(logits: Tensor, shares: Tensor, class_weights: Tensor, label_smoothing: float = 0.0) -> Tensor:
    """Cross-entropy against the share of raters who gave each class: - sum over classes of weight, share and log p.

    Args:
        logits: [B, K].
        shares: [B, K], summing to 1.
        class_weights: [K] by class index.
        label_smoothing: share of the target that is spread over all classes.

    Returns:
        [B] losses.
    """
    return functional.cross_entropy(
        logits.float(), shares, class_weights, reduction="none", label_smoothing=label_smoothing
    )


def concordance_loss(values: Tensor, ratings: Tensor) -> Tensor:
    """1 - CCC, the mean over dimensions: Lin's concordance correlation coefficient (1989) over a batch.

    CCC = 2 cov / (var + var' + (mean - mean')^2) with the moments of the utterances that have a rating. A dimension
    whose ratings are all alike, or that only one utterance has, has a CCC of 0 and teaches nothing; one that no
    utterance has does not count.

    Args:
        values: [B, D] that the model gives.
        ratings: [B, D] to be met; NaN where nobody rated.

    Returns:
        A scalar from 0 to 2; 0 where no utterance has a rating.
    """
    rated = ~ratings.isnan()
    counts = rated.sum(0)

    def mean(of: Tensor) -> Tensor:
        return torch.where(rated, of, 0).sum(0) / counts.clamp(min=1)

    values, ratings = values.float() if values.dtype == torch.bfloat16 else values, ratings.nan_to_num()
    mean_value, mean_rating = mean(values), mean(ratings)
    deviation, expected = values - mean_value, ratings - mean_rating
    spread = mean(deviation**2) + mean(expected**2) + (mean_value - mean_rating) ** 2
    # Below this all values and ratings are one and the same number.
    concordance = 2 * mean(deviation * expected) / spread.clamp(min=_NO_SPREAD)
    return torch.where(counts > 0, 1 - concordance, 0).sum() / (counts > 0).sum().clamp(min=1)


def focal(logits: Tensor, labels: Tensor, focal_gamma: float) -> Tensor:
    """Focal loss (Lin et al., ICCV 2017): -(1 - p)^focal_gamma log p, with p the probability of the label.

    Args:
        logits: [B, K] for two classes or more.
        labels: [B] class indices.
        focal_gamma: how strongly easy utterances are weighed down; 0 is cross-entropy.

    Returns:
        [B] losses.
    """
    log_probabilities = logits.float().log_softmax(1)
    label = labels.unsqueeze(1)
    # log(1 - p) from the other classes stays finite, with its gradient, where p is rounded to 1.
    log_rest = log_probabilities.scatter(1, label, -math.inf).logsumexp(1)
    return -(focal_gamma * log_rest).exp() * log_probabilities.gather(1, label).squeeze(1)


def word_ctc(word_logits: Tensor, labels: Tensor, word_counts: Tensor) -> Tensor:
    """CTC (Graves et al., ICML 2006) over the words of each utterance.

    Probabilities are normalised over the classes. The published code of Li et al. (2021) names no dimension and
    normalises over the batch, so that an utterance alone is always of the first class: its CTC is not to be had here.

    The labelling of W words is the utterance's label, max(1, floor(W / 5)) times, which fits any number of words. The
    loss is divided by the length of the labelling, as in torch's own mean.

    Args:
        word_logits: [W, K + 1], the blank last.
        labels: [B] class indices.
        word_counts: [B] words of each utterance, on the CPU.

    Returns:
        [B] losses.
    """
    log_probabilities = word_logits.float().log_softmax(1)
    lengths = (word_counts // 5).clamp(min=1)
    losses: Tensor = functional.ctc_loss(
        pad_sequence(list(torch.split(log_probabilities, word_counts.tolist()))),
        labels.unsqueeze(1).repeat(1, int(lengths.max())),
        word_counts,
        lengths,
        blank=word_logits.shape[1] - 1,
        reduction="none",
    )
    return losses / lengths.to(losses.device, non_blocking=True)
