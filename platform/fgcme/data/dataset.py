"""A prepared corpus, mapped into memory, and the vocabulary of its words.

The Parquet files are turned once into files that every process maps: several trainings on one node share their pages,
and a process has only what it asks for.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fgcme.audio import spans_at, stretch_at
from fgcme.data.batch import Stretch
from fgcme.data.columns import Column, encode
from fgcme.data.frame_table import FrameTable, concatenated_ranges
from fgcme.data.front_end import FrontEnd
from fgcme.data.mapping import features_key, map_corpus, map_features, map_pooled, map_vectors
from fgcme.data.protocol import UtteranceTable
from fgcme.data.targets import RATINGS
from fgcme.prepared.corpus import read_description
from fgcme.prepared.utterance import AnalysedSpeech, Copy

# Row 0 is for padding: ragged batches need none, but pretrained word tables have it.
UNKNOWN = 1
# Utterances whose words are looked at together.
_AT_ONCE = 65_536


class SpeechCorpus:
    """A prepared corpus, mapped into memory, its utterances in the order of their ids.

    Where it has copies at other speeds, an utterance has several recordings: its own, with the number of the utterance,
    then its copies; the first copies of all utterances follow in the same order, and so on. Nothing that counts
    utterances counts copies, which have no id, text, speaker or label but those of their utterance.

    Attributes:
        description: what `corpus.json` says.
        table: ids, raw labels, speakers, sessions, acts and ratings.
        words, texts: each utterance's words, and its transcript.
        word_counts: [B] words of each utterance.
        distinct_words: the words that occur.
        alignments: the method that aligned each utterance's words with its frames.
        prepared: the prepared frames of all recordings.
        speeds: of the recordings of each utterance, first 1.
        frame_size: values of a prepared frame, those of its layers side by side.
        frame_step: samples from one prepared frame to the next.
        layers: how many layers of an encoder lie side by side in a frame.
        word_feature_size: values of what a text encoder says of a word, its layers side by side; 0 without one.
        word_layers: how many layers of it lie side by side; 0 without one.
    """

    def __init__(self, folder: Path) -> None:
        """Map the corpus in `folder`.

        Raises:
            UserError: there is no prepared corpus in the folder, or no utterance in it.
        """
        self.folder = folder
        self.description = read_description(folder)
        rows, self.prepared, self._word_features = map_corpus(folder, self.description.corpus_hash)
        self.word_feature_size = 0 if self._word_features is None else self._word_features.values.shape[1]
        self.word_layers = self.description.word_layers
        ids: Column[str] = Column(rows["id"])
        labels, speakers, sessions, acts = (
            Column[str](rows[name]) for name in ("raw_label", "speaker", "session", "act")
        )
        ratings = {name: rows[name].fill_null(np.nan).to_numpy(zero_copy_only=False) for name in RATINGS}
        self.table = UtteranceTable(ids, labels, speakers, sessions, acts, ratings, self.description.corpus)
        self.words: Column[list[str]] = Column(rows["words"])
        self.texts: Column[str] = Column(rows["text"])
        self.alignments: Column[str] = Column(rows["alignment"])
        self.frame_size = self.prepared.values.shape[1]
        self.frame_step, self.layers = self.description.frame_step, self.description.layers
        self.speeds = (1.0, *self.description.copies)
        words = rows["words"]
        self.distinct_words: Column[str] = Column(words.values.dictionary)
        self._word_numbers = words.values.indices.to_numpy()
        self._first_word = words.offsets.to_numpy()
        self._begin, self._end = (rows[name].values.to_numpy() for name in ("begin", "end"))
        self.word_counts = np.diff(self._first_word)
        self._speech = np.stack([rows[f"speech_{edge}"].fill_null(-1).to_numpy() for edge in ("begin", "end")], axis=1)

    def __len__(self) -> int:
        return len(self.word_counts)

    def recordings(self, utterances: np.ndarray) -> np.ndarray:
        """The recordings of some utterances [B], those of each together: its own, then its copies."""
        return np.asarray(utterances[:, None] + np.arange(len(self.speeds)) * len(self)).ravel()

    def frames(self, recording: int) -> np.ndarray:
        """Prepared frames of one recording, [A, F] float32; a read-only view of the file where that is float32."""
        return self.prepared[recording]

    def frame_count(self, recording: int) -> int:
        """Frames of one recording, A."""
        return int(self.prepared.counts[recording])

    def spans(self, recording: int) -> tuple[np.ndarray, np.ndarray]:
        """First prepared frame of each word of one recording, and the frame after its last, both [W]."""
        words, speed = self._words_of(recording), self.speeds[recording // len(self)]
        return spans_at(self._begin[words], self._end[words], self.frame_step, self.frame_count(recording), speed)

    @property
    def voices(self) -> np.ndarray:
        """A number for who speaks in each recording, -1 where nobody is named; at another speed it is another voice.

        Those of the utterances themselves are the speakers' in `encode(table.speakers)`.
        """
        numbers, names = encode(self.table.speakers)
        if len(self.speeds) == 1:
            return numbers
        of_each_speed = [np.where(numbers < 0, -1, numbers + place * len(names)) for place in range(len(self.speeds))]
        return np.concatenate(of_each_speed)

    def analysed(self, utterance: int) -> AnalysedSpeech:
        """One utterance as it was prepared, with its copies, as a fitted model takes it."""
        _, *copies = self.recordings(np.array([utterance])).tolist()
        begin, end = (edges[self._words_of(utterance)] for edges in (self._begin, self._end))
        return AnalysedSpeech(
            self.words[utterance],
            begin,
            end,
            self.prepared.stored(utterance),
            self.alignments[utterance],
            math.nan,
            self._speech_of(utterance),
            self.frame_step,
            tuple(Copy(speed, self.prepared.stored(copy)) for speed, copy in zip(self.speeds[1:], copies, strict=True)),
            self.encoded_words(utterance) if self.word_layers else None,
        )

    def speech(self, recording: int) -> Stretch | None:
        """First prepared frame of one recording's speech, and that after its last; None in rows of older versions."""
        speed, utterance = self.speeds[recording // len(self)], recording % len(self)
        speech = self._speech_of(utterance)
        return speech and stretch_at(speech, self.frame_step, self.frame_count(recording), speed)

    def word_numbers(self, recording: int) -> np.ndarray:
        """Position of each word of one recording in `distinct_words`, [W]."""
        return np.asarray(self._word_numbers[self._words_of(recording)])

    def encoded_words(self, recording: int) -> np.ndarray:
        """What a text encoder says of the words of one recording, [W, values] float32.

        Raises:
            ValueError: the corpus was prepared without one.
        """
        if self._word_features is None:
            raise ValueError(f"{self.folder} was prepared without a text encoder")
        return self._word_features[recording % len(self)]

    def words_of(self, utterances: np.ndarray) -> list[str]:
        """The words that some utterances [B] say, each once, in alphabetical order."""
        said = np.zeros(len(self.distinct_words), bool)
        for first in range(0, len(utterances), _AT_ONCE):
            chosen = utterances[first : first + _AT_ONCE]
            said[self._word_numbers[concatenated_ranges(self._first_word[chosen], self.word_counts[chosen])]] = True
        return sorted(self.distinct_words[number] for number in np.flatnonzero(said).tolist())

    def features(self, front_end: FrontEnd, limit: int) -> FrameTable | None:
        """What a front end makes of all recordings, see `map_features`.

        Args:
            front_end: makes the features.
            limit: audio is cut after this many prepared frames.
        """
        return map_features(self.folder, self.description.corpus_hash, self.prepared, front_end, limit)

    def pooled(
        self,
        front_end: FrontEnd,
        limit: int,
        key: Sequence[Any],
        shapes: Sequence[tuple[int, int]],
        pooled: Iterable[Sequence[np.ndarray]],
    ) -> list[np.ndarray] | None:
        """What the segments of all recordings are reduced to, see `map_pooled`.

        Args:
            front_end: makes the features that are pooled.
            limit: audio is cut after this many prepared frames.
            key: all that decides the vectors besides.
            shapes: see `map_pooled`.
            pooled: see `map_pooled`.
        """
        key = [*features_key(self.prepared.cut(limit), front_end), *key]
        return map_pooled(self.folder, self.description.corpus_hash, key, shapes, pooled)

    def word_vectors(self, path: Path, size: int) -> dict[str, np.ndarray]:
        """The words that occur and have a vector in a GloVe text file, and their vectors, [size] float32 each.

        Args:
            path: of the file.
            size: values of a vector.

        Raises:
            UserError: the file cannot be read, or a line of it is broken.
        """
        words = sorted(self.distinct_words)
        vectors = map_vectors(self.folder, self.description.corpus_hash, path, size, words)
        found = ~np.isnan(vectors[:, 0])
        return {word: vector for word, vector, there in zip(words, vectors, found, strict=True) if there}

    def _speech_of(self, utterance: int) -> Stretch | None:
        """The same in frames of 10 ms."""
        first, last = self._speech[utterance].tolist()
        return (first, last) if last >= 0 else None

    def _words_of(self, recording: int) -> slice:
        utterance = recording % len(self)
        return slice(self._first_word[utterance], self._first_word[utterance + 1])


class Vocabulary:
    """Words of the training part, numbered; row 0 is padding and row 1 any other word.

    Args:
        words: of the training part.
        given: words that only dev or test have and that have a vector all the same, numbered after the others.

    >>> vocabulary = Vocabulary.from_utterances([["kids", "talk"], ["dogs", "talk"]])
    >>> vocabulary.index(["dogs", "bark"]).tolist()
    [2, 1]
    """

    def __init__(self, words: Sequence[str], given: Sequence[str] = ()) -> None:
        self.words, self.given = list(words), list(given)
        numbered = enumerate([*self.words, *self.given], start=UNKNOWN + 1)
        self._index = {word: index for index, word in numbered}

    @classmethod
    def from_utterances(cls, utterances: Iterable[Sequence[str]]) -> Vocabulary:
        """The vocabulary of some utterances, in alphabetical order."""
        return cls(sorted({word for words in utterances for word in words}))

    def __len__(self) -> int:
        """Rows of a table over the words of the training part, padding and unknown included."""
        return len(self.words) + UNKNOWN + 1

    def index(self, words: Iterable[str]) -> np.ndarray:
        """Row of each word, [W] int64."""
        return np.array([self._index.get(word, UNKNOWN) for word in words], np.int64)
