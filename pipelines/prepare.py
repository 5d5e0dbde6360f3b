"""Prepare: make a corpus a prepared corpus, in parallel on Ray Data.

The driver lists the corpus, deletes prepared rows that are out of date, and hands out blocks of the utterances that are
missing. A task reads, aligns and extracts the utterances of a block and writes them as one part of the prepared corpus.
So features never pass through the driver, and a killed preparation keeps every part that was written. A task returns
one row per utterance, which says whether it was rejected.
"""

from __future__ import annotations

import logging
import math
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pyarrow as pa

from fgcme import prepared
from fgcme.corpora import catalogue
from fgcme.corpora.contract import Rejection, Utterance
from fgcme.errors import UserError
from fgcme.experiment import Experiment
from fgcme.files import digest
from pipelines.cluster import (
    Progress,
    cluster_resources,
    driver_lock,
    ray_session,
    require_capacity,
    storage_folder,
    writable_folder,
)
from pipelines.runs.corpus import feature_settings, prepared_folder

# Utterances at most. A kill loses the blocks in work; with much smaller blocks Ray's overhead is noticeable.
_BLOCK_SIZE = 32
# Several blocks per CPU, so that all CPUs stay busy until the end.
_BLOCKS_PER_CPU = 4
# Several tasks share a GPU: utterances go through it one by one, which leaves most of it idle.
_GPU_SHARE = 0.25
# Not counted as rejected: files outside the corpus, and duplicates.
_NOT_REJECTED = frozenset({"not_of_corpus", "duplicate"})
_LIBRARIES = ("fgcme", "numpy", "pocketsphinx", "pyarrow", "ray", "soundfile", "torch", "torchaudio", "transformers")

# An utterance, as it travels to a task.
_SOURCE = pa.schema(
    [(name, pa.string()) for name in ("id", "audio", "text", "raw_label", "speaker", "session", "dialog", "act")]
    + [(name, pa.float64()) for name in ("start", "end", "valence", "arousal", "dominance")]
    + [("alignment", pa.string()), ("source_hash", pa.string())]
)


@dataclass(frozen=True)
class PrepareTask:
    """What a task needs to know besides its utterances: plain values, valid on every node.

    Attributes:
        root: folder of the audio.
        folder: folder of the prepared corpus.
        alignment: arguments of `fgcme.alignment.build`, for utterances that the corpus brings no alignment of.
        features: arguments of `fgcme.features.build`.
    """

    root: Path
    folder: Path
    alignment: dict[str, Any]
    features: dict[str, Any]

    @classmethod
    def from_experiment(cls, experiment: Experiment, root: Path, folder: Path) -> PrepareTask:
        """An experiment's task. Relative paths become absolute, because a task runs in a folder of its own."""
        alignment, features = experiment.prepare.alignment, experiment.prepare.features
        return cls(
            root=root,
            folder=folder,
            alignment={
                "method": "sphinx" if alignment.method == "corpus" else alignment.method,
                "checkpoint": _absolute(alignment.checkpoint),
                "folder": _absolute(alignment.folder),
            },
            features={
                "kind": features.kind,
                "bins": features.bins,
                "checkpoint": _absolute(features.checkpoint),
                "layer": features.layer,
            },
        )

    @property
    def has_network(self) -> bool:
        """Whether a neural network aligns or extracts, which a GPU would speed up."""
        return bool(self.alignment["method"] == "ctc" or self.features["kind"] == "speech_encoder")


