"""What each utterance is prepared from: its alignment, and a hash that shows whether anything has changed."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from fgcme.alignment import AlignmentError
from fgcme.alignment.folder import RecordingFile
from fgcme.alignment.word_list import open_alignments
from fgcme.corpora.contract import Utterance, WordTime
from fgcme.errors import UserError
from fgcme.experiment import Experiment
from fgcme.files import digest
from fgcme.prepared import TOLD, UTTERANCES
from pipelines.preparing.file_hashes import FileHashes

FindAlignment = Callable[[Utterance], Path | RecordingFile | Sequence[WordTime] | None]
"""The file with the alignment of an utterance, or the times of its words; None where it is aligned anew."""

# A row with other columns is another row, so that those of older versions are made again.
_COLUMNS = [str(field) for field in UTTERANCES if field.name not in TOLD]
# Utterances whose files are looked at together.
_CHUNK = 4096


def alignment_finder(experiment: Experiment, utterances: Iterable[Utterance], root: Path) -> FindAlignment:
    """What finds the alignment of an utterance, as `prepare.alignment` says.

    Args:
        experiment: its section `prepare.alignment` counts.
        utterances: all that the corpus lists.
        root: folder of the corpus.

    Returns:
        A function that raises `AlignmentError` where the folder of imported alignments lacks an utterance's, and its
        recording's.

    Raises:
        UserError: the settings ask for the corpus's own alignments and no utterance has one; the folder of imported
            alignments is missing or holds none.
    """
    settings = experiment.prepare.alignment
    if settings.method == "corpus":
        if all(utterance.alignment is None and utterance.word_times is None for utterance in utterances):
            raise UserError(
                f"prepare.alignment.method=corpus: this copy of {experiment.corpus.kind} has no alignments of its own; "
                "set prepare.alignment.method=sphinx to align it here, or prepare.alignment.method=imported with "
                "prepare.alignment.folder=FOLDER"
            )
        return lambda utterance: root / utterance.alignment if utterance.alignment else utterance.word_times
    if settings.method == "imported" and settings.folder is not None:
        return open_alignments(settings.folder, settings.tier).find
    return lambda utterance: None


def hash_sources(
    utterances: Iterable[Utterance], root: Path, find_alignment: FindAlignment, files: FileHashes
) -> Iterator[list[tuple[str, str | None]]]:
    """Hash of what each utterance's row depends on: what the corpus says of it, its audio and its alignment.

    Files count by their bytes: copied elsewhere or touched, they are the same. The columns of a row count too.

    Args:
        utterances: as the corpus lists them.
        root: folder of the corpus.
        find_alignment: see `alignment_finder`.
        files: hashes of the files.

    Returns:
        Some thousands of utterances at a time: the id of each, and the hash, None where its audio or imported alignment
        cannot be reached.
    """
    rest = iter(utterances)
    while chunk := list(itertools.islice(rest, _CHUNK)):
        made_from = [(each, locate(root, each.audio), *_find(find_alignment, each)) for each in chunk]
        hashes = files.hash(path for _, *paths, _, _ in made_from for path in paths if path is not None)
        listed: list[tuple[str, str | None]] = []
        for utterance, audio, file, aligned, there in made_from:
            if hashes[audio] is None or not there:
                listed.append((utterance.id, None))
                continue
            # Paths do not count, but a file's format does.
            described = {**vars(utterance), "audio": "", "alignment": None}
            del described["word_times"]
            source = [*aligned, hashes[file]] if file is not None else aligned
            listed.append((utterance.id, digest([described, hashes[audio], source, _COLUMNS])))
        yield listed


def locate(root: Path, file: str) -> str:
    """The path of a file of the corpus. A string: of a million files, Python's paths take most of the time."""
    return file if file.startswith("/") else f"{root}/{file}"


def _find(find_alignment: FindAlignment, utterance: Utterance) -> tuple[str | None, Any, bool]:
    """What an utterance's alignment is.

    Returns:
        The file that has it; what counts beside the file's bytes, or the times of words themselves; whether it is there
        if it should be.
    """
    try:
        found = find_alignment(utterance)
    except AlignmentError:
        return None, None, False
    if isinstance(found, RecordingFile):
        # The same bytes as an utterance's own would be times from its beginning.
        return str(found.path), [found.name, found.path.suffix], True
    return (str(found), [found.suffix], True) if isinstance(found, Path) else (None, found, True)
