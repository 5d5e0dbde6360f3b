"""Prepare: a corpus becomes a prepared corpus, in parallel on Ray Data.

The driver lists the corpus, drops what changed or vanished, and hands out blocks of what is missing. A task reads,
aligns and extracts a block and writes the block's own part of the prepared corpus, so features never pass through the
driver and a killed preparation keeps every finished part. What comes back is a row of outcome for each utterance.
"""

from __future__ import annotations

import logging
import math
import sys
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
from pipelines.cluster import clock, cluster_resources, ray_session, require_capacity, writable_folder
from pipelines.runs.corpus import feature_settings, prepared_folder

# A block is what a kill may lose and what a step of the progress shows; in much smaller ones Ray's own cost shows too.
_BLOCK = 32
# So that the last blocks do not leave most of the CPUs waiting.
_BLOCKS_PER_CPU = 4
# Several tasks share a GPU: a batch of one utterance leaves most of it idle.
_GPU_SHARE = 0.25
# A part of the file tree that is no utterance was never lost; neither is the second copy of one.
_NOT_LOST = frozenset({"not_of_corpus", "duplicate"})
_LIBRARIES = ("fgcme", "numpy", "pocketsphinx", "pyarrow", "ray", "soundfile", "torch", "torchaudio", "transformers")

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
        folder: the prepared corpus.
        alignment: arguments of `fgcme.alignment.build`, for what the corpus has no alignment of its own.
        features: arguments of `fgcme.features.build`.
    """

    root: Path
    folder: Path
    alignment: dict[str, Any]
    features: dict[str, Any]

    @classmethod
    def from_experiment(cls, experiment: Experiment, root: Path, folder: Path) -> PrepareTask:
        """The task of an experiment; relative paths become absolute, because a task runs in a folder of its own."""
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
        """Whether a neural network does the work, which a GPU would speed up."""
        return bool(self.alignment["method"] == "ctc" or self.features["kind"] == "speech_encoder")


@dataclass(frozen=True)
class PreparedSummary:
    """What a preparation found and did.

    Attributes:
        folder: the prepared corpus.
        utterances: rows in it.
        made: how many of them this preparation made.
        aligned: utterances by the method that really aligned them.
        rejected: what could not become an utterance although it should.
        left_out: files that are not of the corpus, and second copies.
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
        """Rejected of all that should have become utterances, 0 to 1."""
        return len(self.rejected) / max(1, self.utterances + len(self.rejected))

    def lines(self) -> Iterator[str]:
        """The summary for a person, a line at a time."""
        yield f"prepared corpus: {self.folder}"
        methods = ", ".join(f"{count} {method}" for method, count in self.aligned.items())
        yield f"utterances: {self.utterances} ({self.newly_prepared} new, {self.seconds:.1f} s); aligned: {methods or 'none'}"
        if self.rejected:
            yield f"rejected: {len(self.rejected)} ({self.rejected_share:.1%}), see {self.folder / 'rejected'}"
        for reason, count in Counter(rejection.reason for rejection in self.rejected).most_common():
            first = next(rejection for rejection in self.rejected if rejection.reason == reason)
            yield f"  {reason}: {count}, such as {first.id}: {first.message}"
        if self.left_out:
            some = ", ".join(rejection.audio for rejection in self.left_out[:3])
            yield f"left out: {len(self.left_out)} files that are not of the corpus or are there twice, such as {some}"


