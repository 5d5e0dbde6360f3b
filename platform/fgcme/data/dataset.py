"""A prepared corpus in memory, and the vocabulary of its words.

The Parquet files are turned once into an Arrow file that every process maps into memory: frames are views of it, and
several trainings on one node share its pages.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from fgcme.data.protocol import UtteranceTable
from fgcme.errors import UserError
from fgcme.files import atomic_write
from fgcme.prepared.corpus import UTTERANCES, read_description, read_parts

# Row 0 is for padding: ragged batches need none, but pretrained word tables have it.
UNKNOWN = 1


class SpeechCorpus:
    """A prepared corpus, mapped into memory, its utterances in the order of their ids.

    Attributes:
        description: what `corpus.json` says.
        table: ids, raw labels, speakers, sessions and acts.
        words, texts: each utterance's words, and its transcript.
        alignments: the method that aligned each utterance's words with its frames.
        frame_size: values of a prepared frame.
    """

    def __init__(self, folder: Path) -> None:
        """Map the corpus in `folder`.

        Raises:
            UserError: there is no prepared corpus in the folder, or no utterance in it.
        """
        self.folder = folder
        self.description = read_description(folder)
        rows = _map_rows(folder, self.description.corpus_hash)
        if not rows.num_rows:
            raise UserError(f"{folder}: the prepared corpus holds no utterance")
        order = sorted(range(rows.num_rows), key=rows["id"].to_pylist().__getitem__)

        def column(name: str) -> list[Any]:
            values = rows[name].to_pylist()
            return [values[row] for row in order]

        def arrays(name: str) -> list[np.ndarray]:
            values = _row_views(rows[name])
            return [values[row] for row in order]

        self.table = UtteranceTable(
            column("id"), column("raw_label"), column("speaker"), column("session"), column("act")
        )
        self.words: list[list[str]] = column("words")
        self.texts: list[str] = column("text")
        self.alignments: list[str] = column("alignment")
        self.frame_size = int(rows["frame_size"][0].as_py())
        self._begin, self._end, self._frames = arrays("begin"), arrays("end"), arrays("frames")

    def __len__(self) -> int:
        return len(self.words)

    def frames(self, utterance: int) -> np.ndarray:
        """Prepared frames of one utterance, [A, F] float32, a read-only view of the file."""
        return self._frames[utterance].reshape(-1, self.frame_size)

    def frame_count(self, utterance: int) -> int:
        """Frames of one utterance, A."""
        return len(self._frames[utterance]) // self.frame_size

    def spans(self, utterance: int) -> tuple[np.ndarray, np.ndarray]:
        """First frame of each word, and the frame after its last, both [W]."""
        return self._begin[utterance], self._end[utterance]


class Vocabulary:
    """Words of the training part, numbered; row 0 is padding and row 1 any other word.

    >>> vocabulary = Vocabulary.from_utterances([["kids", "talk"], ["dogs", "talk"]])
    >>> vocabulary.index(["dogs", "bark"]).tolist()
    [2, 1]
    """

    def __init__(self, words: Sequence[str]) -> None:
        self.words = list(words)
        self._index = {word: index for index, word in enumerate(self.words, start=UNKNOWN + 1)}

    @classmethod
    def from_utterances(cls, utterances: Sequence[Sequence[str]]) -> Vocabulary:
        """The vocabulary of some utterances, in alphabetical order."""
        return cls(sorted({word for words in utterances for word in words}))

    def __len__(self) -> int:
        """Rows of a table over this vocabulary, padding and unknown included."""
        return len(self.words) + UNKNOWN + 1

    def index(self, words: Sequence[str]) -> np.ndarray:
        """Row of each word, [W] int64."""
        return np.array([self._index.get(word, UNKNOWN) for word in words], np.int64)


def _row_views(column: pa.ChunkedArray) -> list[np.ndarray]:
    """Each row of a list column as a NumPy view."""
    rows: list[np.ndarray] = []
    for chunk in column.chunks:
        values = chunk.values.to_numpy(zero_copy_only=True)
        offsets = chunk.offsets.to_numpy()
        rows += [values[first:last] for first, last in itertools.pairwise(offsets)]
    return rows


def _map_rows(folder: Path, corpus_hash: str) -> pa.Table:
    """The rows of a prepared corpus, from its Arrow file, which is written where it is missing."""
    path = folder / f"corpus-{corpus_hash}.arrow"
    if not path.exists():
        with (
            atomic_write(path) as partial,
            pa.OSFile(str(partial), "wb") as sink,
            pa.ipc.new_file(sink, UTTERANCES) as writer,
        ):
            for _, rows in read_parts(folder):
                writer.write_table(rows.cast(UTTERANCES))
        for other in folder.glob("corpus-*.arrow"):
            if other != path:
                other.unlink(missing_ok=True)
    return pa.ipc.open_file(pa.memory_map(str(path))).read_all()
