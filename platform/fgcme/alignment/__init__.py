"""Words to frames: which 10 ms frames each word of an utterance was spoken in."""

from __future__ import annotations

import functools

from fgcme.alignment.contract import Aligner, Alignment, AlignmentError
from fgcme.errors import UserError

__all__ = ["Aligner", "Alignment", "AlignmentError", "build"]

# Whisper hears 30 s, and a part gets up to 0.2 s of the pause at either side of it. What is cut gets shorter parts: for
# the longest a model takes up to 0.3 GB, beside the samples of a whole recording.
_HEARD_SECONDS, _PART_SECONDS = 29.0, 8.0


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
        folder: folder of alignments, see `ImportedAligner` (`imported` only).
        tier: of a TextGrid, the one with the words; None for the one that is called so.
        language: of the words, see `SphinxAligner` and `WhisperAligner`; with `ctc`, of those that are cut into parts.

    Raises:
        UserError: the checkpoint, the folder or the language cannot be used.
        ValueError: there is no such method, or it lacks its checkpoint or folder.
    """
    cutter = functools.partial(_cutter, language)
    # Each method's libraries are imported only when that method is asked for.
    if method == "sphinx":
        from fgcme.alignment.sphinx import SphinxAligner

        return SphinxAligner(language)
    if method == "uniform":
        from fgcme.alignment.uniform import UniformAligner

        return UniformAligner()
    if method == "ctc" and checkpoint is not None:
        from fgcme.alignment.ctc import CtcAligner
        from fgcme.alignment.partwise import PartwiseAligner

        return PartwiseAligner(CtcAligner(checkpoint), cutter, _HEARD_SECONDS, _PART_SECONDS)
    if method == "whisper" and checkpoint is not None:
        from fgcme.alignment.partwise import PartwiseAligner
        from fgcme.alignment.whisper import WhisperAligner

        return PartwiseAligner(WhisperAligner(checkpoint, language), cutter, _HEARD_SECONDS, _PART_SECONDS)
    if method == "imported" and folder is not None:
        from fgcme.alignment.imported import ImportedAligner

        return ImportedAligner(folder, tier)
    raise ValueError(f"no aligner {method!r} with checkpoint {checkpoint!r} and folder {folder!r}")


def _cutter(language: str) -> Aligner:
    """Finds roughly where the words of a long recording are; not at all if eSpeak NG does not speak the language."""
    from fgcme.alignment.sphinx import SphinxAligner
    from fgcme.alignment.uniform import UniformAligner

    try:
        return SphinxAligner(language)
    except UserError:
        return UniformAligner()
