"""What every corpus tells about itself and about its utterances."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from fgcme.errors import Stage


@dataclass(frozen=True)
class Utterance:
    """One labelled piece of speech.

    Attributes:
        id: unique in the corpus.
        audio: audio file, relative to the corpus root, with forward slashes.
        text: what is said, as the corpus writes it.
        raw_label: the corpus's own word for the emotion; protocols map it to a class.
        speaker: who speaks; folds never split a speaker.
        session, dialog, act: whatever the corpus knows, else None.
        start, end: the piece of the file that holds the utterance, in seconds; None for the whole file.
        valence, arousal, dominance: mean ratings on the corpus's own scale; None where nobody rated.
        alignment: the corpus's own alignment of the utterance, a file relative to the corpus root; None where it
            brings none.
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


@dataclass(frozen=True)
class Rejection:
    """Something that could not become a prepared utterance, and why.

    Attributes:
        id: the utterance's id, or the file's path where it has none.
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
class Listing:
    """The utterances of a corpus, in a stable order, and the files that are not utterances of it."""

    utterances: list[Utterance]
    rejections: list[Rejection] = field(default_factory=list)


@dataclass(frozen=True)
class Corpus:
    """A corpus: what a user must know to get it and to cite it, and how its utterances are found.

    `find(root)` lists the corpus below `root`, reading names and text files only.

    It raises `UserError` when the root is missing or holds nothing of the corpus.
    """

    name: str
    title: str
    licence: str
    citation: str
    size: str
    obtain: str
    find: Callable[[Path], Listing]
