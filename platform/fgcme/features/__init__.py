"""Speech to frames: one vector of features every 10 ms, or at a pretrained encoder's own rate. Words to vectors."""

from __future__ import annotations

import functools
from typing import Literal

from fgcme.features.contract import FrameExtractor, FrameFormat, Frames, OneByOne, WordEncoder, WordFeatures

__all__ = [
    "FrameExtractor",
    "FrameFormat",
    "Frames",
    "WordEncoder",
    "WordFeatures",
    "build_extractor",
    "build_word_encoder",
    "count_word_layers",
    "frame_format",
]

Layers = tuple[int, ...] | Literal["all"]
_LAST: Layers = (-1,)


@functools.lru_cache(maxsize=4)
def build_extractor(
    kind: str, bins: int = 40, checkpoint: str | None = None, layers: Layers = _LAST, padded: bool = False
) -> FrameExtractor:
    """Build what turns recordings into frames, once a process.

    Args:
        kind: `log_mel` or `speech_encoder`.
        bins: mel bins (kind: log_mel).
        checkpoint: folder or hub name of the encoder (kind: speech_encoder).
        layers: hidden states, side by side in a frame; -1 is the last (kind: speech_encoder).
        padded: whether Whisper hears 30 s, filled up with silence (kind: speech_encoder).

    Raises:
        UserError: the checkpoint cannot be loaded, is of a family that is not known, or has no such layer.
        ValueError: there is no such kind, or its checkpoint is missing.
    """
    # Import the libraries of the requested kind only: torch and transformers are slow to import.
    if kind == "log_mel":
        from fgcme.features.log_mel import log_mel

        return OneByOne(functools.partial(log_mel, bins=bins), FrameFormat())
    if kind == "speech_encoder" and checkpoint is not None:
        from fgcme.features.speech_encoder import SpeechEncoder

        return SpeechEncoder(checkpoint, layers, padded)
    raise ValueError(f"no features {kind!r} with checkpoint {checkpoint!r}")


def frame_format(
    kind: str, bins: int = 40, checkpoint: str | None = None, layers: Layers = _LAST, padded: bool = False
) -> FrameFormat:
    """What `build_extractor`'s frames will be like, without loading any weights.

    Args:
        kind: `log_mel` or `speech_encoder`.
        bins: mel bins (kind: log_mel).
        checkpoint: folder or hub name of the encoder (kind: speech_encoder).
        layers: hidden states (kind: speech_encoder).
        padded: see `build_extractor`.

    Raises:
        UserError: the checkpoint has no configuration, is of a family that is not known, or has no such layer.
    """
    if kind != "speech_encoder" or checkpoint is None:
        return FrameFormat()
    from fgcme.features.speech_encoder import describe_frames

    return describe_frames(checkpoint, layers)[1]


@functools.lru_cache(maxsize=4)
def build_word_encoder(checkpoint: str | None = None, layers: Layers = _LAST) -> WordEncoder | None:
    """Build what turns words into vectors, once a process.

    Args:
        checkpoint: folder or hub name of the text encoder; None for none.
        layers: hidden states, side by side in a vector; -1 is the last.

    Raises:
        UserError: the checkpoint cannot be loaded, is of a family that is not known, or has no such layer.
    """
    if checkpoint is None:
        return None
    from fgcme.features.text_encoder import TextEncoder

    return TextEncoder(checkpoint, layers)


def count_word_layers(checkpoint: str | None, layers: Layers = _LAST) -> int:
    """How many layers lie side by side in a word's vector, without loading any weights; 0 without a text encoder.

    Raises:
        UserError: the checkpoint has no configuration, is of a family that is not known, or has no such layer.
    """
    if checkpoint is None:
        return 0
    from fgcme.features.text_encoder import describe_words

    return len(describe_words(checkpoint, layers)[1])
