"""Where answers go, recording by recording: printed, as TextGrids in a folder, or into one Parquet file."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Literal

import pyarrow.parquet as pq

from fgcme.data import Tasks
from fgcme.files import atomic_write
from fgcme.report.answer_table import answer_schema, answer_table
from fgcme.report.predictions import Answer, csv_header, to_csv, to_json, to_table, to_textgrid
from fgcme.sound import duration_of
from pipelines.predicting.sources import Source

Format = Literal["table", "json", "csv", "textgrid"]
Write = Callable[[Source, Sequence[Answer]], None]
"""Takes the answers for one recording."""

# Rows that are written to a Parquet file at once.
_ROWS = 1000


def open_output(output: Format, destination: Path | None, tasks: Tasks) -> AbstractContextManager[Write]:
    """Where the answers for each recording are written.

    Args:
        output: what is printed, or `textgrid`.
        destination: folder for TextGrids, or a Parquet file; None to print.
        tasks: what the model answers.
    """
    if output == "textgrid" and destination is not None:
        return nullcontext(_textgrids(destination))
    if destination is not None:
        return _parquet(destination, tasks)
    return nullcontext(_printer(output, tasks))


def textgrid_path(folder: Path, source: Source) -> Path:
    """Where a recording's TextGrid is written: below the folder as the recording is below its own."""
    # A manifest may name files anywhere.
    name = Path(source.name)
    inside = not name.is_absolute() and ".." not in name.parts
    return (folder / (name if inside else name.name)).with_suffix(".TextGrid")


def _printer(output: Format, tasks: Tasks) -> Write:
    started = False

    def write(source: Source, answers: Sequence[Answer]) -> None:
        nonlocal started
        if output == "csv" and not started:
            print(csv_header(tasks))
        started = True
        if output == "textgrid":
            print(_textgrid(source, answers), flush=True)
            return
        for answer in answers:
            lines = {"json": to_json, "csv": to_csv, "table": to_table}[output]
            print(lines(answer), flush=True)

    return write


def _textgrids(folder: Path) -> Write:
    def write(source: Source, answers: Sequence[Answer]) -> None:
        path = textgrid_path(folder, source)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(_textgrid(source, answers) + "\n", encoding="utf-8")
        print(path, flush=True)

    return write


def _textgrid(source: Source, answers: Sequence[Answer]) -> str:
    return to_textgrid(answers, max(duration_of(source.audio) or 0.0, answers[-1].end))


@contextmanager
def _parquet(path: Path, tasks: Tasks) -> Iterator[Write]:
    waiting: list[Answer] = []
    with atomic_write(path) as partial, pq.ParquetWriter(partial, answer_schema(tasks)) as file:

        def write(source: Source, answers: Sequence[Answer]) -> None:
            waiting.extend(answers)
            if len(waiting) >= _ROWS:
                flush()

        def flush() -> None:
            file.write_table(answer_table(waiting, tasks))
            waiting.clear()

        yield write
        flush()
