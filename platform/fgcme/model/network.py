"""FG-CME: the whole model, put together from its parts."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from fgcme.model.batch import Batch
from fgcme.model.encoders import AcousticEncoder, SemanticEncoder
from fgcme.model.excitement import Excitement
from fgcme.model.pooling import PoolingKind, pool


@dataclass(frozen=True)
class Output:
    """What the model says of a batch.

    Attributes:
        logits: [B, K], one row an utterance.
        word_logits: [W, K], the classifier applied to each word's own fusion output, before the maximum over words.
        semantic_gate, acoustic_gate: [W, D] gates in (0, 1), or None where the form has none.
    """

    logits: Tensor
    word_logits: Tensor
    semantic_gate: Tensor | None
    acoustic_gate: Tensor | None


class WordSequence(nn.Module):
    """One bidirectional LSTM over the words of each utterance (paper, section "fusion").

    Args:
        size: values of a word's input.
        hidden: units each way.
    """

    def __init__(self, size: int, hidden: int) -> None:
        super().__init__()
        self.lstm = nn.LSTM(size, hidden, bidirectional=True)
        self.size = 2 * hidden

    def forward(self, words: Tensor, word_counts: Tensor) -> Tensor:
        """[W, size] and [B] words of each utterance (on the CPU) -> [W, 2 * hidden]."""
        order, batch_sizes = time_major(word_counts)
        order = order.to(words.device)
        packed, _ = self.lstm(PackedSequence(words.index_select(0, order), batch_sizes))
        inverse = torch.empty_like(order)
        inverse[order] = torch.arange(len(order), device=order.device)
        outputs: Tensor = packed.data
        return outputs.index_select(0, inverse)


def time_major(counts: Tensor) -> tuple[Tensor, Tensor]:
    """How rows of utterances laid end to end are read by a packed sequence.

    Args:
        counts: [B] rows of each utterance.

    Returns:
        [W] order in which the rows are read (first rows of all utterances, longest first; then second rows, ...), and
        how many utterances still go on at each step.

    >>> order, sizes = time_major(torch.tensor([1, 3]))
    >>> order.tolist(), sizes.tolist()
    ([1, 0, 2, 3], [2, 1, 1])
    """
    ranked, rank = counts.sort(descending=True, stable=True)
    starts = (counts.cumsum(0) - counts)[rank]
    steps = torch.arange(int(ranked[0]))
    going_on = steps.unsqueeze(1) < ranked.unsqueeze(0)
    order = (steps.unsqueeze(1) + starts.unsqueeze(0))[going_on]
    return order, going_on.sum(1)


class FineGrainedExcitement(nn.Module):
    """FG-CME (Li et al., Interspeech 2021), or one of its modalities alone.

    Args:
        acoustic: encoder of the frames; None leaves the acoustics out.
        semantic: encoder of the words; None leaves the words out.
        pooling: how a word's frames become its acoustic feature.
        excite_semantic: recalibrates the words' features, driven by the acoustic ones.
        excite_acoustic: recalibrates the acoustic features, driven by the words' features or by the words themselves.
        driven_by_word: whether `excite_acoustic` takes word indices.
        sequence: over the words.
        classes: number of emotions, K.
        dropout: on what enters the classifier.
    """

    def __init__(
        self,
        acoustic: AcousticEncoder | None,
        semantic: SemanticEncoder | None,
        pooling: PoolingKind,
        excite_semantic: Excitement,
        excite_acoustic: Excitement,
        driven_by_word: bool,
        sequence: WordSequence,
        classes: int,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.acoustic = acoustic
        self.semantic = semantic
        self.pooling = pooling
        self.excite_semantic = excite_semantic
        self.excite_acoustic = excite_acoustic
        self.driven_by_word = driven_by_word
        self.sequence = sequence
        self.dropout = nn.Dropout(dropout)
        self.classify = nn.Linear(sequence.size, classes)

    def forward(self, batch: Batch) -> Output:
        """Classify every utterance of a batch."""
        features: list[Tensor] = []
        semantic_gate = acoustic_gate = None
        words = self.semantic(batch.words) if self.semantic is not None else None
        sounds = None
        if self.acoustic is not None:
            sounds = pool(self.acoustic(batch.frames), batch.begin, batch.end, self.pooling)
        if words is not None:
            excited, semantic_gate = self.excite_semantic(words, words if sounds is None else sounds)
            features.append(excited)
        if sounds is not None:
            driver = batch.words if self.driven_by_word else (sounds if words is None else words)
            excited, acoustic_gate = self.excite_acoustic(sounds, driver)
            features.append(excited)
        sequence = self.sequence(torch.cat(features, dim=1), batch.word_counts)
        last = batch.word_counts.cumsum(0)
        first = last - batch.word_counts
        readout = pool(sequence, first.to(sequence.device), last.to(sequence.device), "max")
        return Output(
            logits=self.classify(self.dropout(readout)),
            word_logits=self.classify(sequence),
            semantic_gate=semantic_gate,
            acoustic_gate=acoustic_gate,
        )
