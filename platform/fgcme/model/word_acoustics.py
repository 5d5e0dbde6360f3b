"""What a model hears of each word: by the alignment it is given, or by one that it learns.

Where words find their frames themselves, every word meets every frame of its utterance. There, and only there, words
and frames are padded to the longest of the batch; what is padded takes no part in any result.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from fgcme.data import Batch, ranges_from_counts
from fgcme.model.encoders import AcousticEncoder
from fgcme.model.pooling import Pooling
from fgcme.model.recurrent import BlockwiseLSTM, FrameLSTM, stack_frames, step_counts


class WordAcoustics(NamedTuple):
    """What is heard of the words of a batch.

    Attributes:
        features: [W, size].
        auxiliary: [B] a loss of each utterance's alignment, where listening brings one.
    """

    features: Tensor
    auxiliary_loss: Tensor | None = None


class SpanPooling(nn.Module):
    """Each word hears the frames that the batch says it reads, encoded and pooled (paper, "temporal alignment").

    Where the batch has one segment an utterance, all its words hear the same.

    Args:
        encoder: of the frames.
        pooling: of the encoder's outputs.
    """

    def __init__(self, encoder: AcousticEncoder, pooling: Pooling) -> None:
        super().__init__()
        self.encoder = encoder
        self.pooling = pooling
        self.size = pooling.size

    def forward(self, batch: Batch, words: Tensor | None) -> WordAcoustics:
        """A batch of W words -> [W, size]; what the words are plays no part."""
        heard: Tensor = self.pooling(self.encoder(batch.frames), batch.reads, batch.spans)
        if len(heard) == len(batch.words):
            return WordAcoustics(heard)
        utterance = torch.repeat_interleave(torch.arange(len(batch)), batch.word_counts)
        return WordAcoustics(heard.index_select(0, utterance.to(heard.device, non_blocking=True)))


class AttentionAlignment(nn.Module):
    """Each word attends to all frames of its utterance (Xu et al., "Learning alignment", Interspeech 2019).

    The published code's form: multi-head attention by scaled dot products, from the words to an LSTM over the frames.
    Scores of all words by all frames are never held: PyTorch's fused attention goes through them in blocks.

    Args:
        frames: what the words attend to.
        size: values of a word's feature.
        heads: attentions side by side.
    """

    def __init__(self, frames: FrameLSTM, size: int, heads: int) -> None:
        super().__init__()
        self.frames = frames
        self.heads = heads
        self.query = nn.Linear(size, size)
        # A bias would add the same to all scores of a word.
        self.key = nn.Linear(frames.size, size, bias=False)
        self.value = nn.Linear(frames.size, size)
        self.join = nn.Linear(size, size)
        self.size = size

    def forward(self, batch: Batch, words: Tensor) -> WordAcoustics:
        """A batch that reads whole utterances, and its words' [W, size] features -> [W, size]."""
        frames, steps = self.frames(batch), self.frames.counts(batch)
        there = torch.arange(int(steps.max())) < steps.unsqueeze(1)
        heard = functional.scaled_dot_product_attention(
            self._by_head(self.query(words), batch.word_counts),
            self._by_head(self.key(frames), steps),
            self._by_head(self.value(frames), steps),
            attn_mask=there[:, None, None].to(words.device, non_blocking=True),
        )
        places = _places(batch.word_counts).to(words.device, non_blocking=True)
        return WordAcoustics(self.join(heard.transpose(1, 2).reshape(-1, self.size).index_select(0, places)))

    def _by_head(self, rows: Tensor, counts: Tensor) -> Tensor:
        """[R, size] -> [B, heads, longest, size / heads]."""
        padded = _pad(rows, counts)
        return padded.view(*padded.shape[:2], self.heads, -1).transpose(1, 2)


class CtcAlignment(nn.Module):
    """Frames say which word's turn it is: the CTC module of the multimodal transformer (Tsai et al., ACL 2019).

    A two-layer LSTM, whose outputs are the logits, gives each frame a distribution over the positions of words in an
    utterance, and blank. A word hears the sum of the frames, each weighted by the probability of the word's position.
    The distribution is trained by connectionist temporal classification: the positions have to come one after another.

    An utterance of more words than there are positions has its last words share the last position.

    Args:
        frame_size: values of a frame, F.
        positions: how many words of an utterance can be told apart, P.
        stack: frames side by side at each step, which then take a frame's part.
    """

    def __init__(self, frame_size: int, positions: int, stack: int = 1) -> None:
        super().__init__()
        self.positions = positions
        self.stack = stack
        # Blank comes first.
        self.locate = BlockwiseLSTM(stack * frame_size, positions + 1, layers=2, bidirectional=False)
        self.size = stack * frame_size

    def forward(self, batch: Batch, words: Tensor | None) -> WordAcoustics:
        """A batch that reads whole utterances -> [W, size] and the CTC loss; what the words are plays no part."""
        steps = step_counts(batch.reads.lengths, self.stack)
        frames = stack_frames(batch.frames, batch.reads.lengths, self.stack)
        logits = self.locate(frames, steps)
        logarithms = logits.log_softmax(1, dtype=torch.promote_types(logits.dtype, torch.float32))
        turns = batch.word_counts.clamp(max=self.positions)
        longest = int(turns.max())
        shares = _pad(logarithms[:, 1 : longest + 1].exp(), steps)
        heard = shares.transpose(1, 2) @ _pad(frames, steps)
        # The position of each word, among the positions of all utterances.
        utterance = torch.repeat_interleave(torch.arange(len(batch)), batch.word_counts)
        turn = torch.arange(len(batch.words)) - ranges_from_counts(batch.word_counts).begin[utterance]
        places = utterance * longest + turn.clamp(max=longest - 1)
        return WordAcoustics(
            features=heard.flatten(0, 1).index_select(0, places.to(heard.device, non_blocking=True)),
            auxiliary_loss=_alignment_loss(_pad(logarithms, steps), steps, turns),
        )


def _alignment_loss(logarithms: Tensor, steps: Tensor, turns: Tensor) -> Tensor:
    """[B] negative log-likelihood of the positions 1, 2, ... in turn, a position; 0 where they outnumber the steps.

    Args:
        logarithms: [B, S, P + 1] log-probabilities, blank first.
        steps, turns: [B] steps and positions of each utterance, on the CPU.
    """
    positions = torch.arange(1, int(turns.max()) + 1, device=logarithms.device)
    likelihood = functional.ctc_loss(
        logarithms.transpose(0, 1),
        positions.expand(len(turns), -1),
        steps,
        turns,
        reduction="none",
        zero_infinity=True,
    )
    return likelihood / turns.to(likelihood.device, non_blocking=True)


def _pad(rows: Tensor, counts: Tensor) -> Tensor:
    """[R, D] rows and [B] rows of each utterance -> [B, longest, D], zeros after an utterance's last."""
    longest = int(counts.max())
    padded = rows.new_zeros(len(counts) * longest, rows.shape[1])
    places = _places(counts).to(rows.device, non_blocking=True)
    return padded.index_copy(0, places, rows).view(len(counts), longest, -1)


def _places(counts: Tensor) -> Tensor:
    """[R] where the rows of utterances laid end to end lie among [B * longest] padded ones.

    >>> _places(torch.tensor([1, 2])).tolist()
    [0, 2, 3]
    """
    rows = ranges_from_counts(counts)
    first = torch.arange(len(counts)) * counts.max()
    return torch.repeat_interleave(first - rows.begin, counts) + torch.arange(int(counts.sum()))
