"""From a prepared corpus to ragged batches.

The Parquet files are turned once into an Arrow file that every process maps into memory: frames are views of it, and
several trainings on one node share its pages.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa

from fgcme.errors import UserError
from fgcme.model.batch import Batch, Reads, collate, plan_reads
from fgcme.prepared import UTTERANCES, describe, parts
from fgcme.protocol import Members
from fgcme.whole_file import replacing

Normalisation = Literal["none", "train", "utterance"]

# Row 0 is kept for padding, as word tables made elsewhere have it; ragged batches need none.
UNKNOWN = 1


class SpeechCorpus:
    """A prepared corpus, mapped into memory, its utterances in the order of their ids.

    Attributes:
        description: what `corpus.json` says.
        members: ids, raw labels, speakers and sessions.
        words, texts: each utterance's words, and its transcript.
        alignments: how each utterance's words found their frames.
        frame_size: values of a frame.
    """

    def __init__(self, folder: Path) -> None:
        """Map the corpus in `folder`.

        Raises:
            UserError: there is no prepared corpus in the folder, or no utterance in it.
        """
        self.description = describe(folder)
        table = _mapped(folder, self.description.corpus_hash)
        if not table.num_rows:
            raise UserError(f"{folder}: the prepared corpus holds no utterance")
        order = sorted(range(table.num_rows), key=table["id"].to_pylist().__getitem__)

        def column(name: str) -> list[Any]:
            values = table[name].to_pylist()
            return [values[row] for row in order]

        def arrays(name: str) -> list[np.ndarray]:
            values = _views(table[name])
            return [values[row] for row in order]

        self.members = Members(column("id"), column("raw_label"), column("speaker"), column("session"))
        self.words: list[list[str]] = column("words")
        self.texts: list[str] = column("text")
        self.alignments: list[str] = column("alignment")
        self.frame_size = int(table["frame_size"][0].as_py())
        self._begin, self._end, self._frames = arrays("begin"), arrays("end"), arrays("frames")

    def __len__(self) -> int:
        return len(self.words)

    def frames(self, utterance: int) -> np.ndarray:
        """Frames of one utterance, [A, F] float32, a read-only view of the file."""
        return self._frames[utterance].reshape(-1, self.frame_size)

    def spans(self, utterance: int) -> tuple[np.ndarray, np.ndarray]:
        """First frame of each word, and the frame after its last, both [T]."""
        return self._begin[utterance], self._end[utterance]


def statistics(corpus: SpeechCorpus, utterances: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of each bin over all frames of some utterances, both [F] float32."""
    total = np.zeros(corpus.frame_size)
    squares = np.zeros(corpus.frame_size)
    count = 0
    for utterance in utterances:
        frames = corpus.frames(utterance).astype(np.float64)
        total += frames.sum(0)
        squares += np.square(frames).sum(0)
        count += len(frames)
    mean = total / count
    deviation = np.sqrt(np.maximum(squares / count - mean**2, 1e-10))
    return mean.astype(np.float32), deviation.astype(np.float32)


def standardise(frames: np.ndarray) -> np.ndarray:
    """Frames [A, F] with mean 0 and deviation 1 in each bin over the utterance."""
    return np.asarray((frames - frames.mean(0)) / (frames.std(0) + 1e-5), np.float32)


class Vocabulary:
    """Words of the training part, numbered; row 0 is padding and row 1 any other word.

    >>> vocabulary = Vocabulary.of([["kids", "talk"], ["dogs", "talk"]])
    >>> vocabulary.index(["dogs", "bark"]).tolist()
    [2, 1]
    """

    def __init__(self, words: Sequence[str]) -> None:
        self.words = list(words)
        self._index = {word: index for index, word in enumerate(self.words, start=UNKNOWN + 1)}

    @classmethod
    def of(cls, utterances: Sequence[Sequence[str]]) -> Vocabulary:
        """The vocabulary of some utterances, in alphabetical order."""
        return cls(sorted({word for words in utterances for word in words}))

    def __len__(self) -> int:
        """Rows of a table over this vocabulary, padding and unknown included."""
        return len(self.words) + UNKNOWN + 1

    def index(self, words: Sequence[str]) -> np.ndarray:
        """Row of each word, [T] int64."""
        return np.array([self._index.get(word, UNKNOWN) for word in words], np.int64)


