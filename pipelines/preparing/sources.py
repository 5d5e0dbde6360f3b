"""What each utterance is prepared from: its alignment, and a hash that shows whether anything has changed."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path

from fgcme.alignment import AlignmentError
from fgcme.alignment.imported import ImportedAligner
from fgcme.audio import AudioError, sha256
from fgcme.corpora.contract import Rejection, Utterance
from fgcme.errors import UserError
from fgcme.experiment import Experiment
from fgcme.files import digest

# Files that are read at once.
_READERS = 8


def select_alignments(experiment: Experiment, utterances: Sequence[Utterance]) -> Sequence[Utterance]:
    """The utterances with the corpus's own alignments where `prepare.alignment.method` is `corpus`, else without.

    Raises:
        UserError: the settings ask for the corpus's own alignments, and no utterance has one.
    """
    if experiment.prepare.alignment.method != "corpus":
        return [replace(utterance, alignment=None) for utterance in utterances]
    if all(utterance.alignment is None for utterance in utterances):
        raise UserError(
            f"prepare.alignment.method=corpus: this copy of {experiment.corpus.kind} has no alignments of its own; set "
            "prepare.alignment.method=sphinx to align it here, or prepare.alignment.method=imported with "
            "prepare.alignment.folder=FOLDER"
        )
    return utterances


def find_alignments(experiment: Experiment, utterances: Sequence[Utterance], root: Path) -> dict[str, Path]:
    """The file with the alignment of each utterance that has one, by id; none where the settings align anew.

    Args:
        experiment: its section `prepare.alignment` counts.
        utterances: see `select_alignments`.
        root: folder of the corpus.

    Raises:
        UserError: the folder of imported alignments is missing or holds none.
    """
    settings = experiment.prepare.alignment
    if settings.method != "imported" or settings.folder is None:
        return {utterance.id: root / utterance.alignment for utterance in utterances if utterance.alignment}
    aligner = ImportedAligner(settings.folder)
    files: dict[str, Path] = {}
    for utterance in utterances:
        # A missing alignment is reported when the utterance is prepared.
        with contextlib.suppress(AlignmentError):
            files[utterance.id] = aligner.find_file(utterance.id)
    return files


def hash_sources(utterances: Sequence[Utterance], root: Path, alignments: Mapping[str, Path]) -> dict[str, str]:
    """Hash of what each utterance's row depends on, by id: what the corpus says of it, its audio and its alignment.

    Files count by their bytes: copied elsewhere or touched, they are the same. Utterances whose audio cannot be reached
    are left out.

    Args:
        utterances: as the corpus lists them.
        root: folder of the corpus.
        alignments: see `find_alignments`.
    """
    hashes = _hash_files({root / utterance.audio for utterance in utterances} | {*alignments.values()})
    sources: dict[str, str] = {}
    for utterance in utterances:
        if (audio := hashes[root / utterance.audio]) is not None:
            # Paths do not count, but a file's format does.
            described = asdict(replace(utterance, audio="", alignment=None))
            alignment = alignments.get(utterance.id)
            made_from = [alignment.suffix, hashes[alignment]] if alignment is not None else None
            sources[utterance.id] = digest([described, audio, made_from])
    return sources


def find_unreachable(
    utterances: Sequence[Utterance], sources: Mapping[str, str], rejections: Sequence[Rejection], root: Path
) -> dict[str, str]:
    """The audio of each utterance whose audio cannot be reached, by id.

    Args:
        utterances: as the corpus lists them.
        sources: see `hash_sources`.
        rejections: their audio is looked for again, because a disk may go away during a preparation.
        root: folder of the corpus.
    """
    rejected = {rejection.id for rejection in rejections}
    reached = hash_sources([utterance for utterance in utterances if utterance.id in rejected], root, {})
    return {
        utterance.id: utterance.audio
        for utterance in utterances
        if utterance.id not in (reached if utterance.id in rejected else sources)
    }


def _hash_files(paths: Collection[Path]) -> dict[Path, str | None]:
    """SHA-256 of each file; None for one that is missing, empty, not fetched or cannot be read."""

    def hash_file(path: Path) -> str | None:
        try:
            return sha256(path)
        except AudioError:
            return None

    # Hashing lets other threads run, and a shared folder answers several at once.
    with ThreadPoolExecutor(_READERS) as pool:
        return dict(zip(paths, pool.map(hash_file, paths), strict=True))
