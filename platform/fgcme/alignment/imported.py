"""Alignments made elsewhere: by utterance id as Praat's `.TextGrid` or IEMOCAP's `.wdseg`, or times in one `.json`."""

from __future__ import annotations

import contextlib
import functools
import json
import math
import os
import re
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from fgcme.alignment.contract import Aligner, Alignment, AlignmentError, clip_spans
from fgcme.alignment.matching import FITTED, OVERLAPPING, UNKNOWN, Interval, cut_overlaps, fit
from fgcme.alignment.words import normalise
from fgcme.audio import HOP, SAMPLE_RATE, Samples, frame_count
from fgcme.errors import UserError

_FRAMES_PER_SECOND = SAMPLE_RATE / HOP
# Sphinx numbers alternate pronunciations: `the(2)`.
_ALTERNATE = re.compile(r"\(\d+\)$")
# Labels for silence, and for speech that is not put into words.
_SILENCES = {"sil", "sp", "silence", "noise", "<eps>", "<s>", "</s>", "<sil>", "<p>", "<p:>"}
_NOT_IN_WORDS = re.compile(r"spn|unk|<.*>|\[.*\]|\{.*\}", re.IGNORECASE)
# Names of the tier with the words, in lower case: those of Praat's users, MAUS and the Montreal Forced Aligner.
_WORD_TIER = re.compile(r"words?|ort-mau|.+ - words")
# Praat's text formats: only strings and numbers that stand alone count; `!` begins a comment.
_PRAAT = re.compile(r'"((?:[^"]|"")*)"|(?<!\S)(-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?)(?!\S)|(?<!\S)!.*')


class ImportedAligner:
    """Reads `<folder>/**/<utterance id>.TextGrid` or `.wdseg`.

    Args:
        folder: searched with all folders below it.
        tier: of a TextGrid, the one with the words; None for the one that is called so.

    Raises:
        UserError: there is no such folder, or it holds no alignments.
    """

    def __init__(self, folder: str, tier: str | None = None) -> None:
        self._folder, self._tier = Path(folder), tier
        # Listed once: a search for each utterance would take longer than everything else. In Arrow, and by the hash of
        # the name, because a million paths would take ten times the memory as Python objects.
        paths, stems = [pa.array([], pa.binary())], array("q")
        for inside, _, names in os.walk(self._folder):
            found = [Path(name) for name in names if Path(name).suffix.lower() in _READERS and not name.startswith(".")]
            stems.extend(hash(name.stem) for name in found)
            paths.append(pa.array([os.fsencode(Path(inside, name)) for name in found], pa.binary()))
        if not stems:
            raise UserError(f"prepare.alignment.folder {folder}: no .TextGrid or .wdseg file in this folder or below")
        order = np.argsort(np.frombuffer(stems, np.int64), kind="stable")
        self._stems, self._paths = np.frombuffer(stems, np.int64)[order], pa.concat_arrays(paths).take(pa.array(order))

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
        first, last = (
            np.searchsorted(self._stems, hash(name), "left"),
            np.searchsorted(self._stems, hash(name), "right"),
        )
        found = sorted(
            path for path in map(Path, map(os.fsdecode, self._paths[first:last].to_pylist())) if path.stem == name
        )
        if len(found) > 1:
            found = [
                path for path in found if path.parent.parts[len(path.parent.parts) - len(folders) :] == (*folders,)
            ]
        if not found:
            message = f"no {name}.TextGrid or {name}.wdseg below {self._folder}"
            raise AlignmentError("missing_alignment", message)
        if len(found) > 1:
            raise AlignmentError(
                "bad_alignment", f"{found[0]} and {found[1]} both have the name of the utterance {utterance_id}"
            )
        return found[0]


class FileAligner:
    """Reads the file given for an utterance; another aligner aligns where there is none or it is damaged.

    Args:
        files: the file of each utterance that has one, by utterance id.
        build_fallback: builds what aligns the others, or gives the one that was built before.
        tier: see `ImportedAligner`.
    """

    def __init__(
        self, files: Mapping[str, Path], build_fallback: Callable[[], Aligner], tier: str | None = None
    ) -> None:
        self._files, self._build_fallback, self._tier = files, build_fallback, tier

    def align(self, utterance_id: str, samples: Samples, text: str) -> Alignment:
        """Read the alignment of an utterance, or align it with the fallback; see `Aligner.align`.

        Args:
            utterance_id: by which the file is found.
            samples: [samples] mono at 16 kHz.
            text: what is said.

        Raises:
            AlignmentError: what the fallback raises.
        """
        if (path := self._files.get(utterance_id)) is not None:
            # The alignment names its method, so a damaged file shows in the counts.
            with contextlib.suppress(AlignmentError):
                return read_alignment(path, samples, utterance_id, text, self._tier)
        return self._build_fallback().align(utterance_id, samples, text)


