"""What a model takes in of the utterances of a part: words, frames, and which frames each segment reads."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from fgcme.data.batch import FrameLayout, SegmentScheme, Stretch, layout_frames
from fgcme.data.dataset import SpeechCorpus, Vocabulary
from fgcme.data.frame_table import FrameTable
from fgcme.data.front_end import FrontEnd, Moments
from fgcme.data.missing import Missing, unknown_words, without_words
from fgcme.data.pooled_vectors import PooledVectors
from fgcme.errors import UserError

# Layouts of so many utterances stay in memory, about a kilobyte each.
_LAYOUTS_KEPT = 50_000
# Tells the draws of boundaries from others of the same seed and position.
_BOUNDARIES = 1


@dataclass(frozen=True)
class ModelInput:
    """How a model takes in any utterance.

    Attributes:
        scheme: which frames each segment reads; a model that reads no frames has none computed.
        vocabulary: numbers the words.
        frame_limit: audio is cut after this many prepared frames.
        front_end: turns prepared frames into the model's.
        speakers: moments of each voice's features (`SpeechCorpus.voices`), where the front end normalises by speaker.
        tells_speakers_apart: whether batches say who speaks.
        loses_words: whether utterances may lose their words, see `fgcme.data.missing`.
        reads_word_features: whether batches hold what a text encoder says of words.
    """

    scheme: SegmentScheme
    vocabulary: Vocabulary
    frame_limit: int
    front_end: FrontEnd = field(default_factory=FrontEnd)
    speakers: Mapping[int, Moments] = field(default_factory=dict)
    loses_words: bool = False
    tells_speakers_apart: bool = False
    reads_word_features: bool = False

    @property
    def needs_speech(self) -> bool:
        """Whether it must be known where the speech is: for the segments, or where an utterance has no words."""
        return self.scheme.needs_speech or self.loses_words

    @property
    def reads_frames(self) -> bool:
        """Whether the model reads frames at all."""
        return self.scheme.segments != "none"


def boundary_generator(seed: int, position: int) -> np.random.Generator:
    """What draws the boundaries of an utterance's random segments, whatever else the seed decides."""
    return np.random.default_rng([seed, position, _BOUNDARIES])


