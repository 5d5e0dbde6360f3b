"""CTM, NIST's time-marked words: a line a word, with its recording, channel, begin and duration, of many utterances."""

from __future__ import annotations

import functools
import math
import os
import re
from array import array
from collections.abc import Sequence
from pathlib import Path
from typing import IO
from urllib.parse import quote

import numpy as np
import numpy.typing as npt

from fgcme.alignment.timed_words import TimedWord, in_nats

# What a name in the first column may not hold, or not begin with; `%` so that names can be read back.
_NOT_IN_A_NAME = re.compile(r"[\s%]|^;")
_NO_CONFIDENCE = ("NA", "n/a", "-")


def ctm_name(utterance_id: str) -> str:
    """The name of an utterance in the first column: its id, blanks in it as in an address.

    >>> ctm_name("first take/03 a")
    'first%20take/03%20a'
    """
    return _NOT_IN_A_NAME.sub(lambda found: quote(found[0], safe=""), utterance_id)


def ctm_line(utterance_id: str, begin: float, end: float, word: str) -> str:
    """The line of a word.

    Args:
        utterance_id: its utterance.
        begin: seconds from the utterance's beginning.
        end: the same, of the word's end.
        word: without blanks.

    >>> ctm_line("03 a", 1.2, 1.5, "door")
    '03%20a 1 1.200 0.300 door'
    """
    return f"{ctm_name(utterance_id)} 1 {begin:.3f} {end - begin:.3f} {word}"


class CtmFile:
    """Where the lines of each utterance lie in a CTM file: 32 bytes an utterance.

    Args:
        path: of the file.

    Raises:
        OSError: it cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        # Of each run of lines with one name: its hash, first byte, number of bytes, and number of the first line.
        runs = array("q")
        before, place = b"", 0
        with path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                name = _name(line)
                if name and name != before:
                    runs.extend((hash(name), place, 0, number))
                if name:
                    before, runs[-2] = name, place + len(line) - runs[-3]
                place += len(line)
        table = np.frombuffer(runs, np.int64).reshape(-1, 4) if runs else np.empty((0, 4), np.int64)
        self._runs = table[np.argsort(table[:, 0], kind="stable")]

    @property
    def keys(self) -> npt.NDArray[np.int64]:
        """Hashes of the names, see `name_keys`."""
        return np.unique(self._runs[:, 0])

    def names(self) -> list[str]:
        """The names of its utterances."""
        with self._path.open("rb") as file:
            return sorted({_text(_name(self._lines(file, run)[0])) for run in self._runs})

    def read(self, utterance_id: str) -> list[TimedWord]:
        """The words of an utterance with their confidences; of the only one, whatever its name, where it is alone.

        Raises:
            OSError: the file cannot be read.
            ValueError: it lacks the utterance, has it in several channels, or a line of it is damaged.
        """
        keys = self.keys[:1] if len(self.keys) == 1 else name_keys(utterance_id)
        rows: list[list[str]] = []
        with self._path.open("rb") as file:
            for run in self._runs[np.isin(self._runs[:, 0], keys)]:
                for number, line in enumerate(self._lines(file, run), start=int(run[3])):
                    if _name(line):
                        rows.append(_fields(line, number))
        if not rows:
            raise ValueError(f"it has no utterance {utterance_id}")
        if len(channels := {row[1] for row in rows}) > 1:
            raise ValueError(f"it has {utterance_id} in the channels {', '.join(sorted(channels))}: keep one of them")
        return [TimedWord(row[4], float(row[2]), float(row[2]) + float(row[3]), _confidence(row)) for row in rows]

    @staticmethod
    def _lines(file: IO[bytes], run: npt.NDArray[np.int64]) -> list[bytes]:
        file.seek(int(run[1]))
        return file.read(int(run[2])).splitlines()


@functools.lru_cache(maxsize=4)
def _opened(path: Path, modified: int) -> CtmFile:
    return CtmFile(path)


def open_ctm(path: Path) -> CtmFile:
    """A CTM file, looked through once as long as it does not change.

    Raises:
        OSError: it cannot be read.
    """
    return _opened(path, path.stat().st_mtime_ns)


def name_keys(utterance_id: str) -> list[int]:
    """Hashes of the names that an utterance may have in the first column."""
    return [hash(os.fsencode(name)) for name in {utterance_id, ctm_name(utterance_id)}]


def _name(line: bytes) -> bytes:
    """The name in the first column; empty for a comment and an empty line."""
    name, *_ = line.removeprefix(b"\xef\xbb\xbf").split(None, 1) or [b""]
    return b"" if name.startswith(b";;") else name


def _fields(line: bytes, number: int) -> list[str]:
    """Name, channel, begin, duration, word and perhaps a confidence.

    Raises:
        ValueError: the line has fewer, or its times are none.
    """
    fields = _text(line).split()
    try:
        begin, duration = float(fields[2]), float(fields[3])
        if len(fields) < 5 or not (0 <= begin < math.inf and 0 <= duration < math.inf):
            raise ValueError
        _confidence(fields)
    except (ValueError, IndexError):
        shown = " ".join(fields)[:60]
        raise ValueError(f"line {number} is not `name channel begin duration word`: `{shown}`") from None
    return fields


def _confidence(fields: Sequence[str]) -> float:
    return in_nats(float(fields[5])) if len(fields) > 5 and fields[5] not in _NO_CONFIDENCE else math.nan


def _text(line: bytes) -> str:
    try:
        return line.decode()
    except UnicodeDecodeError:
        return line.decode("cp1252", errors="replace")
