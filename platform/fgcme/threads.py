"""Computing on one thread: several share sums out among them, which rounds them differently on every machine."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def one_thread() -> Iterator[None]:
    """Within the block, or the function that it decorates, PyTorch computes on the thread that calls it alone.

    >>> with one_thread():
    ...     torch.get_num_threads()
    1
    """
    count = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(count)
