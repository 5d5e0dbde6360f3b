"""Seeds derived from other seeds."""

from __future__ import annotations

import numpy as np


def derive_seed(*numbers: int) -> int:
    """Derive one seed from several numbers, such as a training's seed and an epoch; their order counts.

    Similar numbers give unrelated seeds (`numpy.random.SeedSequence`). Zeros at the end change nothing.

    Args:
        *numbers: none below 0.

    Returns:
        A number of 32 bits, the same on every machine.

    >>> derive_seed(0, 1), derive_seed(1, 0)
    (3964924996, 1835504127)
    """
    return int(np.random.SeedSequence(numbers).generate_state(1)[0])
