"""Columns of a mapped Arrow file as sequences: a value becomes a Python object only when it is asked for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Generic, TypeVar, overload

import numpy as np
import pyarrow as pa

Value = TypeVar("Value")

# Values that iteration turns into Python objects at once.
_AT_ONCE = 4096


class Column(Sequence[Value], Generic[Value]):
    """A column as a sequence.

    Args:
        array: the column; texts that repeat are dictionary-encoded.

    >>> Column(pa.array(["sad", "happy", "sad"]).dictionary_encode()).count("sad")
    2
    """

    def __init__(self, array: pa.Array) -> None:
        self.array = array

    def __len__(self) -> int:
        return len(self.array)

    @overload
    def __getitem__(self, index: int) -> Value: ...
    @overload
    def __getitem__(self, index: slice) -> Column[Value]: ...
    def __getitem__(self, index: int | slice) -> Value | Column[Value]:
        if isinstance(index, slice):
            return Column(self.array[index])
        value: Value = self.array[int(index)].as_py()
        return value

    def __iter__(self) -> Iterator[Value]:
        for first in range(0, len(self), _AT_ONCE):
            yield from self.array.slice(first, _AT_ONCE).to_pylist()


def encode(texts: Sequence[str | None]) -> tuple[np.ndarray, list[str]]:
    """Number the distinct texts of a sequence.

    Returns:
        [B] the number of each text, -1 for None; and the distinct texts, of which some may not occur.

    >>> numbers, distinct = encode(["b", "a", None, "b"])
    >>> numbers.tolist(), distinct
    ([0, 1, -1, 0], ['b', 'a'])
    """
    array = texts.array if isinstance(texts, Column) else pa.array(texts, pa.string())
    if not pa.types.is_dictionary(array.type):
        array = array.dictionary_encode()
    numbers = array.indices.fill_null(-1) if array.null_count else array.indices
    return numbers.to_numpy(), array.dictionary.to_pylist()
