"""Your own corpus, listed in a manifest: a table with one row an utterance, as CSV, JSON lines or Parquet.

Columns, in the words of the contract (`fgcme.corpora.contract.Utterance`):

    audio     audio file, relative to the corpus root (the manifest's folder, unless `corpus.root` is set), or absolute
    text      what is said
    label     the raw label
    speaker   who speaks
    id        optional; without it, the audio path without its extension, and `@start` for a segment of a file
    start     optional: first second of a segment of the file
    end       optional: its last second
    session, dialog, act   optional

Every value but the times is text: a speaker `01` stays `01`.
"""

from __future__ import annotations

import csv
import json
import math
from array import array
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from pyarrow import dataset

from fgcme.corpora.contract import Corpus, Listing, Rejection, Utterance
from fgcme.errors import UserError

REQUIRED = ("audio", "text", "label", "speaker")
OPTIONAL = ("id", "start", "end", "session", "dialog", "act")
SUFFIXES = (".csv", ".jsonl", ".parquet")


def find(root: Path) -> Listing:
    """List the corpus of the manifest in `root`: `manifest.csv`, `manifest.jsonl` or `manifest.parquet`.

    Raises:
        UserError: there is no such file, or `read_manifest` refuses it.
    """
    return read_manifest(find_manifest(root))


def find_manifest(root: Path) -> Path:
    """The path of the manifest in a corpus's folder.

    Raises:
        UserError: there is none.
    """
    for suffix in SUFFIXES:
        if (path := root / f"manifest{suffix}").is_file():
            return path
    raise UserError(
        f"{root}: holds no manifest.csv, manifest.jsonl or manifest.parquet; name the file with corpus.manifest=FILE"
    )


def read_manifest(path: Path) -> Listing:
    """List the corpus that a manifest describes; audio paths stay as written, relative to the corpus root or absolute.

    A row that lacks a value or has an impossible time is a rejection with the row's number (the first after the header
    is 1). The utterances are read from the file whenever they are gone through: a million would fill the memory.

    Raises:
        UserError: the file cannot be read, lacks a column, has no row, or has two rows with one id.
    """
    _refuse_missing_columns(path)
    version = _version(path)
    rejections: list[Rejection] = []
    # 8 bytes an utterance.
    ids = array("q")
    for _, found in _entries(path):
        if isinstance(found, Rejection):
            rejections.append(found)
        else:
            ids.append(hash(found.id))
    if not ids and not rejections:
        raise UserError(f"{path}: has no rows; write one row for each utterance")
    ordered = np.sort(np.frombuffer(ids, np.int64)) if ids else np.empty(0, np.int64)
    if (twice := ordered[1:][ordered[1:] == ordered[:-1]]).size:
        _refuse_duplicates(path, {*twice.tolist()})
    return Listing(_Utterances(path, len(ids), version), rejections)


@dataclass(frozen=True)
class _Utterances(Collection[Utterance]):
    """The utterances of a manifest that has been read once.

    Attributes:
        path: of the manifest.
        count: of its utterances.
        version: the file's, when it was read.
    """

    path: Path
    count: int
    version: tuple[int, int]

    def __len__(self) -> int:
        return self.count

    def __contains__(self, utterance: object) -> bool:
        return any(found == utterance for found in self)

    def __iter__(self) -> Iterator[Utterance]:
        if _version(self.path) != self.version:
            raise UserError(f"{self.path}: has changed while this ran; run the command again")
        return (found for _, found in _entries(self.path) if isinstance(found, Utterance))


def _refuse_missing_columns(path: Path) -> None:
    with _readable(path):
        columns = _columns(path)
    missing = [column for column in REQUIRED if column not in columns]
    if missing:
        raise UserError(
            f"{path}: column {', '.join(missing)} is missing (found: {', '.join(sorted(columns)) or 'none'}); a "
            f"manifest has the columns {', '.join(REQUIRED)} and may have {', '.join(OPTIONAL)}"
        )


def _refuse_duplicates(path: Path, hashes: Collection[int]) -> None:
    """Refuse the first two rows with one id; hashes of ids that are there twice narrow the search."""
    row_of: dict[str, int] = {}
    for number, found in _entries(path):
        if isinstance(found, Utterance) and hash(found.id) in hashes:
            if found.id in row_of:
                raise UserError(
                    f"{path}: rows {row_of[found.id]} and {number} have the same id {found.id!r}; "
                    "give each row its own value in the column id"
                )
            row_of[found.id] = number


def _entries(path: Path) -> Iterator[tuple[int, Utterance | Rejection]]:
    """What each row says, with its number from 1."""
    with _readable(path):
        for number, values in enumerate(_rows(path), start=1):
            try:
                yield number, _utterance(values)
            except _BadRowError as error:
                name = _text(values.get("id")) or f"{path.name}:{number}"
                message = f"{path}: row {number}: {error.message}"
                yield number, Rejection(name, _text(values.get("audio")) or "", "list", error.reason, message)


