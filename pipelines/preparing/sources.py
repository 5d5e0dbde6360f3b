"""What each utterance is prepared from: its alignment, and a hash that shows whether anything has changed."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from fgcme.alignment import AlignmentError
from fgcme.alignment.imported import ImportedAligner
from fgcme.corpora.contract import Utterance, WordTime
from fgcme.errors import UserError
from fgcme.experiment import Experiment
from fgcme.files import digest
from fgcme.prepared import TOLD, UTTERANCES
from pipelines.preparing.file_hashes import FileHashes

FindAlignment = Callable[[Utterance], Path | Sequence[WordTime] | None]
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
        A function that raises `AlignmentError` where the folder of imported alignments lacks an utterance's.

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
        aligner = ImportedAligner(settings.folder)
        return lambda utterance: aligner.find_file(utterance.id)
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
        hashes = files.hash(path for _, *paths, _ in made_from for path in paths if isinstance(path, str))
        listed: list[tuple[str, str | None]] = []
        for utterance, audio, alignment, there in made_from:
            if hashes[audio] is None or not there:
                listed.append((utterance.id, None))
                continue
            # Paths do not count, but a file's format does.
            described = {**vars(utterance), "audio": "", "alignment": None}
            del described["word_times"]
            aligned = [Path(alignment).suffix, hashes[alignment]] if isinstance(alignment, str) else alignment
            listed.append((utterance.id, digest([described, hashes[audio], aligned, _COLUMNS])))
        yield listed


def locate(root: Path, file: str) -> str:
    """The path of a file of the corpus. A string: of a million files, Python's paths take most of the time."""
    return file if file.startswith("/") else f"{root}/{file}"


def _find(find_alignment: FindAlignment, utterance: Utterance) -> tuple[str | Sequence[WordTime] | None, bool]:
    """The file with an utterance's alignment or its words' times, and whether they are there, if they should be."""
    try:
        found = find_alignment(utterance)
    except AlignmentError:
        return None, False
    return (str(found) if isinstance(found, Path) else found), True
