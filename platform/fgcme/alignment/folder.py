"""Files of alignments made elsewhere: which of a folder is whose."""

from __future__ import annotations

import contextlib
import os
from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
import pyarrow as pa

from fgcme.alignment.contract import AlignmentError
from fgcme.alignment.ctm import name_keys, open_ctm
from fgcme.alignment.word_times import word_time_ids
from fgcme.corpora.contract import Utterance
from fgcme.errors import UserError

SUFFIXES = (".textgrid", ".wdseg", ".ctm", ".json")
"""Of files with alignments, in lower case."""

WORDS = "words.json"
"""Name of a JSON file with the times of the words of many utterances."""

_KINDS = ".TextGrid, .wdseg, .ctm or .json"


@dataclass(frozen=True)
class RecordingFile:
    """The alignment of a recording, of which an utterance is a part, or the whole.

    Attributes:
        path: of the file.
        name: of the recording, by which a file of many has it.
        start, end: the part, in seconds of the recording; None for its beginning and its end.
    """

    path: Path
    name: str
    start: float | None = None
    end: float | None = None


class AlignmentFolder:
    """The files of a folder: of one utterance or recording, with its name, or a CTM or `words.json` with many.

    Args:
        folder: searched with all folders below it; or a file, which counts alone.

    Raises:
        UserError: there is no such folder, it holds no alignments, or a file of many is damaged.
    """

    def __init__(self, folder: str) -> None:
        self._folder = Path(folder)
        # Listed once: a search for each utterance would take longer than everything else. In Arrow, and by the hash of
        # the name, because a million paths would take ten times the memory as Python objects.
        chunks, keys, places = [pa.array([], pa.binary())], array("q"), array("q")
        count = 0
        inside = [(self._folder.parent, [self._folder.name])] if self._folder.is_file() else _walk(self._folder)
        for place, names in inside:
            found = [Path(place, name) for name in sorted(names) if not name.startswith(".")]
            found = [path for path in found if path.suffix.lower() in SUFFIXES]
            for path in found:
                of_file = _keys(path)
                keys.extend(of_file)
                places.extend([count] * len(of_file))
                count += 1
            chunks.append(pa.array([os.fsencode(path) for path in found], pa.binary()))
        if not count:
            raise UserError(f"prepare.alignment.folder {folder}: no {_KINDS} file in this folder or below")
        hashes = np.frombuffer(keys, np.int64) if keys else np.empty(0, np.int64)
        order = np.argsort(hashes, kind="stable")
        self._keys, self._paths = hashes[order], pa.concat_arrays(chunks)
        self._places = np.array(places, np.int64)[order]

    def find(self, utterance: Utterance) -> Path | RecordingFile:
        """The file with the alignment of an utterance, or else the one with that of its recording.

        Raises:
            AlignmentError: `missing_alignment`, or `bad_alignment` where several files have the name.
        """
        with contextlib.suppress(_MissingError):
            return self.find_named(utterance.id)
        names = recording_names(utterance.audio)
        for name in names:
            with contextlib.suppress(_MissingError):
                return RecordingFile(self.find_named(name), name, utterance.start, utterance.end)
        raise self._missing(f"{utterance.id.rpartition('/')[2]} or, as its recording, {names[1]}")

    def find_named(self, utterance_id: str) -> Path:
        """The file with the alignment of an utterance.

        Raises:
            AlignmentError: `missing_alignment`, or `bad_alignment` where several files have its name.
        """
        # Folders in an id, as in audio paths, tell files of the same name apart.
        *folders, name = utterance_id.split("/")
        *escaped, _ = alignment_path(utterance_id).parts
        names = {name, alignment_path(utterance_id).name}
        found = [path for path in self._with_keys(map(_key, names)) if path.stem in names]
        if len(found) > 1:
            tails = (*folders,), (*escaped,)
            found = [path for path in found if not folders or path.parent.parts[-len(folders) :] in tails]
        if len(found) > 1:
            # A file that is exactly where the id says, and times of all sorts before JSON of whatever kind.
            exact = [path for path in found if path.parent == self._folder.joinpath(*escaped)]
            plain = [path for path in exact or found if path.suffix.lower() != ".json"]
            found = plain if len(plain) == 1 else exact or found
        of_many = [path for path in self._with_keys(name_keys(utterance_id)) if _is_of_many(path)]
        found += [path for path in of_many if path not in found]
        if not found:
            raise self._missing(name)
        if len(found) > 1:
            raise AlignmentError(
                "bad_alignment", f"{found[0]} and {found[1]} both have the name of the utterance {utterance_id}"
            )
        return found[0]

    def _with_keys(self, keys: Iterable[int]) -> list[Path]:
        """The files that may be of utterances with these keys."""
        places: set[int] = set()
        for key in keys:
            first, last = np.searchsorted(self._keys, key, "left"), np.searchsorted(self._keys, key, "right")
            places.update(self._places[first:last].tolist())
        return sorted(Path(os.fsdecode(self._paths[place].as_py())) for place in places)

    def _missing(self, name: str) -> _MissingError:
        message = f"no {_KINDS} file below {self._folder} is called {name}, nor has a .ctm or {WORDS} its id"
        return _MissingError("missing_alignment", message)


