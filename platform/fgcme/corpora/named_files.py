"""Corpora in which the name of a file says everything about its recording."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from fgcme.corpora.contract import Listing, Rejection, Utterance
from fgcme.errors import UserError

SUFFIXES = (".wav", ".flac")


def list_by_name(root: Path, describe: Callable[[str, str], Utterance]) -> Listing:
    """List the recordings below `root`, in whatever folders they lie, as `.wav` or `.flac`.

    Every other file is a rejection: `not_of_corpus`, or `duplicate` for a name that is there twice. Hidden files and
    folders, which archives made on macOS contain, are ignored.

    Args:
        root: folder of the corpus.
        describe: the utterance of a file's name, without its extension, and of its path; raises `ValueError` with the
            reason for a name that is not of the corpus.

    Returns:
        The utterances by name; none if the folder holds none.

    Raises:
        UserError: a folder in it cannot be read.
    """
    utterances: dict[str, Utterance] = {}
    rejections: list[Rejection] = []
    for path in _files(root):
        audio = path.relative_to(root).as_posix()
        try:
            if path.suffix.lower() not in SUFFIXES:
                raise ValueError(f"only {' and '.join(SUFFIXES)} files are recordings")
            utterance = describe(path.stem, audio)
        except ValueError as error:
            rejections.append(Rejection(audio, audio, "list", "not_of_corpus", str(error)))
            continue
        if path.stem in utterances:
            message = f"the same recording as {utterances[path.stem].audio}, which is used"
            rejections.append(Rejection(path.stem, audio, "list", "duplicate", message))
            continue
        utterances[path.stem] = utterance
    return Listing([utterances[name] for name in sorted(utterances)], rejections)


def _files(root: Path) -> list[Path]:
    def refuse(error: OSError) -> None:
        raise UserError(f"{error.filename}: cannot be read ({error.strerror}); mount its disk or mend its permissions")

    found: list[Path] = []
    # A folder that is passed over would look like recordings that the corpus no longer has.
    for folder, folders, names in os.walk(root, onerror=refuse, followlinks=True):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [Path(folder, name) for name in names if not name.startswith(".")]
    for path in found:
        if not path.suffix and path.is_symlink() and not path.exists():
            raise UserError(f"{path}: leads nowhere; mount its disk, or delete this link")
    return sorted(found)
