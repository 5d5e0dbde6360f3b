"""Files that every process of a training maps into memory: a prepared corpus, and what a front end makes of it.

    mapped-<corpus hash>.arrow            one row an utterance, in the order of their ids, schema `ROWS`
    mapped-<corpus hash>.frames           the prepared frames of all recordings, end to end
    mapped-<corpus hash>.words            what a text encoder says of all their words, end to end, if it was prepared
    mapped-<corpus hash>-<key>.frames     the same through a front end, see `map_features`
    mapped-<corpus hash>-<key>.vectors    the vectors of its words, see `map_vectors`
    mapped-<corpus hash>-<key>.pooled     what its segments of one kind are reduced to, see `map_pooled`

A recording is an utterance as it was recorded, or a copy of it at another speed.

Frames are float32, or float16 where they were prepared in half precision: the length of the file tells. The files lie
in the folder of the prepared corpus, and are written where they are missing, by one process at a time.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from fgcme.data.frame_table import FrameTable
from fgcme.data.front_end import FrontEnd
from fgcme.data.targets import RATINGS
from fgcme.data.word_vectors import read_vectors, unreadable
from fgcme.errors import UserError
from fgcme.features.contract import FrameArray
from fgcme.files import acquire, atomic_write, digest, digest_file, exists
from fgcme.prepared.corpus import WORD_FEATURES, read_row_groups

_KINDS = ("arrow", "frames", "words")
# Texts that repeat are stored once.
_REPEATED = pa.dictionary(pa.int32(), pa.string())
ROWS = pa.schema(
    [("id", pa.large_string()), ("text", pa.large_string())]
    + [(name, _REPEATED) for name in ("raw_label", "speaker", "session", "act", "alignment")]
    + [("words", pa.list_(_REPEATED)), ("begin", pa.list_(pa.int32())), ("end", pa.list_(pa.int32()))]
    + [("speech_begin", pa.int32()), ("speech_end", pa.int32())]
    + [(name, pa.float32()) for name in RATINGS]
    # Where the utterance's first frame is among all frames, and how many it has.
    + [("first_frame", pa.int64()), ("frame_count", pa.int32()), ("frame_size", pa.int32())]
)
_COLUMNS = [name for name in ROWS.names if name != "first_frame"]
# Where a corpus has copies: where the first of an utterance begins among all frames, and how many frames each has.
COPIES = pa.schema([("first_copy_frame", pa.int64()), ("copy_frame_counts", pa.list_(pa.int32()))])
# Where a text encoder was prepared: where the features of an utterance's first word are among those of all words.
WORDS = pa.schema([("first_word", pa.int64()), ("word_feature_size", pa.int32())])


class MappedCorpus(NamedTuple):
    """A prepared corpus as it is mapped.

    Attributes:
        rows: one an utterance, in the order of their ids.
        frames: their prepared frames.
        word_features: what a text encoder says of their words, by utterance; None where none was prepared.
    """

    rows: pa.RecordBatch
    frames: FrameTable
    word_features: FrameTable | None


def map_corpus(folder: Path, corpus_hash: str) -> MappedCorpus:
    """Map the rows and the frames of a prepared corpus.

    Args:
        folder: of the prepared corpus.
        corpus_hash: names its content; files of another content are deleted.

    Returns:
        The rows; and the frames by recording: those of all utterances in the order of the rows, then those of their
        first copies in the same order, and so on.

    Raises:
        UserError: it holds no utterance, its rows do not fit together, or its folder cannot be written to.
    """
    rows_path, frames_path, words_path = (folder / f"mapped-{corpus_hash}.{kind}" for kind in _KINDS)
    # The rows are written last: where they are, the frames are.
    if not (rows_path.exists() and _has_all_columns(rows_path)):
        with _writing(folder):
            if not (exists(rows_path) and _has_all_columns(rows_path)):
                _write_corpus(folder, rows_path, frames_path, words_path)
                for other in [*folder.glob("corpus-*.arrow"), *folder.glob("mapped-*")]:
                    if not other.name.startswith(rows_path.stem):
                        other.unlink(missing_ok=True)
    rows = pa.ipc.open_file(pa.memory_map(str(rows_path))).get_batch(0)
    first, counts = rows["first_frame"].to_numpy(), rows["frame_count"].to_numpy()
    if COPIES.names[0] in rows.schema.names:
        of_copies = rows["copy_frame_counts"].values.to_numpy().reshape(len(counts), -1).T
        first_of_copies = rows["first_copy_frame"].to_numpy() + np.cumsum(of_copies, axis=0) - of_copies
        first, counts = np.concatenate([first, *first_of_copies]), np.concatenate([counts, *of_copies])
    values = _map_frames(frames_path, rows["frame_size"][0].as_py(), int(counts.sum()))
    frames, words = FrameTable(values, first, counts), None
    if WORDS.names[0] in rows.schema.names:
        counts = pc.list_value_length(rows["words"]).to_numpy()
        values = _map_frames(words_path, rows["word_feature_size"][0].as_py(), int(counts.sum()))
        words = FrameTable(values, rows["first_word"].to_numpy(), counts)
    return MappedCorpus(rows, frames, words)


def _has_all_columns(path: Path) -> bool:
    """Whether mapped rows have the columns of this version."""
    stored = pa.ipc.open_file(pa.memory_map(str(path))).schema
    return bool(stored.equals(_schema(stored.names)))


def _schema(names: Collection[str]) -> pa.Schema:
    """The columns of mapped rows which have columns of these names."""
    further = [schema for schema in (COPIES, WORDS) if schema.names[0] in names]
    return pa.unify_schemas([ROWS, *further])


def map_features(
    folder: Path, corpus_hash: str, frames: FrameTable, front_end: FrontEnd, limit: int
) -> FrameTable | None:
    """Map what a front end makes of all recordings, each cut at the frame limit; computed once for all processes.

    Args:
        folder: of the prepared corpus.
        corpus_hash: names its content.
        frames: the prepared frames of all recordings.
        front_end: makes the features; of its normalisations only that by utterance is among them.
        limit: audio is cut after this many prepared frames.

    Returns:
        The features, or None where they are not there yet and the folder cannot be written to.
    """
    cut = frames.cut(limit)
    if front_end.keeps_prepared_frames:
        return cut
    path = folder / f"mapped-{corpus_hash}-{digest(features_key(cut, front_end))}.frames"

    def write() -> None:
        _write_frames(path, (front_end.without_speaker(cut.stored(index)) for index in range(len(cut.counts))))

    if not _are_written(folder, [path], write):
        return None
    values = _map_frames(path, front_end.size(frames.values.shape[1]), int(cut.counts.sum()))
    return FrameTable(values, _starts(cut.counts), cut.counts)


def features_key(cut: FrameTable, front_end: FrontEnd) -> list[Any]:
    """All that decides what `map_features` makes of frames that are cut at the limit, for `digest`."""
    # By the longest recording, not by the limit: limits that no recording exceeds share a file.
    return [front_end.input, front_end.deltas, front_end.normalisation == "utterance", int(cut.counts.max())]


def map_pooled(
    folder: Path,
    corpus_hash: str,
    key: Sequence[Any],
    shapes: Sequence[tuple[int, int]],
    pooled: Iterable[Sequence[np.ndarray]],
) -> list[npt.NDArray[np.float32]] | None:
    """Map what the segments of all recordings are reduced to; computed once for all processes, trainings and sweeps.

    Args:
        folder: of the prepared corpus.
        corpus_hash: names its content.
        key: all that decides the vectors besides, for `digest`.
        shapes: of each kind of segment, how many vectors there are and the values of each.
        pooled: of each recording the vectors of each kind; asked for where they are not there yet.

    Returns:
        The vectors of each kind; a process may change its own. None where they are not there yet and cannot be written,
        or all such files together would take more room than the prepared frames.
    """
    paths = [folder / f"mapped-{corpus_hash}-{digest([*key, kind])}.pooled" for kind in range(len(shapes))]

    def write() -> None:
        taken = sum(path.stat().st_size for path in folder.glob(f"mapped-{corpus_hash}-*.pooled"))
        size = np.dtype(np.float32).itemsize * sum(count * values for count, values in shapes)
        if taken + size <= (folder / f"mapped-{corpus_hash}.frames").stat().st_size:
            # On a full disk each training pools for itself, in memory.
            with suppress(OSError):
                _write_pooled(paths, pooled)

    if not _are_written(folder, paths, write):
        return None
    return [np.memmap(path, np.float32, mode="c", shape=shape) for path, shape in zip(paths, shapes, strict=True)]


def map_vectors(folder: Path, corpus_hash: str, path: Path, size: int, words: Sequence[str]) -> npt.NDArray[np.float32]:
    """Map the vectors of a corpus's words; their file is read once for all processes, and again if its content changes.

    What is no regular file, such as a pipe, is read each time.

    Args:
        folder: of the prepared corpus.
        corpus_hash: names its content.
        path: see `read_vectors`.
        size: see `read_vectors`.
        words: that occur in the corpus.

    Returns:
        See `read_vectors`.

    Raises:
        UserError: see `read_vectors`.
    """
    if not path.is_file():
        return read_vectors(path, size, words)
    try:
        key = digest([digest_file(path), size])
    except OSError as error:
        raise unreadable(path, error) from None
    mapped = folder / f"mapped-{corpus_hash}-{key}.vectors"
    if not _are_written(folder, [mapped], lambda: _write_frames(mapped, [read_vectors(path, size, words)])):
        return read_vectors(path, size, words)
    return np.frombuffer(pa.memory_map(str(mapped)).read_buffer(), np.float32).reshape(len(words), size)


def _are_written(folder: Path, paths: Sequence[Path], write: Callable[[], None]) -> bool:
    """Let one process write files where they are missing; returns whether they are there then."""
    if all(path.exists() for path in paths):
        return True
    if not os.access(folder, os.W_OK):
        return False
    with _writing(folder):
        if not all(exists(path) for path in paths):
            write()
        return all(exists(path) for path in paths)


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    """Let one process at a time write, so that the others find what the first has written.

    Raises:
        UserError: the folder cannot be written to.
    """
    try:
        lock = (folder / "mapping").open("a")
    except OSError as error:
        raise UserError(
            f"{folder}: cannot be written to ({error.strerror}); whoever may write there trains on it once, then its "
            "frames are mapped for all"
        ) from None
    with lock:
        acquire(lock)
        # Nobody else writes now: these are of processes that were killed.
        for path in [*folder.glob("mapped-*.partial"), *folder.glob("corpus-*.partial")]:
            path.unlink(missing_ok=True)
        yield


def _write_corpus(folder: Path, rows_path: Path, frames_path: Path, words_path: Path) -> None:
    groups: list[pa.Table] = []
    frame_bytes: set[int] = set()
    first = 0
    with _WordFile(words_path) as words, atomic_write(frames_path) as partial, partial.open("wb") as file:
        for path in sorted((folder / "utterances").glob("*.parquet")):
            for rows in read_row_groups(path):
                group, first = _write_group(rows, file, first)
                groups.append(words.write(rows, group))
                value_bytes = rows.schema.field("frames").type.value_type.bit_width // 8
                frame_bytes.update(value_bytes * size for size in rows["frame_size"].unique().to_pylist())
            alike = not groups or groups[0].schema.equals(groups[-1].schema)
            if len(frame_bytes) > 1 or not alike or file.tell() != first * sum(frame_bytes):
                raise UserError(f"{path}: damaged (its frames are not as many as it says); delete it and prepare again")
        if not first:
            raise UserError(f"{folder}: the prepared corpus holds no utterance")
    rows = pa.concat_tables(groups)
    del groups
    order = pc.sort_indices(rows["id"])
    columns = []
    schema = _schema(rows.column_names)
    for field in schema:
        columns.append(_stored(rows[field.name].take(order).combine_chunks(), field.type))
        # Columns are not in memory twice.
        rows = rows.drop_columns(field.name)
    with (
        atomic_write(rows_path) as partial,
        pa.OSFile(str(partial), "wb") as sink,
        pa.ipc.new_file(sink, schema) as writer,
    ):
        # One batch, so that each column is one array of the mapped file.
        writer.write_batch(pa.record_batch(columns, schema))


def _write_group(rows: pa.Table, file: BinaryIO, first: int) -> tuple[pa.Table, int]:
    """Write the frames of some rows, then those of their copies.

    Args:
        rows: as they are in the Parquet files.
        file: to write to.
        first: how many frames it has already.

    Returns:
        What is mapped of the rows besides; and how many frames the file has now.
    """
    counts = rows["frame_count"].to_numpy()
    group = rows.select(_COLUMNS).append_column("first_frame", pa.array(_starts(counts) + first))
    _write_values(rows["frames"], file)
    first += int(counts.sum())
    if "copy_frames" in rows.column_names:
        _write_values(rows["copy_frames"], file)
        of_copies = rows["copy_frame_counts"]
        counts = np.array([sum(each) for each in of_copies.to_pylist()], np.int64)
        group = group.append_column("first_copy_frame", pa.array(_starts(counts) + first))
        group = group.append_column("copy_frame_counts", of_copies)
        first += int(counts.sum())
    return group, first


class _WordFile(ExitStack):
    """Writes what a text encoder says of words, in a `with` block; no file where it says nothing.

    Args:
        path: of the file.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path
        self._file: BinaryIO | None = None
        self._words = 0

    def write(self, rows: pa.Table, group: pa.Table) -> pa.Table:
        """Write the features of some rows' words.

        Args:
            rows: as they are in the Parquet files.
            group: what is mapped of them besides.

        Returns:
            The group with where the features of each row's words are.

        Raises:
            UserError: they are not as many as the rows say.
        """
        if WORD_FEATURES.names[0] not in rows.column_names:
            return group
        if self._file is None:
            partial = self.enter_context(atomic_write(self._path))
            self._file = self.enter_context(partial.open("wb"))
        counts = pc.list_value_length(rows["words"]).to_numpy()
        sizes, stored = rows["word_feature_size"].to_numpy(), pc.list_value_length(rows["word_features"]).to_numpy()
        if (counts * sizes != stored).any():
            raise UserError(f"{self._path.parent}: damaged (words lack features); delete this folder and prepare again")
        _write_values(rows["word_features"], self._file)
        first, self._words = self._words, self._words + int(counts.sum())
        group = group.append_column("first_word", pa.array(_starts(counts) + first))
        return group.append_column("word_feature_size", rows["word_feature_size"])


