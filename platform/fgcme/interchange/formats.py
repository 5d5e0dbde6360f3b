"""The formats that there are, each a module."""

from __future__ import annotations

import pkgutil
from collections.abc import Mapping
from typing import NamedTuple

from fgcme.interchange.contract import Write


class Format(NamedTuple):
    """A format.

    Attributes:
        summary: what is written.
        needs_audio: whether it says where the audio lies, so that the corpus's folder has to be known.
    """

    summary: str
    needs_audio: bool


FORMATS: Mapping[str, Format] = {
    "textgrid": Format("a TextGrid an utterance, with tiers of words, text, label and speaker", False),
    "ctm": Format("words.ctm, a line a word", False),
    "audformat": Format("an audformat database with a table of utterances and one of words", True),
    "lhotse": Format("manifests of Lhotse: recordings, and supervisions with their words", True),
    "hf-folder": Format("an audio folder of Hugging Face: metadata.jsonl, and links to the files", True),
    "hf-parquet": Format("Parquet of Hugging Face, with the sound in it", True),
}


def find_writer(name: str) -> Write:
    """What writes a format; loaded when it is asked for."""
    write: Write = pkgutil.resolve_name(f"fgcme.interchange.{name.replace('-', '_')}:write")
    return write
