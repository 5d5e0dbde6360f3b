"""The contract of every format: what it is given of a prepared corpus, and what it says that it could not write."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, Protocol

from fgcme.corpora.contract import Sex


class TimedWord(NamedTuple):
    """A word, and its begin and end in seconds from its utterance's beginning."""

    text: str
    begin: float
    end: float


@dataclass(frozen=True)
class PreparedUtterance:
    """What a prepared corpus says of an utterance, without its features.

    Attributes:
        id: unique in the corpus.
        audio: path of its file, absolute where the corpus's folder is known.
        start: second of the file at which it begins.
        duration: in seconds.
        text: what is said, as the corpus writes it.
        label: raw label of the emotion.
        speaker: who speaks.
        words: [W] those that have a place.
        alignment: the method that found them.
        alignment_score: see `fgcme.alignment.Alignment`; None where the method gives none.
        sex: of the speaker; None where the corpus does not say.
        session, dialog, act, valence, arousal, dominance: see `fgcme.corpora.Utterance`.
    """

    id: str
    audio: str
    start: float
    duration: float
    text: str
    label: str
    speaker: str
    words: list[TimedWord]
    alignment: str
    alignment_score: float | None = None
    sex: Sex | None = None
    session: str | None = None
    dialog: str | None = None
    act: str | None = None
    valence: float | None = None
    arousal: float | None = None
    dominance: float | None = None

    @property
    def end(self) -> float:
        """Second of the file at which it ends."""
        return self.start + self.duration


@dataclass(frozen=True)
class About:
    """What a prepared corpus is.

    Attributes:
        name: of the corpus, as in `corpus.kind`.
        title, language, licence, citation: see `fgcme.corpora.Corpus`.
        corpus_hash: names what the prepared corpus holds.
    """

    name: str
    title: str
    language: str
    licence: str
    citation: str
    corpus_hash: str


@dataclass
class Told:
    """What was left out, or is otherwise in the format than in the corpus, counted by why.

    Attributes:
        counts: how often, by reason.
        examples: the first of each.
    """

    counts: Counter[str] = field(default_factory=Counter)
    examples: dict[str, str] = field(default_factory=dict)

    def add(self, reason: str, example: str, count: int = 1) -> None:
        """Count something.

        Args:
            reason: what it is, behind a number, as in `words without a place`.
            example: the utterance.
            count: how much of it the utterance has.
        """
        if count:
            self.counts[reason] += count
            self.examples.setdefault(reason, example)

    def lines(self) -> Iterator[str]:
        """A line for each reason."""
        return (f"{count} {reason}, such as {self.examples[reason]}" for reason, count in self.counts.most_common())


class Write(Protocol):
    """Writes utterances in a format."""

    def __call__(self, utterances: Iterable[PreparedUtterance], folder: Path, about: About, told: Told) -> None:
        """Write all utterances, read one after the other, into an empty folder.

        Args:
            utterances: in the order of the prepared corpus.
            folder: to write into.
            about: the corpus.
            told: counts what the format cannot hold.

        Raises:
            UserError: the format's own package is not installed.
            OSError: the disk is full, or something else cannot be written.
        """
        ...
