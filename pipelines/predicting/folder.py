"""The folder with the answers for many recordings: parts that tasks write, and what of them is done.

<folder>/settings.json         which model answers, and how
<folder>/answers/*.parquet     one row an utterance, see `fgcme.report.answer_table`; `key` names its recording
<folder>/rejected/*.parquet    what could not be answered, and why
<folder>/rejected.csv          the same as one table
"""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from fgcme.corpora.contract import Rejection
from fgcme.errors import UserError
from fgcme.files import atomic_write, write_text

KEY = "key"
_REJECTED = pa.schema([(field.name, pa.string()) for field in fields(Rejection)] + [(KEY, pa.string())])
_KEPT = "kept"


@dataclass(frozen=True)
class Summary:
    """What a folder holds.

    Attributes:
        utterances: answers.
        seconds: of sound that they are for.
        rejected: how many utterances or recordings could not be answered, by the reason.
    """

    utterances: int
    seconds: float
    rejected: Counter[str]


def claim(folder: Path, settings: Mapping[str, Any]) -> None:
    """Begin a folder, or go on with one.

    Args:
        folder: it exists.
        settings: what decides the answers.

    Raises:
        UserError: it holds the answers of another model or other settings, or something else.
    """
    path = folder / "settings.json"
    if path.exists():
        known = json.loads(path.read_text(encoding="utf-8"))
        if changed := sorted(name for name in {*known, *settings} if known.get(name) != settings.get(name)):
            raise UserError(f"{folder}: holds answers with another {', '.join(changed)}; give another --output")
    elif (folder / "answers").exists():
        raise UserError(f"{folder}: holds answers without their settings.json; give another --output")
    else:
        write_text(path, json.dumps(dict(settings), indent=2) + "\n")


def take_up(folder: Path) -> set[str]:
    """The keys of the recordings that are done. Those that were rejected as a whole are to be tried again."""
    done: set[str] = set()
    for path in (folder / "answers").glob("*.parquet"):
        done.update(pq.read_table(path, columns=[KEY])[KEY].to_pylist())
    old = sorted((folder / "rejected").glob("*.parquet"))
    if old:
        rejected = pa.concat_tables(pq.read_table(path, schema=_REJECTED) for path in old)
        # Utterances of recordings whose others were answered.
        kept = rejected.filter(pc.is_in(rejected[KEY], pa.array(done, pa.string())))
        write_part(folder, "rejected", _KEPT, kept)
        for path in old:
            if path.stem != _KEPT:
                path.unlink()
    return done


def write_part(folder: Path, kind: str, name: str, table: pa.Table) -> None:
    """Write a part in one step.

    Args:
        folder: see the module.
        kind: `answers` or `rejected`.
        name: of the part.
        table: its rows.
    """
    (folder / kind).mkdir(exist_ok=True)
    # Ray may run a task twice at once, when it believes the first one lost.
    with atomic_write(folder / kind / f"{name}.parquet") as partial:
        pq.write_table(table, partial)


def rejected_table(rejections: Sequence[Rejection], keys: Sequence[str]) -> pa.Table:
    """Rejections as rows, each with the key of its recording."""
    rows = [{**vars(rejection), KEY: key} for rejection, key in zip(rejections, keys, strict=True)]
    return pa.Table.from_pylist(rows, schema=_REJECTED)


def summarise(folder: Path) -> Summary:
    """Count what the folder holds, and write `rejected.csv`."""
    utterances, seconds = 0, 0.0
    for path in (folder / "answers").glob("*.parquet"):
        times = pq.read_table(path, columns=["begin", "end"])
        utterances += len(times)
        seconds += pc.sum(pc.subtract(times["end"], times["begin"])).as_py() or 0.0
    reasons: Counter[str] = Counter()
    with atomic_write(folder / "rejected.csv") as partial, partial.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([field.name for field in fields(Rejection)])
        for path in sorted((folder / "rejected").glob("*.parquet")):
            for row in pq.read_table(path, schema=_REJECTED).drop_columns([KEY]).to_pylist():
                writer.writerow(astuple(Rejection(**row)))
                reasons[row["reason"]] += 1
    return Summary(utterances, seconds, reasons)
