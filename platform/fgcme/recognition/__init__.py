"""Speech to text, where nobody has written down what is said."""

from __future__ import annotations

import functools

from fgcme.recognition.contract import Recogniser

__all__ = ["EMBEDDED", "Recogniser", "build"]

EMBEDDED = "sphinx"
"""The recogniser that is there without a download: PocketSphinx, US English."""


@functools.lru_cache(maxsize=4)
def build(name: str = EMBEDDED, language: str = "en") -> Recogniser:
    """A recogniser, one per process.

    Args:
        name: `sphinx`, or the folder or hub name of a speech recogniser of `transformers`: one that writes a sentence,
            such as Whisper, or one that writes characters by CTC, such as a fine-tuned wav2vec 2.0.
        language: that Whisper is told, by its code; the others know one.

    Raises:
        UserError: the recogniser cannot be loaded, or does not know the language.
    """
    # Each one's libraries are imported only when it is asked for.
    if name == EMBEDDED:
        from fgcme.recognition.sphinx import SphinxRecogniser

        return SphinxRecogniser()
    from fgcme.recognition.pretrained import load_pretrained

    return load_pretrained(name, language)
