"""Corpora in which the name of a file says everything about its recording."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from fgcme.corpora.contract import Listing, Rejection, Utterance, set_aside_known_bad
from fgcme.errors import UserError

SUFFIXES = (".wav", ".flac")


class NoTextError(ValueError):
    """A recording of the corpus of which no file says what is said."""


@dataclass(frozen=True)
class NameScheme:
    """What the names of a corpus's files say, as data.

    Attributes:
        corpus: its title, for messages.
        pattern: of a recording's path, from some folder on, without its extension; its named groups are its parts.
        example: such a path.
        known: group -> the values that the corpus has.
        beside: extensions of the corpus's own other files, which are passed over.
        known_bad: see `Corpus`.
        way_out: what to do where the corpus is not found.
    """

    corpus: str
    pattern: str
    example: str
    known: Mapping[str, Collection[str]]
    way_out: str
    beside: Collection[str] = ()
    known_bad: Mapping[str, str] = field(default_factory=dict)

    def parse(self, path: str) -> dict[str, str]:
        """Read a recording's path, without its extension: the values of the pattern's groups.

        Raises:
            ValueError: it is not one of the corpus; says why.
        """
        match = re.fullmatch(f"(?:.*/)?{self.pattern}", path)
        if match is None:
            raise ValueError(f"the name is not as in {self.example}")
        parts = match.groupdict(default="")
        for group, values in self.known.items():
            if parts[group] not in values:
                raise ValueError(f"{group} {parts[group]} is not one of {', '.join(values)}")
        return parts


def find_named(root: Path, scheme: NameScheme, describe: Callable[[Mapping[str, str], str], Utterance]) -> Listing:
    """List the recordings below `root` whose names are as the scheme says, see `list_by_name`.

    Args:
        root: folder of the corpus.
        scheme: of its names.
        describe: the utterance of a name's parts, and of its path; raises `ValueError` with the reason for one that
            cannot be used.

    Raises:
        UserError: `root` is missing, holds no recording of the corpus, or a folder in it cannot be read.
    """
    if not root.is_dir():
        raise UserError(f"{root}: no such folder; {scheme.way_out}")
    listing = list_by_name(
        root, lambda _, audio: describe(scheme.parse(audio.rpartition(".")[0]), audio), scheme.beside
    )
    if not listing.utterances:
        raise UserError(
            f"{root}: holds no {scheme.corpus} speech (names such as {scheme.example}.wav); {scheme.way_out}"
        )
    return set_aside_known_bad(listing, scheme.known_bad)


def list_by_name(root: Path, describe: Callable[[str, str], Utterance], beside: Collection[str] = ()) -> Listing:
    """List the recordings below `root`, in whatever folders they lie, as `.wav` or `.flac`.

    Every other file is a rejection: `not_of_corpus`, `duplicate` for an utterance that is there twice, or `no_text`.
    Hidden files and folders, which archives made on macOS contain, are ignored.

    Args:
        root: folder of the corpus.
        describe: the utterance of a file's name, without its extension, and of its path; raises `ValueError` with the
            reason for a name that is not of the corpus, and `NoTextError` for a recording whose text is missing.
        beside: extensions of the corpus's own other files, which are passed over.

    Returns:
        The utterances by id; none if the folder holds none.

    Raises:
        UserError: a folder in it cannot be read.
    """
    utterances: dict[str, Utterance] = {}
    rejections: list[Rejection] = []
    for path in _files(root):
        audio = path.relative_to(root).as_posix()
        if path.suffix.lower() in beside:
            continue
        try:
            if path.suffix.lower() not in SUFFIXES:
                raise ValueError(f"only {' and '.join(SUFFIXES)} files are recordings")
            utterance = describe(path.stem, audio)
        except ValueError as error:
            reason = "no_text" if isinstance(error, NoTextError) else "not_of_corpus"
            rejections.append(Rejection(audio, audio, "list", reason, str(error)))
            continue
        if utterance.id in utterances:
            message = f"the same recording as {utterances[utterance.id].audio}, which is used"
            rejections.append(Rejection(utterance.id, audio, "list", "duplicate", message))
            continue
        utterances[utterance.id] = utterance
    return Listing([utterances[name] for name in sorted(utterances)], rejections)


def _leads_back(folder: Path) -> bool:
    """Whether a link leads to a folder that it lies in: to follow it would never end."""
    if not folder.is_symlink():
        return False
    here = folder.parent.resolve()
    return folder.resolve() in (here, *here.parents)


def _files(root: Path) -> list[Path]:
    def refuse(error: OSError) -> None:
        raise UserError(f"{error.filename}: cannot be read ({error.strerror}); mount its disk or mend its permissions")

    found: list[Path] = []
    # A folder that is passed over would look like recordings that the corpus no longer has.
    for folder, folders, names in os.walk(root, onerror=refuse, followlinks=True):
        folders[:] = [name for name in folders if not name.startswith(".") and not _leads_back(Path(folder, name))]
        found += [Path(folder, name) for name in names if not name.startswith(".")]
    for path in found:
        if not path.suffix and path.is_symlink() and not path.exists():
            raise UserError(f"{path}: leads nowhere; mount its disk, or delete this link")
    return sorted(found)
