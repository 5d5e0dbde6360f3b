"""Prepare: from a corpus to a prepared corpus, in parallel on Ray Data.

The driver lists the corpus and hands out blocks of the utterances that are missing or have changed. A task reads,
aligns and extracts the utterances of a block and writes them as one part of the prepared corpus. So features never pass
through the driver, and a killed preparation keeps every part that was written. Rows that are out of date are deleted at
the end, when their replacements are there; the row of an utterance whose audio cannot be reached stays.
"""

from __future__ import annotations

import functools
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from importlib.metadata import version
from itertools import compress, islice
from pathlib import Path
from types import MappingProxyType

from fgcme import features, prepared
from fgcme.corpora import catalogue
from fgcme.corpora.contract import Listing, Rejection
from fgcme.errors import UserError
from fgcme.experiment import Experiment
from fgcme.files import digest
from pipelines.cluster import Progress, changing, driver_lock, storage_folder, writable_folder
from pipelines.preparing import (
    FileHashes,
    FindAlignment,
    PreparedSummary,
    PrepareTask,
    alignment_finder,
    feature_arguments,
    hash_sources,
    locate,
    make_blocks,
    prepare_on_ray,
    text_arguments,
)
from pipelines.runs.corpus import (
    feature_settings,
    prepared_elsewhere,
    prepared_folder,
    prepared_with_other_copies,
    refuse_other_settings,
)

_LIBRARIES = ("fgcme", "numpy", "pocketsphinx", "pyarrow", "ray", "soundfile", "torch", "torchaudio", "transformers")
# In the folder of the prepared corpus.
_FILE_HASHES = "file-hashes.npy"
# Of what cannot be reached, in the summary.
_EXAMPLES = 3


def run(experiment: Experiment, verbose: bool = True, next_command: str | None = None) -> PreparedSummary:
    """Prepare an experiment's corpus; skip utterances that are up to date, and retry rejected ones.

    Args:
        experiment: its sections `corpus`, `prepare` and `storage` count.
        verbose: show progress on standard error, and print the summary.
        next_command: what to suggest to the user at the end.

    Raises:
        UserError: the corpus is not found; the folder holds a corpus prepared with other settings; another driver
            prepares it, or uses it and it would change; no utterance can be prepared, or more than
            `prepare.max_rejected` are rejected, or the audio of prepared ones cannot be reached (prepared utterances
            stay).
    """
    folder = prepared_folder(experiment)
    _refuse_folder(experiment, folder)
    # Refuses encoders that cannot be had, or layers that they lack, before anything starts.
    _frame_format(experiment)
    _word_layers(experiment)
    root, listing = catalogue.find_corpus(experiment.corpus, storage_folder(experiment))
    find_alignment = alignment_finder(experiment, listing.utterances, root)
    _create_folder(experiment, folder)
    what = f"prepared corpus {folder.name}"
    with driver_lock(folder, what):
        began = time.monotonic()
        with FileHashes(folder / _FILE_HASHES) as files:
            sources = prepared.Sources(hash_sources(listing.utterances, root, find_alignment, files))
        # A corpus that stays as it is may be in use.
        with nullcontext() if _is_current(folder, sources) else changing(folder, what):
            _copy_from_elsewhere(experiment, folder, sources, verbose)
            summary = _update(experiment, folder, root, listing, find_alignment, sources, began, verbose)
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
    listing: Listing,
    find_alignment: FindAlignment,
    sources: prepared.Sources,
    began: float,
    verbose: bool,
) -> PreparedSummary:
    """Prepare what is missing, delete rows that are out of date, and write the description of the corpus anew.

    Args:
        experiment: its sections `corpus` and `prepare` count.
        folder: of the prepared corpus.
        root: folder of the corpus.
        listing: what the corpus lists.
        find_alignment: see `alignment_finder`.
        sources: what its utterances are made from now.
        began: when, by the monotonic clock.
        verbose: show progress on standard error.
    """
    stored, up_to_date = prepared.compare_rows(folder, sources)
    if verbose:
        _say_why_again(experiment, folder, stored)
    missing = ~up_to_date & (sources.reachable | ~stored)
    pending = int(missing.sum())
    if pending:
        _write_description(experiment, folder, utterances=int(up_to_date.sum()), rejected=0, pending=pending)
    prepared.delete_rejected(folder)
    prepared.write_part(folder, "rejected", "listing", prepared.rejected_table(listing.rejections))
    rejections = list(listing.rejections)
    kept = stored & ~sources.reachable
    if pending:
        task = PrepareTask.from_experiment(experiment, root, folder)
        make = functools.partial(make_blocks, listing.utterances, sources, missing, find_alignment)
        with Progress("utterance", {"utterance": pending}, failed_word="rejected", verbose=verbose) as progress:
            rejections += (rejected := prepare_on_ray(make, pending, task, progress))
        lost = sources.find(_lost(rejected, root, folder))
        kept[lost] |= stored[lost]
    # Also deletes what a worker that outlived a killed driver has written twice.
    present = prepared.prune(folder, sources, kept)
    prepared.merge_parts(folder)
    summary = PreparedSummary(
        folder=folder,
        utterances=int(present.sum()),
        newly_prepared=int((present & ~up_to_date & ~kept).sum()),
        aligned=prepared.count_alignments(folder),
        oddities=prepared.count_oddities(folder) | Counter(each.reason for each in listing.odd),
        rejections=rejections,
        seconds=time.monotonic() - began,
        kept=int(kept.sum()),
        kept_examples=_audio_of(listing, kept),
        copies=experiment.prepare.copies.speed,
        **(counts := _counts(experiment, folder)),
    )
    # With too many rejections the corpus stays marked as incomplete, so that no training uses it.
    pending = len(summary.rejected) if summary.rejected_share > experiment.prepare.max_rejected else 0
    _write_description(experiment, folder, summary.utterances, len(summary.rejected), pending, counts)
    return summary


