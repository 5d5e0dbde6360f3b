"""A CTM of a whole corpus: a line a word; the utterance's id stands for a recording, times are from its beginning."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from fgcme.alignment.ctm import ctm_line
from fgcme.interchange.contract import About, PreparedUtterance, Told

WORDLESS = "utterances left out that have no words"


def write(utterances: Iterable[PreparedUtterance], folder: Path, about: About, told: Told) -> None:
    """Write `words.ctm`; see `fgcme.interchange.contract.Write`.

    Args:
        utterances: of the corpus.
        folder: to write into.
        about: the corpus.
        told: counts what is left out.
    """
    with (folder / "words.ctm").open("w", encoding="utf-8") as file:
        for utterance in utterances:
            told.add(WORDLESS, utterance.id, not utterance.words)
            file.writelines(f"{ctm_line(utterance.id, *word[1:], word.text)}\n" for word in utterance.words)