def _write_values(frames: pa.ChunkedArray, file: BinaryIO) -> None:
    for chunk in frames.chunks:
        file.write(chunk.flatten().to_numpy().data)


def _stored(column: pa.Array, kind: pa.DataType) -> pa.Array:
    """A column in the type in which it is stored."""
    if pa.types.is_dictionary(kind):
        return column.dictionary_encode()
    if pa.types.is_list(kind) and pa.types.is_dictionary(kind.value_type):
        return pa.ListArray.from_arrays(column.offsets, column.values.dictionary_encode())
    return column.cast(kind)


def _starts(counts: np.ndarray) -> np.ndarray:
    """Where each of several ranges of so many rows begins, end to end."""
    return np.asarray(np.cumsum(counts, dtype=np.int64) - counts)


def _write_frames(path: Path, frames: Iterable[np.ndarray]) -> None:
    with atomic_write(path) as partial, partial.open("wb") as file:
        for each in frames:
            file.write(np.ascontiguousarray(each).data)


def _write_pooled(paths: Sequence[Path], pooled: Iterable[Sequence[np.ndarray]]) -> None:
    with ExitStack() as stack:
        files = [stack.enter_context(stack.enter_context(atomic_write(path)).open("wb")) for path in paths]
        for of_recording in pooled:
            for file, vectors in zip(files, of_recording, strict=True):
                file.write(np.ascontiguousarray(vectors, np.float32).data)


def _map_frames(path: Path, frame_size: int, count: int) -> FrameArray:
    """The frames of a file, [A, F], read-only.

    Args:
        path: of the file.
        frame_size: values of a frame.
        count: how many frames it has.
    """
    buffer = pa.memory_map(str(path)).read_buffer()
    if buffer.size == 4 * count * frame_size:
        return np.frombuffer(buffer, np.float32).reshape(count, frame_size)
    return np.frombuffer(buffer, np.float16).reshape(count, frame_size)
