"""Blocks of utterances: how the driver divides a corpus, and how a task prepares a block."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import pyarrow as pa

from fgcme import prepared
from fgcme.alignment import AlignmentError
from fgcme.alignment.folder import RecordingFile
from fgcme.alignment.imported import Known, KnownAligner
from fgcme.corpora.contract import Rejection, Utterance, WordTime
from fgcme.experiment import Experiment, FeatureSettings, TextSettings
from fgcme.files import digest
from pipelines.preparing.sources import FindAlignment
from pipelines.runs.corpus import absolute_path

# Utterances of a block. Fewer would be little work beside Ray's for a block (9 ms); a kill loses the unfinished blocks.
_SMALLEST, _LARGEST = 16, 256
# At least, so that all CPUs stay busy until the end; and at most, because Ray's driver remembers something of each.
_BLOCKS_PER_CPU, _BLOCKS = 4, 4096

# Of the frames in one part. A block of long utterances with wide features becomes several.
_PART_BYTES = 96_000_000
_FRAMES = ("frames", "copy_frames")

_TIMES = pa.list_(pa.struct([("word", pa.string()), ("start", pa.float64()), ("end", pa.float64())]))
_REFUSAL = pa.struct([("reason", pa.string()), ("message", pa.string())])
# The columns of a block: an utterance's own fields, its alignment (a file, its words' times, or why there is none; the
# recording whose file it is, where it is not the utterance's own), and its source hash.
_BLOCK = pa.schema(
    [(name, pa.string()) for name in ("id", "audio", "text", "raw_label", "speaker", "session", "dialog", "act")]
    + [(name, pa.float64()) for name in ("start", "end", "valence", "arousal", "dominance")]
    + [("alignment", pa.string()), ("recording", pa.string()), ("word_times", _TIMES), ("refusal", _REFUSAL)]
    + [("source_hash", pa.string())]
)

_FIELDS = [each.name for each in fields(Utterance)]


@dataclass(frozen=True)
class PrepareTask:
    """What a task needs to know besides its block: plain values, valid on every node.

    Attributes:
        corpus_root: folder that the utterances' files are relative to.
        prepared_folder: where the parts of the prepared corpus are written.
        aligner: arguments of `fgcme.alignment.build`, for utterances without a file with their alignment.
        features: arguments of `fgcme.features.build_extractor`.
        speeds: of the copies of each utterance.
        text: arguments of `fgcme.features.build_word_encoder`; none for no text encoder.
    """

    corpus_root: Path
    prepared_folder: Path
    aligner: dict[str, Any]
    features: dict[str, Any]
    text: dict[str, Any] = field(default_factory=dict)
    speeds: tuple[float, ...] = ()

    @classmethod
    def from_experiment(cls, experiment: Experiment, corpus_root: Path, prepared_folder: Path) -> PrepareTask:
        """An experiment's task. Relative paths become absolute, because workers run in other folders.

        Args:
            experiment: its section `prepare` counts.
            corpus_root: see `PrepareTask`.
            prepared_folder: see `PrepareTask`.
        """
        alignment = experiment.prepare.alignment
        return cls(
            corpus_root=corpus_root,
            prepared_folder=prepared_folder,
            aligner={
                "method": "sphinx" if alignment.method == "corpus" else alignment.method,
                "checkpoint": absolute_path(alignment.checkpoint),
                "folder": absolute_path(alignment.folder),
                "tier": alignment.tier,
                "language": alignment.language,
            },
            features=feature_arguments(experiment.prepare.features),
            speeds=tuple(experiment.prepare.copies.speed),
            text=text_arguments(experiment.prepare.text),
        )

    @property
    def uses_neural_network(self) -> bool:
        """Whether a neural network aligns or extracts features, which a GPU would speed up."""
        encodes = self.features["kind"] == "speech_encoder" or self.text.get("checkpoint") is not None
        return bool(encodes or self.aligner["method"] in ("ctc", "whisper"))


def feature_arguments(features: FeatureSettings) -> dict[str, Any]:
    """The arguments of `fgcme.features.build_extractor` for some settings, valid on every node."""
    return {
        "kind": features.kind,
        "bins": features.bins,
        "checkpoint": absolute_path(features.checkpoint),
        "layers": features.layers if features.layers == "all" else tuple(features.layers),
        "padded": features.padded,
    }


def text_arguments(text: TextSettings) -> dict[str, Any]:
    """The arguments of `fgcme.features.build_word_encoder` for some settings, valid on every node."""
    layers = text.layers if text.layers == "all" else tuple(text.layers)
    return {"checkpoint": absolute_path(text.checkpoint), "layers": layers}


def make_blocks(
    utterances: Iterable[Utterance],
    sources: prepared.Sources,
    missing: prepared.Mask,
    find_alignment: FindAlignment,
    cpus: float,
) -> Iterator[pa.Table]:
    """Divide utterances into blocks, one after the other, so that never all of them are in memory.

    Args:
        utterances: all that the corpus lists.
        sources: what they are made from.
        missing: which of them are to be prepared.
        find_alignment: see `alignment_finder`.
        cpus: how many tasks run at once.

    Returns:
        Tables of one row an utterance.
    """
    size = block_size(int(missing.sum()), cpus)
    rows = (
        {**vars(utterance), **_find(find_alignment, utterance), "source_hash": str(source, "ascii")}
        for utterance, source in itertools.compress(zip(utterances, sources.hashes, strict=True), missing)
    )
    while block := list(itertools.islice(rows, size)):
        yield pa.Table.from_pylist(block, schema=_BLOCK)


def block_size(count: int, cpus: float) -> int:
    """How many utterances a block has.

    As many as there are CPUs, so that the driver hands blocks out faster than they are worked on; fewer where the CPUs
    would get too few blocks, and more where the driver would get too many.

    >>> block_size(1440, cpus=2), block_size(1440, cpus=1000), block_size(1_000_000, cpus=1000)
    (16, 16, 250)
    """
    wanted = max(min(cpus, count / (cpus * _BLOCKS_PER_CPU)), count / _BLOCKS, _SMALLEST)
    # No block of what is left over.
    blocks = max(int(count / wanted), math.ceil(count / _LARGEST), 1)
    return math.ceil(count / blocks)


def most_blocks(count: int) -> int:
    """How many blocks a number of utterances makes at most.

    >>> most_blocks(8), most_blocks(480)
    (1, 30)
    """
    return math.ceil(count / _SMALLEST)


def prepare_block(block: pa.Table, task: PrepareTask) -> pa.Table:
    """Prepare a block of utterances and write them as parts of the prepared corpus. Runs on a worker.

    Args:
        block: one table of `make_blocks`.
        task: how to prepare, from where and where to.

    Returns:
        One row of `fgcme.prepared.REJECTED` per utterance: only the id where it was prepared, else its rejection.
    """
    import torch

    from fgcme import alignment, features
    from fgcme.prepared.utterance import prepare_utterances

    # Ray runs one task per CPU, so a task must not use more.
    torch.set_num_threads(1)
    extractor, word_encoder = features.build_extractor(**task.features), features.build_word_encoder(**task.text)
    utterances = block.to_pylist()
    # The driver has found the files: to list a large folder in each process would take long.
    known = {row["id"]: found for row in utterances if (found := _known(row)) is not None}
    build = functools.partial(alignment.build, **task.aligner)
    # What should be imported, and is not there or damaged, is aligned by nothing else.
    fallback = None if task.aligner["method"] == "imported" else build
    aligner = KnownAligner(known, fallback, task.aligner.get("tier")) if known else build()
    # Named by what they are made from, so that a task that runs twice writes the same parts.
    name = "part-" + digest([block["id"].to_pylist(), block["source_hash"].to_pylist()])
    accepted: list[str] = []
    rejections: list[Rejection] = []
    rows: list[dict[str, Any]] = []
    listed = ((Utterance(**{name: row[name] for name in _FIELDS}), row["source_hash"]) for row in utterances)
    for result in prepare_utterances(listed, task.corpus_root, aligner, extractor, task.speeds, word_encoder):
        if isinstance(result, Rejection):
            rejections.append(result)
            continue
        accepted.append(result["id"])
        rows.append(result)
        if sum(row[name].nbytes for row in rows for name in _FRAMES if name in row) >= _PART_BYTES:
            prepared.write_part(task.prepared_folder, "utterances", f"{name}-{len(accepted)}", _table_of(rows))
    if rows:
        prepared.write_part(task.prepared_folder, "utterances", name, _table_of(rows))
    rejected = prepared.rejected_table(rejections)
    if rejections:
        prepared.write_part(task.prepared_folder, "rejected", name, rejected)
    return pa.concat_tables(
        [pa.Table.from_pylist([{"id": each} for each in accepted], schema=prepared.REJECTED), rejected]
    )


def _table_of(rows: list[dict[str, Any]]) -> pa.Table:
    """The rows as a table; empties the list."""
    table = prepared.utterance_table(rows)
    rows.clear()
    return table


def _find(find_alignment: FindAlignment, utterance: Utterance) -> dict[str, Any]:
    """The columns with an utterance's alignment."""
    columns: dict[str, Any] = dict.fromkeys(("alignment", "recording", "word_times", "refusal"))
    try:
        found = find_alignment(utterance)
    except AlignmentError as error:
        return columns | {"refusal": {"reason": error.reason, "message": error.message}}
    if isinstance(found, RecordingFile):
        return columns | {"alignment": str(found.path.absolute()), "recording": found.name}
    if found is None or isinstance(found, Path):
        return columns | {"alignment": None if found is None else str(found.absolute())}
    return columns | {"word_times": [word._asdict() for word in found]}


def _known(row: Mapping[str, Any]) -> Known | None:
    """What the columns say of an utterance's alignment."""
    if row["refusal"] is not None:
        return AlignmentError(**row["refusal"])
    if row["recording"] is not None:
        return RecordingFile(Path(row["alignment"]), row["recording"], row["start"], row["end"])
    if row["alignment"] is not None:
        return Path(row["alignment"])
    return None if row["word_times"] is None else [WordTime(**word) for word in row["word_times"]]
