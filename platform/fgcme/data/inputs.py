"""What a model takes in of the utterances of a part: words, frames, and which frames each segment reads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from fgcme.data.batch import FrameLayout, SegmentScheme, layout_frames
from fgcme.data.dataset import SpeechCorpus, Vocabulary
from fgcme.data.front_end import FrontEnd, Moments


@dataclass(frozen=True)
class ModelInput:
    """How a model takes in any utterance.

    Attributes:
        scheme: which frames each segment reads; a model that reads no frames has none computed.
        vocabulary: numbers the words.
        frame_limit: audio is cut after this many frames.
        front_end: turns prepared frames into the model's.
        speakers: moments of each speaker's features, where the front end normalises by speaker.
    """

    scheme: SegmentScheme
    vocabulary: Vocabulary
    frame_limit: int
    front_end: FrontEnd = field(default_factory=FrontEnd)
    speakers: Mapping[str, Moments] = field(default_factory=dict)

    @property
    def reads_frames(self) -> bool:
        """Whether the model reads frames at all."""
        return self.scheme.segments != "none"

    def frames_of(self, prepared: np.ndarray, speaker: str) -> np.ndarray:
        """Cut prepared frames at the limit and put them through the front end, [A, prepared] -> [A, F]."""
        return self.front_end(prepared[: self.frame_limit], self.speakers.get(speaker))


class PartInputs:
    """The inputs of one part, by position in the part. Frames are computed once, or are views of the mapped corpus.

    Args:
        corpus: where the utterances are.
        utterances: [B] indices of the part's utterances in the corpus.
        labels: class index of every utterance of the corpus, -1 where it takes no part.
        model_input: how the model takes in an utterance.

    Attributes:
        utterances: [B] as given.
        labels: [B] class indices of the part's utterances.
        layouts: which frames the segments of each utterance read.
        words: vocabulary indices of each utterance's words, [W] each.
        frame_size: values of a frame as the model reads it, F.
    """

    def __init__(
        self, corpus: SpeechCorpus, utterances: np.ndarray, labels: np.ndarray, model_input: ModelInput
    ) -> None:
        self.model_input = model_input
        self.utterances = utterances
        self.labels = labels[utterances]
        self.words = [model_input.vocabulary.index(corpus.words[index]) for index in utterances]
        self.layouts: list[FrameLayout] = [
            layout_frames(
                model_input.scheme, *corpus.spans(index), min(corpus.frame_count(index), model_input.frame_limit)
            )
            for index in utterances
        ]
        self.frame_size = model_input.front_end.size(corpus.frame_size)
        self._corpus = corpus
        self._frames: list[np.ndarray | None] = [None] * len(utterances)
        self._on_device: tuple[Tensor, ...] | None = None

    def __len__(self) -> int:
        return len(self.utterances)

    def frames(self, position: int) -> np.ndarray:
        """Frames of one utterance as the model may read them, [A, F] float32; none where it reads no frames."""
        frames = self._frames[position]
        if frames is None:
            if self.model_input.reads_frames:
                frames = self.through_front_end(self.prepared_frames(position), position)
            else:
                frames = np.zeros((0, self.frame_size), np.float32)
            self._frames[position] = frames
        return frames

    def prepared_frames(self, position: int) -> np.ndarray:
        """Frames of one utterance as prepared, uncut, [A, prepared] float32."""
        return self._corpus.frames(self.utterances[position])

    def spans(self, position: int) -> tuple[np.ndarray, np.ndarray]:
        """First frame of each word of one utterance, and the frame after its last, both [W]."""
        return self._corpus.spans(self.utterances[position])

    def through_front_end(self, frames: np.ndarray, position: int) -> np.ndarray:
        """Frames of one utterance, augmented or not, as the model reads them, [A, prepared] -> [A, F]."""
        return self.model_input.frames_of(frames, self._corpus.table.speakers[self.utterances[position]])

    @property
    def device_bytes(self) -> int:
        """Bytes that `keep_on` takes on a device."""
        return sum(layout.length for layout in self.layouts) * self.frame_size * np.dtype(np.float32).itemsize

    def keep_on(self, device: torch.device | str) -> None:
        """Copy the frames that segments read to a device, for `frames_on_device`."""
        pieces = [np.zeros((0, self.frame_size), np.float32)]
        for position, layout in enumerate(self.layouts):
            pieces += [self.frames(position)[first:last] for first, last in layout.runs.tolist()]
        lengths = [layout.length for layout in self.layouts]
        self._on_device = torch.split(torch.from_numpy(np.concatenate(pieces)).to(device), lengths)

    def frames_on_device(self, positions: np.ndarray) -> Tensor | None:
        """The frames that some utterances' segments read, end to end, [N, F]; None before `keep_on`."""
        if self._on_device is None:
            return None
        return torch.cat([self._on_device[position] for position in positions])
