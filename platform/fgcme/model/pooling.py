"""Temporal-alignment pooling: the frames that a word reads become one vector.

Words are segments [begin, end) of one long signal; segments may overlap and may be empty. Each is reduced where it
lies, O(frames read x channels), where the masked form of the published code multiplies a tensor of words x frames x
channels.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

PoolingKind = Literal["mean_max", "mean", "max"]

# How PyTorch numbers the reduction of an embedding bag.
_MAX = 2


def pooled_size(kind: PoolingKind, channels: int) -> int:
    """Size of a word's vector.

    >>> pooled_size("mean_max", 128)
    256
    """
    return 2 * channels if kind == "mean_max" else channels


def pool(hidden: Tensor, begin: Tensor, end: Tensor, kind: PoolingKind) -> Tensor:
    """Reduce each segment of `hidden` to one vector (paper, section "temporal alignment mean-max pooling").

    Args:
        hidden: [N, C] encoded frames.
        begin: [W] first frame of each segment.
        end: [W] frame after the last of each segment.
        kind: `mean`, `max`, or both side by side.

    Returns:
        [W, pooled_size(kind, C)]. A segment without frames gives zeros (the published code gives 0 and -1e6).

    >>> hidden = torch.tensor([[1.0], [3.0], [8.0]])
    >>> pool(hidden, torch.tensor([0, 1]), torch.tensor([2, 3]), "mean_max").tolist()
    [[2.0, 3.0], [5.5, 8.0]]
    """
    lengths = (end - begin).clamp(min=0)
    before = lengths.cumsum(0) - lengths
    # The frames of every segment, one segment after another: bags of rows of `hidden`, none of which is copied.
    first = torch.repeat_interleave(begin - before, lengths)
    frames = first + torch.arange(len(first), device=first.device)
    parts = []
    if kind != "max":
        parts.append(functional.embedding_bag(frames, hidden, before, mode="mean"))
    if kind != "mean":
        parts.append(_maxima(hidden, frames, before).masked_fill(lengths.unsqueeze(1) == 0, 0))
    return torch.cat(parts, dim=1)


def _maxima(hidden: Tensor, frames: Tensor, before: Tensor) -> Tensor:
    """[W, C] maximum of each bag; anything for an empty bag.

    Found without a gradient, and taken from where they are: the gradient of the bag itself goes word by word.
    """
    places = torch.embedding_bag(hidden.detach(), frames, before, mode=_MAX)[3]
    # An empty bag has no place.
    return hidden.gather(0, places.clamp(0, len(hidden) - 1))
