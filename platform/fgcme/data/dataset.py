"""From a prepared corpus to ragged batches.

The Parquet files are turned once into an Arrow file that every process maps into memory: frames are views of it, and
several trainings on one node share its pages.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from fgcme.data.augmentation import augment_energies, changes_energies, changes_frames, draw_mixture, spec_augment
from fgcme.data.batch import Batch, FrameLayout, SegmentScheme, collate, layout_frames, pack
from fgcme.data.front_end import FrontEnd, Moments
from fgcme.data.protocol import UtteranceTable
from fgcme.errors import UserError
from fgcme.experiment import AugmentationSettings
from fgcme.files import atomic_write
from fgcme.prepared.corpus import UTTERANCES, read_description, read_parts

# Row 0 is kept for padding, as word tables made elsewhere have it; ragged batches need none.
UNKNOWN = 1


class SpeechCorpus:
    """A prepared corpus, mapped into memory, its utterances in the order of their ids.

    Attributes:
        description: what `corpus.json` says.
        members: ids, raw labels, speakers, sessions and acts.
        words, texts: each utterance's words, and its transcript.
        alignments: how each utterance's words found their frames.
        frame_size: values of a frame.
    """

    def __init__(self, folder: Path) -> None:
        """Map the corpus in `folder`.

        Raises:
            UserError: there is no prepared corpus in the folder, or no utterance in it.
        """
        self.folder = folder
        self.description = read_description(folder)
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

        self.table = UtteranceTable(
            column("id"), column("raw_label"), column("speaker"), column("session"), column("act")
        )
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

    def frame_count(self, utterance: int) -> int:
        """Frames of one utterance, A."""
        return len(self._frames[utterance]) // self.frame_size

    def spans(self, utterance: int) -> tuple[np.ndarray, np.ndarray]:
        """First frame of each word, and the frame after its last, both [T]."""
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
        """Row of each word, [T] int64."""
        return np.array([self._index.get(word, UNKNOWN) for word in words], np.int64)


class RaggedLoader:
    """Batches of one part of a corpus.

    Frames are views of the mapped file, or, where the front end changes them, its results, made once.

    Args:
        corpus: where the utterances are.
        utterances: [n] indices of the part.
        labels: [U] class index of every utterance of the corpus.
        vocabulary: numbers the words.
        reading: how the model reads frames; a model that reads none costs none.
        batch_size: utterances in a batch, over all workers together.
        frame_limit: audio is cut after this many frames.
        front_end: what is made of prepared frames.
        speakers: moments of each speaker, where the front end normalises by them.
        augmentation: how the utterances of a batch with a seed are varied; log-mel frames only, unless it only blanks
            or mixes.

    Attributes:
        utterances: as given.
        labels: [n] their class indices.
    """

    def __init__(
        self,
        corpus: SpeechCorpus,
        utterances: np.ndarray,
        labels: np.ndarray,
        vocabulary: Vocabulary,
        reading: SegmentScheme,
        batch_size: int,
        frame_limit: int,
        front_end: FrontEnd | None = None,
        speakers: Mapping[str, Moments] | None = None,
        augmentation: AugmentationSettings | None = None,
    ) -> None:
        self.utterances = utterances
        self.batch_size = batch_size
        self._corpus = corpus
        self._reading = reading
        self._frame_limit = frame_limit
        self._front_end = front_end or FrontEnd()
        self._speakers = speakers or {}
        self._augmentation = augmentation or AugmentationSettings()
        self._frame_size = self._front_end.size(corpus.frame_size)
        self._frames: list[np.ndarray | None] = [None] * len(utterances)
        self._resident: tuple[torch.Tensor, ...] | None = None
        self._varies = reading.segments != "none" and changes_frames(self._augmentation)
        self._reads: list[FrameLayout] = [
            layout_frames(reading, *corpus.spans(index), min(corpus.frame_count(index), frame_limit))
            for index in utterances
        ]
        self._words = [vocabulary.index(corpus.words[index]) for index in utterances]
        self.labels = labels[utterances]

    def __len__(self) -> int:
        """Batches in an epoch."""
        return -(-len(self.utterances) // self.batch_size)

    @property
    def size(self) -> int:
        """Bytes that `keep_on` takes on a device."""
        values = 0 if self._varies else sum(read.length for read in self._reads) * self._frame_size
        return values * np.dtype(np.float32).itemsize

    def keep_on(self, device: torch.device | str) -> None:
        """Put what the model reads of the part on a device, where batches are cut from now on.

        A part whose frames are varied stays where it is: its batches are made anew each time, on the CPU.
        """
        if self._varies:
            return
        pieces = [np.zeros((0, self._frame_size), np.float32)]
        for position, read in enumerate(self._reads):
            pieces += [self.frames(position)[first:last] for first, last in read.runs.tolist()]
        lengths = [read.length for read in self._reads]
        self._resident = torch.split(torch.from_numpy(np.concatenate(pieces)).to(device), lengths)

    def plan(self, seed: int | None) -> list[np.ndarray]:
        """Positions in the part, batch by batch: in order when `seed` is None, else shuffled and bucketed by length.

        Utterances are shuffled, sorted by their number of words within stretches of 16 batches, and the batches
        shuffled. For a model that reads whole utterances, those of as many words are sorted by their frames.
        """
        positions = np.arange(len(self.utterances))
        if seed is None:
            return np.split(positions, range(self.batch_size, len(positions), self.batch_size))
        generator = np.random.default_rng(seed)
        positions = generator.permutation(positions)
        words = np.array([len(words) for words in self._words])
        whole = self._reading.segments == "utterance"
        frames = np.array([read.length if whole else 0 for read in self._reads])
        stretch = 16 * self.batch_size
        batches = []
        for start in range(0, len(positions), stretch):
            bucket = positions[start : start + stretch]
            bucket = bucket[np.lexsort((frames[bucket], words[bucket]))]
            batches += np.split(bucket, range(self.batch_size, len(bucket), self.batch_size))
        return [batches[index] for index in generator.permutation(len(batches))]

    def batch(self, positions: np.ndarray, seed: int | None = None) -> Batch:
        """The utterances at some positions of the part, laid end to end.

        Args:
            positions: at least one.
            seed: varies the utterances by the loader's augmentation, each by this seed and its position alone,
                whatever else is in the batch; None leaves them as they are. Who is mixed with whom follows from the
                seed and all the positions.
        """
        if seed is None:
            return self._plain(positions)
        batch = self._varied(positions, seed) if self._varies else self._plain(positions)
        if not self._augmentation.mixup_alpha:
            return batch
        generator = np.random.default_rng([seed, len(self.utterances), *positions])
        return replace(batch, mixture=draw_mixture(self._augmentation.mixup_alpha, len(batch), generator))

    def frames(self, position: int) -> np.ndarray:
        """What the model may read of the utterance at a position, [A, F] float32."""
        kept = self._frames[position]
        if kept is None:
            kept = self._frames[position] = self._made(position)
        return kept

    def _made(self, position: int) -> np.ndarray:
        if self._reading.segments == "none":
            return np.zeros((0, self._frame_size), np.float32)
        utterance = self.utterances[position]
        return self._front(self._corpus.frames(utterance)[: self._frame_limit], utterance)

    def _front(self, frames: np.ndarray, utterance: int) -> np.ndarray:
        return self._front_end(frames, self._speakers.get(self._corpus.table.speakers[utterance]))

    def _plain(self, positions: np.ndarray) -> Batch:
        reads = [self._reads[position] for position in positions]
        words = [self._words[position] for position in positions]
        labels, minimum = self.labels[positions], self._reading.lookahead + 1
        if self._resident is not None:
            frames = torch.cat([self._resident[position] for position in positions])
            return pack(frames, reads, words, labels, minimum)
        return collate([self.frames(position) for position in positions], reads, words, labels, minimum)

    def _varied(self, positions: np.ndarray, seed: int) -> Batch:
        frames, reads = zip(*(self._vary(position, seed) for position in positions), strict=True)
        words = [self._words[position] for position in positions]
        return collate(frames, reads, words, self.labels[positions], self._reading.lookahead + 1)

    def _vary(self, position: int, seed: int) -> tuple[np.ndarray, FrameLayout]:
        """One utterance as it is in this epoch, and what the model reads of it."""
        settings, utterance = self._augmentation, self.utterances[position]
        generator = np.random.default_rng([seed, position])
        if changes_energies(settings):
            # The whole recording is varied and then cut, as its waveform would be.
            varied = augment_energies(
                settings, self._corpus.frames(utterance), *self._corpus.spans(utterance), generator
            )
            frames = self._front(varied.frames[: self._frame_limit], utterance)
            reads = layout_frames(self._reading, varied.begin, varied.end, len(frames))
        else:
            frames, reads = self.frames(position), self._reads[position]
        if settings.time_masks or settings.frequency_masks:
            frames = spec_augment(settings, frames, 1 + self._front_end.deltas, generator)
        return frames, reads


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
