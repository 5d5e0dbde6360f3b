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

import math
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

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
    is 1).

    Raises:
        UserError: the file cannot be read, lacks a column, has no row, or has two rows with one id.
    """
    rows, columns = _read_table(path)
    missing = [column for column in REQUIRED if column not in columns]
    if missing:
        raise UserError(
            f"{path}: column {', '.join(missing)} is missing (found: {', '.join(sorted(columns)) or 'none'}); a "
            f"manifest has the columns {', '.join(REQUIRED)} and may have {', '.join(OPTIONAL)}"
        )
    if not rows:
        raise UserError(f"{path}: has no rows; write one row for each utterance")
    utterances: list[Utterance] = []
    rejections: list[Rejection] = []
    row_of: dict[str, int] = {}
    for number, values in enumerate(rows, start=1):
        try:
            utterance = _utterance(values)
        except _BadRowError as error:
            name = _text(values.get("id")) or f"{path.name}:{number}"
            message = f"{path}: row {number}: {error.message}"
            rejections.append(Rejection(name, _text(values.get("audio")) or "", "list", error.reason, message))
            continue
        if utterance.id in row_of:
            raise UserError(
                f"{path}: rows {row_of[utterance.id]} and {number} have the same id {utterance.id!r}; "
                "give each row its own value in the column id"
            )
        row_of[utterance.id] = number
        utterances.append(utterance)
    return Listing(utterances, rejections)


class _BadRowError(Exception):
    def __init__(self, reason: str, message: str) -> None:
        self.reason, self.message = reason, message


def _utterance(values: Mapping[str, Any]) -> Utterance:
    audio, text, label, speaker = (_required(values, column) for column in REQUIRED)
    audio = audio.replace("\\", "/")
    start, end = _seconds(values, "start"), _seconds(values, "end")
    if start is not None and end is not None and end <= start:
        raise _BadRowError("bad_time", f"column end: {end:g} is not after start {start:g}")
    default = PurePosixPath(audio).with_suffix("").as_posix()
    if start is not None:
        default += f"@{start:g}"
    return Utterance(
        id=_text(values.get("id")) or default,
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


def _read_table(path: Path) -> tuple[list[dict[str, Any]], set[str]]:
    if path.suffix not in SUFFIXES:
        raise UserError(f"{path}: not a manifest: its name must end in {', '.join(SUFFIXES)}")
    try:
        if path.suffix == ".csv":
            return _read_csv(path)
        if path.suffix == ".jsonl":
            return _read_jsonl(path)
        import pyarrow.parquet as pq

        table = pq.read_table(path)
        return table.to_pylist(), set(table.column_names)
    except FileNotFoundError:
        raise UserError(f"{path}: no such manifest; see corpus.manifest") from None
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read as {path.suffix[1:]}: {' '.join(str(error).split())}") from None


def _read_csv(path: Path) -> tuple[list[dict[str, Any]], set[str]]:
    import csv

    # Spreadsheets write a byte order mark before the first column's name.
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file, strict=True)
        try:
            rows: list[dict[str, Any]] = list(reader)
        except csv.Error as error:
            raise ValueError(f"line {reader.line_num}: {error} (check its quotes and commas)") from None
        for number, row in enumerate(rows, start=1):
            if None in row:
                raise ValueError(
                    f"row {number} has more values than the header has columns (quote values that contain commas)"
                )
        return rows, set(reader.fieldnames or ())


def _read_jsonl(path: Path) -> tuple[list[dict[str, Any]], set[str]]:
    import json

    rows: list[dict[str, Any]] = []
    for number, line in enumerate(path.read_text(encoding="utf-8-sig").split("\n"), start=1):
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
        rows.append(row)
    return rows, {column for row in rows for column in row}


CORPUS = Corpus(
    name="manifest",
    title="your own corpus, listed in a CSV, JSONL or Parquet file, one row an utterance",
    licence="yours",
    citation="yours",
    size="any",
    obtain=f"write a manifest with the columns {', '.join(REQUIRED)} and pass it with corpus.manifest=FILE",
    find=find,
)
