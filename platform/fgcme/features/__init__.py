"""Speech to frames: one vector of features every 10 ms."""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from fgcme.audio import Samples

__all__ = ["build_extractor"]


@functools.lru_cache(maxsize=4)
def build_extractor(
    kind: str, bins: int = 40, checkpoint: str | None = None, layer: int = -1
) -> Callable[[Samples], npt.NDArray[np.float32]]:
    """Build the function from samples ([samples] at 16 kHz) to features ([A, F] float32), once a process.

    Every kind makes `fgcme.audio.frame_count(samples)` frames, one every 10 ms.

    Args:
        kind: `log_mel` or `speech_encoder`.
        bins: mel bins (kind: log_mel).
        checkpoint: folder or hub name of the encoder (kind: speech_encoder).
        layer: hidden layer, -1 for the last (kind: speech_encoder).

    Raises:
        UserError: the checkpoint cannot be loaded, or has no such layer.
        ValueError: there is no such kind, or its checkpoint is missing.
    """
    # Import the libraries of the requested kind only: torch and transformers are slow to import.
    if kind == "log_mel":
        from fgcme.features.log_mel import log_mel

        return functools.partial(log_mel, bins=bins)
    if kind == "speech_encoder" and checkpoint is not None:
        from fgcme.features.speech_encoder import SpeechEncoder

        return SpeechEncoder(checkpoint, layer)
    raise ValueError(f"no features {kind!r} with checkpoint {checkpoint!r}")
