"""Two alignments of the same utterances compared: how far apart the edges of their words lie."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

_MILLISECONDS = 10  # of a frame
_TOLERANCE = 50


class Spans(NamedTuple):
    """The words of an utterance and their frames of 10 ms: first, and the one after the last."""

    words: Sequence[str]
    begin: Sequence[int]
    end: Sequence[int]


class Difference(NamedTuple):
    """Milliseconds between the edges of an utterance's words: on average, and at the word where they are most."""

    utterance: str
    mean: float
    worst_word: str
    worst: int


@dataclass(frozen=True)
class Comparison:
    """What two alignments have in common, and how far apart they are.

    Attributes:
        differences: [edges] milliseconds between the edges of the same word, of begins and ends.
        utterances: of those compared, the one that differs most first.
        other_words: utterances whose words are not the same, which are not compared.
        only_first, only_second: utterances that one of the two lacks.
    """

    differences: npt.NDArray[np.int64]
    utterances: list[Difference]
    other_words: list[str]
    only_first: list[str]
    only_second: list[str]

    @property
    def words(self) -> int:
        """How many words were compared."""
        return self.differences.size // 2

    def lines(self, worst: int) -> Iterator[str]:
        """The comparison for a person.

        Args:
            worst: how many of the utterances that differ most are named.
        """
        yield f"compared: {self.words} words of {len(self.utterances)} utterances"
        for names, what in (
            (self.other_words, "not compared, their words differ"),
            (self.only_first, "only in the first"),
            (self.only_second, "only in the second"),
        ):
            if names:
                yield f"{what}: {len(names)}, such as {names[0]}"
        if not self.words:
            return
        median, most = np.percentile(self.differences, [50, 95])
        within = np.mean(self.differences <= _TOLERANCE)
        yield f"edges of words: median {median:.0f} ms, 95 % within {most:.0f} ms, {within:.1%} within {_TOLERANCE} ms"
        if self.differences.any():
            yield "worst utterances, mean difference:"
            for each in self.utterances[:worst]:
                yield f"  {each.utterance}: {each.mean:.0f} ms, most at `{each.worst_word}`, {each.worst} ms"


def compare(first: Mapping[str, Spans], second: Mapping[str, Spans]) -> Comparison:
    """Compare two alignments, utterance by utterance.

    Args:
        first: the spans of each utterance, by its id.
        second: the same.
    """
    differences, utterances, other_words = [np.zeros(0, np.int64)], [], []
    for name in sorted(first.keys() & second.keys()):
        one, other = first[name], second[name]
        if list(one.words) != list(other.words):
            other_words.append(name)
        elif one.words:
            edges = np.abs(np.array([one.begin, one.end]) - np.array([other.begin, other.end])) * _MILLISECONDS
            of_words = edges.max(axis=0)
            worst = int(of_words.argmax())
            utterances.append(Difference(name, float(edges.mean()), one.words[worst], int(of_words[worst])))
            differences.append(edges.ravel())
    return Comparison(
        differences=np.concatenate(differences),
        utterances=sorted(utterances, key=lambda each: (-each.mean, each.utterance)),
        other_words=other_words,
        only_first=sorted(first.keys() - second.keys()),
        only_second=sorted(second.keys() - first.keys()),
    )
