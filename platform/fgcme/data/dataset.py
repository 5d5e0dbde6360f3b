"""A prepared corpus, mapped into memory, and the vocabulary of its words.

The Parquet files are turned once into files that every process maps: several trainings on one node share their pages,
and a process has only what it asks for.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from fgcme.audio import spans_at, stretch_at
from fgcme.data.batch import Stretch
from fgcme.data.columns import Column
from fgcme.data.frame_table import FrameTable, concatenated_ranges
from fgcme.data.front_end import FrontEnd
from fgcme.data.mapping import map_corpus, map_features
from fgcme.data.protocol import UtteranceTable
from fgcme.prepared.corpus import read_description
from fgcme.prepared.utterance import AnalysedSpeech

# Row 0 is for padding: ragged batches need none, but pretrained word tables have it.
UNKNOWN = 1
# Utterances whose words are looked at together.
_AT_ONCE = 65_536


class SpeechCorpus:
    """A prepared corpus, mapped into memory, its utterances in the order of their ids.

    Attributes:
        description: what `corpus.json` says.
        table: ids, raw labels, speakers, sessions and acts.
        words, texts: each utterance's words, and its transcript.
        word_counts: [B] words of each utterance.
        distinct_words: the words that occur.
        alignments: the method that aligned each utterance's words with its frames.
        prepared: the prepared frames of all utterances.
        frame_size: values of a prepared frame, those of its layers side by side.
        frame_step: samples from one prepared frame to the next.
        layers: how many layers of an encoder lie side by side in a frame.
    """

    def __init__(self, folder: Path) -> None:
        """Map the corpus in `folder`.

        Raises:
            UserError: there is no prepared corpus in the folder, or no utterance in it.
        """
        self.folder = folder
        self.description = read_description(folder)
        rows, self.prepared = map_corpus(folder, self.description.corpus_hash)
        ids: Column[str] = Column(rows["id"])
        self.table = UtteranceTable(ids, *(Column(rows[name]) for name in ("raw_label", "speaker", "session", "act")))
        self.words: Column[list[str]] = Column(rows["words"])
        self.texts: Column[str] = Column(rows["text"])
        self.alignments: Column[str] = Column(rows["alignment"])
        self.frame_size = self.prepared.values.shape[1]
        self.frame_step, self.layers = self.description.frame_step, self.description.layers
        words = rows["words"]
        self.distinct_words: Column[str] = Column(words.values.dictionary)
        self._word_numbers = words.values.indices.to_numpy()
        self._first_word = words.offsets.to_numpy()
        self._begin, self._end = (rows[name].values.to_numpy() for name in ("begin", "end"))
        self.word_counts = np.diff(self._first_word)
        self._speech = np.stack([rows[f"speech_{edge}"].fill_null(-1).to_numpy() for edge in ("begin", "end")], axis=1)

    def __len__(self) -> int:
        return len(self.word_counts)

    def frames(self, utterance: int) -> np.ndarray:
        """Prepared frames of one utterance, [A, F] float32; a read-only view of the file where that is float32."""
        return self.prepared[utterance]

    def frame_count(self, utterance: int) -> int:
        """Frames of one utterance, A."""
        return int(self.prepared.counts[utterance])

    def spans(self, utterance: int) -> tuple[np.ndarray, np.ndarray]:
        """First prepared frame of each word, and the frame after its last, both [W]."""
        words = self._words_of(utterance)
        return spans_at(self._begin[words], self._end[words], self.frame_step, self.frame_count(utterance))

    def analysed(self, utterance: int) -> AnalysedSpeech:
        """One utterance as it was prepared, as a fitted model takes it."""
        begin, end = (edges[self._words_of(utterance)] for edges in (self._begin, self._end))
        return AnalysedSpeech(
            self.words[utterance],
            begin,
            end,
            self.frames(utterance),
            self.alignments[utterance],
            math.nan,
            self._speech_of(utterance),
            self.frame_step,
        )

    def speech(self, utterance: int) -> Stretch | None:
        """First prepared frame of one utterance's speech, and that after its last; None in rows of older versions."""
        speech = self._speech_of(utterance)
        return speech and stretch_at(speech, self.frame_step, self.frame_count(utterance))

    def word_numbers(self, utterance: int) -> np.ndarray:
        """Position of each word of one utterance in `distinct_words`, [W]."""
        return np.asarray(self._word_numbers[self._words_of(utterance)])

    def words_of(self, utterances: np.ndarray) -> list[str]:
        """The words that some utterances [B] say, each once, in alphabetical order."""
        said = np.zeros(len(self.distinct_words), bool)
        for first in range(0, len(utterances), _AT_ONCE):
            chosen = utterances[first : first + _AT_ONCE]
            said[self._word_numbers[concatenated_ranges(self._first_word[chosen], self.word_counts[chosen])]] = True
        return sorted(self.distinct_words[number] for number in np.flatnonzero(said).tolist())

    def features(self, front_end: FrontEnd, limit: int) -> FrameTable | None:
        """What a front end makes of all utterances, see `map_features`.

        Args:
            front_end: makes the features.
            limit: audio is cut after this many prepared frames.
        """
        return map_features(self.folder, self.description.corpus_hash, self.prepared, front_end, limit)

    def _speech_of(self, utterance: int) -> Stretch | None:
        """The same in frames of 10 ms."""
        first, last = self._speech[utterance].tolist()
        return (first, last) if last >= 0 else None

    def _words_of(self, utterance: int) -> slice:
        return slice(self._first_word[utterance], self._first_word[utterance + 1])


class Vocabulary:
    """Words of the training part, numbered; row 0 is padding and row 1 any other word.

    >>> vocabulary = Vocabulary.from_utterances([["kids", "talk"], ["dogs", "talk"]])
    >>> vocabulary.index(["dogs", "bark"]).tolist()
    [2, 1]
    """

    def __init__(self, words: Sequence[str]) -> None:
        self.words = list(words)
        self._index = {word: index for index, word in enumerate(self.words, start=UNKNOWN + 1)}

    @classmethod
    def from_utterances(cls, utterances: Iterable[Sequence[str]]) -> Vocabulary:
        """The vocabulary of some utterances, in alphabetical order."""
        return cls(sorted({word for words in utterances for word in words}))

    def __len__(self) -> int:
        """Rows of a table over this vocabulary, padding and unknown included."""
        return len(self.words) + UNKNOWN + 1

    def index(self, words: Iterable[str]) -> np.ndarray:
        """Row of each word, [W] int64."""
        return np.array([self._index.get(word, UNKNOWN) for word in words], np.int64)
