"""Words to frames: which 10 ms frames each word of an utterance was spoken in."""

from __future__ import annotations

import functools

from fgcme.alignment.contract import Aligner, Alignment, AlignmentError

__all__ = ["Aligner", "Alignment", "AlignmentError", "build"]


@functools.lru_cache(maxsize=8)
def build(
    method: str,
    checkpoint: str | None = None,
    folder: str | None = None,
    tier: str | None = None,
    language: str = "en",
) -> Aligner:
    """The aligner of a method, one per process.

    Args:
        method: `sphinx`, `ctc`, `whisper`, `imported` or `uniform`.
        checkpoint: CTC model or Whisper, a folder or a hub name (`ctc` and `whisper` only).
        folder: folder of `.TextGrid` or `.wdseg` files (`imported` only).
        tier: of a TextGrid, the one with the words; None for the one that is called so.
        language: of the words, see `SphinxAligner` and `WhisperAligner` (`sphinx` and `whisper` only).

    Raises:
        UserError: the checkpoint, the folder or the language cannot be used.
        ValueError: there is no such method, or it lacks its checkpoint or folder.
    """
    # Each method's libraries are imported only when that method is asked for.
    if method == "sphinx":
        from fgcme.alignment.sphinx import SphinxAligner

        return SphinxAligner(language)
    if method == "uniform":
        from fgcme.alignment.uniform import UniformAligner

        return UniformAligner()
    if method == "ctc" and checkpoint is not None:
        from fgcme.alignment.ctc import CtcAligner

        return CtcAligner(checkpoint)
    if method == "whisper" and checkpoint is not None:
        from fgcme.alignment.whisper import WhisperAligner

        return WhisperAligner(checkpoint, language)
    if method == "imported" and folder is not None:
        from fgcme.alignment.imported import ImportedAligner

        return ImportedAligner(folder, tier)
    raise ValueError(f"no aligner {method!r} with checkpoint {checkpoint!r} and folder {folder!r}")