class RaggedLoader:
    """Batches of one part of a corpus.

    Args:
        corpus: where the utterances are.
        utterances: [n] indices of the part.
        labels: [U] class index of every utterance of the corpus.
        vocabulary: numbers the words.
        reach: the acoustic encoder's.
        batch_size: utterances in a batch, over all workers together.
        frame_limit: audio is cut after this many frames.
        normalisation: `utterance` standardises each utterance's frames; the other kinds are the model's business.
    """

    def __init__(
        self,
        corpus: SpeechCorpus,
        utterances: np.ndarray,
        labels: np.ndarray,
        vocabulary: Vocabulary,
        reach: int,
        batch_size: int,
        frame_limit: int,
        normalisation: Normalisation = "none",
    ) -> None:
        self.utterances = utterances
        self.batch_size = batch_size
        self._minimum = reach + 1
        self._frames = [corpus.frames(index)[:frame_limit] for index in utterances]
        if normalisation == "utterance":
            self._frames = [standardise(frames) for frames in self._frames]
        self._reads: list[Reads] = [
            plan_reads(*corpus.spans(index), len(frames), reach)
            for index, frames in zip(utterances, self._frames, strict=True)
        ]
        self._words = [vocabulary.index(corpus.words[index]) for index in utterances]
        self._labels = labels[utterances]

    def __len__(self) -> int:
        """Batches in an epoch."""
        return -(-len(self.utterances) // self.batch_size)

    def plan(self, seed: int | None) -> list[np.ndarray]:
        """Positions in the part, batch by batch: in order when `seed` is None, else shuffled and bucketed by length.

        Utterances are shuffled, sorted by their number of words within stretches of 16 batches, and the batches
        shuffled.
        """
        positions = np.arange(len(self.utterances))
        if seed is None:
            return np.split(positions, range(self.batch_size, len(positions), self.batch_size))
        generator = np.random.default_rng(seed)
        positions = generator.permutation(positions)
        lengths = np.array([len(words) for words in self._words])
        stretch = 16 * self.batch_size
        batches = []
        for start in range(0, len(positions), stretch):
            bucket = positions[start : start + stretch]
            bucket = bucket[np.argsort(lengths[bucket], kind="stable")]
            batches += np.split(bucket, range(self.batch_size, len(bucket), self.batch_size))
        return [batches[index] for index in generator.permutation(len(batches))]

    def batch(self, positions: np.ndarray) -> Batch:
        """The utterances at some positions of the part, laid end to end."""
        return collate(
            [self._frames[position] for position in positions],
            [self._reads[position] for position in positions],
            [self._words[position] for position in positions],
            self._labels[positions],
            self._minimum,
        )


def _views(column: pa.ChunkedArray) -> list[np.ndarray]:
    """Each row of a list column as a NumPy view."""
    rows: list[np.ndarray] = []
    for chunk in column.chunks:
        values = chunk.values.to_numpy(zero_copy_only=True)
        offsets = chunk.offsets.to_numpy()
        rows += [values[first:last] for first, last in itertools.pairwise(offsets)]
    return rows


def _mapped(folder: Path, corpus_hash: str) -> pa.Table:
    path = folder / f"corpus-{corpus_hash}.arrow"
    if not path.exists():
        with (
            replacing(path) as partial,
            pa.OSFile(str(partial), "wb") as sink,
            pa.ipc.new_file(sink, UTTERANCES) as writer,
        ):
            for _, rows in parts(folder):
                writer.write_table(rows.cast(UTTERANCES))
        for other in folder.glob("corpus-*.arrow"):
            if other != path:
                other.unlink(missing_ok=True)
    return pa.ipc.open_file(pa.memory_map(str(path))).read_all()
