"""The contract of every aligner: which frames each word of an utterance was spoken in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from fgcme.audio import HOP, SAMPLE_RATE, WINDOW, Samples
from fgcme.errors import DataError


class AlignmentError(DataError):
    """Words whose frames could not be found.

    Its reason is `no_words`, `oov`, `missing_alignment` or `bad_alignment`.
    """

    stage = "align"


@dataclass(frozen=True)
class Alignment:
    """The frames of each word of an utterance.

    Word i spans the frames [begin[i], end[i]) of 10 ms; spans follow each other without overlap, within the
    utterance's `fgcme.audio.frame_count`, and hold at least one frame wherever there are as many frames as words.

    Attributes:
        words: normalised words, in order.
        begin: [W] first frame of each word.
        end: [W] the frame after the last one of each word.
        method: `sphinx`, `ctc`, `whisper`, `imported` or `uniform`: the one that really made these spans.
        score: how well the words fit the audio: a mean logarithm of probabilities in nats, 0 is certain and nothing is
            above; NaN where the method gives none. The scale is one, what is measured is not (Sphinx: the states of
            frames beside the likeliest; CTC: characters; Whisper: tokens; imported: words, by another tool's
            confidence): compare scores of one method and, imported, of one tool.
        oddities: what is odd about it and was taken all the same.
    """

    words: list[str]
    begin: list[int]
    end: list[int]
    method: str
    score: float
    oddities: tuple[str, ...] = ()


class Aligner(Protocol):
    """Finds the frames of the words of a text."""

    def align(self, utterance_id: str, samples: Samples, text: str) -> Alignment:
        """Align a text with its speech; the result does not depend on earlier calls.

        Args:
            utterance_id: the utterance's id, by which imported alignments are found.
            samples: [samples] mono at 16 kHz, at least one window long.
            text: what is said.

        Raises:
            AlignmentError: there are no words, or they cannot be aligned.
        """
        ...


def edge_seconds(edge: int) -> float:
    """The time of an edge between two frames of 10 ms: half way between the centres of what they hear.

    Args:
        edge: the frame after it, such as a word's `begin`, or its `end`.

    >>> edge_seconds(100)
    1.0075
    """
    return (edge * HOP + (WINDOW - HOP) / 2) / SAMPLE_RATE


def clip_spans(begin: Sequence[int], end: Sequence[int], frames: int) -> tuple[list[int], list[int]]:
    """Spans cut to the utterance, in order, without overlap, and none empty unless there are fewer frames than words.

    Args:
        begin: [W] first frame of each word.
        end: [W] the frame after the last one of each word.
        frames: number of frames in the utterance.

    Returns:
        The new `begin` and `end`.

    >>> clip_spans([0, 4, 9], [5, 4, 12], frames=10)
    ([0, 5, 9], [5, 6, 10])
    >>> clip_spans([3, 3], [3, 3], frames=1)
    ([0, 0], [0, 1])
    """
    begins, ends = list(begin), list(end)
    previous = 0
    for index in range(len(begins)):
        begins[index] = max(begins[index], previous)
        ends[index] = previous = max(ends[index], begins[index] + 1)
    following = frames
    for index in reversed(range(len(begins))):
        ends[index] = min(ends[index], following)
        begins[index] = following = min(begins[index], max(ends[index] - 1, 0))
    return begins, ends
