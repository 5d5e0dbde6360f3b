"""What each utterance is prepared from: its alignment, and a hash that shows whether anything has changed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

from fgcme.corpora.contract import Utterance
from fgcme.errors import UserError
from fgcme.experiment import Experiment
from fgcme.files import digest


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


def source_hash(utterance: Utterance, root: Path) -> str:
    """Hash of what an utterance's row depends on: the corpus's data on it, and the sizes and times of its files.

    Args:
        utterance: as the corpus lists it.
        root: folder of the corpus.
    """
    files = [file for file in (utterance.audio, utterance.alignment) if file is not None]
    return digest([asdict(utterance), *(_size_and_time(root / file) for file in files)])


def _size_and_time(file: Path) -> list[int] | None:
    try:
        status = file.stat()
    except OSError:
        return None
    return [status.st_size, status.st_mtime_ns]
