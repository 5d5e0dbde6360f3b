"""How the columns of a part are encoded in its Parquet file."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

FEATURES = ("frames", "copy_frames", "word_features")
"""The columns that hold numbers of a front end or an encoder, which are nearly all of a part."""


def encoding_of(schema: pa.Schema) -> dict[str, Any]:
    """Options with which PyArrow writes a part.

    Features hardly repeat: a dictionary or bounds of them take more time than the rest of writing. Split by bytes,
    signs and exponents lie side by side and are compressed.

    Args:
        schema: of the part's rows.

    >>> encoding_of(pa.schema([("id", pa.string()), ("frames", pa.list_(pa.float32()))]))["use_byte_stream_split"]
    ['frames.list.element']
    """
    paths = {
        field.name: f"{field.name}.list.element" if pa.types.is_list(field.type) else field.name for field in schema
    }
    others = [path for name, path in paths.items() if name not in FEATURES]
    return {
        "compression": "zstd",
        "compression_level": 1,
        "use_dictionary": others,
        "write_statistics": others,
        "use_byte_stream_split": [path for name, path in paths.items() if name in FEATURES],
    }