def _version(path: Path) -> tuple[int, int]:
    with _readable(path):
        status = path.stat()
        return status.st_size, status.st_mtime_ns


class _BadRowError(Exception):
    def __init__(self, reason: str, message: str) -> None:
        self.reason, self.message = reason, message


def _utterance(values: Mapping[str, Any]) -> Utterance:
    audio, text, label, speaker = (_required(values, column) for column in REQUIRED)
    audio = audio.replace("\\", "/")
    start, end = _seconds(values, "start"), _seconds(values, "end")
    if start is not None and end is not None and end <= start:
        raise _BadRowError("bad_time", f"column end: {end:g} is not after start {start:g}")
    return Utterance(
        id=_text(values.get("id")) or _default_id(audio, start),
        audio=audio,
        text=text,
        raw_label=label,
        speaker=speaker,
        session=_text(values.get("session")),
        dialog=_text(values.get("dialog")),
        act=_text(values.get("act")),
        start=start,
        end=end,
    )


def _default_id(audio: str, start: float | None) -> str:
    name = PurePosixPath(audio).with_suffix("").as_posix()
    return name if start is None else f"{name}@{start:g}"


def _required(values: Mapping[str, Any], column: str) -> str:
    text = _text(values.get(column))
    if text is None:
        raise _BadRowError("missing_value", f"column {column} is empty")
    return text


def _seconds(values: Mapping[str, Any], column: str) -> float | None:
    text = _text(values.get(column))
    if text is None:
        return None
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not (math.isfinite(seconds) and seconds >= 0):
        raise _BadRowError("bad_time", f"column {column}: {text!r} is not a time in seconds")
    return seconds


def _text(value: Any) -> str | None:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    return str(value).strip() or None


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Refuse, in a line, a file that cannot be read."""
    if path.suffix not in SUFFIXES:
        raise UserError(f"{path}: not a manifest: its name must end in {', '.join(SUFFIXES)}")
    try:
        yield
    except FileNotFoundError:
        raise UserError(f"{path}: no such manifest; see corpus.manifest") from None
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read as {path.suffix[1:]}: {' '.join(str(error).split())}") from None


def _columns(path: Path) -> set[str]:
    """The columns of a manifest; of JSON lines, those of its first rows, until none is missing."""
    if path.suffix == ".csv":
        with _csv_reader(path) as reader:
            return set(reader.fieldnames or ())
    if path.suffix == ".parquet":
        return set(dataset.dataset(path, format="parquet").schema.names)
    columns: set[str] = set()
    for row in _rows(path):
        columns |= row.keys()
        if columns.issuperset(REQUIRED):
            break
    return columns


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    if path.suffix == ".csv":
        return _csv_rows(path)
    return _json_rows(path) if path.suffix == ".jsonl" else _parquet_rows(path)


def _csv_rows(path: Path) -> Iterator[dict[str, Any]]:
    with _csv_reader(path) as reader:
        for number, row in enumerate(reader, start=1):
            if None in row:
                raise ValueError(
                    f"row {number} has more values than the header has columns (quote values that contain commas)"
                )
            yield row


@contextmanager
def _csv_reader(path: Path) -> Iterator[csv.DictReader[str]]:
    # Spreadsheets write a byte order mark before the first column's name.
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file, strict=True)
        try:
            yield reader
        except csv.Error as error:
            raise ValueError(f"line {reader.line_num}: {error} (check its quotes and commas)") from None


def _json_rows(path: Path) -> Iterator[dict[str, Any]]:
    # Only this ends a line: JSON may hold other line separators.
    with path.open(encoding="utf-8-sig", newline="\n") as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except json.JSONDecodeError as error:
                raise ValueError(f"line {number} is not JSON ({error.msg} at column {error.colno})") from None
            except ValueError as error:
                raise ValueError(f"line {number} is not JSON ({error})") from None
            if not isinstance(row, dict):
                raise ValueError(f"line {number} is not an object of column names and values")
            yield row


def _parquet_rows(path: Path) -> Iterator[dict[str, Any]]:
    table = dataset.dataset(path, format="parquet")
    wanted = [name for name in (*REQUIRED, *OPTIONAL) if name in table.schema.names]
    # Without looking ahead, which would read most of a large file at once.
    for batch in table.to_batches(columns=wanted, batch_size=4096, batch_readahead=1, fragment_readahead=1):
        yield from batch.to_pylist()


CORPUS = Corpus(
    name="manifest",
    title="your own corpus, listed in a CSV, JSONL or Parquet file, one row an utterance",
    licence="yours",
    citation="yours",
    size="any",
    obtain=f"write a manifest with the columns {', '.join(REQUIRED)} and pass it with corpus.manifest=FILE",
    find=find,
)
