"""The text files of corpora, in the encodings that they really have."""

from __future__ import annotations

import csv
import io
from collections.abc import Collection, Iterator
from pathlib import Path

from fgcme.errors import UserError

_UTF_16 = (b"\xff\xfe", b"\xfe\xff")


def read_text(path: Path, way_out: str, fallback: str = "cp1252") -> str:
    """Read a text file: UTF-16 where its first bytes say so, else UTF-8, else another encoding.

    Args:
        path: of the file.
        way_out: what to do where it cannot be read.
        fallback: the encoding of a file that is no Unicode; Windows-1252 has apostrophes that are parts of words.

    Raises:
        FileNotFoundError: there is no such file.
        UserError: it cannot be read.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error}); {way_out}") from None
    if content.startswith(_UTF_16):
        return content.decode("utf-16", errors="replace")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.decode(fallback, errors="replace")


def read_rows(
    path: Path, columns: Collection[str], way_out: str, delimiter: str = ","
) -> list[tuple[int, dict[str, str]]]:
    """Read a table with a header whole.

    Args:
        path: of the file.
        columns: which it must have.
        way_out: what to do where it cannot be used.
        delimiter: between the values of a row.

    Returns:
        What `iterate_rows` yields.

    Raises:
        UserError: see `iterate_rows`.
    """
    return list(iterate_rows(path, columns, way_out, delimiter))


def iterate_rows(
    path: Path, columns: Collection[str], way_out: str, delimiter: str = ","
) -> Iterator[tuple[int, dict[str, str]]]:
    """Read a table with a header, row by row.

    Args:
        path: of the file.
        columns: which it must have.
        way_out: what to do where it cannot be used.
        delimiter: between the values of a row.

    Yields:
        A row with the number of its last line in the file; a value that is missing is empty.

    Raises:
        UserError: there is no such file, it cannot be read as a table, or it lacks a column.
    """
    try:
        text = read_text(path, way_out)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; {way_out}") from None
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True)
    try:
        reader.fieldnames = [(name or "").strip() for name in reader.fieldnames or ()]
        if missing := [name for name in columns if name not in reader.fieldnames]:
            raise UserError(f"{path}: has no column {', '.join(missing)}; {way_out}")
        for row in reader:
            yield (
                reader.line_num,
                {name: (value or "").strip() for name, value in row.items() if isinstance(name, str)},
            )
    except csv.Error as error:
        raise UserError(f"{path}: line {reader.line_num} cannot be read ({error}); {way_out}") from None


def read_sentences(root: Path, corpus: str) -> dict[str, str]:
    """Read `sentences.csv` in a corpus's folder, where its makers' files lack what is said.

    Args:
        root: folder of the corpus.
        corpus: its title, for messages.

    Returns:
        The text of each sentence by its code in file names.

    Raises:
        UserError: there is no such table, or it lacks the columns `code` and `text`.
    """
    way_out = (
        f"{corpus} comes without a file that says what its sentences are: write them from its documentation into "
        "sentences.csv, with the columns code and text, where the code is that in file names"
    )
    rows = read_rows(root / "sentences.csv", ("code", "text"), way_out)
    return {row["code"]: row["text"] for _, row in rows if row["text"]}
