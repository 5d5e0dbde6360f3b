"""Alignments made elsewhere: Praat's `.TextGrid`, IEMOCAP's `.wdseg`, NIST's `.ctm`, and `.json` as of WhisperX."""

from __future__ import annotations

import contextlib
import math
import os
import re
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath

import numpy as np
import pyarrow as pa

from fgcme.alignment.contract import Aligner, Alignment, AlignmentError, clip_spans
from fgcme.alignment.ctm import name_keys, open_ctm
from fgcme.alignment.matching import FITTED, FRAMES_PER_SECOND, OVERLAPPING, UNKNOWN, Interval, cut_overlaps, fit, timed
from fgcme.alignment.text_grid import read_text_grid
from fgcme.alignment.word_times import read_word_times, word_time_ids
from fgcme.alignment.words import normalise
from fgcme.audio import Samples, frame_count
from fgcme.corpora.contract import WordTime
from fgcme.errors import UserError

SUFFIXES = (".textgrid", ".wdseg", ".ctm", ".json")
"""Of files with alignments, in lower case."""

WORDS = "words.json"
"""Name of a JSON file with the times of the words of many utterances."""

_LIST = "the corpus's list of words"
_KINDS = ".TextGrid, .wdseg, .ctm or .json"
# Sphinx numbers alternate pronunciations: `the(2)`.
_ALTERNATE = re.compile(r"\(\d+\)$")
# Labels for silence, and for speech that is not put into words.
_SILENCES = {"sil", "sp", "silence", "noise", "<eps>", "<s>", "</s>", "<sil>", "<p>", "<p:>"}
_NOT_IN_WORDS = re.compile(r"spn|unk|<.*>|\[.*\]|\{.*\}", re.IGNORECASE)


class ImportedAligner:
    """Reads the files of a folder: of one utterance, with its id as name, or a CTM or `words.json` with those of many.

    Args:
        folder: searched with all folders below it.
        tier: of a TextGrid, the one with the words; None for the one that is called so.

    Raises:
        UserError: there is no such folder, it holds no alignments, or one with those of many utterances is damaged.
    """

    def __init__(self, folder: str, tier: str | None = None) -> None:
        self._folder, self._tier = Path(folder), tier
        # Listed once: a search for each utterance would take longer than everything else. In Arrow, and by the hash of
        # the name, because a million paths would take ten times the memory as Python objects.
        chunks, keys, places = [pa.array([], pa.binary())], array("q"), array("q")
        count = 0
        for inside, _, names in os.walk(self._folder):
            found = [Path(inside, name) for name in sorted(names) if not name.startswith(".")]
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

    def align(self, utterance_id: str, samples: Samples, text: str) -> Alignment:
        """Read the alignment of an utterance; see `Aligner.align`.

        Args:
            utterance_id: name of the file, with folders where names are ambiguous.
            samples: [samples] mono at 16 kHz.
            text: what is said.

        Raises:
            AlignmentError: `missing_alignment`, `bad_alignment` or `no_words`.
        """
        return read_alignment(self.find_file(utterance_id), samples, utterance_id, text, self._tier)

    def find_file(self, utterance_id: str) -> Path:
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
            message = f"no {_KINDS} file below {self._folder} is called {name}, nor has a .ctm or {WORDS} its id"
            raise AlignmentError("missing_alignment", message)
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
    with _refused(path):
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
        with _refused(path):
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


class KnownAligner:
    """Takes what is known of an utterance; another aligner aligns where there is nothing or it is damaged.

    Args:
        known: the file with the alignment of an utterance, or the times of its words, by utterance id.
        build_fallback: builds what aligns the others, or gives the one that was built before.
        tier: see `ImportedAligner`.
    """

    def __init__(
        self,
        known: Mapping[str, Path | Sequence[WordTime]],
        build_fallback: Callable[[], Aligner],
        tier: str | None = None,
    ) -> None:
        self._known, self._build_fallback, self._tier = known, build_fallback, tier

    def align(self, utterance_id: str, samples: Samples, text: str) -> Alignment:
        """Take the alignment of an utterance, or align it with the fallback; see `Aligner.align`.

        Args:
            utterance_id: by which it is found.
            samples: [samples] mono at 16 kHz.
            text: what is said.

        Raises:
            AlignmentError: what the fallback raises.
        """
        if (found := self._known.get(utterance_id)) is not None:
            # The alignment names its method, so a damaged one shows in the counts.
            with contextlib.suppress(AlignmentError):
                if isinstance(found, Path):
                    return read_alignment(found, samples, utterance_id, text, self._tier)
                with _refused(_LIST):
                    intervals = [timed(*word) for word in found]
                return fit_alignment(_LIST, intervals, math.nan, samples, text)
        return self._build_fallback().align(utterance_id, samples, text)


