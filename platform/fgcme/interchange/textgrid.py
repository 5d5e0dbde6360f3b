"""A TextGrid an utterance, by its id, with times from the utterance's beginning."""

from __future__ import annotations

import errno
from collections.abc import Iterable
from pathlib import Path

from fgcme.alignment.folder import alignment_path
from fgcme.alignment.text_grid import Tier, to_text_grid
from fgcme.interchange.contract import About, PreparedUtterance, Told

LONG = "utterances left out whose id is too long for the name of a file"
SEGMENTS = "utterances that are parts of longer files, whose times count from the utterance's beginning"


def write(utterances: Iterable[PreparedUtterance], folder: Path, about: About, told: Told) -> None:
    """Write a file an utterance; see `fgcme.interchange.contract.Write`.

    Args:
        utterances: of the corpus.
        folder: to write into.
        about: the corpus.
        told: counts what is left out.
    """
    for utterance in utterances:
        told.add(SEGMENTS, utterance.id, utterance.start > 0)
        path = folder / f"{alignment_path(utterance.id)}.TextGrid"
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(_text_grid(utterance) + "\n", encoding="utf-8")
        except OSError as error:
            if error.errno != errno.ENAMETOOLONG:
                raise
            told.add(LONG, utterance.id)


def _text_grid(utterance: PreparedUtterance) -> str:
    said = {"text": utterance.text, "label": utterance.label, "speaker": utterance.speaker}
    words = [(word.begin, word.end, word.text) for word in utterance.words]
    whole = [Tier(name, [(0.0, utterance.duration, value)]) for name, value in said.items()]
    return to_text_grid([Tier("words", words), *whole], utterance.duration)
