"""LSTMs over the rows of utterances packed end to end, and the encoders built on them."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.rnn import PackedSequence

from fgcme.data import Batch, ranges_from_counts
from fgcme.model.encoders import EncodedWords, WordEmbedding, embed_words


class RaggedLSTM(nn.Module):
    """A bidirectional LSTM over short sequences: the words of each utterance.

    Args:
        size: values of a row.
        hidden: units each way.
    """

    def __init__(self, size: int, hidden: int) -> None:
        super().__init__()
        self.lstm = nn.LSTM(size, hidden, bidirectional=True)
        self.size = 2 * hidden

    def forward(self, rows: Tensor, counts: Tensor) -> Tensor:
        """Run over each utterance, [N, size] -> [N, self.size].

        Args:
            rows: [N, size] rows of utterances, end to end.
            counts: [B] rows of each, at least one, on the CPU.
        """
        if bool((counts == counts[0]).all()):
            # Equal lengths, common as batches are bucketed by words, need no packing and are faster on a CPU.
            stacked: Tensor = self.lstm(rows.view(len(counts), -1, rows.shape[1]).transpose(0, 1))[0]
            return stacked.transpose(0, 1).reshape(len(rows), -1)
        order, batch_sizes = packing_order(counts)
        order = order.to(rows.device, non_blocking=True)
        packed, _ = self.lstm(PackedSequence(rows.index_select(0, order), batch_sizes))
        outputs: Tensor = packed.data
        return outputs.index_select(0, _inverse(order))


class Wordwise(nn.Module):
    """In place of an LSTM, one linear map and a GELU for each word alone: fewer weights, and no order of the words.

    Args:
        size: values of a row.
        hidden: half of the values of a row of the output, as of a bidirectional LSTM's.
    """

    def __init__(self, size: int, hidden: int) -> None:
        super().__init__()
        self.project = nn.Linear(size, 2 * hidden)
        self.size = 2 * hidden

    def forward(self, rows: Tensor, counts: Tensor | None = None) -> Tensor:
        """Map each row, [N, size] -> [N, self.size]; the [B] counts of the utterances' rows are not used."""
        return functional.gelu(self.project(rows))


class BlockwiseLSTM(nn.Module):
    """An LSTM over long sequences: the frames of each utterance.

    Computes what an LSTM over a packed sequence does, whose gradient on a CPU touches all rows at every step. Here
    consecutive steps with the same utterances form a block that runs at once, so the time is linear in the steps.

    Args:
        size: values of a row.
        hidden: units each way.
        layers: stacked layers.
        bidirectional: whether as many layers run backwards.
    """

    def __init__(self, size: int, hidden: int, layers: int = 1, bidirectional: bool = True) -> None:
        super().__init__()
        self.forwards = nn.LSTM(size, hidden, layers)
        self.backwards = nn.LSTM(size, hidden, layers) if bidirectional else None
        self.size = 2 * hidden if bidirectional else hidden

    def forward(self, rows: Tensor, counts: Tensor) -> Tensor:
        """Run over each utterance, [N, size] -> [N, self.size].

        Args:
            rows: [N, size] rows of utterances, end to end.
            counts: [B] rows of each, at least one, on the CPU.
        """
        order, batch_sizes = packing_order(counts)
        order = order.to(rows.device, non_blocking=True)
        widths, steps = torch.unique_consecutive(batch_sizes, return_counts=True)
        pieces = torch.split(rows.index_select(0, order), (widths * steps).tolist())
        blocks = [piece.view(-1, width, rows.shape[1]) for piece, width in zip(pieces, widths.tolist(), strict=True)]
        outputs = _concatenate(_run(self.forwards, blocks))
        if self.backwards is not None:
            backwards = _run(self.backwards, _reverse(blocks))
            outputs = torch.cat([outputs, _concatenate(_reverse(backwards))], dim=1)
        return outputs.index_select(0, _inverse(order))


def _run(lstm: nn.LSTM, blocks: list[Tensor]) -> list[Tensor]:
    """Run over [steps, utterances, size] blocks, whose utterances are sorted by length, the longest first."""
    hidden = cell = blocks[0].new_zeros(lstm.num_layers, 0, lstm.hidden_size)
    outputs = []
    for block in blocks:
        # Pad zeros for utterances that start here; a negative padding drops those that have ended.
        padding = (0, 0, 0, block.shape[1] - hidden.shape[1])
        output, (hidden, cell) = lstm(block, (functional.pad(hidden, padding), functional.pad(cell, padding)))
        outputs.append(output)
    return outputs


def _reverse(blocks: list[Tensor]) -> list[Tensor]:
    return [block.flip(0) for block in reversed(blocks)]


