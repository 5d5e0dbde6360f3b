"""Parquet as Hugging Face's `datasets` writes it: a row an utterance, its sound in it.

Source: https://huggingface.co/docs/datasets/audio_dataset. The schema says which column is sound.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from fgcme.interchange.contract import About, PreparedUtterance, Told
from fgcme.interchange.sounds import name_of, row_of, sound_of

NAME = "data/train-00000-of-00001.parquet"

# Bytes of sound that are in memory at once.
_AT_ONCE = 32_000_000
_TEXTS = ("id", "text", "label", "speaker", "session", "dialog", "act", "alignment")
_NUMBERS = ("valence", "arousal", "dominance", "alignment_score")
_TIMES = pa.list_(pa.struct([("word", pa.string()), ("start", pa.float64()), ("end", pa.float64())]))
_SCHEMA = pa.schema(
    [
        ("audio", pa.struct([("bytes", pa.binary()), ("path", pa.string())])),
        *((name, pa.string()) for name in _TEXTS),
        *((name, pa.float64()) for name in _NUMBERS),
        ("word_times", _TIMES),
    ],
    metadata={"huggingface": json.dumps({"info": {"features": {"audio": {"_type": "Audio"}}}})},
)


def write(utterances: Iterable[PreparedUtterance], folder: Path, about: About, told: Told) -> None:
    """Write `data/train-00000-of-00001.parquet`; see `fgcme.interchange.contract.Write`.

    Args:
        utterances: of the corpus.
        folder: to write into.
        about: the corpus.
        told: counts what is cut and left out.
    """
    path = folder / NAME
    path.parent.mkdir()
    rows: list[dict[str, Any]] = []
    size = 0
    with pq.ParquetWriter(path, _SCHEMA) as writer:
        for number, utterance in enumerate(utterances, start=1):
            if (sound := sound_of(utterance, told)) is None:
                continue
            content = sound.read_bytes() if isinstance(sound, Path) else sound
            rows.append({"audio": {"bytes": content, "path": name_of(number, utterance, sound)}, **row_of(utterance)})
            size += len(content)
            if size >= _AT_ONCE:
                writer.write_table(pa.Table.from_pylist(rows, _SCHEMA))
                rows, size = [], 0
        if rows:
            writer.write_table(pa.Table.from_pylist(rows, _SCHEMA))
