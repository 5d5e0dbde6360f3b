"""Recurrence over rows of utterances laid end to end, and the encoders made of it."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.rnn import PackedSequence

from fgcme.data import Batch, ranges_from_counts
from fgcme.model.encoders import WordEmbedding


class RaggedLSTM(nn.Module):
    """A bidirectional LSTM over the rows of each utterance, of which there are few: its words.

    Args:
        size: values of a row.
        hidden: units each way.
    """

    def __init__(self, size: int, hidden: int) -> None:
        super().__init__()
        self.lstm = nn.LSTM(size, hidden, bidirectional=True)
        self.size = 2 * hidden

    def forward(self, rows: Tensor, counts: Tensor) -> Tensor:
        """[R, size] and [B] rows of each utterance (on the CPU) -> [R, self.size]."""
        if bool((counts == counts[0]).all()):
            # Nothing to pack: batches are bucketed by words, and a CPU runs equal sequences as one operation.
            together: Tensor = self.lstm(rows.view(len(counts), -1, rows.shape[1]).transpose(0, 1))[0]
            return together.transpose(0, 1).reshape(len(rows), -1)
        order, going_on = packing_order(counts)
        order = order.to(rows.device, non_blocking=True)
        packed, _ = self.lstm(PackedSequence(rows.index_select(0, order), going_on))
        outputs: Tensor = packed.data
        return outputs.index_select(0, _inverse(order))


class BlockwiseLSTM(nn.Module):
    """An LSTM over the rows of each utterance, of which there are many: its frames.

    Computes what a packed sequence does, whose gradient on a CPU goes through all rows at every step. Here the steps on
    which the same utterances go on are a block that is run at once, so that the time is linear in the steps.

    Args:
        size: values of a row.
        hidden: units each way.
        layers: one on top of the other.
        bidirectional: whether as many layers read backwards.
    """

    def __init__(self, size: int, hidden: int, layers: int = 1, bidirectional: bool = True) -> None:
        super().__init__()
        self.forwards = nn.LSTM(size, hidden, layers)
        self.backwards = nn.LSTM(size, hidden, layers) if bidirectional else None
        self.size = 2 * hidden if bidirectional else hidden

    def forward(self, rows: Tensor, counts: Tensor) -> Tensor:
        """[R, size] and [B] rows of each utterance (on the CPU) -> [R, self.size]."""
        order, going_on = packing_order(counts)
        order = order.to(rows.device, non_blocking=True)
        utterances, steps = torch.unique_consecutive(going_on, return_counts=True)
        pieces = torch.split(rows.index_select(0, order), (utterances * steps).tolist())
        blocks = [
            piece.view(-1, going, rows.shape[1]) for piece, going in zip(pieces, utterances.tolist(), strict=True)
        ]
        outputs = _joined(_run(self.forwards, blocks))
        if self.backwards is not None:
            reverse = _run(self.backwards, _turned(blocks))
            outputs = torch.cat([outputs, _joined(_turned(reverse))], dim=1)
        return outputs.index_select(0, _inverse(order))


def _run(lstm: nn.LSTM, blocks: list[Tensor]) -> list[Tensor]:
    """Run through [steps, utterances, size] blocks; the utterances of a block are the first of a larger one."""
    hidden = cell = blocks[0].new_zeros(lstm.num_layers, 0, lstm.hidden_size)
    outputs = []
    for block in blocks:
        # Utterances that join start from zeros, and those that have ended are the last ones.
        joining = (0, 0, 0, block.shape[1] - hidden.shape[1])
        output, (hidden, cell) = lstm(block, (functional.pad(hidden, joining), functional.pad(cell, joining)))
        outputs.append(output)
    return outputs


def _turned(blocks: list[Tensor]) -> list[Tensor]:
    return [block.flip(0) for block in reversed(blocks)]


def _joined(blocks: list[Tensor]) -> Tensor:
    return torch.cat([block.flatten(0, 1) for block in blocks])


def _inverse(order: Tensor) -> Tensor:
    inverse = torch.empty_like(order)
    inverse[order] = torch.arange(len(order), device=order.device)
    return inverse


class FrameLSTM(nn.Module):
    """A bidirectional LSTM over all frames of an utterance, some of them side by side at each step.

    Args:
        frame_size: values of a frame, F.
        hidden: units each way.
        stack: frames of a step.
    """

    def __init__(self, frame_size: int, hidden: int, stack: int = 1) -> None:
        super().__init__()
        self.stack = stack
        self.lstm = BlockwiseLSTM(stack * frame_size, hidden)
        self.size = self.lstm.size

    def counts(self, batch: Batch) -> Tensor:
        """[B] steps of each utterance, on the CPU."""
        return step_counts(batch.reads.lengths, self.stack)

    def forward(self, batch: Batch) -> Tensor:
        """A batch that reads whole utterances -> [R, self.size], a row for each step."""
        steps = stack_frames(batch.frames, batch.reads.lengths, self.stack)
        outputs: Tensor = self.lstm(steps, self.counts(batch))
        return outputs


class WordLSTM(nn.Module):
    """A bidirectional LSTM over the embedded words of an utterance.

    Args:
        embedding: of the words.
        hidden: units each way.
    """

    def __init__(self, embedding: WordEmbedding, hidden: int) -> None:
        super().__init__()
        self.embedding = embedding
        self.lstm = RaggedLSTM(embedding.size, hidden)
        self.size = self.lstm.size

    def counts(self, batch: Batch) -> Tensor:
        """[B] words of each utterance, on the CPU."""
        return batch.word_counts

    def forward(self, batch: Batch) -> Tensor:
        """A batch of W words -> [W, self.size]."""
        outputs: Tensor = self.lstm(self.embedding(batch.words), batch.word_counts)
        return outputs


def packing_order(counts: Tensor) -> tuple[Tensor, Tensor]:
    """How rows of utterances laid end to end are read by a packed sequence.

    Args:
        counts: [B] rows of each utterance.

    Returns:
        [R] order in which the rows are read (first rows of all utterances, longest first; then second rows, ...), and
        how many utterances still go on at each step.

    >>> order, sizes = packing_order(torch.tensor([1, 3]))
    >>> order.tolist(), sizes.tolist()
    ([1, 0, 2, 3], [2, 1, 1])
    """
    ranked, rank = counts.sort(descending=True, stable=True)
    starts = (counts.cumsum(0) - counts)[rank]
    steps = torch.arange(int(ranked[0]))
    going_on = steps.unsqueeze(1) < ranked.unsqueeze(0)
    order = (steps.unsqueeze(1) + starts.unsqueeze(0))[going_on]
    return order, going_on.sum(1)


def final_states(outputs: Tensor, counts: Tensor) -> Tensor:
    """The last hidden state of each direction of a one-layer LSTM: after the last row, and back at the first.

    Args:
        outputs: [R, 2 H] of a bidirectional LSTM.
        counts: [B] rows of each utterance, at least one each, on the CPU.

    Returns:
        [B, 2 H].

    >>> final_states(torch.tensor([[1, 10], [2, 20], [3, 30]]), torch.tensor([2, 1])).tolist()
    [[2, 10], [3, 30]]
    """
    rows = ranges_from_counts(counts).to(outputs.device)
    hidden = outputs.shape[1] // 2
    forwards = outputs[:, :hidden].index_select(0, rows.end - 1)
    return torch.cat([forwards, outputs[:, hidden:].index_select(0, rows.begin)], dim=1)


def step_counts(frame_counts: Tensor, stack: int) -> Tensor:
    """[B] steps of so many frames that utterances of [B] frames take; the last may be short of frames."""
    return (frame_counts + stack - 1) // stack


def stack_frames(frames: Tensor, counts: Tensor, stack: int) -> Tensor:
    """Lay consecutive frames of an utterance side by side; its last frame fills up the last step.

    Args:
        frames: [N, F] frames of utterances laid end to end.
        counts: [B] frames of each, on the CPU.
        stack: frames of a step.

    Returns:
        [R, stack * F], a row for each step of `step_counts`.

    >>> stack_frames(torch.arange(5).unsqueeze(1), torch.tensor([3, 2]), 2).tolist()
    [[0, 1], [2, 2], [3, 4]]
    """
    if stack == 1:
        return frames
    utterances, steps = ranges_from_counts(counts), ranges_from_counts(step_counts(counts, stack))
    step = torch.arange(int(steps.lengths.sum()))
    first = torch.repeat_interleave(utterances.begin - stack * steps.begin, steps.lengths) + stack * step
    last = torch.repeat_interleave(utterances.end - 1, steps.lengths)
    places = torch.minimum(first.unsqueeze(1) + torch.arange(stack), last.unsqueeze(1)).flatten()
    return frames.index_select(0, places.to(frames.device, non_blocking=True)).view(len(step), -1)
