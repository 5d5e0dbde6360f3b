"""Prepare: from a corpus to a prepared corpus, in parallel on Ray Data.

The driver lists the corpus and hands out blocks of the utterances that are missing or have changed. A task reads,
aligns and extracts the utterances of a block and writes them as one part of the prepared corpus. So features never pass
through the driver, and a killed preparation keeps every part that was written. Rows that are out of date are deleted at
the end, when their replacements are there; the row of an utterance whose audio cannot be reached stays.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path

from fgcme import prepared
from fgcme.corpora import catalogue
from fgcme.corpora.contract import Rejection, Utterance
from fgcme.errors import UserError
from fgcme.experiment import Experiment
from fgcme.files import digest
from pipelines.cluster import Progress, driver_lock, storage_folder, writable_folder
from pipelines.preparing import (
    PreparedSummary,
    PrepareTask,
    find_alignments,
    find_unreachable,
    hash_sources,
    prepare_on_ray,
    select_alignments,
)
from pipelines.runs.corpus import feature_settings, prepared_elsewhere, prepared_folder, refuse_other_settings

_LIBRARIES = ("fgcme", "numpy", "pocketsphinx", "pyarrow", "ray", "soundfile", "torch", "torchaudio", "transformers")


def run(experiment: Experiment, verbose: bool = True, next_command: str | None = None) -> PreparedSummary:
    """Prepare an experiment's corpus; skip utterances that are up to date, and retry rejected ones.

    Args:
        experiment: its sections `corpus`, `prepare` and `storage` count.
        verbose: show progress on standard error, and print the summary.
        next_command: what to suggest to the user at the end.

    Raises:
        UserError: the corpus is not found; the folder holds a corpus prepared with other settings; no utterance can be
            prepared, or more than `prepare.max_rejected` are rejected, or the audio of prepared ones cannot be reached
            (prepared utterances stay).
    """
    folder = prepared_folder(experiment)
    _refuse_folder(experiment, folder)
    root, listing = catalogue.find_corpus(experiment.corpus, storage_folder(experiment))
    utterances = select_alignments(experiment, listing.utterances)
    alignments = find_alignments(experiment, utterances, root)
    _create_folder(experiment, folder)
    with driver_lock(folder, f"prepared corpus {folder.name}"):
        sources = hash_sources(utterances, root, alignments)
        _copy_from_elsewhere(experiment, folder, sources, verbose)
        summary = _update(experiment, folder, root, utterances, sources, listing.rejections, verbose)
    if verbose:
        print("\n".join(summary.lines()), flush=True)
    _refuse_unreachable(summary)
    _refuse_unusable(summary, experiment.prepare.max_rejected)
    if verbose and next_command is not None:
        print(f"next: {next_command}", flush=True)
    return summary


def _update(
    experiment: Experiment,
    folder: Path,
    root: Path,
    utterances: Sequence[Utterance],
    sources: Mapping[str, str],
    not_listed: Sequence[Rejection],
    verbose: bool,
) -> PreparedSummary:
    """Prepare what is missing, delete rows that are out of date, and write the description of the corpus anew.

    Args:
        experiment: its sections `corpus` and `prepare` count.
        folder: of the prepared corpus.
        root: folder of the corpus.
        utterances: all that the corpus lists.
        sources: see `hash_sources`.
        not_listed: rejections of the listing.
        verbose: show progress on standard error.
    """
    began = time.monotonic()
    stored, up_to_date = prepared.source_hashes(folder).keys(), prepared.up_to_date(folder, sources)
    if verbose and (older := prepared.count_older_rows(folder)):
        print(f"{older} utterances are prepared again: an older version did not compare contents", flush=True)
    missing = [
        utterance
        for utterance in utterances
        if utterance.id not in up_to_date and (utterance.id in sources or utterance.id not in stored)
    ]
    if missing:
        _write_description(experiment, folder, utterances=len(up_to_date), rejected=0, pending=len(missing))
    prepared.delete_rejected(folder)
    prepared.write_part(folder, "rejected", "listing", prepared.rejected_table(not_listed))
    rejections = list(not_listed)
    if missing:
        task = PrepareTask.from_experiment(experiment, root, folder)
        with Progress("utterance", {"utterance": len(missing)}, failed_word="rejected", verbose=verbose) as progress:
            rejections += prepare_on_ray(missing, sources, task, progress)

    unreachable = find_unreachable(utterances, sources, rejections, root)
    kept = {name: audio for name, audio in unreachable.items() if name in stored}
    # Also deletes what a worker that outlived a killed driver has written twice.
    present = prepared.prune(folder, sources, kept)
    summary = PreparedSummary(
        folder=folder,
        utterances=len(present),
        newly_prepared=len(present - up_to_date - kept.keys()),
        aligned=prepared.count_alignments(folder),
        rejections=rejections,
        seconds=time.monotonic() - began,
        unreachable=list(kept.values()),
    )
    rejected = len(summary.rejected)
    # With too many rejections the corpus stays marked as incomplete, so that no training uses it.
    pending = rejected if summary.rejected_share > experiment.prepare.max_rejected else 0
    _write_description(experiment, folder, len(present), rejected, pending)
    return summary


def _copy_from_elsewhere(experiment: Experiment, folder: Path, sources: Mapping[str, str], verbose: bool) -> None:
    """Copy rows that were prepared when the corpus or its alignments lay elsewhere.

    Args:
        experiment: see `run`.
        folder: of the prepared corpus.
        sources: see `hash_sources`.
        verbose: say from where rows are copied.
    """
    others, up_to_date = prepared_elsewhere(experiment), prepared.up_to_date(folder, sources)
    if not others or len(up_to_date) == len(sources):
        return
    _write_description(experiment, folder, len(up_to_date), rejected=0, pending=len(sources) - len(up_to_date))
    for other in others:
        if (count := prepared.copy_rows(other, folder, sources)) and verbose:
            print(f"{count} utterances are the same as in {other}: their rows are copied", flush=True)


def _refuse_folder(experiment: Experiment, folder: Path) -> None:
    """Refuse a folder with a corpus prepared with other settings, or without its description."""
    if (folder / "corpus.json").exists():
        refuse_other_settings(experiment, folder)
    elif any(folder.glob("utterances/*.parquet")):
        raise UserError(f"{folder}: holds a prepared corpus without its corpus.json; delete this folder")


def _create_folder(experiment: Experiment, folder: Path) -> None:
    """Create the folder of the prepared corpus; called last, so that a refusal leaves no folder."""
    writable_folder(experiment)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"prepare.folder: {folder} cannot be created ({error.strerror})") from None


def _refuse_unreachable(summary: PreparedSummary) -> None:
    """End with an error where audio of prepared utterances cannot be reached, although their rows stay."""
    if summary.unreachable:
        raise UserError(
            f"{summary.kept}, such as {summary.unreachable[0]}: mount its disk, name its folder with corpus.root, or "
            "take the utterances out of the corpus's list, then prepare again"
        )


def _refuse_unusable(summary: PreparedSummary, max_rejected: float) -> None:
    """Refuse a prepared corpus without utterances, or with too many rejections."""
    if not summary.utterances:
        raise UserError(
            f"{summary.folder}: no utterance could be prepared; see the reasons in {summary.folder / 'rejected'}"
        )
    if summary.rejected_share > max_rejected:
        raise UserError(
            f"{summary.rejected_share:.1%} of the corpus is rejected, above prepare.max_rejected={max_rejected:g}; see "
            f"the reasons in {summary.folder / 'rejected'}, then repair the files or raise the limit"
        )


def _write_description(experiment: Experiment, folder: Path, utterances: int, rejected: int, pending: int) -> None:
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
