"""Word vectors from a GloVe text file (Pennington, Socher and Manning, EMNLP 2014)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from fgcme.errors import UserError


def read_vectors(path: Path, size: int, words: Sequence[str]) -> npt.NDArray[np.float32]:
    """Read the vectors of some words from a text file, whose lines hold a token and its values.

    A token may hold spaces, as some of `glove.840B` do: values are counted from the end of the line. Of a word that is
    there twice, the last vector counts.

    Args:
        path: of the file, in UTF-8.
        size: values of a vector.
        words: that are wanted.

    Returns:
        [words, size]; values of a word that the file lacks are NaN.

    Raises:
        UserError: the file cannot be read, or a line does not hold so many values; names the line.
    """
    row = {word.encode(): number for number, word in enumerate(words)}
    vectors = np.full((len(words), size), np.nan, np.float32)
    try:
        with path.open("rb") as lines:
            for number, line in enumerate(lines, start=1):
                token, *values = line.rstrip().rsplit(b" ", size)
                # A token with spaces is words; a number in it is one value too many.
                if len(values) < size or (b" " in token and any(map(_is_number, token.split(b" ")[1:]))):
                    count = len(line.split()) - 1
                    raise UserError(
                        f"{path}: line {number} has {count} values where model.semantic.embedding is {size}"
                    )
                if (wanted := row.get(token)) is not None:
                    vectors[wanted] = _as_numbers(path, number, values)
    except OSError as error:
        raise unreadable(path, error) from None
    return vectors


def unreadable(path: Path, error: OSError) -> UserError:
    """What the user is told of a file that cannot be read."""
    return UserError(f"model.semantic.vectors: {path} cannot be read as word vectors ({error.strerror})")


def _as_numbers(path: Path, number: int, values: Sequence[bytes]) -> npt.NDArray[np.float32]:
    try:
        vector = np.array([float(value) for value in values], np.float32)
    except ValueError as error:
        raise UserError(f"{path}: line {number} cannot be read as a word vector ({error})") from None
    if not np.isfinite(vector).all():
        raise UserError(f"{path}: line {number} holds a value that is no finite number")
    return vector


def _is_number(text: bytes) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