def read_alignment(
    path: Path, samples: Samples, utterance_id: str = "", text: str = "", tier: str | None = None
) -> Alignment:
    """The alignment in a file, its words fitted to those of the text; see `fgcme.alignment.matching.fit`.

    The score is the file's mean acoustic score per frame (`.wdseg`), or its words' mean (`.ctm`, `.json`), else NaN.

    Args:
        path: of a file with one of `SUFFIXES`.
        samples: [samples] mono at 16 kHz.
        utterance_id: which utterance of a file with many.
        text: what is said; if it has no words, they are the file's own, without silences and fillers.
        tier: see `ImportedAligner`.

    Raises:
        AlignmentError: `bad_alignment` if the file cannot be read, is damaged or does not go with the samples or the
            text; `no_words` if it has no words.
    """
    with _refused(path):
        intervals, score = _read(path, utterance_id, tier)
    return fit_alignment(str(path), intervals, score, samples, text)


def fit_alignment(
    source: str, intervals: Sequence[Interval], score: float, samples: Samples, text: str = ""
) -> Alignment:
    """The alignment that some intervals are, their words fitted to those of the text; see `read_alignment`.

    Args:
        source: where they come from, for messages.
        intervals: in order.
        score: of the alignment.
        samples: [samples] mono at 16 kHz.
        text: what is said.

    Raises:
        AlignmentError: `bad_alignment` if they do not go with the samples or the text; `no_words` if they are none.
    """
    frames = frame_count(samples.size)
    found = list(_words(intervals))
    spoken = [interval for interval in found if interval.label != UNKNOWN]
    if not found or not (spoken or normalise(text)):
        raise AlignmentError("no_words", f"{source} has no words")
    oddities = []
    if (words := normalise(text)) and words != [interval.label for interval in spoken]:
        try:
            spoken = fit(found, words)
        except ValueError as error:
            raise AlignmentError("bad_alignment", f"{source}: {error}") from None
        oddities.append(FITTED)
    for previous, interval in zip([Interval("", 0, 0), *spoken], spoken, strict=False):
        if interval.begin < previous.begin:
            raise AlignmentError("bad_alignment", f"{source}: the word {interval.label!r} is out of order")
    if spoken[-1].begin >= frames + FRAMES_PER_SECOND:
        raise AlignmentError("bad_alignment", f"{source} is longer than the audio: is it another utterance's?")
    spoken, overlap = cut_overlaps(spoken)
    if overlap:
        oddities.append(OVERLAPPING)
    begin, end = clip_spans([word.begin for word in spoken], [word.end for word in spoken], frames)
    return Alignment(
        [word.label for word in spoken], begin, end, method="imported", score=score, oddities=tuple(oddities)
    )


def _read(path: Path, utterance_id: str, tier: str | None) -> tuple[list[Interval], float]:
    suffix = path.suffix.lower()
    if suffix == ".json":
        return read_word_times(path, utterance_id)
    if suffix == ".ctm":
        return open_ctm(path).read(utterance_id)
    return read_wdseg(_text(path)) if suffix == ".wdseg" else read_text_grid(_text(path), tier)


@contextlib.contextmanager
def _refused(path: Path | str) -> Iterator[None]:
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


def read_wdseg(text: str) -> tuple[list[Interval], float]:
    """The rows of a Sphinx word segmentation, as in IEMOCAP.

    The format: a header `SFrm EFrm SegAScr Word`, one row a word with its last frame included, and a line with the
    total score.

    Returns:
        The intervals, and the mean acoustic score of a frame.

    Raises:
        ValueError: the header or a row is not like that.
    """
    lines = [line.split() for line in text.splitlines() if line.strip()]
    if not lines or [name.lower() for name in lines[0]] != ["sfrm", "efrm", "segascr", "word"]:
        raise ValueError("its first line is not `SFrm EFrm SegAScr Word`")
    intervals = []
    score = frames = 0
    for row in lines[1:]:
        if row[0].lower().startswith("total"):
            break
        if len(row) != 4:
            raise ValueError(f"the row `{' '.join(row)}` does not have four entries")
        first, last, acoustic = int(row[0]), int(row[1]), int(row[2])
        intervals.append(Interval(row[3], first, last + 1))
        score += acoustic
        frames += last + 1 - first
    else:
        raise ValueError("it is cut short: the line with the total score is missing")
    return intervals, score / max(frames, 1)


def _words(intervals: Iterable[Interval]) -> Iterator[Interval]:
    """The spoken intervals, normalised; the frames of a label of several words are divided evenly.

    Speech that is not put into words is `UNKNOWN`.
    """
    for interval in intervals:
        label = _ALTERNATE.sub("", interval.label.strip())
        if label.lower() in _SILENCES:
            words = []
        elif _NOT_IN_WORDS.fullmatch(label):
            words = [UNKNOWN]
        else:
            words = normalise(label)
        length = (interval.end - interval.begin) / max(len(words), 1)
        for index, word in enumerate(words):
            yield Interval(word, interval.begin + round(index * length), interval.begin + round((index + 1) * length))


def _text(path: Path) -> str:
    content = path.read_bytes()
    # Praat writes UTF-16 with a byte-order mark where a label needs it.
    if content[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return content.decode("utf-16")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        # Older versions wrote Windows' encoding; words that it makes wrong do not agree with the transcript's.
        return content.decode("cp1252", errors="replace")
