"""Compare alignments: how far apart two aligners, or an aligner and labels made by hand, put the edges of words."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from fgcme import prepared
from fgcme.alignment import AlignmentError
from fgcme.alignment.comparison import Spans, compare
from fgcme.alignment.folder import SUFFIXES, utterances_in
from fgcme.alignment.imported import read_alignment
from fgcme.audio import SAMPLE_RATE
from fgcme.errors import UserError

# Files of alignments do not say how long the audio is, and nothing of them is to be cut: a day, which takes no memory.
_ANY_LENGTH = np.broadcast_to(np.float32(0), 24 * 3600 * SAMPLE_RATE)


def run(first: Path, second: Path, worst: int = 10) -> int:
    """Print how two alignments of the same utterances differ.

    Args:
        first: a prepared corpus, or a folder of `.TextGrid`, `.wdseg`, `.ctm` or `.json` files by utterance id.
        second: the same.
        worst: how many of the utterances that differ most are named.

    Returns:
        The exit status: 1 where no utterance could be compared, else 0.

    Raises:
        UserError: a folder is neither, or a file cannot be read as an alignment.
    """
    comparison = compare(read_spans(first), read_spans(second))
    for line in comparison.lines(worst):
        print(line)
    return 0 if comparison.words else 1


def read_spans(folder: Path) -> dict[str, Spans]:
    """The words and spans of a prepared corpus, or of a folder of alignments.

    Raises:
        UserError: the folder is neither, a file cannot be read, or two files have the same name.
    """
    if (folder / "corpus.json").exists():
        return {
            row["id"]: Spans(row["words"], row["begin"], row["end"])
            for _, table in prepared.read_parts(folder, ["id", "words", "begin", "end"])
            for row in table.to_pylist()
        }
    found: dict[str, Spans] = {}
    for path in sorted(folder.rglob("*")) if folder.is_dir() else ():
        if path.suffix.lower() not in SUFFIXES or path.name.startswith("."):
            continue
        for name, spans in _spans_in(path):
            if name in found:
                raise UserError(
                    f"{path}: another file below {folder} has {name}, too; compare folders that lack one of them"
                )
            found[name] = spans
    if not found:
        raise UserError(
            f"{folder}: neither a prepared corpus nor a folder with .TextGrid, .wdseg, .ctm or .json files; `fgcme "
            "prepare` says where it puts a prepared corpus"
        )
    return found


def _spans_in(path: Path) -> Iterator[tuple[str, Spans]]:
    """The utterances of a file, each with its words and spans.

    Raises:
        UserError: it cannot be read as an alignment.
    """
    try:
        for name in utterances_in(path):
            aligned = read_alignment(path, _ANY_LENGTH, name)
            yield name, Spans(aligned.words, aligned.begin, aligned.end)
    except AlignmentError as error:
        raise UserError(f"{error.message}; mend it, or move it away") from None