@dataclass(frozen=True)
class PreparedSummary:
    """What a preparation found and did.

    Attributes:
        folder: folder of the prepared corpus.
        utterances: number of prepared utterances in it.
        newly_prepared: how many of them this preparation added.
        aligned: number of utterances by the method that really aligned them.
        rejected: utterances that could not be prepared.
        left_out: files outside the corpus, and duplicates.
        seconds: wall time.
    """

    folder: Path
    utterances: int
    newly_prepared: int
    aligned: dict[str, int]
    rejected: list[Rejection] = field(repr=False)
    left_out: list[Rejection] = field(repr=False)
    seconds: float

    @property
    def rejected_share(self) -> float:
        """Share of the corpus's utterances that was rejected, 0 to 1."""
        return len(self.rejected) / max(1, self.utterances + len(self.rejected))

    def lines(self) -> Iterator[str]:
        """The summary as lines for a person."""
        yield f"prepared corpus: {self.folder}"
        methods = ", ".join(f"{count} {method}" for method, count in self.aligned.items())
        new = f"{self.newly_prepared} new, {self.seconds:.1f} s"
        yield f"utterances: {self.utterances} ({new}); aligned: {methods or 'none'}"
        if self.rejected:
            yield f"rejected: {len(self.rejected)} ({self.rejected_share:.1%}), see {self.folder / 'rejected'}"
        reasons = Counter(rejection.reason for rejection in self.rejected)
        for reason, count in reasons.most_common():
            first = next(rejection for rejection in self.rejected if rejection.reason == reason)
            yield f"  {reason}: {count}, such as {first.id}: {first.message}"
        if self.left_out:
            some = ", ".join(rejection.audio for rejection in self.left_out[:3])
            yield f"left out: {len(self.left_out)} files that are not of the corpus or are there twice, such as {some}"


def run(experiment: Experiment, verbose: bool = True, next_command: str | None = None) -> PreparedSummary:
    """Prepare an experiment's corpus. Skip utterances that are prepared already; retry rejected ones.

    Args:
        experiment: its sections `corpus`, `prepare` and `storage` count.
        verbose: show progress on standard error, and print the summary.
        next_command: what to suggest to the user at the end.

    Raises:
        UserError: the corpus is not found; the folder holds features of other settings; no utterance is usable, or more
            than `prepare.max_rejected` are rejected (utterances that were prepared stay).
    """
    folder, settings = prepared_folder(experiment), feature_settings(experiment)
    _refuse_other_settings(folder, settings)
    root, listing = catalogue.find(experiment.corpus, storage_folder(experiment))
    utterances = _select_alignments(experiment, listing.utterances)
    _create_folder(experiment, folder)
    with driver_lock(folder, f"prepared corpus {folder.name}"):
        summary = _bring_up_to_date(experiment, folder, root, utterances, listing.rejections, verbose)
    if verbose:
        print("\n".join(summary.lines()), flush=True)
    _judge(summary, experiment.prepare.max_rejected)
    if verbose and next_command is not None:
        print(f"next: {next_command}", flush=True)
    return summary


def _bring_up_to_date(
    experiment: Experiment,
    folder: Path,
    root: Path,
    utterances: Sequence[Utterance],
    not_listed: Sequence[Rejection],
    verbose: bool,
) -> PreparedSummary:
    """Delete rows that are out of date, prepare what is missing, and describe the corpus anew.

    Args:
        experiment: its sections `corpus` and `prepare` count.
        folder: of the prepared corpus.
        root: folder of the audio.
        utterances: all that the corpus lists.
        not_listed: what was found and cannot be listed as an utterance.
        verbose: show progress on standard error.
    """
    began = time.monotonic()
    sources = {utterance.id: source_hash(utterance, root) for utterance in utterances}
    up_to_date = prepared.prune(folder, sources)
    missing = [utterance for utterance in utterances if utterance.id not in up_to_date]
    _describe(experiment, folder, utterances=len(up_to_date), rejected=0, pending=len(missing))
    prepared.delete_rejected(folder)
    prepared.write_part(folder, "rejected", "listing", prepared.rejected_table(not_listed))
    rejections = list(not_listed)
    if missing:
        task = PrepareTask.from_experiment(experiment, root, folder)
        with Progress("utterance", {"utterance": len(missing)}, failed_word="rejected", verbose=verbose) as progress:
            rejections += _prepare_on_ray(missing, sources, task, progress)

    # Again: a worker that outlived a killed preparation may have written rows twice.
    present = prepared.prune(folder, sources)
    summary = PreparedSummary(
        folder=folder,
        utterances=len(present),
        newly_prepared=len(present - up_to_date),
        aligned=prepared.count_alignments(folder),
        rejected=[rejection for rejection in rejections if rejection.reason not in _NOT_REJECTED],
        left_out=[rejection for rejection in rejections if rejection.reason in _NOT_REJECTED],
        seconds=time.monotonic() - began,
    )
    rejected = len(summary.rejected)
    # With too many rejections the corpus stays marked as incomplete, so that no training uses it.
    pending = rejected if summary.rejected_share > experiment.prepare.max_rejected else 0
    _describe(experiment, folder, len(present), rejected, pending)
    return summary


