"""Which recordings are to be answered: files, folders, patterns and manifests, and what is known to be said in them."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from fgcme.alignment import AlignmentError
from fgcme.corpora import manifest
from fgcme.corpora.contract import Rejection
from fgcme.corpora.table import SUFFIXES
from fgcme.errors import UserError
from fgcme.files import digest
from fgcme.serving.prediction import GIVEN

RECORDINGS = frozenset((".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aiff", ".aif", ".aifc", ".au", ".snd"))
RECORDINGS |= {".caf", ".w64", ".rf64", ".m4a", ".aac", ".wma", ".webm"}
"""Names of files in a folder that are taken for recordings; those of a format that cannot be read are rejected."""
SIDECARS = (".txt", ".lab")
"""Names of files with what is said in the recording of the same name, in the order in which they are looked for."""

# A line of HTK's labels: times in units of 100 ns, then a label.
_TIMED = re.compile(r"\d+\s+\d+\s+\S+")


@dataclass(frozen=True)
class Source:
    """A recording that is to be answered.

    Attributes:
        audio: path of the file, as the user named it or its folder.
        name: of the file in the folder or manifest that named it.
        text: what is said; None if a file beside it may say so, or nobody knows.
        words_from: where `text` was given.
        start, end: seconds of the segment that is meant; None for the whole file.
    """

    audio: str
    name: str
    text: str | None = None
    words_from: str = GIVEN
    start: float | None = None
    end: float | None = None

    @property
    def key(self) -> str:
        """Names the recording as it is now: with another text, or once the file has changed, it is another."""
        found = []
        for path in (Path(self.audio), *self._sidecars()):
            try:
                status = path.stat()
            except OSError:
                continue
            found.append([path.name, status.st_size, status.st_mtime_ns])
        return digest([str(Path(self.audio).resolve()), self.start, self.end, self.text, found])

    @property
    def has_text(self) -> bool:
        """Whether it is known what is said."""
        return self.text is not None or bool(self._sidecars())

    def read_text(self) -> Source:
        """The same with the text of a file beside it, if none is given and there is one.

        Raises:
            AlignmentError: the file cannot be read as text.
        """
        for path in self._sidecars() if self.text is None else ():
            try:
                text = path.read_text(encoding="utf-8-sig")
            except (OSError, UnicodeDecodeError) as error:
                raise AlignmentError("unreadable_text", f"{path}: cannot be read as text in UTF-8 ({error})") from None
            lines = [line for line in text.splitlines() if line.strip()]
            if lines and all(_TIMED.match(line) for line in lines):
                raise AlignmentError("unreadable_text", f"{path}: holds labels with times, not what is said")
            return replace(self, text=text.strip(), words_from=f"{GIVEN} in {path.name}")
        return self

    def _sidecars(self) -> list[Path]:
        if (self.start, self.end) != (None, None):
            return []
        paths = (Path(self.audio).with_suffix(suffix) for suffix in SIDECARS)
        return [path for path in paths if path.is_file()]


@dataclass(frozen=True)
class Sources:
    """The recordings that were found.

    Attributes:
        found: in the order in which they were named, those of a folder by name.
        rejections: rows of manifests that name none.
        passed_over: how many files of folders are no recordings, by the end of their name.
    """

    found: list[Source]
    rejections: list[Rejection] = field(default_factory=list)
    passed_over: Counter[str] = field(default_factory=Counter)


def find_sources(inputs: Sequence[Path], texts: Sequence[str] = ()) -> Sources:
    """Find the recordings that are meant.

    What is said in one is, in this order: one of `texts`; the column `text` of its manifest; a file beside it, of the
    same name with `.txt` or `.lab`.

    Args:
        inputs: sound files, folders (with all that is below them), patterns such as `*.wav`, or manifests: tables with
            a column `audio` and if you like `text`, `start` and `end`, as CSV, TSV, JSON lines or Parquet.
        texts: one for all recordings, or one for each in order; none.

    Raises:
        UserError: nothing is named, nothing is found, or there are more or fewer texts.
    """
    if not inputs:
        raise UserError('no audio is given: fgcme predict MODEL some.wav --text "what is said"')
    sources = Sources([])
    for path in inputs:
        before = len(sources.found) + len(sources.rejections)
        _add(path, sources)
        if len(sources.found) + len(sources.rejections) == before:
            raise UserError(f"{path}: holds no recording (names that end in {', '.join(sorted(RECORDINGS))})")
    return replace(sources, found=_with_texts(sources.found, texts))


def _add(path: Path, sources: Sources) -> None:
    if path.is_dir():
        _add_folder(path, sources)
    elif path.suffix in SUFFIXES:
        _add_manifest(path, sources)
    elif not path.exists() and any(character in str(path) for character in "*?["):
        found = Path(path.anchor).glob(str(path.relative_to(path.anchor)))
        if not (matches := sorted(match for match in found if not match.name.startswith("."))):
            raise UserError(f"{path}: no file matches")
        for match in matches:
            _add(match, sources)
    else:
        sources.found.append(Source(str(path), path.name))


def _add_folder(root: Path, sources: Sources) -> None:
    def refuse(error: OSError) -> None:
        raise UserError(f"{error.filename}: cannot be read ({error.strerror}); mount its disk or mend its permissions")

    for folder, folders, names in os.walk(root, onerror=refuse, followlinks=True):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            path = Path(folder, name)
            if name.startswith("."):
                continue
            if path.suffix.lower() in RECORDINGS:
                sources.found.append(Source(str(path), path.relative_to(root).as_posix()))
            elif path.suffix not in SIDECARS:
                sources.passed_over[path.suffix or name] += 1


def _add_manifest(path: Path, sources: Sources) -> None:
    for row in manifest.read_recordings(path):
        if isinstance(row, Rejection):
            sources.rejections.append(row)
            continue
        audio = str(path.parent / row.audio)
        given = f"{GIVEN} in {path.name}"
        sources.found.append(Source(audio, row.audio, row.text or None, given, row.start, row.end))


def _with_texts(found: list[Source], texts: Sequence[str]) -> list[Source]:
    if not texts:
        return found
    if len(texts) not in (1, len(found)):
        raise UserError(f"{len(texts)} texts for {len(found)} files: give one --text for all, or one for each in order")
    for source, text in zip(found, texts, strict=False):
        if not text.strip():
            raise UserError(f'{source.audio}: its text is empty; say what is said with --text "..."')
    each = texts if len(texts) == len(found) else list(texts) * len(found)
    return [replace(source, text=text, words_from=GIVEN) for source, text in zip(found, each, strict=True)]
