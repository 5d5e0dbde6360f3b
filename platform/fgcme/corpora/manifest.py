"""Your own corpus, listed in a manifest: a table with one row an utterance, as CSV, TSV, JSON lines or Parquet.

Columns, in the words of the contract (`fgcme.corpora.contract.Utterance`):

    audio     audio file, relative to the corpus root (the manifest's folder, unless `corpus.root` is set), or absolute
    text      what is said
    label     the raw label
    speaker   who speaks
    id        optional; without it, the audio path without its extension, and `@start` for a segment of a file
    start     optional: first second of a segment of the file
    end       optional: its last second
    session, dialog, act   optional
    valence, arousal, dominance   optional: mean ratings, as numbers on a scale that the protocol names
    word_times   optional: the corpus's own alignment, a list of `{"word": "door", "start": 1.2, "end": 1.5}`, in
                 seconds from the utterance's beginning; in CSV as JSON

Where there is no `audio`, `file_name` stands for it, as in the `metadata.csv` of Hugging Face's audio folders.

Every value but times and ratings is text: a speaker `01` stays `01`. Times are seconds, or a clock's (`00:00:01.5`), as
pandas and audformat write them too. CSV may be separated by `;`, tab or `|`; a row without any value counts as none.
"""

from __future__ import annotations

import json
import math
from array import array
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from types import MappingProxyType
from typing import Any

import numpy as np

from fgcme.corpora.cells import BadCellError, number_of, refuse_unknown_columns, seconds_of, text_of
from fgcme.corpora.contract import Corpus, Listing, Rejection, Utterance, WordTime
from fgcme.corpora.table import SUFFIXES, columns_of, readable, rows_of
from fgcme.errors import UserError

REQUIRED = ("audio", "text", "label", "speaker")
OPTIONAL = ("id", "start", "end", "session", "dialog", "act", "valence", "arousal", "dominance")
_COLUMNS = (*REQUIRED, *OPTIONAL)
_AUDIO = ("audio",)
# As `corpus.columns` calls the times of words -> as they are called where nothing else is said.
_WORDS = {"words": "word_times"}
_FILE_NAME = "file_name"
# Of manifests; the second is Hugging Face's.
_STEMS = ("manifest", "metadata")


def find(root: Path) -> Listing:
    """List the corpus of the manifest in `root`: `manifest` or `metadata`, as `.csv`, `.jsonl` or `.parquet`.

    Raises:
        UserError: there is no such file, or `read_manifest` refuses it.
    """
    return read_manifest(find_manifest(root))


def find_manifest(root: Path) -> Path:
    """The path of the manifest in a corpus's folder.

    Raises:
        UserError: there is none.
    """
    for name in (f"{stem}{suffix}" for stem in _STEMS for suffix in SUFFIXES):
        if (path := root / name).is_file():
            return path
    raise UserError(
        f"{root}: holds no manifest or metadata as .csv, .jsonl or .parquet; name the file with corpus.manifest=FILE"
    )


def read_manifest(path: Path, columns: Mapping[str, str] = MappingProxyType({})) -> Listing:
    """List the corpus that a manifest describes; audio paths stay as written, relative to the corpus root or absolute.

    A row that cannot be read, lacks a value or has an impossible one is a rejection with the row's number (the first
    after the header is 1). The utterances are read from the file whenever they are gone through: a million would fill
    the memory.

    Args:
        path: of the manifest.
        columns: what columns are called there, by what they are called here, where that differs.

    Raises:
        UserError: the file cannot be read, lacks a column, has no row, or has two rows with one id.
    """
    names = _names(path, columns)
    version = _version(path)
    rejections: list[Rejection] = []
    # 8 bytes an utterance.
    ids = array("q")
    for _, found in _entries(path, names):
        if isinstance(found, Rejection):
            rejections.append(found)
        else:
            ids.append(hash(found.id))
    if not ids and not rejections:
        raise UserError(f"{path}: has no rows; write one row for each utterance")
    ordered = np.sort(np.frombuffer(ids, np.int64)) if ids else np.empty(0, np.int64)
    if (twice := ordered[1:][ordered[1:] == ordered[:-1]]).size:
        _refuse_duplicates(path, names, {*twice.tolist()})
    return Listing(_Utterances(path, names, len(ids), version), rejections)


def read_recordings(path: Path) -> Iterator[Utterance | Rejection]:
    """The rows of a manifest whose recordings are only to be answered: `audio` is needed, and nothing else.

    Utterances have what their rows say; a text that is not known is empty, as is a label or a speaker.

    Raises:
        UserError: the file cannot be read, lacks the column `audio`, or has no row.
    """
    names = _names(path, {}, _AUDIO)
    found = None
    for _, found in _entries(path, names, _AUDIO):
        yield found
    if found is None:
        raise UserError(f"{path}: has no rows; write one row for each recording")


@dataclass(frozen=True)
class _Utterances(Collection[Utterance]):
    """The utterances of a manifest that has been read once.

    Attributes:
        path: of the manifest.
        names: of its columns.
        count: of its utterances.
        version: the file's, when it was read.
    """

    path: Path
    names: Mapping[str, str]
    count: int
    version: tuple[int, int]

    def __len__(self) -> int:
        return self.count

    def __contains__(self, utterance: object) -> bool:
        return any(found == utterance for found in self)

    def __iter__(self) -> Iterator[Utterance]:
        if _version(self.path) != self.version:
            raise UserError(f"{self.path}: has changed while this ran; run the command again")
        return (found for _, found in _entries(self.path, self.names) if isinstance(found, Utterance))