def _refuse_other_settings(folder: Path, settings: Mapping[str, Any]) -> None:
    if (folder / "corpus.json").exists():
        if differences := prepared.read_description(folder).differences(settings):
            raise UserError(
                f"{folder}: prepared with other settings: {', '.join(differences)}; "
                "delete this folder, or set prepare.folder to another one"
            )
    elif any(folder.glob("utterances/*.parquet")):
        raise UserError(f"{folder}: holds a prepared corpus without its corpus.json; delete this folder")


def source_hash(utterance: Utterance, root: Path) -> str:
    """Hash of what an utterance's row depends on: the corpus's data on it, and the sizes and times of its files."""
    files = [file for file in (utterance.audio, utterance.alignment) if file is not None]
    return digest([asdict(utterance), *(_size_and_time(root / file) for file in files)])


def _size_and_time(file: Path) -> list[int] | None:
    try:
        status = file.stat()
    except OSError:
        return None
    return [status.st_size, status.st_mtime_ns]


def _select_alignments(experiment: Experiment, utterances: Sequence[Utterance]) -> Sequence[Utterance]:
    """The utterances with the corpus's own alignments where the settings ask for them, else without."""
    if experiment.prepare.alignment.method != "corpus":
        return [replace(utterance, alignment=None) for utterance in utterances]
    if all(utterance.alignment is None for utterance in utterances):
        raise UserError(
            f"prepare.alignment.method corpus: this copy of {experiment.corpus.kind} brings no alignments of its own; "
            "set prepare.alignment.method=sphinx, or method=imported and a folder of them"
        )
    return utterances


def _create_folder(experiment: Experiment, folder: Path) -> None:
    """Create the folder of the prepared corpus, after everything that can be refused has been."""
    writable_folder(experiment)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"prepare.folder: {folder} cannot be made ({error.strerror})") from None


def make_blocks(utterances: Sequence[Utterance], sources: Mapping[str, str], cpus: float) -> list[pa.Table]:
    """Divide utterances into blocks of even size, enough of them to keep the CPUs busy until the end.

    Args:
        utterances: what is to be prepared.
        sources: source hash of each utterance, by id.
        cpus: how many tasks run at once.
    """
    rows = [{**asdict(utterance), "source_hash": sources[utterance.id]} for utterance in utterances]
    size = max(1, min(_BLOCK_SIZE, math.ceil(len(rows) / (cpus * _BLOCKS_PER_CPU))))
    return [pa.Table.from_pylist(rows[first : first + size], schema=_SOURCE) for first in range(0, len(rows), size)]


def prepare_block(block: pa.Table, task: PrepareTask) -> pa.Table:
    """Prepare a block of utterances and write them as one part of the prepared corpus. Runs on a worker.

    Args:
        block: one table of `make_blocks`.
        task: how to prepare, from where and where to.

    Returns:
        One row of `fgcme.prepared.REJECTED` per utterance: only the id where it was prepared, else its rejection.
    """
    import torch

    from fgcme import alignment, features
    from fgcme.alignment.imported import FileAligner
    from fgcme.prepared.utterance import prepare_utterance

    # Ray runs one task per CPU.
    torch.set_num_threads(1)
    aligner, extract_features = alignment.build(**task.alignment), features.build(**task.features)
    sources = block.to_pylist()
    if own := {values["id"]: task.root / values["alignment"] for values in sources if values["alignment"]}:
        aligner = FileAligner(own, otherwise=aligner)
    rows: list[dict[str, object]] = []
    rejections: list[Rejection] = []
    for values in sources:
        source = values.pop("source_hash")
        result = prepare_utterance(Utterance(**values), task.root, aligner, extract_features, source)
        if isinstance(result, Rejection):
            rejections.append(result)
        else:
            rows.append(result)
    # Named by its content, so that a task that runs twice writes the same part.
    name = "part-" + digest([block["id"].to_pylist(), block["source_hash"].to_pylist()])
    if rows:
        prepared.write_part(task.folder, "utterances", name, prepared.utterance_table(rows))
    rejected = prepared.rejected_table(rejections)
    if rejections:
        prepared.write_part(task.folder, "rejected", name, rejected)
    accepted = pa.Table.from_pylist([{"id": row["id"]} for row in rows], schema=prepared.REJECTED)
    return pa.concat_tables([accepted, rejected])


