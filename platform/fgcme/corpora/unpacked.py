"""Tables that hold their sound, as Hugging Face writes them: Parquet with the bytes of each file beside its path."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from fgcme.errors import UserError
from fgcme.files import atomic_write, digest_file

# Rows that are in memory at once, each with its sound.
_ROWS = 64


def holds_sound(path: Path) -> bool:
    """Whether a table is Parquet whose column `audio` holds bytes; false for one that cannot be read."""
    if path.suffix != ".parquet" or not path.is_file():
        return False
    try:
        schema = pq.read_schema(path)
    except (OSError, pa.ArrowInvalid):
        return False
    kind = schema.field("audio").type if schema.names.count("audio") == 1 else None
    return kind is not None and pa.types.is_struct(kind) and kind.get_field_index("bytes") >= 0


def unpack(path: Path, folder: Path) -> Path:
    """Write the sound of a table as files, and the table without it; done once for each content of the table.

    A row without bytes keeps its path. Numbers of classes become their names, where the table tells them.

    Args:
        path: of the table, see `holds_sound`.
        folder: below which the files go.

    Returns:
        The path of the table without sound, a manifest; the files lie beside it.

    Raises:
        UserError: the table is damaged, or the disk is full.
    """
    try:
        target = folder / f"{path.stem}-{digest_file(path)[:8]}"
        manifest = target / "manifest.parquet"
        if manifest.is_file():
            return manifest
        target.mkdir(parents=True, exist_ok=True)
        with pq.ParquetFile(path) as table:
            names = _class_names(table.schema_arrow)
            kept = [field for field in table.schema_arrow if field.name != "audio"]
            fields = [pa.field(each.name, pa.string()) if each.name in names else each for each in kept]
            schema = pa.schema([pa.field("audio", pa.string()), *fields])
            with atomic_write(manifest) as partial, pq.ParquetWriter(partial, schema) as writer:
                for rows in _unpacked(table, names, target, path.parent):
                    writer.write_table(pa.Table.from_pylist(rows, schema=schema))
    except (OSError, pa.ArrowException) as error:
        raise UserError(f"{path}: its sound cannot be unpacked: {' '.join(str(error).split())}") from None
    return manifest


def _unpacked(
    table: pq.ParquetFile, names: Mapping[str, list[str]], target: Path, beside: Path
) -> Iterator[list[dict[str, Any]]]:
    number = 0
    for batch in table.iter_batches(batch_size=_ROWS):
        rows = batch.to_pylist()
        for row in rows:
            number += 1
            sound = row["audio"] or {}
            name = PurePosixPath((sound.get("path") or "").replace("\\", "/").replace("\0", ""))
            if sound.get("bytes") is not None:
                row["audio"] = f"{number:06d}-{name.name[-80:] or 'audio'}"
                (target / row["audio"]).write_bytes(sound["bytes"])
            else:
                row["audio"] = str(beside / name) if name.name else None
            for column, classes in names.items():
                if isinstance(row[column], int) and 0 <= row[column] < len(classes):
                    row[column] = classes[row[column]]
                elif row[column] is not None:
                    row[column] = str(row[column])
        yield rows


def _class_names(schema: pa.Schema) -> dict[str, list[str]]:
    """The names of the classes of each column that holds their numbers, as Hugging Face's `datasets` tells them."""
    try:
        features = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))["info"]["features"]
        found = {column: feature["names"] for column, feature in features.items() if "names" in feature}
    except (ValueError, KeyError, TypeError):
        return {}
    return {column: names for column, names in found.items() if column in schema.names and isinstance(names, list)}
