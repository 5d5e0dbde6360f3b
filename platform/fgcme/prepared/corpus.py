"""The prepared corpus: a folder of Parquet that holds features, word spans and raw labels.

    <folder>/utterances/*.parquet   parts, one row an utterance, schema `UTTERANCES`, and `COPIES` where it has copies
    <folder>/rejected/*.parquet     parts, one row a rejection, schema `REJECTED`
    <folder>/corpus.json            settings, their hash, counts and versions, see `CorpusDescription`

Label maps and folds belong to the protocol, so one prepared corpus serves all protocols.
"""

from __future__ import annotations

import hashlib
import json
from array import array
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from fgcme.audio import HOP
from fgcme.corpora.contract import Rejection
from fgcme.errors import UserError
from fgcme.files import atomic_write, digest, write_text
from fgcme.prepared.encoding import FEATURES, encoding_of

Kind = Literal["utterances", "rejected"]
HashArray = npt.NDArray[np.bytes_]

UTTERANCES = pa.schema(
    [
        ("id", pa.string()),
        ("audio", pa.string()),
        ("audio_sha256", pa.string()),
        ("duration", pa.float64()),
        # Second of the audio file at which the utterance begins; null in rows of older versions.
        ("start", pa.float64()),
        ("speaker", pa.string()),
        ("session", pa.string()),
        ("dialog", pa.string()),
        ("act", pa.string()),
        ("raw_label", pa.string()),
        # Mean ratings on the corpus's own scale; null where nobody rated.
        ("valence", pa.float32()),
        ("arousal", pa.float32()),
        ("dominance", pa.float32()),
        ("text", pa.string()),
        ("words", pa.list_(pa.string())),
        ("begin", pa.list_(pa.int32())),
        ("end", pa.list_(pa.int32())),
        # Frames of 10 ms from the first to the last sound of speech, end exclusive; null in rows of older versions.
        ("speech_begin", pa.int32()),
        ("speech_end", pa.int32()),
        ("alignment", pa.string()),
        ("alignment_score", pa.float32()),
        # See `fgcme.alignment.quality`; null in rows of older versions.
        ("duration_deviation", pa.float32()),
        ("signal_to_noise", pa.float32()),
        # In half precision where a speech encoder made them: see `utterance_table`.
        ("frames", pa.list_(pa.float32())),
        ("frame_count", pa.int32()),
        ("frame_size", pa.int32()),
        # Values beyond the range of half precision, which are at its limit now.
        ("clipped", pa.int32()),
        # What is odd about its audio or alignment and was taken all the same; null in rows of older versions.
        ("oddities", pa.list_(pa.string())),
        # Hash of what the row was made from; a row whose hash changed is prepared again.
        ("source_hash", pa.string()),
        # Hash of what the row holds; see `content_hashes`.
        ("content_hash", pa.string()),
    ]
)

# Further columns of a corpus with copies at other speeds: the frames of one after the other, and how many each has.
COPIES = pa.schema([("copy_frames", pa.list_(pa.float32())), ("copy_frame_counts", pa.list_(pa.int32()))])
WORD_FEATURES = pa.schema(
    [
        # What a text encoder says of each word, its layers side by side; zeros of a word of which it says nothing.
        ("word_features", pa.list_(pa.float16())),
        ("word_feature_size", pa.int32()),
        # Words that no piece of the encoder's vocabulary stands for, and words beyond the pieces that it can read.
        ("empty_words", pa.int32()),
        ("cut_words", pa.int32()),
    ]
)
"""Further columns of the rows of a corpus that was prepared with a text encoder."""

TOLD = ("oddities", "duration_deviation", "signal_to_noise", "start")
"""Columns that say something about a row and change nothing in it: a row without them is not prepared again."""
# Older versions did not store them.
_ADDED = ("valence", "arousal", "dominance", "speech_begin", "speech_end", "clipped", *TOLD)

# Where a row's audio lay and what it was made from do not change what it holds; frames hold what was clipped.
_NOT_CONTENT = frozenset({"audio", "source_hash", "content_hash", "clipped", "empty_words", "cut_words", *TOLD})