def read_alignment(
    path: Path, samples: Samples, utterance_id: str = "", text: str = "", tier: str | None = None
) -> Alignment:
    """The alignment in a file, its words fitted to those of the text; see `fgcme.alignment.matching.fit`.

    The score is the file's mean acoustic score per frame (`.wdseg`), else NaN.

    Args:
        path: of a `.TextGrid` or `.wdseg` file, or of a `.json` file with many utterances.
        samples: [samples] mono at 16 kHz.
        utterance_id: which utterance of a `.json` file.
        text: what is said; if it has no words, they are the file's own, without silences and fillers.
        tier: see `ImportedAligner`.

    Raises:
        AlignmentError: `bad_alignment` if the file cannot be read, is damaged or does not go with the samples or the
            text; `no_words` if it has no words.
    """
    try:
        if path.suffix == ".json":
            intervals, score = read_word_times(path, utterance_id), math.nan
        elif path.suffix.lower() == ".wdseg":
            intervals, score = read_wdseg(_text(path))
        else:
            intervals, score = read_text_grid(_text(path), tier)
    except (ValueError, IndexError, OverflowError) as error:
        raise AlignmentError("bad_alignment", f"{path} cannot be read as an alignment: {error}") from None
    except OSError as error:
        raise AlignmentError("bad_alignment", f"{path} cannot be read ({error.strerror or error})") from None
    frames = frame_count(samples.size)
    found = list(_words(intervals))
    spoken = [interval for interval in found if interval.label != UNKNOWN]
    if not found or not (spoken or normalise(text)):
        raise AlignmentError("no_words", f"{path} has no words")
    oddities = []
    if (words := normalise(text)) and words != [interval.label for interval in spoken]:
        try:
            spoken = fit(found, words)
        except ValueError as error:
            raise AlignmentError("bad_alignment", f"{path}: {error}") from None
        oddities.append(FITTED)
    for previous, interval in zip([Interval("", 0, 0), *spoken], spoken, strict=False):
        if interval.begin < previous.begin:
            raise AlignmentError("bad_alignment", f"{path}: the word {interval.label!r} is out of order")
    if spoken[-1].begin >= frames + _FRAMES_PER_SECOND:
        raise AlignmentError("bad_alignment", f"{path} is longer than the audio: is it another utterance's?")
    spoken, overlap = cut_overlaps(spoken)
    if overlap:
        oddities.append(OVERLAPPING)
    begin, end = clip_spans([word.begin for word in spoken], [word.end for word in spoken], frames)
    return Alignment(
        [word.label for word in spoken], begin, end, method="imported", score=score, oddities=tuple(oddities)
    )


def read_text_grid(text: str, tier: str | None = None) -> tuple[list[Interval], float]:
    """The intervals of the tier with the words of a Praat TextGrid in its long or short text format.

    Format: https://www.fon.hum.uva.nl/praat/manual/TextGrid_file_formats.html

    Args:
        text: of the file.
        tier: its name, whatever its capitals; None for one called `words`, `word`, `ORT-MAU` or `speaker - words` that
            has any.

    Returns:
        The intervals, and NaN for the score that the format lacks.

    Raises:
        ValueError: it is no TextGrid, or has no such tier, or several.
    """
    tokens = iter(_praat_tokens(text))
    # Old versions of Praat wrote `ooTextFile short`.
    if next(tokens, "") not in ("ooTextFile", "ooTextFile short") or next(tokens, "") != "TextGrid":
        raise ValueError("it is no TextGrid in a text format")
    _numbers(tokens, 2)
    names: list[str] = []
    tiers: dict[str, list[Interval]] = {}
    for _ in range(int(_numbers(tokens, 1)[0])):
        kind, name = next(tokens, ""), next(tokens, "")
        _, _, size = _numbers(tokens, 3)
        names.append(str(name).strip())
        called = names[-1].lower()
        wanted = kind == "IntervalTier" and (called == tier.strip().lower() if tier else _WORD_TIER.fullmatch(called))
        intervals = []
        for _ in range(int(size)):
            times = _numbers(tokens, 2 if kind == "IntervalTier" else 1)
            label = next(tokens, None)
            if not isinstance(label, str):
                raise ValueError(f"the tier {name!r} ends early")
            begin, end = (round(seconds * _FRAMES_PER_SECOND) for seconds in (times[0], times[-1]))
            intervals.append(Interval(label, begin, end))
        if wanted and any(interval.label.strip() for interval in intervals):
            tiers.setdefault(called, intervals)
    there = f"(there are {', '.join(names) or 'none'}): name one with prepare.alignment.tier"
    if len(tiers) > 1:
        raise ValueError(f"several tiers may be that of the words {there}")
    if not tiers:
        raise ValueError(f"no tier called `{tier or 'words'}` has words {there}")
    return next(iter(tiers.values())), math.nan


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


def read_word_times(path: Path, utterance_id: str) -> list[Interval]:
    """The words of one utterance in a file `{id: [{"word": "door", "start": 1.2, "end": 1.5}, ...]}`, times in seconds.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is not such a file, or lacks the utterance.
    """
    times = _word_times(path, path.stat().st_mtime_ns)
    if utterance_id not in times:
        raise ValueError(f"it has no utterance {utterance_id}")
    try:
        return [
            Interval(str(word["word"]), *(round(float(word[edge]) * _FRAMES_PER_SECOND) for edge in ("start", "end")))
            for word in times[utterance_id]
        ]
    except (KeyError, TypeError) as error:
        raise ValueError(f"utterance {utterance_id} is no list of words with `start` and `end` ({error!r})") from None


@functools.lru_cache(maxsize=2)
def _word_times(path: Path, modified: int) -> dict[str, Any]:
    times = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(times, dict):
        raise ValueError("it is no object of utterances")
    return times


_READERS = (".textgrid", ".wdseg")


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


def _praat_tokens(text: str) -> Iterator[str | float]:
    for match in _PRAAT.finditer(text):
        string, number = match.groups()
        if string is not None:
            yield string.replace('""', '"')
        elif number is not None:
            yield float(number)


def _numbers(tokens: Iterator[str | float], count: int) -> list[float]:
    numbers = [next(tokens, None) for _ in range(count)]
    if not all(isinstance(number, float) for number in numbers):
        raise ValueError("a number is missing")
    return [float(number) for number in numbers if number is not None]


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
