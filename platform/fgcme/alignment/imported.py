"""Alignments made elsewhere: Praat's `.TextGrid`, IEMOCAP's `.wdseg`, NIST's `.ctm`, and `.json` as of WhisperX."""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from fgcme.alignment.contract import Aligner, Alignment, AlignmentError, clip_spans
from fgcme.alignment.ctm import open_ctm
from fgcme.alignment.folder import RecordingFile, refused
from fgcme.alignment.matching import FITTED, FRAMES_PER_SECOND, OVERLAPPING, UNKNOWN, Interval, cut_overlaps, fit, timed
from fgcme.alignment.text_grid import read_text_grid
from fgcme.alignment.timed_words import NO_PROBABILITY, TimedWord, mean_score, within
from fgcme.alignment.wdseg import read_wdseg
from fgcme.alignment.word_list import open_alignments
from fgcme.alignment.word_times import read_word_times
from fgcme.alignment.words import normalise
from fgcme.audio import HOP, Samples, frame_count
from fgcme.corpora.contract import WordTime

Known = Path | RecordingFile | Sequence[WordTime] | AlignmentError
"""What is known of an utterance's words: a file of its own or of its recording, their times, or why there are none."""

CLIPPED = "with imported words that reach beyond the utterance, clipped"
UNSCORED = "with imported scores that are no probabilities, not taken"

_LIST = "the corpus's list of words"
# Sphinx numbers alternate pronunciations: `the(2)`.
_ALTERNATE = re.compile(r"\(\d+\)$")
# Labels for silence, and for speech that is not put into words.
_SILENCES = {"sil", "sp", "silence", "noise", "<eps>", "<s>", "</s>", "<sil>", "<p>", "<p:>"}
_NOT_IN_WORDS = re.compile(r"spn|unk|<.*>|\[.*\]|\{.*\}", re.IGNORECASE)


class ImportedAligner:
    """Reads the alignments of a folder, see `open_alignments`.

    Args:
        folder: with the alignments.
        tier: with the words; None for the usual one.

    Raises:
        UserError: there is no such folder, it holds no alignments, or one with those of many utterances is damaged.
    """

    def __init__(self, folder: str, tier: str | None = None) -> None:
        self._alignments, self._tier = open_alignments(folder, tier), tier

    def align(self, utterance_id: str, samples: Samples, text: str) -> Alignment:
        """Read the alignment of an utterance; see `Aligner.align`.

        Args:
            utterance_id: name of the file, with folders where names are ambiguous.
            samples: [samples] mono at 16 kHz.
            text: what is said.

        Raises:
            AlignmentError: `missing_alignment`, `bad_alignment` or `no_words`.
        """
        known = {utterance_id: self._alignments.find_named(utterance_id)}
        return KnownAligner(known, None, self._tier).align(utterance_id, samples, text)