def run(experiment: Experiment, verbose: bool = True) -> PreparedSummary:
    """Prepare an experiment's corpus; what is prepared already stays, what was rejected is tried again.

    Args:
        experiment: its `corpus`, `prepare` and `storage` sections count.
        progress: show a counter on standard error, and the summary on standard output.

    Raises:
        UserError: the corpus cannot be found; the folder holds features of other settings; no utterance is usable, or
            more than `prepare.max_rejected` are rejected (whatever was prepared stays).
    """
    began = time.monotonic()
    folder, settings = prepared_folder(experiment), feature_settings(experiment)
    _refuse_other_settings(folder, settings)
    root, listing = catalogue.find(experiment.corpus, writable_folder(experiment))
    utterances = _with_own_alignments_if_asked(experiment, listing.utterances)
    sources = {utterance.id: source_hash(utterance, root) for utterance in utterances}
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"prepare.folder: {folder} cannot be made ({error.strerror})") from None
    done = prepared.prune(folder, sources)
    missing = [utterance for utterance in utterances if utterance.id not in done]

    def describe(kept: set[str], rejected: int, pending: int) -> None:
        _description(experiment, settings, folder, {key: sources[key] for key in kept}, rejected, pending).write(folder)

    describe(done, rejected=0, pending=len(missing))
    prepared.delete_rejected(folder)
    prepared.write_part(folder, "rejected", "listing", prepared.rejected_table(listing.rejections))
    rejections = list(listing.rejections)
    if missing:
        rejections += _prepare(
            missing, sources, PrepareTask.from_experiment(experiment, root, folder), _Progress(len(missing), verbose)
        )

    # Once more: a worker that outlived a killed preparation may have written rows that were then made again.
    kept = prepared.prune(folder, sources)
    summary = PreparedSummary(
        folder=folder,
        utterances=len(kept),
        newly_prepared=len(kept - done),
        aligned=prepared.count_alignments(folder),
        rejected=[rejection for rejection in rejections if rejection.reason not in _NOT_LOST],
        left_out=[rejection for rejection in rejections if rejection.reason in _NOT_LOST],
        seconds=time.monotonic() - began,
    )
    # A corpus that has lost too much is not complete: training would take it for one.
    lost = summary.rejected_share > experiment.prepare.max_rejected
    describe(kept, rejected=len(summary.rejected), pending=len(summary.rejected) if lost else 0)
    if verbose:
        print("\n".join(summary.lines()), flush=True)
    _judge(summary, experiment.prepare.max_rejected)
    if verbose:
        print(f"next: fgcme train {experiment.name}", flush=True)
    return summary


def source_hash(utterance: Utterance, root: Path) -> str:
    """What an utterance's row is made from: what the corpus says of it, and its files' sizes and last changes."""
    files = [file for file in (utterance.audio, utterance.alignment) if file is not None]
    return digest([asdict(utterance), *(_state(root / file) for file in files)])


def _state(file: Path) -> list[int] | None:
    try:
        status = file.stat()
    except OSError:
        return None
    return [status.st_size, status.st_mtime_ns]


def _with_own_alignments_if_asked(experiment: Experiment, utterances: Sequence[Utterance]) -> Sequence[Utterance]:
    if experiment.prepare.alignment.method != "corpus":
        return [replace(utterance, alignment=None) for utterance in utterances]
    if all(utterance.alignment is None for utterance in utterances):
        raise UserError(
            f"prepare.alignment.method corpus: this copy of {experiment.corpus.kind} brings no alignments of its own; "
            "set prepare.alignment.method=sphinx, or method=imported and a folder of them"
        )
    return utterances


def make_blocks(utterances: Sequence[Utterance], sources: Mapping[str, str], cpus: float) -> list[pa.Table]:
    """Utterances in tables of even size, enough of them to keep that many CPUs busy until the end."""
    rows = [{**asdict(utterance), "source_hash": sources[utterance.id]} for utterance in utterances]
    size = max(1, min(_BLOCK, math.ceil(len(rows) / (cpus * _BLOCKS_PER_CPU))))
    return [pa.Table.from_pylist(rows[first : first + size], schema=_SOURCE) for first in range(0, len(rows), size)]


def prepare_block(block: pa.Table, task: PrepareTask) -> pa.Table:
    """Prepare a block of utterances and write its part of the prepared corpus: what runs in a task.

    Args:
        block: rows of `blocks`.
        task: how, from where and where to.

    Returns:
        One row an utterance: its id, and the rejection's values, which are null where all went well.
    """
    import torch

    from fgcme import alignment, features
    from fgcme.alignment.imported import FileAligner
    from fgcme.prepared.utterance import prepare_utterance

    # There is a task for every CPU.
    torch.set_num_threads(1)
    aligner, featurise = alignment.build(**task.alignment), features.build(**task.features)
    sources = block.to_pylist()
    if own := {values["id"]: task.root / values["alignment"] for values in sources if values["alignment"]}:
        aligner = FileAligner(own, otherwise=aligner)
    rows: list[dict[str, object]] = []
    rejections: list[Rejection] = []
    for values in sources:
        source = values.pop("source_hash")
        result = prepare_utterance(Utterance(**values), task.root, aligner, featurise, source)
        if isinstance(result, Rejection):
            rejections.append(result)
        else:
            rows.append(result)
    # Named by what it holds, so that a task that runs twice writes the same part.
    name = "part-" + digest([block["id"].to_pylist(), block["source_hash"].to_pylist()])
    if rows:
        prepared.write_part(task.folder, "utterances", name, prepared.utterance_table(rows))
    rejected = prepared.rejected_table(rejections)
    if rejections:
        prepared.write_part(task.folder, "rejected", name, rejected)
    well = pa.Table.from_pylist([{"id": row["id"]} for row in rows], schema=prepared.REJECTED)
    return pa.concat_tables([well, rejected])