REJECTED = pa.schema(
    [(name, pa.string()) for name in ("id", "audio", "stage", "reason", "message")],
)


@dataclass(frozen=True)
class CorpusDescription:
    """The content of `corpus.json`.

    Attributes:
        corpus: the corpus's name.
        settings: the dotted settings that decide the features, and their values.
        settings_hash: their `fgcme.files.digest`.
        corpus_hash: see `corpus_hash`.
        counts: `utterances`, `rejected`, and `aligned.<method>` for each method of alignment; also `pending` while
            utterances are still to be prepared, and `clipped` where values were beyond the range of half precision,
            `empty_words` and `cut_words` where a text encoder says nothing of so many words.
        versions: of the libraries it was prepared with.
        frame_step: samples from one frame to the next. Spans are in frames of 10 ms all the same, as aligners give
            them.
        layers: how many layers of an encoder lie side by side in a frame.
        copies: speeds of the copies that each utterance has beside its recording.
        word_layers: how many layers of a text encoder lie side by side in a word's features; 0 without one.
    """

    corpus: str
    settings: dict[str, Any]
    settings_hash: str
    corpus_hash: str
    counts: dict[str, int]
    versions: dict[str, str]
    frame_step: int = HOP
    layers: int = 1
    copies: list[float] = field(default_factory=list)
    word_layers: int = 0

    def differences(self, settings: Mapping[str, Any]) -> list[str]:
        """Each setting that differs, as a phrase such as `prepare.features.bins is 40 there and 80 here`."""

        def show(values: Mapping[str, Any], key: str) -> str:
            return repr(values[key]) if key in values else "not set"

        return [
            f"{key} is {show(self.settings, key)} there and {show(settings, key)} here"
            for key in sorted({*self.settings, *settings})
            if key not in self.settings or key not in settings or self.settings[key] != settings[key]
        ]

    def write(self, folder: Path) -> None:
        """Write `corpus.json` into the folder, in one step."""
        write_text(folder / "corpus.json", json.dumps(asdict(self), indent=2) + "\n")