def _concatenate(blocks: list[Tensor]) -> Tensor:
    return torch.cat([block.flatten(0, 1) for block in blocks])


def _inverse(order: Tensor) -> Tensor:
    inverse = torch.empty_like(order)
    inverse[order] = torch.arange(len(order), device=order.device)
    return inverse


class FrameLSTM(nn.Module):
    """A bidirectional LSTM over all frames of each utterance.

    Args:
        frame_size: values of a frame, F.
        hidden: units each way.
        stack: consecutive frames that are concatenated into one step.
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
        """Encode a batch that reads whole utterances: [N, self.size], one row a step."""
        steps = stack_frames(batch.frames, batch.reads.lengths, self.stack)
        outputs: Tensor = self.lstm(steps, self.counts(batch))
        return outputs


class WordLSTM(nn.Module):
    """A bidirectional LSTM over the embedded words of each utterance.

    Args:
        embedding: of the words.
        hidden: units each way.
    """

    def __init__(self, embedding: WordEmbedding | EncodedWords, hidden: int) -> None:
        super().__init__()
        self.embedding = embedding
        self.lstm = RaggedLSTM(embedding.size, hidden)
        self.size = self.lstm.size

    def counts(self, batch: Batch) -> Tensor:
        """[B] words of each utterance, on the CPU."""
        return batch.word_counts

    def forward(self, batch: Batch) -> Tensor:
        """Encode the words of a batch, [W, self.size]."""
        outputs: Tensor = self.lstm(embed_words(self.embedding, batch), batch.word_counts)
        return outputs


def packing_order(counts: Tensor) -> tuple[Tensor, Tensor]:
    """Order in which a PyTorch `PackedSequence` holds rows of utterances that lie end to end.

    Args:
        counts: [B] rows of each utterance.

    Returns:
        [N] positions of the rows in that order (first rows of all utterances, longest utterance first; then second
        rows, ...), and `batch_sizes`, [steps], how many utterances have a row at each step.

    >>> order, sizes = packing_order(torch.tensor([1, 3]))
    >>> order.tolist(), sizes.tolist()
    ([1, 0, 2, 3], [2, 1, 1])
    """
    ranked, rank = counts.sort(descending=True, stable=True)
    starts = (counts.cumsum(0) - counts)[rank]
    steps = torch.arange(int(ranked[0]))
    has_row = steps.unsqueeze(1) < ranked.unsqueeze(0)
    order = (steps.unsqueeze(1) + starts.unsqueeze(0))[has_row]
    return order, has_row.sum(1)


def final_states(outputs: Tensor, counts: Tensor) -> Tensor:
    """Final state of each direction of a one-layer LSTM: forwards at the last row, backwards at the first.

    Args:
        outputs: [N, D] of a bidirectional LSTM, both directions side by side.
        counts: [B] rows of each utterance, at least one each, on the CPU.

    Returns:
        [B, D].

    >>> final_states(torch.tensor([[1, 10], [2, 20], [3, 30]]), torch.tensor([2, 1])).tolist()
    [[2, 10], [3, 30]]
    """
    rows = ranges_from_counts(counts).to(outputs.device)
    hidden = outputs.shape[1] // 2
    forwards = outputs[:, :hidden].index_select(0, rows.end - 1)
    return torch.cat([forwards, outputs[:, hidden:].index_select(0, rows.begin)], dim=1)


def step_counts(frame_counts: Tensor, stack: int) -> Tensor:
    """[B] steps of `stack` frames that utterances of [B] frames take, rounded up."""
    return (frame_counts + stack - 1) // stack


def stack_frames(frames: Tensor, counts: Tensor, stack: int) -> Tensor:
    """Concatenate consecutive frames of an utterance into steps; the last step is filled with its last frame.

    Args:
        frames: [N, F] frames of utterances, end to end.
        counts: [B] frames of each, on the CPU.
        stack: frames of a step.

    Returns:
        [steps, stack * F], as many steps of each utterance as `step_counts` says.

    >>> stack_frames(torch.arange(5).unsqueeze(1), torch.tensor([3, 2]), 2).tolist()
    [[0, 1], [2, 2], [3, 4]]
    """
    if stack == 1:
        return frames
    utterances, steps = ranges_from_counts(counts), ranges_from_counts(step_counts(counts, stack))
    step = torch.arange(int(steps.lengths.sum()))
    first = torch.repeat_interleave(utterances.begin - stack * steps.begin, steps.lengths) + stack * step
    last = torch.repeat_interleave(utterances.end - 1, steps.lengths)
    # Steps past an utterance's end repeat its last frame.
    positions = torch.minimum(first.unsqueeze(1) + torch.arange(stack), last.unsqueeze(1)).flatten()
    return frames.index_select(0, positions.to(frames.device, non_blocking=True)).view(len(step), -1)