class KnownAligner:
    """Takes what is known of an utterance; another aligner aligns where there is nothing or it is damaged.

    Args:
        known: what is known, by utterance id.
        build_fallback: builds what aligns the others, or gives the one that was built before; None where an utterance
            without a good alignment is to be rejected.
        tier: see `ImportedAligner`.
    """

    def __init__(
        self,
        known: Mapping[str, Known],
        build_fallback: Callable[[], Aligner] | None,
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
            AlignmentError: what the fallback raises, or without one what is wrong with the known one.
        """
        try:
            return self._take(utterance_id, samples, text)
        except AlignmentError:
            # The alignment names its method, so a damaged one shows in the counts.
            if self._build_fallback is None:
                raise
        return self._build_fallback().align(utterance_id, samples, text)

    def _take(self, utterance_id: str, samples: Samples, text: str) -> Alignment:
        found = self._known.get(utterance_id)
        if isinstance(found, Path | RecordingFile):
            return read_alignment(found, samples, utterance_id, text, self._tier)
        if found is None or isinstance(found, AlignmentError):
            raise found or AlignmentError("missing_alignment", f"nothing is known of the words of {utterance_id}")
        return fit_alignment(_LIST, [TimedWord(*word) for word in found], samples, text)


def read_alignment(
    file: Path | RecordingFile, samples: Samples, utterance_id: str = "", text: str = "", tier: str | None = None
) -> Alignment:
    """The alignment in a file, its words fitted to those of the text; see `fgcme.alignment.matching.fit`.

    Of a recording's, the words whose middle lies in the utterance count, from its beginning. The score is the mean over
    the words (of the logarithm of their confidence in `.ctm` and `.json`, of a frame's acoustic score in `.wdseg`),
    else NaN.

    Args:
        file: with one of `SUFFIXES`; the utterance's own, or its recording's.
        samples: [samples] mono at 16 kHz.
        utterance_id: which utterance of a file with many.
        text: what is said; if it has no words, they are the file's own, without silences and fillers.
        tier: see `ImportedAligner`.

    Raises:
        AlignmentError: `bad_alignment` if the file cannot be read, is damaged or does not go with the samples or the
            text; `no_words` if it has no words.
    """
    if isinstance(file, Path):
        with refused(file):
            words = _read(file, utterance_id, tier)
        return fit_alignment(str(file), words, samples, text)
    with refused(file.path):
        words = _read_recording(file.path, file.path.stat().st_mtime_ns, file.name, tier)
    source = str(file.path)
    if file.start is not None or file.end is not None:
        start, end = file.start or 0.0, math.inf if file.end is None else file.end
        words = within(words, start, end)
        source += f" from {start:g} s" + (f" to {end:g} s" if file.end is not None else "")
    return fit_alignment(source, words, samples, text)


def fit_alignment(source: str, words: Sequence[TimedWord], samples: Samples, text: str = "") -> Alignment:
    """The alignment that some words are, fitted to those of the text; see `read_alignment`.

    Args:
        source: where they come from, for messages.
        words: in order, silences too.
        samples: [samples] mono at 16 kHz.
        text: what is said.

    Raises:
        AlignmentError: `bad_alignment` if they do not go with the samples or the text; `no_words` if they are none.
    """
    frames = frame_count(samples.size)
    with refused(source):
        found = list(_words(timed(*word[:3]) for word in words))
    spoken = [interval for interval in found if interval.label != UNKNOWN]
    if not found or not (spoken or normalise(text)):
        raise AlignmentError("no_words", f"{source} has no words")
    oddities = []
    if (said := normalise(text)) and said != [interval.label for interval in spoken]:
        try:
            spoken = fit(found, said)
        except ValueError as error:
            raise AlignmentError("bad_alignment", f"{source}: {error}") from None
        oddities.append(FITTED)
    # A rounded frame beyond the edge is none of a word.
    if spoken[0].begin < -1 < spoken[0].end or spoken[-1].begin < samples.size / HOP < spoken[-1].end - 1:
        oddities.append(CLIPPED)
    spoken = [word._replace(begin=max(word.begin, 0)) if word.end > 0 else word for word in spoken]
    for previous, interval in zip([Interval("", 0, 0), *spoken], spoken, strict=False):
        if interval.begin < previous.begin:
            raise AlignmentError("bad_alignment", f"{source}: the word {interval.label!r} is out of order")
    if spoken[-1].begin >= frames + FRAMES_PER_SECOND:
        raise AlignmentError("bad_alignment", f"{source} is longer than the audio: is it another utterance's?")
    spoken, overlap = cut_overlaps(spoken)
    if overlap:
        oddities.append(OVERLAPPING)
    scored = [word for word in words if _is_speech(word.label)]
    if any(word.score == NO_PROBABILITY for word in scored):
        oddities.append(UNSCORED)
    begin, end = clip_spans([word.begin for word in spoken], [word.end for word in spoken], frames)
    return Alignment(
        [word.label for word in spoken],
        begin,
        end,
        method="imported",
        score=mean_score(scored),
        oddities=tuple(oddities),
    )


def _read(path: Path, name: str, tier: str | None) -> list[TimedWord]:
    """The words of an utterance or a recording in a file, by its name where there are many."""
    suffix = path.suffix.lower()
    if suffix == ".json":
        return read_word_times(path, name)
    if suffix == ".ctm":
        return open_ctm(path).read(name)
    return read_wdseg(_text(path)) if suffix == ".wdseg" else read_text_grid(_text(path), tier)


@functools.lru_cache(maxsize=4)
def _read_recording(path: Path, modified: int, name: str, tier: str | None) -> list[TimedWord]:
    """The same of a recording, which all its utterances ask for."""
    return _read(path, name, tier)


def _words(intervals: Iterable[Interval]) -> Iterator[Interval]:
    """The spoken intervals, normalised; the frames of a label of several words are divided evenly.

    Speech that is not put into words is `UNKNOWN`.
    """
    for interval in intervals:
        words = _said(interval.label)
        length = (interval.end - interval.begin) / max(len(words), 1)
        for index, word in enumerate(words):
            yield Interval(word, interval.begin + round(index * length), interval.begin + round((index + 1) * length))


def _said(label: str) -> list[str]:
    """The words of a label: none of a silence, `UNKNOWN` of speech that is not put into words."""
    label = _ALTERNATE.sub("", label.strip())
    if label.lower() in _SILENCES:
        return []
    return [UNKNOWN] if _NOT_IN_WORDS.fullmatch(label) else normalise(label)


def _is_speech(label: str) -> bool:
    return _said(label) not in ([], [UNKNOWN])


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
