from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fgcme import prepared

_SHAPE = (64, 2048)


def part(folder: Path, precision: type[Any]) -> tuple[Path, np.ndarray]:
    """A part with rows of features as encoders make them: smooth from frame to frame, with some of 0 and none twice."""
    noise = np.random.default_rng(0).normal(size=_SHAPE)
    frames = np.maximum(np.cumsum(noise, axis=1) / 50, 0).astype(precision)
    nothing: dict[str, object] = dict.fromkeys(prepared.UTTERANCES.names)
    rows = [{**nothing, "id": f"u{number}", "raw_label": "sad", "frames": each} for number, each in enumerate(frames)]
    prepared.write_part(folder, "utterances", "a", prepared.utterance_table(rows))
    return folder / "utterances" / "a.parquet", frames


@pytest.mark.parametrize("precision", [np.float16, np.float32])
def test_frames_are_read_as_they_were_written_and_take_less_than_their_own_bytes(
    tmp_path: Path, precision: type[Any]
) -> None:
    path, frames = part(tmp_path, precision)
    ((_, table),) = prepared.read_parts(tmp_path)
    assert np.array_equal(np.stack([np.asarray(each.values) for each in table["frames"]]), frames)
    plain = tmp_path / "plain.parquet"
    pq.write_table(pa.table({"frames": table["frames"]}), plain)
    assert path.stat().st_size < 0.9 * min(frames.nbytes, plain.stat().st_size)


def test_frames_have_no_dictionary_and_names_do(tmp_path: Path) -> None:
    path, _ = part(tmp_path, np.float16)
    group = pq.read_metadata(path).row_group(0)
    columns = [group.column(number) for number in range(group.num_columns)]
    encodings = {column.path_in_schema: column.encodings for column in columns}
    assert "BYTE_STREAM_SPLIT" in encodings["frames.list.element"]
    assert "RLE_DICTIONARY" not in encodings["frames.list.element"]
    assert "RLE_DICTIONARY" in encodings["raw_label"]


def test_merged_parts_are_encoded_as_parts_are(tmp_path: Path) -> None:
    path, frames = part(tmp_path, np.float16)
    size = path.stat().st_size
    nothing: dict[str, object] = dict.fromkeys(prepared.UTTERANCES.names)
    another = prepared.utterance_table([{**nothing, "id": "v", "frames": frames[0]}])
    prepared.write_part(tmp_path, "utterances", "b", another)
    assert prepared.merge_parts(tmp_path) == 2
    (merged,) = (tmp_path / "utterances").iterdir()
    assert merged.stat().st_size < 1.1 * size
