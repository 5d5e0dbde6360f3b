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
    # The frames of every segment, one segment after another. An embedding bag is just this: rows of a table, reduced
    # bag by bag. It copies no frame, and keeps where each maximum was for the gradient.
    first = torch.repeat_interleave(begin - before, lengths)
    frames = first + torch.arange(len(first), device=first.device)
    if kind != "mean_max":
        return functional.embedding_bag(frames, hidden, before, mode=kind)
    mean = functional.embedding_bag(frames, hidden, before, mode="mean")
    return torch.cat([mean, functional.embedding_bag(frames, hidden, before, mode="max")], dim=1)