def _say_why_again(experiment: Experiment, folder: Path, stored: prepared.Mask) -> None:
    """Say why utterances that have a row, here or in another prepared corpus, are prepared again."""
    if older := prepared.count_older_rows(folder):
        print(f"{older} utterances are prepared again: an older version stored less of each", flush=True)
    if not stored.any() and (others := prepared_with_other_copies(experiment)):
        print(f"{others[0]} has other copies: a row holds its copies, so all utterances are prepared anew", flush=True)


def _is_current(folder: Path, sources: prepared.Sources) -> bool:
    """Whether a corpus is prepared completely, so that preparing it again changes no row and no part."""
    if not (folder / "corpus.json").exists() or "pending" in prepared.read_description(folder).counts:
        return False
    stored, up_to_date = prepared.compare_rows(folder, sources)
    return (
        bool((up_to_date | (stored & ~sources.reachable)).all())
        and prepared.count_rows(folder) == len(sources)
        and not prepared.has_parts_to_merge(folder)
    )


def _audio_of(listing: Listing, chosen: prepared.Mask) -> list[str]:
    """The audio of the first of some utterances, as examples."""
    # A long list is read only where there are any.
    return [each.audio for each in islice(compress(listing.utterances, chosen), _EXAMPLES)] if chosen.any() else []


def _lost(rejections: Sequence[Rejection], root: Path, folder: Path) -> list[str]:
    """Ids of rejected utterances whose audio or alignment went away during the preparation, as a disk may."""
    with FileHashes(folder / _FILE_HASHES) as files:
        found = files.hash(locate(root, rejection.audio) for rejection in rejections)
    return [
        rejection.id
        for rejection in rejections
        if rejection.reason == "missing_alignment" or found[locate(root, rejection.audio)] is None
    ]


def _copy_from_elsewhere(experiment: Experiment, folder: Path, sources: prepared.Sources, verbose: bool) -> None:
    """Copy rows that were prepared when the corpus or its alignments lay elsewhere.

    Args:
        experiment: see `run`.
        folder: of the prepared corpus.
        sources: what the corpus's utterances are made from now.
        verbose: say from where rows are copied.
    """
    others = prepared_elsewhere(experiment)
    if not others:
        return
    _, up_to_date = prepared.compare_rows(folder, sources)
    if not (pending := int((sources.reachable & ~up_to_date).sum())):
        return
    _write_description(experiment, folder, int(up_to_date.sum()), rejected=0, pending=pending)
    for other in others:
        try:
            count = prepared.copy_rows(other, folder, sources)
        except UserError as error:
            # Another corpus's damage, or that it is being prepared, is no reason to fail.
            said = f"rows of {other} cannot be copied: {error}"
        else:
            said = f"{count} utterances are the same as in {other}: their rows are copied" if count else ""
        if said and verbose:
            print(said, flush=True)


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
    if summary.kept:
        raise UserError(
            f"{summary.kept_line}, such as {summary.kept_examples[0]}: mount its disk, name its folder with "
            "corpus.root or prepare.alignment.folder, or take the utterances off the corpus's list, then prepare again"
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


def _write_description(
    experiment: Experiment,
    folder: Path,
    utterances: int,
    rejected: int,
    pending: int,
    more: Mapping[str, int] = MappingProxyType({}),
) -> None:
    """Write `corpus.json`.

    Args:
        experiment: see `run`.
        folder: of the prepared corpus.
        utterances: how many it has.
        rejected: how many it lacks.
        pending: how many are still to be prepared; with any the corpus counts as incomplete.
        more: see `_counts`.
    """
    settings = feature_settings(experiment)
    settings_hash = digest(settings)
    counts = {"utterances": utterances, "rejected": rejected}
    counts |= {f"aligned.{method}": count for method, count in prepared.count_alignments(folder).items()}
    frames = _frame_format(experiment)
    prepared.CorpusDescription(
        corpus=experiment.corpus.kind,
        settings=settings,
        settings_hash=settings_hash,
        corpus_hash=prepared.corpus_hash(folder, settings_hash),
        counts=counts | {name: count for name, count in [*more.items(), ("pending", pending)] if count},
        versions={name: version(name) for name in _LIBRARIES},
        frame_step=frames.frame_step,
        layers=frames.layers,
        copies=experiment.prepare.copies.speed,
        word_layers=_word_layers(experiment),
    ).write(folder)


def _counts(experiment: Experiment, folder: Path) -> dict[str, int]:
    """What encoders left out: values beyond half precision, and words of which the text encoder says nothing."""
    encoded, read = experiment.prepare.features.kind == "speech_encoder", _word_layers(experiment) > 0
    # Only an encoder's values are stored in half precision.
    columns = (["clipped"] if encoded or read else []) + (["empty_words", "cut_words"] if read else [])
    return {column: prepared.add_up(folder, column) for column in columns}


def _frame_format(experiment: Experiment) -> features.FrameFormat:
    return features.frame_format(**feature_arguments(experiment.prepare.features))


def _word_layers(experiment: Experiment) -> int:
    return features.count_word_layers(**text_arguments(experiment.prepare.text))