def read_description(folder: Path) -> CorpusDescription:
    """Read a prepared corpus's `corpus.json`.

    Raises:
        UserError: there is no prepared corpus in the folder, or its description is damaged.
    """
    path = folder / "corpus.json"
    try:
        return CorpusDescription(**json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        raise UserError(f"{folder}: no prepared corpus in this folder; prepare one with `fgcme prepare`") from None
    except (OSError, ValueError, TypeError) as error:
        raise UserError(f"{path}: damaged ({error}); delete the folder and prepare again") from None


def corpus_hash(folder: Path, settings_hash: str) -> str:
    """Hash of a prepared corpus's content: the settings, and all that the rows hold.

    The order of utterances, their files, and where and when the corpus was prepared do not count. Rows of older
    versions have no `content_hash`; it is computed from the whole row then.
    """
    parts = [hash_array(table["content_hash"]) for _, table in read_parts(folder, ["content_hash"])]
    rows = np.sort(np.concatenate([hash_array(pa.array([], pa.string())), *parts]))
    return hashlib.sha256(f"{settings_hash}\n".encode() + rows.tobytes()).hexdigest()[:16]


def hash_array(column: pa.Array | pa.ChunkedArray) -> HashArray:
    """Hashes of 16 digits in 16 bytes each: as Python strings they would take five times as much memory."""
    return np.array(column.to_pylist(), "S16")


def content_hashes(table: pa.Table) -> pa.Array:
    """Hash of what each row holds: frames, words and their spans, text, labels, ratings, speaker, session and the rest.

    `audio` (the path), `source_hash` and counts that follow from the rest do not count.

    Args:
        table: rows with the columns of `UTTERANCES`; `content_hash` may be missing.
    """
    frames = [name for name in FEATURES if name in table.column_names]
    names = [name for name in columns_of(table.schema).names if name not in {*_NOT_CONTENT, *frames}]
    # Frames are hashed as bytes: as Python numbers they would take longer than preparing them.
    return pa.array(
        [
            digest([row, *(hashlib.sha256(np.asarray(each.values, dtype="<f4").tobytes()).hexdigest() for each in own)])
            for row, *own in zip(table.select(names).to_pylist(), *(table[name] for name in frames), strict=True)
        ],
        pa.string(),
    )


def utterance_table(rows: Iterable[Mapping[str, object]]) -> pa.Table:
    """Rows of prepared utterances as a table with the columns of their schema; adds their `content_hash`.

    Values may be NumPy arrays; they are not copied value by value. Frames keep their precision.
    """
    rows = list(rows)
    half = any(getattr(row["frames"], "dtype", None) == np.float16 for row in rows)
    schema = utterances_schema(pa.float16() if half else pa.float32(), {name for row in rows for name in row})
    fields = [each for each in schema if each.name != "content_hash"]
    table = pa.table(
        [pa.array([row[each.name] for row in rows], each.type) for each in fields], schema=pa.schema(fields)
    )
    return _completed(table)


def utterances_schema(precision: pa.DataType, names: Collection[str] = ()) -> pa.Schema:
    """The schema of utterances with frames of a precision; with copies or words' features if their names are there."""
    further = [field for schema in (COPIES, WORD_FEATURES) for field in schema if schema.names[0] in names]
    fields = [*UTTERANCES, *further]
    frames = ("frames", "copy_frames")
    return pa.schema([pa.field(each.name, pa.list_(precision)) if each.name in frames else each for each in fields])


def columns_of(stored: pa.Schema) -> pa.Schema:
    """The columns that rows have which were stored with a schema: of `UTTERANCES`, and further ones if they have some.

    Rows of older versions lack some of them.
    """
    return utterances_schema(stored.field("frames").type.value_type, stored.names)


def rejected_table(rejections: Iterable[Rejection]) -> pa.Table:
    """Rejections as a table with the schema `REJECTED`."""
    return pa.Table.from_pylist([asdict(rejection) for rejection in rejections], schema=REJECTED)


def write_part(folder: Path, kind: Kind, name: str, table: pa.Table) -> None:
    """Write a part in one step: a reader sees the whole part or none of it.

    Args:
        folder: of the prepared corpus.
        kind: `utterances` or `rejected`.
        name: of the file, without `.parquet`.
        table: the rows, with the schema of their kind.
    """
    path = folder / kind / f"{name}.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    # Ray may run a task twice at once, when it believes the first one lost.
    with atomic_write(path) as partial:
        pq.write_table(table, partial, **encoding_of(table.schema))


def count_alignments(folder: Path) -> dict[str, int]:
    """How many utterances each alignment method aligned, by its name."""
    counts: Counter[str] = Counter()
    for _, table in read_parts(folder, ["alignment"]):
        counts.update(table["alignment"].to_pylist())
    return dict(sorted(counts.items()))


def count_oddities(folder: Path) -> dict[str, int]:
    """How many utterances have something odd that was taken all the same, by what it is, most frequent first."""
    counts: Counter[str] = Counter()
    # 8 bytes an utterance. Segments of one file differ in their length or their words' places.
    recordings = array("q")
    for _, table in read_parts(folder, ["oddities", "audio_sha256", "duration", "begin"]):
        counts.update(pc.list_flatten(table["oddities"]).to_pylist())
        told = zip(*(table[name].to_pylist() for name in ("audio_sha256", "duration", "begin")), strict=True)
        recordings.extend(hash((sound, duration, tuple(begin or ()))) for sound, duration, begin in told)
    if repeated := len(recordings) - len(np.unique(np.frombuffer(recordings, np.int64) if recordings else [])):
        counts["with the same recording as another"] = repeated
    return dict(counts.most_common())


def add_up(folder: Path, column: str) -> int:
    """The sum of a column of counts over all rows, such as `clipped`."""
    return sum(pc.sum(table[column], min_count=0).as_py() for _, table in read_parts(folder, [column]))


def count_rows(folder: Path) -> int:
    """How many rows the parts hold."""
    return sum(pq.read_metadata(part).num_rows for part in (folder / "utterances").glob("*.parquet"))


def count_older_rows(folder: Path) -> int:
    """How many rows an older version made, which stored fewer columns."""
    parts = map(pq.read_metadata, (folder / "utterances").glob("*.parquet"))
    needed = {*UTTERANCES.names} - {*TOLD}
    return sum(part.num_rows for part in parts if not needed <= set(part.schema.to_arrow_schema().names))


def count_rejections(folder: Path) -> dict[str, int]:
    """How many rejections there are for each reason, most frequent first."""
    counts: Counter[str] = Counter()
    for path in sorted(folder.glob("rejected/*.parquet")):
        table = read_part(path, ["reason"])
        counts.update(table["reason"].to_pylist())
    return dict(counts.most_common())


def rejection_lines(folder: Path) -> Iterator[str]:
    """The rejections for a person: a line for each reason, most frequent first, with an example."""
    examples: dict[str, dict[str, Any]] = {}
    for path in sorted(folder.glob("rejected/*.parquet")):
        for row in read_part(path, list(REJECTED.names)).to_pylist():
            examples.setdefault(row["reason"], row)
    for reason, count in count_rejections(folder).items():
        yield f"not prepared: {count} x {reason}, such as {examples[reason]['id']}: {examples[reason]['message']}"


def delete_rejected(folder: Path) -> None:
    """Delete the rejections of an earlier preparation, and the half-written files of a killed one."""
    # Not all that is half-written: a training may be writing its file.
    half_written = ("rejected/*.partial", "utterances/*.partial", "*.json.*.partial", "*.npy.*.partial")
    for pattern in ("rejected/*.parquet", *half_written):
        for path in folder.glob(pattern):
            path.unlink(missing_ok=True)


def read_parts(folder: Path, columns: list[str] | None = None) -> Iterator[tuple[Path, pa.Table]]:
    """The parts of the prepared utterances, sorted by name: the file of each, and its rows.

    Args:
        folder: of the prepared corpus.
        columns: read only these; None for all, which may be 256 MB a part (see `read_row_groups`).

    Raises:
        UserError: a part is damaged.
    """
    for path in sorted((folder / "utterances").glob("*.parquet")):
        yield path, read_part(path, columns)


def read_part(path: Path, columns: list[str] | None = None) -> pa.Table:
    """The rows of one part, with some of their columns or all.

    Raises:
        UserError: the part is damaged.
    """
    # `read_table` would read a folder called `a=b` as a column.
    with _refuse_damaged(path), pq.ParquetFile(path) as file:
        stored = file.schema_arrow.names
        # Whatever else is missing is computed from the whole row.
        some = columns is not None and {*columns} <= {*stored, *_ADDED}
        table = file.read([name for name in columns or () if name in stored] if some else None)
    table = _with_added(table) if some else _completed(table)
    return table if columns is None else table.select(columns)


def read_row_groups(path: Path) -> Iterator[pa.Table]:
    """The rows of a part, some megabytes at a time.

    Raises:
        UserError: the part is damaged.
    """
    with _refuse_damaged(path), pq.ParquetFile(path) as file:
        for number in range(file.num_row_groups):
            yield _completed(file.read_row_group(number))


@contextmanager
def _refuse_damaged(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, pa.ArrowInvalid) as error:
        raise UserError(f"{path}: damaged ({' '.join(str(error).split())}); delete it and prepare again") from None


def _completed(table: pa.Table) -> pa.Table:
    """The rows with all columns: nulls and content hashes for those that an older version did not store."""
    table = _with_added(table)
    if "content_hash" not in table.column_names:
        table = table.append_column(UTTERANCES.field("content_hash"), content_hashes(table))
    return table.select(columns_of(table.schema).names)


def _with_added(table: pa.Table) -> pa.Table:
    """The rows with nulls for columns that an older version did not store."""
    for name in _ADDED:
        if name not in table.column_names:
            column = UTTERANCES.field(name)
            table = table.append_column(column, pa.nulls(table.num_rows, column.type))
    return table
