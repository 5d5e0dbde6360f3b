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
    """The function from samples ([samples] at 16 kHz) to features ([frames, size] float32), made once in a process.

    Every kind gives `fgcme.audio.frame_count(samples)` frames of 10 ms.

    Args:
        kind: `log_mel` or `speech_encoder`.
        bins: mel bins (`log_mel` only).
        checkpoint: speech encoder, a folder or a hub name (`speech_encoder` only).
        layer: hidden layer to take, -1 for the last (`speech_encoder` only).

    Raises:
        UserError: the checkpoint cannot be used, or has no such layer.
        ValueError: there is no such kind, or it lacks its checkpoint.
    """
    # Each kind's libraries are imported only when that kind is asked for.
    if kind == "log_mel":
        from fgcme.features.log_mel import log_mel

        return functools.partial(log_mel, bins=bins)
    if kind == "speech_encoder" and checkpoint is not None:
        from fgcme.features.speech_encoder import SpeechEncoder

        return SpeechEncoder(checkpoint, layer)
    raise ValueError(f"no features {kind!r} with checkpoint {checkpoint!r}")
