"""Ragged batches of one part of a corpus, augmented in training."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from fgcme.data.augmentation import augment_energies, changes_energies, changes_frames, draw_mixture, spec_augment
from fgcme.data.batch import Batch, FrameLayout, collate, layout_frames, pack
from fgcme.data.batch_plan import plan_in_order, plan_shuffled
from fgcme.data.dataset import UNKNOWN
from fgcme.data.inputs import PartInputs, boundary_generator
from fgcme.data.missing import Missing, draw_dropped, draw_missing, without_sound, without_words
from fgcme.data.targets import shares_of
from fgcme.experiment import AugmentationSettings

# Tells the draws of words from others of the same seed and position.
_WORDS = 2


class _Read(NamedTuple):
    """What is read of one recording: which frames, the [W] words, and what it lacks."""

    layout: FrameLayout
    words: np.ndarray
    missing: Missing | None


class RaggedLoader:
    """Makes the batches of one part.

    Args:
        inputs: what the model takes in of the part's utterances.
        batch_size: utterances in a batch, over all workers together.
        augmentation: how a batch with a seed is augmented. Speed, gain and noise need log-mel frames.
        ratings: [B, D] of the part's utterances, from 0 to 1, NaN where nobody rated; by default none are learnt.
        votes: [B, K] how many raters gave each of the part's utterances each class; by default that is not learnt.

    Where the corpus has copies at other speeds, each of an utterance's recordings has a position in the part and is
    shuffled among all others.

    Attributes:
        inputs: as given.
        utterances: [B] indices of the part's utterances in the corpus.
        labels: [B] their class indices.
        ratings: [B, D] as given.
        votes: [B, K] as given.
        shares: share of raters who gave each class, by position in the part; None where that is not learnt.
    """

    def __init__(
        self,
        inputs: PartInputs,
        batch_size: int,
        augmentation: AugmentationSettings | None = None,
        ratings: np.ndarray | None = None,
        votes: np.ndarray | None = None,
    ) -> None:
        self.inputs = inputs
        self.utterances = inputs.utterances
        self.labels = inputs.labels[:: inputs.of_each]
        self.ratings = np.zeros((len(self.labels), 0), np.float32) if ratings is None else ratings
        self.votes = np.zeros((len(self.labels), 0), np.int64) if votes is None else votes
        self.shares = np.repeat(shares_of(self.votes), inputs.of_each, axis=0) if self.votes.shape[1] else None
        self.batch_size = batch_size
        self._augmentation = augmentation or AugmentationSettings()
        varies_frames = changes_frames(self._augmentation) or self._augmentation.modality_dropout > 0
        self._changes_frames = inputs.model_input.reads_frames and varies_frames

    def __len__(self) -> int:
        """Batches in an epoch."""
        return -(-len(self.inputs) // self.batch_size)

    def plan(self, seed: int | None) -> list[np.ndarray]:
        """Plan the batches of an epoch.

        Args:
            seed: of the order, see `plan_shuffled`; None keeps the part's own. Frames count for the order only where
                the model reads whole recordings.

        Returns:
            The positions of each batch in the part.
        """
        if seed is None:
            return plan_in_order(len(self.inputs), self.batch_size)
        frame_counts = self.inputs.frame_counts
        if not self.inputs.model_input.scheme.reads_recording:
            frame_counts = np.zeros_like(frame_counts)
        return plan_shuffled(self.inputs.word_counts, frame_counts, self.batch_size, np.random.default_rng(seed))

    def batch(self, positions: np.ndarray, seed: int | None = None) -> Batch:
        """Make a batch.

        Args:
            positions: [B] at least one recording's position in the part.
            seed: augments each recording by the seed and its position alone, whatever else is in the batch; None leaves
                utterances as they are. Who is mixed with whom follows from the seed and all the positions.
        """
        if seed is not None and self._changes_frames and not self.inputs.has_pooled:
            batch = self._augmented(positions, seed)
        else:
            batch = self._unchanged([self._drawn(position, seed) for position in positions], positions)
        if self.inputs.model_input.reads_word_features:
            batch = replace(batch, word_features=self._word_features(positions, batch.word_counts.tolist(), seed))
        if self.inputs.speakers is not None:
            batch = replace(batch, speakers=torch.from_numpy(self.inputs.speakers[positions]))
        if self.shares is not None:
            batch = replace(batch, shares=torch.from_numpy(self.shares[positions]))
        if self.ratings.shape[1]:
            batch = replace(batch, ratings=torch.from_numpy(self.ratings[positions // self.inputs.of_each]))
        if seed is None or not self._augmentation.mixup_alpha:
            return batch
        generator = np.random.default_rng([seed, len(self.inputs), *positions])
        return replace(batch, mixture=draw_mixture(self._augmentation.mixup_alpha, len(batch), generator))

    def texts(self, positions: np.ndarray, seed: int | None = None) -> np.ndarray:
        """Number what some recordings say, [B] from 0: the same words have the same number, as copies do.

        Args:
            positions: [B] the recordings.
            seed: see `batch`: one that lacks its words or its sound has -1; words that are dropped were said all the
                same.
        """
        numbers: dict[bytes, int] = {}
        said = [
            -1
            if seed is not None and self._draw_missing(position, seed)[1]
            else numbers.setdefault(self.inputs.words(position).tobytes(), len(numbers))
            for position in positions
        ]
        return np.array(said, np.int64)

    @property
    def device_bytes(self) -> int:
        """Bytes that `keep_on` takes on a device."""
        return 0 if self._changes_frames else self.inputs.device_bytes

    def keep_on(self, device: torch.device | str) -> None:
        """Copy what the model reads of the part to a device, where batches are cut from now on.

        Nothing is copied where augmentation changes frames: those batches are made on the CPU, each time anew.
        """
        if not self._changes_frames:
            self.inputs.keep_on(device)

    @property
    def pools_alike(self) -> bool:
        """Whether each segment holds the same frames in every epoch."""
        return not changes_frames(self._augmentation) and self.inputs.model_input.scheme.segments != "random"

    @property
    def losses(self) -> tuple[Missing | None, ...]:
        """What a recording may lack in training."""
        return (None, "words", "sound") if self._augmentation.modality_dropout else (None,)

    def pooled(
        self, pool: Callable[[Batch], Sequence[Tensor]], lacking: Missing | None = None
    ) -> Iterator[Sequence[Tensor]]:
        """Pool all segments of one recording after the other, see `Batch.pooled`.

        Args:
            pool: from a batch to the vectors of its segments.
            lacking: what all recordings lack.
        """
        # One recording at a time stays in a processor's cache.
        for position in range(len(self.inputs)):
            read = self._read(position, self.inputs.words(position), lacking)
            yield pool(self._unchanged([read], np.array([position])))

    def _drawn(self, position: int, seed: int | None) -> _Read:
        """What is read of one recording whose frames are as they are, see `batch`."""
        if seed is None:
            return self._read(position, self.inputs.words(position), None)
        words, missing = self._draw_words(position, seed)
        read = self._read(position, words, missing)
        return read if missing else read._replace(layout=self.inputs.drawn_layout(position, seed))

    def _read(self, position: int, words: np.ndarray, missing: Missing | None) -> _Read:
        """What is read of one recording that lacks something."""
        if missing == "words":
            return _Read(*self.inputs.layout_without_words(position), missing)
        if missing == "sound":
            return _Read(without_sound(self.inputs.model_input.scheme, len(words)), words, missing)
        return _Read(self.inputs.layout(position), words, missing)

    def _unchanged(self, read: Sequence[_Read], positions: np.ndarray) -> Batch:
        layouts, words, lacking = zip(*read, strict=True)
        # Random segments are adjacent, so the frames that they read are the same wherever their boundaries are.
        frames, pooled = self.inputs.frames_on_device(positions), self.inputs.pooled(positions, lacking)
        if pooled:
            no_frames = torch.zeros(0, self.inputs.frame_size)
            batch = pack(no_frames, layouts, words, self.inputs.labels[positions], self._min_length)
            return replace(batch, pooled=pooled)
        if frames is None:
            nothing = np.zeros((0, self.inputs.frame_size), np.float32)
            frames_of_each = [
                self.inputs.frames(position) if layout.length else nothing
                for position, layout in zip(positions, layouts, strict=True)
            ]
            return collate(frames_of_each, layouts, words, self.inputs.labels[positions], self._min_length)
        return pack(frames, layouts, words, self.inputs.labels[positions], self._min_length)

    def _augmented(self, positions: np.ndarray, seed: int) -> Batch:
        frames, layouts, words = zip(*(self._augment(position, seed) for position in positions), strict=True)
        return collate(frames, layouts, words, self.inputs.labels[positions], self._min_length)

    def _augment(self, position: int, seed: int) -> tuple[np.ndarray, FrameLayout, np.ndarray]:
        """One utterance's augmented frames, [A, F], what the model reads of them, and its words, [W]."""
        settings, inputs, scheme = self._augmentation, self.inputs, self.inputs.model_input.scheme
        words, missing = self._draw_words(position, seed)
        if missing == "sound":
            return np.zeros((0, inputs.frame_size), np.float32), without_sound(scheme, len(words)), words
        generator = np.random.default_rng([seed, position])
        speech = inputs.speech(position)
        if changes_energies(settings):
            # The whole recording is augmented, then cut, as its waveform would be.
            # At another speed the stretch of speech moves as the words do: it is one more span.
            ends = zip(inputs.spans(position), speech or (0, 0), strict=True)
            begin, end = (np.append(edges, edge) for edges, edge in ends)
            augmented = augment_energies(settings, inputs.prepared_frames(position), begin, end, generator)
            frames = inputs.through_front_end(augmented.frames, position)
            begin, end = augmented.begin[:-1], augmented.end[:-1]
            speech = int(augmented.begin[-1]), int(augmented.end[-1])
            layout = layout_frames(scheme, begin, end, len(frames), speech, boundary_generator(seed, position))
        else:
            frames, layout = inputs.frames(position), inputs.drawn_layout(position, seed)
        if missing == "words":
            assert speech is not None, "inputs that lose words know where the speech is"
            layout, words = without_words(
                scheme, len(frames), speech, inputs.frame_step, boundary_generator(seed, position)
            )
        if settings.time_masks or settings.frequency_masks:
            frames = spec_augment(settings, frames, inputs.blocks, generator)
        return frames, layout, words

    def _draw_words(self, position: int, seed: int) -> tuple[np.ndarray, Missing | None]:
        """The words of one utterance in training, [W], some of them unknown; and what the utterance loses."""
        words = self.inputs.words(position)
        dropped, missing = self._draw_missing(position, seed)
        return np.where(dropped, UNKNOWN, words), missing

    def _draw_missing(self, position: int, seed: int) -> tuple[np.ndarray, Missing | None]:
        """Which words of one utterance training does not know, [W]; and what the utterance loses."""
        settings, count = self._augmentation, int(self.inputs.word_counts[position])
        if not (settings.word_dropout or settings.modality_dropout):
            return np.zeros(count, bool), None
        generator = np.random.default_rng([seed, position, _WORDS])
        return draw_dropped(settings, count, generator), draw_missing(settings, generator)

    def _word_features(self, positions: np.ndarray, counts: Sequence[int], seed: int | None) -> Tensor:
        """What a text encoder says of the words of a batch, [W, values]; zeros of those that the batch does not know.

        Args:
            positions: [B] the utterances.
            counts: [B] words that the batch has of each.
            seed: see `batch`.
        """
        of_each = []
        for position, count in zip(positions, counts, strict=True):
            features = self.inputs.word_features(position)
            if seed is not None:
                dropped, missing = self._draw_missing(position, seed)
                features = np.where(dropped[:, None], np.float32(0), features)
                if missing == "words":
                    features = np.zeros((count, features.shape[1]), np.float32)
            of_each.append(features)
        return torch.from_numpy(np.concatenate(of_each))

    @property
    def _min_length(self) -> int:
        return self.inputs.model_input.scheme.lookahead + 1