class _MissingError(AlignmentError):
    """No file has a name; its reason is `missing_alignment`."""


def _walk(folder: Path) -> Iterator[tuple[Path, list[str]]]:
    return ((Path(inside), names) for inside, _, names in os.walk(folder, onerror=_refuse_locked))


def _refuse_locked(error: OSError) -> None:
    """Alignments that may not be read are not missing."""
    if isinstance(error, PermissionError):
        raise UserError(f"prepare.alignment.folder: {error.filename} may not be read by this user")


def alignment_path(utterance_id: str) -> PurePosixPath:
    """Where the file of an utterance's alignment lies below a folder, without its suffix.

    >>> str(alignment_path("take 1/../.a"))
    'take 1/%2E./%2Ea'
    """
    # No file is called so, or it would be hidden.
    parts = [f"%2E{part[1:]}" if part.startswith(".") else part or "%2F" for part in utterance_id.split("/")]
    return PurePosixPath(*parts)


def utterances_in(path: Path) -> list[str]:
    """The utterances that a file with alignments is of: its name, or the names in one of many.

    Raises:
        AlignmentError: `bad_alignment` where it cannot be read.
    """
    with refused(path):
        if path.suffix.lower() == ".ctm":
            names = open_ctm(path).names()
            return [path.stem] if len(names) == 1 else names
        if path.name == WORDS and (ids := word_time_ids(path)) is not None:
            return ids
    return [path.stem]


def _key(name: str) -> int:
    return hash(os.fsencode(name))


def _keys(path: Path) -> list[int]:
    """What a file is found by: the hash of its name, or those of the utterances in one of many.

    Raises:
        UserError: it cannot be read.
    """
    try:
        with refused(path):
            if path.suffix.lower() == ".ctm":
                inside = open_ctm(path).keys.tolist()
                return list({_key(path.stem), *inside}) if len(inside) < 2 else inside
            if path.name == WORDS and (ids := word_time_ids(path)) is not None:
                return [_key(each) for each in ids]
    except AlignmentError as error:
        raise UserError(f"{error.message}; mend it, or move it away") from None
    return [_key(path.stem)]


def _is_of_many(path: Path) -> bool:
    return path.suffix.lower() == ".ctm" or path.name == WORDS


def recording_names(audio: str) -> list[str]:
    """What the alignment of a recording may be called, its folders before its name alone.

    >>> recording_names("/calls/may/a.wav")
    ['calls/may/a', 'a', 'a.wav']
    """
    path = PurePosixPath(audio.lstrip("/"))
    return [str(path.with_suffix("")), path.stem, path.name]


@contextlib.contextmanager
def refused(path: Path | str) -> Iterator[None]:
    """Refuse a file that cannot be read or is damaged.

    Raises:
        AlignmentError: `bad_alignment`, for every error in the block that says so.
    """
    try:
        yield
    except (ValueError, IndexError, OverflowError, RecursionError) as error:
        raise AlignmentError("bad_alignment", f"{path} cannot be read as an alignment: {error}") from None
    except OSError as error:
        raise AlignmentError("bad_alignment", f"{path} cannot be read ({error.strerror or error})") from None