def _names(path: Path, columns: Mapping[str, str], required: Sequence[str] = REQUIRED) -> dict[str, str]:
    """What each column is called in a manifest.

    Raises:
        UserError: a column that is required, or named, is not there.
    """
    names = {**dict(zip(_COLUMNS, _COLUMNS, strict=True)), **_WORDS}
    refuse_unknown_columns(columns, names, "of a manifest")
    names |= columns
    there = columns_of(path, [*names.values(), _FILE_NAME])
    if names["audio"] not in there and "audio" not in columns and _FILE_NAME in there:
        names["audio"] = _FILE_NAME
    if missing := [names[name] for name in dict.fromkeys((*required, *columns)) if names[name] not in there]:
        raise UserError(
            f"{path}: column {', '.join(missing)} is missing (found: {', '.join(sorted(there)) or 'none'}); a "
            f"manifest has the columns {', '.join(REQUIRED)} and may have {', '.join(OPTIONAL)}; corpus.columns names "
            "those that are called otherwise, as in corpus.columns.text=transcription"
        )
    return names


def _refuse_duplicates(path: Path, names: Mapping[str, str], hashes: Collection[int]) -> None:
    """Refuse the first two rows with one id; hashes of ids that are there twice narrow the search."""
    row_of: dict[str, int] = {}
    for number, found in _entries(path, names):
        if isinstance(found, Utterance) and hash(found.id) in hashes:
            if found.id in row_of:
                raise UserError(
                    f"{path}: rows {row_of[found.id]} and {number} have the same id {found.id!r}; "
                    "give each row its own value in the column id"
                )
            row_of[found.id] = number


def _entries(
    path: Path, names: Mapping[str, str], required: Sequence[str] = REQUIRED
) -> Iterator[tuple[int, Utterance | Rejection]]:
    """What each row says, with its number from 1."""
    for row in rows_of(path, names.values()):
        values = {name: row.values.get(called) for name, called in names.items()}
        try:
            if row.error is not None:
                raise row.error
            yield row.number, _utterance(values, required)
        except BadCellError as error:
            name, audio = (_told(values, column) for column in ("id", "audio"))
            message = f"{path}: row {row.number}: {error.message}"
            yield row.number, Rejection(name or f"{path.name}:{row.number}", audio, "list", error.reason, message)


def _told(values: Mapping[str, Any], column: str) -> str:
    """What a bad row says in a column, if anything can be read there."""
    with suppress(BadCellError):
        return text_of(values.get(column)) or ""
    return ""


def _version(path: Path) -> tuple[int, int]:
    with readable(path):
        status = path.stat()
        return status.st_size, status.st_mtime_ns


def _utterance(values: Mapping[str, Any], required: Sequence[str]) -> Utterance:
    audio, text, label, speaker = (
        _required(values, column) if column in required else _text(values, column) or "" for column in REQUIRED
    )
    audio = audio.replace("\\", "/")
    if not PurePosixPath(audio).name or audio.endswith(("/", "/.", "/..")) or audio == "..":
        raise BadCellError("bad_value", f"column audio: {audio!r} is no file")
    start, end = _seconds(values, "start"), _seconds(values, "end")
    if start is not None and end is not None and end <= start:
        raise BadCellError("bad_time", f"column end: {end:g} is not after start {start:g}")
    return Utterance(
        id=_text(values, "id") or default_id(audio, start),
        audio=audio,
        text=text,
        raw_label=label,
        speaker=speaker,
        session=_text(values, "session"),
        dialog=_text(values, "dialog"),
        act=_text(values, "act"),
        start=start,
        end=end,
        valence=_number(values, "valence"),
        arousal=_number(values, "arousal"),
        dominance=_number(values, "dominance"),
        word_times=_word_times(values.get("words")),
    )


def default_id(audio: str, start: float | None) -> str:
    """The id of an utterance that has none of its own: its file without the suffix, and where it begins.

    >>> default_id("a/b.wav", None), default_id("a/b.wav", 1.5)
    ('a/b', 'a/b@1.5')
    """
    name = PurePosixPath(audio).with_suffix("").as_posix()
    return name if start is None else f"{name}@{start:g}"


def _required(values: Mapping[str, Any], column: str) -> str:
    text = _text(values, column)
    if text is None:
        raise BadCellError("missing_value", f"column {column} is empty")
    return text


def _text(values: Mapping[str, Any], column: str) -> str | None:
    with _named(column):
        return text_of(values.get(column))


def _seconds(values: Mapping[str, Any], column: str) -> float | None:
    with _named(column):
        return seconds_of(values.get(column))


def _number(values: Mapping[str, Any], column: str) -> float | None:
    with _named(column):
        return number_of(values.get(column))


def _word_times(value: Any) -> tuple[WordTime, ...] | None:
    if value is None or value == "":
        return None
    try:
        words = json.loads(value) if isinstance(value, str) else value
        times = tuple(WordTime(word["word"], float(word["start"]), float(word["end"])) for word in words)
    except (ValueError, TypeError, KeyError, RecursionError):
        times = (WordTime("", math.nan, math.nan),)
    for word in times:
        if not (isinstance(word.word, str) and math.isfinite(word.start) and math.isfinite(word.end)):
            message = 'column word_times: write [{"word": "door", "start": 1.2, "end": 1.5}, ...], with seconds'
            raise BadCellError("bad_time", message)
    return times or None


@contextmanager
def _named(column: str) -> Iterator[None]:
    try:
        yield
    except BadCellError as error:
        raise BadCellError(error.reason, f"column {column}: {error.message}") from None


CORPUS = Corpus(
    name="manifest",
    title="your own corpus, listed in a CSV, TSV, JSONL or Parquet file, one row an utterance",
    language="any",
    licence="yours",
    citation="yours",
    size="any",
    obtain=f"write a manifest with the columns {', '.join(REQUIRED)} and pass it with corpus.manifest=FILE",
    find=find,
    licence_id="unknown",
)