def _prepare(
    utterances: Sequence[Utterance], sources: Mapping[str, str], task: PrepareTask, progress: _Progress
) -> list[Rejection]:
    rejections: list[Rejection] = []
    with ray_session():
        import ray.data
        from ray.exceptions import RayError

        # Its plans and stack traces: our own counter says how far it is, and the exception what went wrong.
        logging.getLogger("ray.data").setLevel(logging.CRITICAL)
        # Otherwise a worker's exception comes without its class.
        ray.data.DataContext.get_current().raise_original_map_exception = True
        require_capacity(1, 0, "preparing a corpus")
        has = cluster_resources()
        gpus = _GPU_SHARE if task.has_network and has.get("GPU") else 0.0
        function: Any = prepare_block
        dataset = ray.data.from_arrow(make_blocks(utterances, sources, has["CPU"])).map_batches(
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
                failed = [Rejection(**row) for row in outcomes.to_pylist() if row["reason"] is not None]
                rejections += failed
                progress.add(outcomes.num_rows, len(failed))
        except RayError as error:
            cause = getattr(error, "cause", None)
            if isinstance(cause, UserError):
                # Ray adds lines of advice below ours.
                raise UserError(str(cause).partition("\n")[0]) from None
            raise
        finally:
            progress.close()
    return rejections


def _refuse_other_settings(folder: Path, settings: Mapping[str, Any]) -> None:
    if (folder / "corpus.json").exists():
        if differences := prepared.read_description(folder).differences(settings):
            raise UserError(
                f"{folder}: prepared with other settings: {', '.join(differences)}; "
                "delete this folder, or set prepare.folder to another one"
            )
    elif any(folder.glob("utterances/*.parquet")):
        raise UserError(f"{folder}: holds a prepared corpus without its corpus.json; delete this folder")


def _judge(summary: PreparedSummary, max_rejected: float) -> None:
    if not summary.utterances:
        raise UserError(f"{summary.folder}: no usable utterance; see the reasons in {summary.folder / 'rejected'}")
    if summary.rejected_share > max_rejected:
        raise UserError(
            f"{summary.rejected_share:.1%} of the corpus is rejected, above prepare.max_rejected={max_rejected:g}; see "
            f"the reasons in {summary.folder / 'rejected'}, then mend the files or raise the limit"
        )


def _description(
    experiment: Experiment,
    settings: dict[str, Any],
    folder: Path,
    sources: Mapping[str, str],
    rejected: int,
    pending: int,
) -> prepared.CorpusDescription:
    counts = {"utterances": len(sources), "rejected": rejected}
    counts |= {f"aligned.{method}": count for method, count in prepared.count_alignments(folder).items()}
    settings_hash = digest(settings)
    return prepared.CorpusDescription(
        corpus=experiment.corpus.kind,
        settings=settings,
        settings_hash=settings_hash,
        corpus_hash=prepared.corpus_hash(folder, settings_hash),
        counts=counts | ({"pending": pending} if pending else {}),
        versions={name: version(name) for name in _LIBRARIES},
    )


def _absolute(path: str | None) -> str | None:
    """A folder's absolute path; a hub name stays one."""
    return str(Path(path).absolute()) if path is not None and Path(path).exists() else path


class _Progress:
    """A counter on standard error: one line rewritten on a terminal, a line now and then elsewhere."""

    def __init__(self, total: int, shown: bool) -> None:
        self._total, self._shown = total, shown
        self._terminal = sys.stderr.isatty()
        self._done = self._rejected = self._first = 0
        self._began = self._printed = -math.inf

    def add(self, done: int, rejected: int) -> None:
        self._done += done
        self._rejected += rejected
        now = time.monotonic()
        if not self._first:
            # The rate is measured from here: until the first block was done, workers were starting.
            self._first, self._began = self._done, now
        if self._done == self._total or now - self._printed >= (0.1 if self._terminal else 10.0):
            self._printed = now
            self._print(now)

    def close(self) -> None:
        if self._shown and self._terminal:
            print(file=sys.stderr, flush=True)

    def _print(self, now: float) -> None:
        line = f"prepared {self._done}/{self._total}, rejected {self._rejected}"
        if self._done > self._first:
            left = (now - self._began) / (self._done - self._first) * (self._total - self._done)
            line += f", {clock(left)} left"
        if self._shown:
            # Padded, because a line may be shorter than the one that it is written over.
            line, end = (f"{line:60}", "\r") if self._terminal else (line, "\n")
            print(line, end=end, file=sys.stderr, flush=True)
