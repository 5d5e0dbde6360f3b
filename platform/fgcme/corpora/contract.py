"""The contract of every corpus: what it says about itself and about its utterances."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple

from fgcme.errors import Stage

Sex = Literal["female", "male"]


class WordTime(NamedTuple):
    """A word, and when it is said, in seconds from its utterance's beginning."""

    word: str
    start: float
    end: float


@dataclass(frozen=True)
class Utterance:
    """One labelled utterance.

    Attributes:
        id: unique in the corpus.
        audio: audio file, relative to the corpus root, with forward slashes.
        text: what is said, as the corpus writes it.
        raw_label: the corpus's own label of the emotion; protocols map it to a class.
        speaker: who speaks; folds never split a speaker.
        session, dialog: recording session and dialog, or what comes closest to them; None where the corpus has none.
        act: how the speech came about, such as `impro`, `script` or an intensity; None where the corpus does not say.
        start, end: the piece of the file that holds the utterance, in seconds; None for the whole file.
        valence, arousal, dominance: mean ratings on the corpus's own scale; None where nobody rated.
        alignment: the corpus's own alignment of the utterance, a file relative to the corpus root; None where it
            has none.
        word_times: the corpus's own alignment where it stands in the corpus's list; None where it does not.
    """

    id: str
    audio: str
    text: str
    raw_label: str
    speaker: str
    session: str | None = None
    dialog: str | None = None
    act: str | None = None
    start: float | None = None
    end: float | None = None
    valence: float | None = None
    arousal: float | None = None
    dominance: float | None = None
    alignment: str | None = None
    word_times: tuple[WordTime, ...] | None = None


@dataclass(frozen=True)
class Rejection:
    """Something that could not become a prepared utterance, and why.

    Attributes:
        id: the utterance's id, or what else names it: a file's path, a file and a line.
        audio: audio file, relative to the corpus root.
        stage: where it failed.
        reason: a short code, such as `empty`, `silent`, `not_of_corpus`.
        message: one sentence for a person.
    """

    id: str
    audio: str
    stage: Stage
    reason: str
    message: str


@dataclass(frozen=True)
class Odd:
    """Something about a listed utterance that makes it doubtful; it is taken all the same, and counted.

    Attributes:
        id: of the utterance.
        reason: why, as in `3 with times that overlap`: the same words for all of its kind.
    """

    id: str
    reason: str


@dataclass(frozen=True)
class Listing:
    """The utterances of a corpus, in a stable order, what was found and cannot be listed as one, and what is odd.

    A large corpus reads its utterances anew from its list whenever they are gone through, and keeps none.
    """

    utterances: Collection[Utterance]
    rejections: list[Rejection] = field(default_factory=list)
    odd: list[Odd] = field(default_factory=list)


def _not_said(speaker: str) -> Sex | None:
    """The sex of a speaker of a corpus that says nothing of it."""
    return None


@dataclass(frozen=True)
class Counts:
    """How much a whole copy of a corpus lists, without its known-bad recordings."""

    utterances: int
    speakers: int | None = None


@dataclass(frozen=True)
class Download:
    """A file that the makers of a corpus offer to everybody, at their own address.

    Attributes:
        url: where it is.
        name: of the file, once it is here.
        size: in bytes.
        md5: of its bytes, in hexadecimal digits, as its makers give it.
    """

    url: str
    name: str
    size: int
    md5: str


@dataclass(frozen=True)
class Corpus:
    """A corpus: how to get it, how to cite it, and how to list its utterances.

    What its makers have not published, and nobody has counted, is left out: `None` or empty, never a guess.

    Attributes:
        name: as in `corpus.kind`.
        title: its full name.
        language: of what is spoken, in English.
        licence: under which it may be used.
        citation: what to cite.
        size: utterances, speakers, labels, hours.
        obtain: how to get it, as an instruction.
        find: lists the corpus below a root folder, from file names and text files only; it never opens audio. Raises
            `UserError` where the root is missing or holds nothing of the corpus.
        licence_id: its licence by the identifiers of the Hugging Face hub; `other` where it is none of theirs,
            `unknown` where only the user knows.
        sex_of: whether a speaker is `female` or `male`; None where the corpus does not say.
        expected: what a whole copy lists; None where that is not known.
        known_bad: id of a recording that is known to be unusable -> why; it is listed as a rejection.
        official_protocol: name of the protocol that is the makers' own partition; None where they made none.
        downloads: its files, where the licence lets everybody fetch them.
    """

    name: str
    title: str
    language: str
    licence: str
    citation: str
    size: str
    obtain: str
    find: Callable[[Path], Listing]
    licence_id: str = "other"
    sex_of: Callable[[str], Sex | None] = _not_said
    expected: Counts | None = None
    known_bad: Mapping[str, str] = field(default_factory=dict)
    official_protocol: str | None = None
    downloads: Sequence[Download] = ()


def set_aside_known_bad(listing: Listing, known_bad: Mapping[str, str]) -> Listing:
    """Take a corpus's known-bad recordings out of its utterances: they become rejections.

    So its counts are the same wherever a copy still has such a file and wherever somebody has deleted it.

    >>> silent = Utterance("a", "a.wav", "hello", "sad", "01")
    >>> set_aside_known_bad(Listing([silent]), {"a": "silent"}).rejections[0].reason
    'known_bad'
    """
    good = [each for each in listing.utterances if each.id not in known_bad]
    bad = [
        Rejection(each.id, each.audio, "list", "known_bad", known_bad[each.id])
        for each in listing.utterances
        if each.id in known_bad
    ]
    return Listing(good, [*bad, *listing.rejections], [each for each in listing.odd if each.id not in known_bad])
