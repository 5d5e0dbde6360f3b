"""Answers as a table of Arrow, for Parquet: one row an utterance, its words as a list in it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pyarrow as pa

from fgcme.data import Tasks
from fgcme.report.predictions import Answer, to_record_of_file


def answer_schema(tasks: Tasks) -> pa.Schema:
    """The columns of `to_record_of_file`; `probabilities` has a field for each class, `ratings` one for each dimension.

    Args:
        tasks: what the model answers.
    """
    number, text = pa.float64(), pa.string()

    def of_each(names: Iterable[str]) -> pa.DataType:
        return pa.struct(dict.fromkeys(names, number))

    word = pa.struct({"word": text, "begin": number, "end": number, "contribution": number})
    unheard = pa.struct({"seconds": number, "words": pa.list_(text), "unknown_words": pa.list_(text)})
    return pa.schema(
        {
            "audio": text,
            "begin": number,
            "end": number,
            **({"label": text, "probabilities": of_each(tasks.classes)} if tasks.classes else {}),
            **({"ratings": of_each(tasks.dimensions)} if tasks.dimensions else {}),
            "base": number,
            "alignment": text,
            "text": text,
            "words_from": text,
            "unheard": unheard,
            "notes": pa.list_(text),
            "words": pa.list_(word),
        }
    )


def answer_table(answers: Sequence[Answer], tasks: Tasks, more: Mapping[str, Sequence[Any]] | None = None) -> pa.Table:
    """Some answers as rows.

    Args:
        answers: the rows.
        tasks: what the model answers.
        more: further columns of text, by name.
    """
    table = pa.Table.from_pylist([to_record_of_file(answer) for answer in answers], schema=answer_schema(tasks))
    for name, values in (more or {}).items():
        table = table.append_column(name, pa.array(values, pa.string()))
    return table