def _prepare_on_ray(
    utterances: Sequence[Utterance], sources: Mapping[str, str], task: PrepareTask, progress: Progress
) -> list[Rejection]:
    """Prepare utterances in blocks on Ray Data; returns those that were rejected."""
    rejections: list[Rejection] = []
    with ray_session():
        import ray.data
        from ray.exceptions import RayError

        # Silence Ray's plans and stack traces: `progress` says how far it is, the exception what went wrong.
        logging.getLogger("ray.data").setLevel(logging.CRITICAL)
        # Otherwise a worker's exception arrives without its class.
        ray.data.DataContext.get_current().raise_original_map_exception = True
        require_capacity(1, 0, "preparing a corpus")
        resources = cluster_resources()
        gpus = _GPU_SHARE if task.has_network and resources.get("GPU") else 0.0
        # Typed as Any: Ray's own annotations admit no function of Arrow tables.
        function: Any = prepare_block
        dataset = ray.data.from_arrow(make_blocks(utterances, sources, resources["CPU"])).map_batches(
            function,
            fn_kwargs={"task": task},
            batch_size=None,
            batch_format="pyarrow",
            num_cpus=1,
            num_gpus=gpus or None,
        )
        try:
            outcomes: Any
            for outcomes in dataset.iter_batches(batch_size=None, batch_format="pyarrow"):
                rejected = [Rejection(**row) for row in outcomes.to_pylist() if row["reason"] is not None]
                rejections += rejected
                progress.advance("utterance", outcomes.num_rows, len(rejected))
        except RayError as error:
            cause = getattr(error, "cause", None)
            if isinstance(cause, UserError):
                # Ray adds lines of advice below ours.
                raise UserError(str(cause).partition("\n")[0]) from None
            raise
    return rejections


def _judge(summary: PreparedSummary, max_rejected: float) -> None:
    if not summary.utterances:
        raise UserError(f"{summary.folder}: no usable utterance; see the reasons in {summary.folder / 'rejected'}")
    if summary.rejected_share > max_rejected:
        raise UserError(
            f"{summary.rejected_share:.1%} of the corpus is rejected, above prepare.max_rejected={max_rejected:g}; see "
            f"the reasons in {summary.folder / 'rejected'}, then repair the files or raise the limit"
        )


def _describe(experiment: Experiment, folder: Path, utterances: int, rejected: int, pending: int) -> None:
    """Write `corpus.json`; with `pending` utterances the corpus counts as incomplete."""
    settings = feature_settings(experiment)
    settings_hash = digest(settings)
    counts = {"utterances": utterances, "rejected": rejected}
    counts |= {f"aligned.{method}": count for method, count in prepared.count_alignments(folder).items()}
    prepared.CorpusDescription(
        corpus=experiment.corpus.kind,
        settings=settings,
        settings_hash=settings_hash,
        corpus_hash=prepared.corpus_hash(folder, settings_hash),
        counts=counts | ({"pending": pending} if pending else {}),
        versions={name: version(name) for name in _LIBRARIES},
    ).write(folder)


def _absolute(path: str | None) -> str | None:
    """A folder's absolute path; a hub name stays one."""
    return str(Path(path).absolute()) if path is not None and Path(path).exists() else path
