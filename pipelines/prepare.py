"""Prepare: from a corpus to a prepared corpus, in parallel on Ray Data.

The driver lists the corpus, deletes prepared rows that are out of date, and hands out blocks of the utterances that are
missing. A task reads, aligns and extracts the utterances of a block and writes them as one part of the prepared corpus.
So features never pass through the driver, and a killed preparation keeps every part that was written.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from importlib.metadata import version
from pathlib import Path

from fgcme import prepared
from fgcme.corpora import catalogue
from fgcme.corpora.contract import Listing, Rejection, Utterance
from fgcme.errors import UserError
from fgcme.experiment import Experiment
from fgcme.files import digest
from pipelines.cluster import Progress, changing, driver_lock, storage_folder, writable_folder
from pipelines.preparing import PreparedSummary, PrepareTask, prepare_on_ray, select_alignments, source_hash
from pipelines.runs.corpus import feature_settings, prepared_folder, refuse_other_settings

_LIBRARIES = ("fgcme", "numpy", "pocketsphinx", "pyarrow", "ray", "soundfile", "torch", "torchaudio", "transformers")


def run(experiment: Experiment, verbose: bool = True, next_command: str | None = None) -> PreparedSummary:
    """Prepare an experiment's corpus; skip utterances that are up to date, and retry rejected ones.

    Args:
        experiment: its sections `corpus`, `prepare` and `storage` count.
        verbose: show progress on standard error, and print the summary.
        next_command: what to suggest to the user at the end.

    Raises:
        UserError: the corpus is not found; the folder holds a corpus prepared with other settings; another driver
            prepares it, or uses it and it would change; no utterance can be prepared, or more than
            `prepare.max_rejected` are rejected (prepared utterances stay).
    """
    folder = prepared_folder(experiment)
    _refuse_folder(experiment, folder)
    what = f"prepared corpus {folder.name}"
    root, listing = _find_corpus(experiment, folder, what)
    utterances = select_alignments(experiment, listing.utterances)
    _create_folder(experiment, folder)
    with driver_lock(folder, what):
        sources = {utterance.id: source_hash(utterance, root) for utterance in utterances}
        # A corpus that stays as it is may be in use.
        with nullcontext() if _is_current(folder, utterances, sources) else changing(folder, what):
            summary = _update(experiment, folder, root, utterances, sources, listing.rejections, verbose)
    if verbose:
        print("\n".join(summary.lines()), flush=True)
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
    """Delete rows that are out of date, prepare what is missing, and write the description of the corpus anew.

    Args:
        experiment: its sections `corpus` and `prepare` count.
        folder: of the prepared corpus.
        root: folder of the corpus.
        utterances: all that the corpus lists.
        sources: source hash of each, by id.
        not_listed: rejections of the listing.
        verbose: show progress on standard error.
    """
    began = time.monotonic()
    up_to_date = prepared.prune(folder, sources)
    missing = [utterance for utterance in utterances if utterance.id not in up_to_date]
    _write_description(experiment, folder, utterances=len(up_to_date), rejected=0, pending=len(missing))
    prepared.delete_rejected(folder)
    prepared.write_part(folder, "rejected", "listing", prepared.rejected_table(not_listed))
    rejections = list(not_listed)
    if missing:
        task = PrepareTask.from_experiment(experiment, root, folder)
        with Progress("utterance", {"utterance": len(missing)}, failed_word="rejected", verbose=verbose) as progress:
            rejections += prepare_on_ray(missing, sources, task, progress)

    # Again: a worker that outlived a killed driver may have written rows twice.
    present = prepared.prune(folder, sources)
    summary = PreparedSummary(
        folder=folder,
        utterances=len(present),
        newly_prepared=len(present - up_to_date),
        aligned=prepared.count_alignments(folder),
        rejections=rejections,
        seconds=time.monotonic() - began,
    )
    rejected = len(summary.rejected)
    # With too many rejections the corpus stays marked as incomplete, so that no training uses it.
    pending = rejected if summary.rejected_share > experiment.prepare.max_rejected else 0
    _write_description(experiment, folder, len(present), rejected, pending)
    return summary


def _is_current(folder: Path, utterances: Sequence[Utterance], sources: Mapping[str, str]) -> bool:
    """Whether a corpus is prepared completely, so that preparing it again changes no row."""
    if not (folder / "corpus.json").exists() or "pending" in prepared.read_description(folder).counts:
        return False
    stored = prepared.source_hashes(folder)
    return stored.keys() == {utterance.id for utterance in utterances} and sources.items() <= stored.items()


def _refuse_folder(experiment: Experiment, folder: Path) -> None:
    """Refuse a folder with a corpus prepared with other settings, or without its description."""
    if (folder / "corpus.json").exists():
        refuse_other_settings(experiment, folder)
    elif any(folder.glob("utterances/*.parquet")):
        raise UserError(f"{folder}: holds a prepared corpus without its corpus.json; delete this folder")


def _find_corpus(experiment: Experiment, folder: Path, what: str) -> tuple[Path, Listing]:
    """The corpus's root and listing.

    Args:
        experiment: its sections `corpus` and `storage` count.
        folder: of the prepared corpus.
        what: is in it, for messages.
    """
    storage = storage_folder(experiment)
    if experiment.corpus.kind != "demo":
        return catalogue.find_corpus(experiment.corpus, storage)
    # It is synthesised meanwhile, which takes seconds: whoever began is not refused after it.
    _create_folder(experiment, folder)
    with driver_lock(folder, what):
        return catalogue.find_corpus(experiment.corpus, storage)


def _create_folder(experiment: Experiment, folder: Path) -> None:
    """Create the folder of the prepared corpus; called last, so that a refusal leaves no folder."""
    writable_folder(experiment)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"prepare.folder: {folder} cannot be created ({error.strerror})") from None


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
