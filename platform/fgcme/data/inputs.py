"""What a model takes in of the utterances of a part: words, frames, and which frames each segment reads."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from fgcme.data.batch import FrameLayout, SegmentScheme, Stretch, layout_frames
from fgcme.data.columns import encode
from fgcme.data.dataset import SpeechCorpus, Vocabulary
from fgcme.data.frame_table import FrameTable
from fgcme.data.front_end import FrontEnd, Moments
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
        speakers: moments of each speaker's features, where the front end normalises by speaker.
        tells_speakers_apart: whether batches say who speaks.
        loses_words: whether utterances may lose their words, see `fgcme.data.missing`.
    """

    scheme: SegmentScheme
    vocabulary: Vocabulary
    frame_limit: int
    front_end: FrontEnd = field(default_factory=FrontEnd)
    speakers: Mapping[str, Moments] = field(default_factory=dict)
    loses_words: bool = False
    tells_speakers_apart: bool = False

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

    Frames are views of files that all processes share; an utterance's layout is found when it is asked for.

    Args:
        corpus: where the utterances are.
        utterances: [B] indices of the part's utterances in the corpus.
        labels: class index of every utterance of the corpus, -1 where it takes no part.
        model_input: how the model takes in an utterance.

    Attributes:
        model_input: as given.
        utterances: [B] as given.
        labels: [B] class indices of the part's utterances.
        word_counts: [B] words of each utterance.
        frame_counts: [B] frames of each utterance, cut at the limit.
        frame_size: values of a frame as the model reads it, F.
        speakers: [B] number of each utterance's speaker in the corpus, or None where the model need not know.
        frame_step: samples from one prepared frame to the next.
        blocks: how many blocks of like values a frame has: of layers, and of values and each order of their deltas.
    """

    def __init__(
        self, corpus: SpeechCorpus, utterances: np.ndarray, labels: np.ndarray, model_input: ModelInput
    ) -> None:
        self.model_input = model_input
        self.utterances = utterances
        self.labels = labels[utterances]
        self.word_counts = corpus.word_counts[utterances]
        self.frame_counts = np.minimum(corpus.prepared.counts[utterances], model_input.frame_limit)
        self.frame_size = model_input.front_end.size(corpus.frame_size)
        numbers = encode(corpus.table.speakers)[0] if model_input.tells_speakers_apart else None
        self.speakers = None if numbers is None else numbers[utterances].astype(np.int64)
        self.frame_step = corpus.frame_step
        self.blocks = corpus.layers * (1 + model_input.front_end.deltas)
        self.layout = functools.lru_cache(_LAYOUTS_KEPT)(self._layout)
        self._corpus = corpus
        self._vocabulary_rows = model_input.vocabulary.index(corpus.distinct_words)
        self._on_device: tuple[Tensor, np.ndarray] | None = None

    def __len__(self) -> int:
        return len(self.utterances)

    def words(self, position: int) -> np.ndarray:
        """Vocabulary indices of one utterance's words, [W]."""
        return np.asarray(self._vocabulary_rows[self._corpus.word_numbers(self.utterances[position])])

    def frames(self, position: int) -> np.ndarray:
        """Frames of one utterance as the model may read them, [A, F] float32; none where it reads no frames."""
        if not self.model_input.reads_frames:
            return np.zeros((0, self.frame_size), np.float32)
        if self._features is None:
            return self.through_front_end(self.prepared_frames(position), position)
        features = self._features[self.utterances[position]]
        return self.model_input.front_end.with_speaker(features, self._speaker_moments(position))

    def prepared_frames(self, position: int) -> np.ndarray:
        """Frames of one utterance as prepared, uncut, [A, prepared] float32."""
        return self._corpus.frames(self.utterances[position])

    def spans(self, position: int) -> tuple[np.ndarray, np.ndarray]:
        """First frame of each word of one utterance, and the frame after its last, both [W]."""
        return self._corpus.spans(self.utterances[position])

    def speech(self, position: int) -> Stretch | None:
        """Where the speech of one utterance is; None where the model need not know.

        Raises:
            UserError: the corpus was prepared by a version that did not store it.
        """
        if not self.model_input.needs_speech:
            return None
        speech = self._corpus.speech(self.utterances[position])
        if speech is None:
            scheme = self.model_input.scheme
            key = "overall" if scheme.overall == "speech" else "segments"
            setting = f"model.pooling.{key} {getattr(scheme, key)}" if scheme.needs_speech else "modality_dropout"
            raise UserError(
                f"{self._corpus.folder}: an older version prepared this corpus and did not store where the speech is, "
                f"which {setting} needs; run `fgcme prepare` again"
            )
        return speech

    def drawn_layout(self, position: int, seed: int) -> FrameLayout:
        """The layout of one utterance in training: its random boundaries follow from the seed and the position."""
        if self.model_input.scheme.segments != "random":
            return self.layout(position)
        return self._layout(position, boundary_generator(seed, position))

    def through_front_end(self, frames: np.ndarray, position: int) -> np.ndarray:
        """Frames of one utterance, augmented or not, as the model reads them, [A, prepared] -> [A, F]."""
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
        """The frames that some utterances' segments read, end to end, [N, F]; None before `keep_on`."""
        if self._on_device is None:
            return None
        frames, starts = self._on_device
        return torch.cat([frames[starts[position] : starts[position + 1]] for position in positions])

    @functools.cached_property
    def _features(self) -> FrameTable | None:
        return self._corpus.features(self.model_input.front_end, self.model_input.frame_limit)

    def _speaker_moments(self, position: int) -> Moments | None:
        speakers = self.model_input.speakers
        return speakers.get(self._corpus.table.speakers[self.utterances[position]]) if speakers else None

    def _layout(self, position: int, generator: np.random.Generator | None = None) -> FrameLayout:
        """Which frames the segments of one utterance read."""
        begin, end = self.spans(position)
        count = int(self.frame_counts[position])
        return layout_frames(self.model_input.scheme, begin, end, count, self.speech(position), generator)

    def _lengths(self) -> np.ndarray:
        return np.array([self.layout(position).length for position in range(len(self))], np.int64)