class PartInputs:
    """The inputs of one part, by position in the part.

    Each position has a recording: an utterance, or a copy of it at another speed right after it. A model that reads no
    frames has no copies: they would all be the same to it. Frames are views of files that all processes share; a
    recording's layout is found when it is asked for.

    Args:
        corpus: where the utterances are.
        utterances: [B] indices of the part's utterances in the corpus.
        labels: class index of every utterance of the corpus, -1 where it takes no part.
        model_input: how the model takes in an utterance.

    Attributes:
        model_input: as given.
        utterances: [B] as given.
        of_each: how many recordings each utterance has.
        recordings: [B of_each] numbers of the recordings in the corpus, those of each utterance together.
        labels: [B of_each] their class indices.
        word_counts: [B of_each] words of each.
        frame_counts: [B of_each] frames of each, cut at the limit.
        frame_size: values of a frame as the model reads it, F.
        speakers: [B of_each] who speaks (`SpeechCorpus.voices`), or None where the model need not know.
        frame_step: samples from one prepared frame to the next.
        blocks: how many blocks of like values a frame has: of layers, and of values and each order of their deltas.
    """

    def __init__(
        self, corpus: SpeechCorpus, utterances: np.ndarray, labels: np.ndarray, model_input: ModelInput
    ) -> None:
        self.model_input = model_input
        self.utterances = utterances
        self.of_each = len(corpus.speeds) if model_input.reads_frames else 1
        self.recordings = corpus.recordings(utterances) if model_input.reads_frames else utterances
        spoken = np.repeat(utterances, self.of_each)
        self.labels = labels[spoken]
        self.word_counts = corpus.word_counts[spoken]
        self.frame_counts = np.minimum(corpus.prepared.counts[self.recordings], model_input.frame_limit)
        self.frame_size = model_input.front_end.size(corpus.frame_size)
        needs_voices = model_input.tells_speakers_apart or model_input.speakers
        self._voices = corpus.voices[self.recordings].astype(np.int64) if needs_voices else None
        self.speakers = self._voices if model_input.tells_speakers_apart else None
        self.frame_step = corpus.frame_step
        self.blocks = corpus.layers * (1 + model_input.front_end.deltas)
        # By itself, not by a cache of a bound method: that would keep the frames of a training that has ended alive.
        self._layouts: dict[int, FrameLayout] = {}
        self._corpus = corpus
        self._vocabulary_rows = model_input.vocabulary.index(corpus.distinct_words)
        self._on_device: tuple[Tensor, np.ndarray] | None = None
        # By what recordings lack; of each pooling.
        self._pooled: dict[Missing | None, list[PooledVectors]] = {}

    def __len__(self) -> int:
        return len(self.recordings)

    def words(self, position: int) -> np.ndarray:
        """Vocabulary indices of the words of one recording, [W]."""
        return np.asarray(self._vocabulary_rows[self._corpus.word_numbers(self.recordings[position])])

    def word_features(self, position: int) -> np.ndarray:
        """What a text encoder says of the words of one recording, [W, values] float32."""
        return self._corpus.encoded_words(self.recordings[position])

    def frames(self, position: int) -> np.ndarray:
        """Frames of one recording as the model may read them, [A, F] float32; none where it reads no frames."""
        if not self.model_input.reads_frames:
            return np.zeros((0, self.frame_size), np.float32)
        if self._features is None:
            return self.through_front_end(self._corpus.prepared.stored(self.recordings[position]), position)
        features = self._features[self.recordings[position]]
        return self.model_input.front_end.with_speaker(features, self._speaker_moments(position))

    def prepared_frames(self, position: int) -> np.ndarray:
        """Frames of one recording as prepared, uncut, [A, prepared] float32."""
        return self._corpus.frames(self.recordings[position])

    def spans(self, position: int) -> tuple[np.ndarray, np.ndarray]:
        """First frame of each word of one recording, and the frame after its last, both [W]."""
        return self._corpus.spans(self.recordings[position])

    def speech(self, position: int) -> Stretch | None:
        """Where the speech of one recording is; None where the model need not know.

        Raises:
            UserError: the corpus was prepared by a version that did not store it.
        """
        if not self.model_input.needs_speech:
            return None
        speech = self._corpus.speech(self.recordings[position])
        if speech is None:
            scheme = self.model_input.scheme
            key = "overall" if scheme.overall == "speech" else "segments"
            setting = f"model.pooling.{key} {getattr(scheme, key)}" if scheme.needs_speech else "modality_dropout"
            raise UserError(
                f"{self._corpus.folder}: an older version prepared this corpus and did not store where the speech is, "
                f"which {setting} needs; run `fgcme prepare` again"
            )
        return speech

    def layout(self, position: int) -> FrameLayout:
        """Which frames the segments of one recording read, without a seed."""
        layout = self._layouts.get(position)
        if layout is None:
            layout = self._layout(position)
            if len(self._layouts) < _LAYOUTS_KEPT:
                self._layouts[position] = layout
        return layout

    def drawn_layout(self, position: int, seed: int) -> FrameLayout:
        """The layout of one recording in training: its random boundaries follow from the seed and the position."""
        if self.model_input.scheme.segments != "random":
            return self.layout(position)
        return self._layout(position, boundary_generator(seed, position))

    def layout_without_words(self, position: int) -> tuple[FrameLayout, np.ndarray]:
        """Which frames are read of one recording whose words nobody knows, and the [W] unknown words that are."""
        speech = self.speech(position)
        assert speech is not None, "inputs that lose words know where the speech is"
        count = int(self.frame_counts[position])
        return without_words(self.model_input.scheme, count, speech, self.frame_step)

    def through_front_end(self, frames: np.ndarray, position: int) -> np.ndarray:
        """Frames of one recording, augmented or not, as the model reads them, [A, prepared] -> [A, F]."""
        limit = self.model_input.frame_limit
        return self.model_input.front_end(frames[:limit], self._speaker_moments(position))

    @property
    def device_bytes(self) -> int:
        """Bytes that `keep_on` takes on a device."""
        return int(self._lengths().sum()) * self.frame_size * np.dtype(np.float32).itemsize

    def keep_on(self, device: torch.device | str) -> None:
        """Copy the frames that segments read to a device, for `frames_on_device`."""
        starts = np.cumsum([0, *self._lengths()])
        frames = torch.empty((int(starts[-1]), self.frame_size), device=device)
        for position, first in enumerate(starts[:-1].tolist()):
            own = self.frames(position)
            for begin, end in self.layout(position).runs.tolist():
                frames[first : first + end - begin] = torch.tensor(own[begin:end])
                first += end - begin
        self._on_device = frames, starts

    def frames_on_device(self, positions: np.ndarray) -> Tensor | None:
        """The frames that some recordings' segments read, end to end, [N, F]; None before `keep_on`."""
        if self._on_device is None:
            return None
        frames, starts = self._on_device
        return torch.cat([frames[starts[position] : starts[position + 1]] for position in positions])

    def pooled_bytes(self, sizes: Sequence[int], lacking: Missing | None = None) -> int:
        """Bytes that `keep_pooled` takes for vectors of these sizes."""
        vectors = zip(self._segment_counts(lacking), sizes, strict=True)
        return sum(int(counts.sum()) * size for counts, size in vectors) * np.dtype(np.float32).itemsize

    def keep_pooled(self, batches: Iterable[Sequence[Tensor]], lacking: Missing | None = None) -> None:
        """Keep the pooled vectors of all recordings, for `pooled`.

        Args:
            batches: of the recordings in order, vectors of the words' segments and, if there are any, the overall ones.
            lacking: what all recordings lack.
        """
        self.share_pooled(self, [torch.cat(vectors) for vectors in zip(*batches, strict=True)], lacking)

    def keep_silence(self, pooled: Sequence[Tensor]) -> None:
        """Keep what stands for the segments of a recording that nobody hears, for `pooled`.

        Args:
            pooled: [1, size] by each pooling.
        """
        nowhere = np.zeros(len(self), np.int64)
        self._pooled["sound"] = [
            PooledVectors(vector.expand(int(counts.max(initial=0)), -1), nowhere, counts)
            for vector, counts in zip(pooled, self._segment_counts("sound"), strict=True)
        ]

    def of_corpus(self) -> PartInputs:
        """The inputs of all utterances of the corpus, of no class."""
        everyone = np.arange(len(self._corpus))
        return PartInputs(self._corpus, everyone, np.full_like(everyone, -1), self.model_input)

    def map_pooled(
        self,
        poolings: Sequence[str],
        sizes: Sequence[int],
        pooled: Iterable[Sequence[np.ndarray]],
        lacking: Missing | None = None,
    ) -> list[np.ndarray] | None:
        """Map the pooled vectors of all recordings of the corpus, whose inputs these are; see `fgcme.data.mapping`.

        Args:
            poolings: all that tells the poolings from others.
            sizes: values of a vector of each.
            pooled: of each recording the vectors of each pooling; asked for where no process has mapped them yet.
            lacking: what all recordings lack.
        """
        # Features are mapped first: a process that writes one file for all must not wait for itself to write another.
        _ = self._features
        key = [dataclasses.asdict(self.model_input.scheme), *poolings, *([lacking] if lacking else [])]
        counts = [int(counts.sum()) for counts in self._segment_counts(lacking)]
        shapes = list(zip(counts, sizes, strict=True))
        return self._corpus.pooled(self.model_input.front_end, self.model_input.frame_limit, key, shapes, pooled)

    def share_pooled(self, others: PartInputs, vectors: Sequence[Tensor], lacking: Missing | None = None) -> None:
        """Take the pooled vectors of one's recordings, for `pooled`, from those of all that others have.

        Args:
            others: one's own inputs, or those of the whole corpus.
            vectors: of the words' segments of all its recordings and, if there are any, the overall ones.
            lacking: what all recordings lack.
        """
        rows = np.arange(len(self))
        if others is not self:
            rows = (self.utterances[:, None] * self.of_each + np.arange(self.of_each)).ravel()
        self._pooled[lacking] = [
            PooledVectors.end_to_end(each, counts).take(rows)
            for each, counts in zip(vectors, others._segment_counts(lacking), strict=True)
        ]

    @property
    def has_pooled(self) -> bool:
        """Whether pooled vectors are kept or shared."""
        return bool(self._pooled)

    def pooled(self, positions: np.ndarray, lacking: Sequence[Missing | None]) -> tuple[Tensor, ...]:
        """The pooled vectors of some recordings, end to end; none before all of those are kept or shared.

        Args:
            positions: [B] the recordings.
            lacking: what each of them lacks.
        """
        if not self._pooled.keys() >= set(lacking):
            return ()
        of_each = [self._pooled[each] for each in lacking]
        return tuple(
            torch.cat([vectors.of(position) for vectors, position in zip(pooling, positions, strict=True)])
            for pooling in zip(*of_each, strict=True)
        )

    @functools.cached_property
    def _features(self) -> FrameTable | None:
        return self._corpus.features(self.model_input.front_end, self.model_input.frame_limit)

    def _speaker_moments(self, position: int) -> Moments | None:
        return None if self._voices is None else self.model_input.speakers.get(int(self._voices[position]))

    def _layout(self, position: int, generator: np.random.Generator | None = None) -> FrameLayout:
        """Which frames the segments of one recording read."""
        begin, end = self.spans(position)
        count = int(self.frame_counts[position])
        return layout_frames(self.model_input.scheme, begin, end, count, self.speech(position), generator)

    def _segment_counts(self, lacking: Missing | None) -> list[np.ndarray]:
        """How many segments stand for the words of each recording; and, where there are any, how many are overall."""
        one = np.ones(len(self), np.int64)
        segments = self._unknown_counts if lacking == "words" else self.word_counts
        if self.model_input.scheme.has_shared_segment:
            segments = one
        return [segments] if self.model_input.scheme.overall == "none" else [segments, one]

    @functools.cached_property
    def _unknown_counts(self) -> np.ndarray:
        """How many unknown words stand for those of each recording, [B]."""
        counts = [
            unknown_words(int(frames), self.speech(position) or (0, 0), self.frame_step)
            for position, frames in enumerate(self.frame_counts)
        ]
        return np.array(counts, np.int64)

    def _lengths(self) -> np.ndarray:
        return np.array([self.layout(position).length for position in range(len(self))], np.int64)
