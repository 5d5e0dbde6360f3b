"""Tables as rows: CSV with whatever separator, JSON lines, Parquet. One bad row never stops the others."""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count, islice
from pathlib import Path
from typing import IO, Any

from pyarrow import dataset, parquet

from fgcme.corpora.cells import BadCellError
from fgcme.errors import UserError

_SEPARATED = (".csv", ".tsv")
SUFFIXES = (*_SEPARATED, ".jsonl", ".parquet")

_SEPARATORS = ",;\t|"
# Lines that one row may have: a quote that never closes would take all that follow.
_MOST_LINES = 200


@dataclass(frozen=True)
class Row:
    """A row.

    Attributes:
        number: the first after the header is 1; empty rows count, as in a spreadsheet.
        values: by column.
        error: why it cannot be read; None for one that can.
    """

    number: int
    values: Mapping[str, Any]
    error: BadCellError | None = None


def columns_of(path: Path, wanted: Collection[str]) -> list[str]:
    """The columns of a table; of JSON lines, those of its first rows, until none that is wanted is missing.

    Args:
        path: of the table.
        wanted: columns that are looked for. In CSV their names may have capitals, and blanks around them.

    Raises:
        UserError: the table cannot be read, or has a wanted column twice.
    """
    with readable(path):
        if path.suffix == ".parquet":
            # A data set refuses names that are there twice in words of its own.
            names = list(parquet.read_schema(path).names)
        elif path.suffix in _SEPARATED:
            with _opened(path) as file:
                names, _ = _header(file, wanted)
        else:
            names = []
            for row in _json_rows(path):
                if row.error is not None:
                    raise ValueError(row.error.message)
                names += [name for name in row.values if name not in names]
                if set(names).issuperset(wanted):
                    break
    if twice := [name for name, times in Counter(names).items() if times > 1 and name in wanted]:
        raise UserError(f"{path}: column {', '.join(twice)} is there twice; keep one of them")
    return names


def rows_of(path: Path, wanted: Collection[str]) -> Iterator[Row]:
    """The rows of a table that hold anything, some at a time.

    Args:
        path: of the table.
        wanted: columns to read.

    Raises:
        UserError: the table cannot be read.
    """
    with readable(path):
        read = {".csv": _csv_rows, ".tsv": _csv_rows, ".parquet": _parquet_rows}.get(path.suffix)
        for row in read(path, wanted) if read is not None else _json_rows(path):
            if row.error is not None or any(value not in (None, "") for value in row.values.values()):
                yield row


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """Refuse, in a line, a file that cannot be read.

    Raises:
        UserError: for every error in the block that says so.
    """
    if path.suffix not in SUFFIXES:
        raise UserError(f"{path}: not a manifest: its name must end in {', '.join(SUFFIXES)}")
    try:
        yield
    except FileNotFoundError:
        raise UserError(f"{path}: no such manifest; see corpus.manifest") from None
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read as {path.suffix[1:]}: {' '.join(str(error).split())}") from None


def _opened(path: Path) -> IO[str]:
    with path.open("rb") as file:
        mark = file.read(2)
    # Spreadsheets write a byte order mark. What is not UTF-8 costs its row, as a cell that holds no text.
    encoding = "utf-16" if mark in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    return path.open(encoding=encoding, errors="surrogateescape", newline="")


def _header(lines: Iterator[str], wanted: Collection[str]) -> tuple[list[str], str]:
    """The columns that the first line names, and what separates them."""
    line = next(lines, "")
    read = {separator: next(csv.reader([line], delimiter=separator), []) for separator in _SEPARATORS}
    plain = {separator: [_plain(name, wanted) for name in names] for separator, names in read.items()}
    best = max(_SEPARATORS, key=lambda separator: len({*plain[separator]} & {*wanted}))
    return plain[best], best


def _plain(name: str, wanted: Collection[str]) -> str:
    stripped = name.strip()
    return stripped.lower() if stripped.lower() in wanted else stripped


def _csv_rows(path: Path, wanted: Collection[str]) -> Iterator[Row]:
    with _opened(path) as file:
        names, separator = _header(file, wanted)
        lines: list[str] = []
        first_line = 2
        for number in count(1):
            lines += islice(file, 1) if not lines else ()
            if not lines:
                return
            taken, cells = _record(lines, file, separator)
            del lines[:taken]
            if cells is None:
                message = f'line {first_line} has a quote that does not end, or ends within a value (write it as "")'
                yield Row(number, {}, BadCellError("bad_row", message))
            elif any(cell.strip() for cell in cells[len(names) :]):
                message = "has more values than the header has columns (quote values that contain the separator)"
                yield Row(number, dict(zip(names, cells, strict=False)), BadCellError("bad_row", message))
            else:
                yield Row(number, {name: cell.strip() for name, cell in zip(names, cells, strict=False)})
            first_line += taken


def _record(lines: list[str], file: Iterator[str], separator: str) -> tuple[int, Sequence[str] | None]:
    """How many lines the next row takes, and its cells; None where its quotes are broken, and it takes one.

    Args:
        lines: that were read already; those that a row does not take stay.
        file: where more come from.
        separator: of the cells.
    """
    for taken in range(1, _MOST_LINES):
        if len(lines) < taken and not (more := list(islice(file, 1))):
            break
        if len(lines) < taken:
            lines += more
        try:
            return taken, next(csv.reader(lines[:taken], delimiter=separator, strict=True), [])
        except csv.Error as error:
            if "unexpected end of data" not in str(error):
                break
    return 1, None


def _json_rows(path: Path) -> Iterator[Row]:
    # Only this ends a line: JSON may hold other line separators.
    with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="\n") as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            try:
                values = json.loads(line, object_pairs_hook=_without_doubles)
            except json.JSONDecodeError as error:
                problem = f"line {number} is not JSON ({error.msg} at column {error.colno})"
            except (ValueError, RecursionError) as error:
                problem = f"line {number} is not JSON ({' '.join(str(error).split())})"
            else:
                if isinstance(values, dict):
                    yield Row(number, values)
                    continue
                problem = f"line {number} is not an object of column names and values"
            yield Row(number, {}, BadCellError("bad_row", problem))


def _without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        name = next(name for name, times in Counter(name for name, _ in pairs).items() if times > 1)
        raise ValueError(f"{name} is there twice")
    return values


def _parquet_rows(path: Path, wanted: Collection[str]) -> Iterator[Row]:
    table = dataset.dataset(path, format="parquet")
    names = [name for name in wanted if name in table.schema.names]
    numbers = count(1)
    # Without looking ahead, which would read most of a large file at once.
    for batch in table.to_batches(columns=names, batch_size=4096, batch_readahead=1, fragment_readahead=1):
        for values in batch.to_pylist():
            yield Row(next(numbers), values)
