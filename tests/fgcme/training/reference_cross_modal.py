"""Slow doubles of the losses of cross-modal alignment: a loop over utterances, words, heads and pairs, in float64."""

import math

import torch
from torch import Tensor

from fgcme.training.cross_modal import CrossModalAlignment, GaussianHead

Sides = tuple[list[Tensor], list[Tensor]]
"""The words of each utterance, [W, values] each: the semantic side's and the acoustic side's."""


def attended(words: list[Tensor], head: GaussianHead) -> list[Tensor]:
    """What each word of one utterance gathers from all of them."""
    attention = head.attention
    size, heads = attention.embed_dim, attention.num_heads
    weight, bias = attention.in_proj_weight, attention.in_proj_bias
    queries, keys, values = (
        [weight[part * size : (part + 1) * size] @ word + bias[part * size : (part + 1) * size] for word in words]
        for part in range(3)
    )
    gathered = []
    for query in queries:
        of_heads = []
        for each in torch.arange(size).split(size // heads):
            scores = torch.stack([query[each] @ key[each] for key in keys]) / math.sqrt(len(each))
            shares = scores.exp() / scores.exp().sum()
            of_heads.append(sum(share * value[each] for share, value in zip(shares, values, strict=True)))
        gathered.append(attention.out_proj.weight @ torch.cat(of_heads) + attention.out_proj.bias)
    return gathered


def gaussian(words: Tensor, head: GaussianHead) -> tuple[Tensor, Tensor]:
    """Mean and deviation of one utterance."""
    projected = [head.project.weight @ word + head.project.bias for word in words]
    summary = sum(own + more for own, more in zip(projected, attended(projected, head), strict=True)) / len(words)
    centred = summary - summary.sum() / len(summary)
    normalised = centred / (centred @ centred / len(summary) + head.normalise.eps).sqrt()
    summary = head.normalise.weight * normalised + head.normalise.bias
    deviation = head.deviation.weight @ summary + head.deviation.bias
    return head.mean.weight @ summary + head.mean.bias, (1 + deviation.exp()).log()


def distribution_similarity(sound: tuple[Tensor, Tensor], words: tuple[Tensor, Tensor]) -> Tensor:
    """MAP's similarity, -W^2 / 200 + 4."""
    means, deviations = (one - other for one, other in zip(sound, words, strict=True))
    return 4 - (means @ means + deviations @ deviations) / 200


def cosine(one: Tensor, other: Tensor) -> Tensor:
    return one @ other / (one @ one).sqrt() / (other @ other).sqrt()


def contrasted(similarities: list[list[Tensor]], texts: list[int], temperature: float) -> Tensor:
    """The mean over utterances with both sides of - log share of the own partner, both ways."""
    losses = []
    for own, text in enumerate(texts):
        if text < 0:
            continue
        rivals = [own] + [other for other, said in enumerate(texts) if said >= 0 and said != text]
        for way in (lambda sound, words: (sound, words), lambda sound, words: (words, sound)):
            scores = []
            for rival in rivals:
                row, column = way(own, rival)
                scores.append((similarities[row][column] / temperature).exp())
            losses.append(-(scores[0] / sum(scores)).log() / 2)
    return sum(losses, torch.zeros(())) / max(sum(text >= 0 for text in texts), 1)


def loss(alignment: CrossModalAlignment, sides: Sides, texts: list[int]) -> Tensor:
    """The weighted losses of a batch."""
    settings, total = alignment.settings, torch.zeros(())
    if settings.distribution:
        words, sound = (
            [gaussian(utterance, head) for utterance in side]
            for head, side in zip(alignment.gaussians, sides, strict=True)
        )
        similarities = [[distribution_similarity(one, other) for other in words] for one in sound]
        total = total + settings.distribution * contrasted(similarities, texts, settings.temperature)
    if settings.instance:
        words, sound = (
            [vector.weight @ (sum(utterance) / len(utterance)) for utterance in side]
            for vector, side in zip(alignment.vectors, sides, strict=True)
        )
        similarities = [[cosine(one, other) for other in words] for one in sound]
        total = total + settings.instance * contrasted(similarities, texts, settings.temperature)
    return total
