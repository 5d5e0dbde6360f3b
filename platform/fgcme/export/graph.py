"""A fitted model, or several together, as one graph: from the frames and words of an utterance to its answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from fgcme.data import Batch, Ranges, has_words, scheme_of
from fgcme.data.batch import SegmentScheme
from fgcme.errors import UserError
from fgcme.export.one_utterance import count_of, numbers_of, stand_ins
from fgcme.model import Network
from fgcme.serving.fitted import ModelSpec

Input = Literal["frames", "begin", "end", "speech", "words", "word_features"]

MEANINGS: dict[Input, str] = {
    "frames": "[frames, values] float32, as the model's front end gives them",
    "begin": "[words] int64, the first frame of each word",
    "end": "[words] int64, the frame after the last of each word",
    "speech": "[2] int64, the first frame of the speech and the frame after its last",
    "words": "[words] int64, the number of each word in the list `words`, from 2; 1 is any other word",
    "word_features": "[words, values] float32, what the text encoder says of each word",
}
# Kinds of models that repeat something for each word, whether they read it or not.
_COUNT_WORDS = ("fgcme", "can")


class Graph(nn.Module):
    """Computes the answer for one recording of any number of frames and words.

    Args:
        members: as `fgcme.serving.ensemble.load` returns them.

    Attributes:
        inputs: what it takes, in order.
        outputs: names of what it answers, in order: of a model of classes `logits` and `probabilities`, [K] each; of
            one of ratings `ratings`, [D] on their own scales; of one of both all three.
        words: the words that it knows, numbered from 2.
        numbers: of each member, the number there of each number of a word.

    Raises:
        UserError: this model cannot be one graph; says why.
    """

    def __init__(self, members: Sequence[tuple[Network, ModelSpec]]) -> None:
        super().__init__()
        specs = [spec for _, spec in members]
        _refuse(specs)
        self.spec = specs[0]
        self.scheme = scheme_of(self.spec.model)
        self.inputs = inputs_of(self.spec, self.scheme)
        self.tasks = self.spec.tasks
        of_classes = ("logits", "probabilities") if self.tasks.classes else ()
        self.outputs = (*of_classes, *(("ratings",) if self.tasks.dimensions else ()))
        ends = torch.tensor([*self.tasks.dimensions.values()], dtype=torch.float32).reshape(-1, 2)
        self.low, self.range = ends[:, 0], ends[:, 1] - ends[:, 0]
        own = [[*spec.words, *spec.given_words] for spec in specs]
        self.words = own[0] if len(own) == 1 else sorted({word for words in own for word in words})
        self.networks = nn.ModuleList(stand_ins(network) for network, _ in members)
        # Of each member, from the number of a word in the list to its number there.
        self.numbers = [
            torch.cat([torch.tensor([0, 1]), torch.from_numpy(spec.vocabulary.index(self.words))]) for spec in specs
        ]

    def forward(self, *given: Tensor) -> tuple[Tensor, ...]:
        """The mean answers of all members, one tensor for each of `outputs`.

        Args:
            given: one tensor for each of `inputs`, see `MEANINGS`.
        """
        named = dict(zip(self.inputs, given, strict=True))
        counted = next((named[name] for name in ("words", "word_features", "begin") if name in named), None)
        word_count = torch.ones(1, dtype=torch.int64) if counted is None else count_of(counted)
        numbers = torch.zeros(1, dtype=torch.int64) if counted is None else numbers_of(counted)
        frames, reads, spans = self._layout(named, word_count, numbers)
        logits = []
        for network, of_member in zip(self.networks, self.numbers, strict=True):
            words = of_member[named["words"]] if "words" in named else torch.zeros_like(numbers)
            batch = Batch(
                frames=frames,
                reads=reads,
                spans=spans,
                words=words,
                word_counts=word_count,
                labels=torch.tensor([-1]),
                word_features=named.get("word_features"),
            )
            logits.append(network(batch).logits)
        return self.answer(torch.cat(logits).mean(0))

    def answer(self, mean: Tensor) -> tuple[Tensor, ...]:
        """What the members' mean output says, one tensor for each of `outputs`.

        Args:
            mean: [K + D], see `fgcme.data.targets`.
        """
        logits, values = mean[: len(self.tasks.classes)], mean[len(self.tasks.classes) :]
        of_classes = (logits, logits.softmax(0)) if self.tasks.classes else ()
        return (*of_classes, *((self.low + values * self.range,) if self.tasks.dimensions else ()))

    def _layout(self, named: dict[Input, Tensor], word_count: Tensor, numbers: Tensor) -> tuple[Tensor, Ranges, Tensor]:
        """The frames, padded for the convolutions, what each segment reads of them, and its own frames.

        `fgcme.data.batch.layout_spans` drops frames that no segment reads; here they stay, and are read by none.
        """
        scheme = self.scheme
        if scheme.segments == "none":
            nothing = torch.zeros(0, dtype=torch.int64)
            frames = torch.zeros(1, self.spec.frame_size)
            return frames, Ranges(nothing, nothing, nothing), torch.zeros(0, 2, dtype=torch.int64)
        count = count_of(named["frames"])
        begin, end = self._segments(named, count, word_count, numbers)
        outputs = (count - scheme.lookahead).clamp(min=0)
        low = torch.minimum((begin - scheme.lookahead).clamp(min=0), outputs)
        high = torch.minimum(end.clamp(min=0), outputs)
        reads = (high > low) & (end > begin)
        low, high = low * reads, high * reads
        spans = torch.stack([torch.minimum(begin, count), torch.minimum(end, count)], dim=1) * reads.unsqueeze(1)
        padded = functional.pad(named["frames"], (0, 0, 0, scheme.lookahead))
        return padded, Ranges(low, high, high - low), spans

    def _segments(
        self, named: dict[Input, Tensor], count: Tensor, word_count: Tensor, numbers: Tensor
    ) -> tuple[Tensor, Tensor]:
        """[G] begin and end of each segment, as `fgcme.data.batch.layout_frames` finds them."""
        scheme = self.scheme
        if scheme.segments == "words":
            begin, end = named["begin"], named["end"]
        else:
            first, last = self._stretch(scheme.segments not in ("even", "recording"), named, count)
            if scheme.has_shared_segment:
                begin, end = first, last
            else:
                begin, end = (
                    first + torch.div((numbers + later) * (last - first), word_count, rounding_mode="floor")
                    for later in (0, 1)
                )
        margin = (end > begin) * scheme.margin
        begin, end = (begin - margin).clamp(min=0), end + margin
        if scheme.overall != "none":
            first, last = self._stretch(scheme.overall == "speech", named, count)
            begin, end = torch.cat([begin, first]), torch.cat([end, last])
        return begin, end

    def _stretch(self, of_speech: bool, named: dict[Input, Tensor], count: Tensor) -> tuple[Tensor, Tensor]:
        """[1] begin and end of the recording, or of its speech where that begins within it."""
        first = torch.zeros_like(count)
        if not of_speech:
            return first, count
        speech = named["speech"]
        within = speech[:1] < count
        return torch.where(within, speech[:1], first), torch.where(within, torch.minimum(speech[1:], count), count)


def inputs_of(spec: ModelSpec, scheme: SegmentScheme) -> tuple[Input, ...]:
    """What the graph of a model takes, in order.

    Args:
        spec: of the model.
        scheme: how it reads frames.
    """
    hears, by_word = scheme.segments != "none", scheme.segments == "words"
    reads_words = has_words(spec.model) or (hears and not by_word and spec.model.kind in _COUNT_WORDS)
    takes: dict[Input, bool] = {
        "frames": hears,
        "begin": hears and by_word,
        "end": hears and by_word,
        "speech": hears and scheme.needs_speech,
        "words": reads_words and not spec.word_feature_size,
        "word_features": reads_words and spec.word_feature_size > 0,
    }
    return tuple(name for name, wanted in takes.items() if wanted)


def _refuse(specs: Sequence[ModelSpec]) -> None:
    if any(spec.encoder is not None for spec in specs):
        raise UserError(
            "the model holds layers of a speech encoder that it trains (model.acoustic.trained_layers), whose code is "
            "that of transformers: they are not exported to ONNX; export the folder (--hub-folder) instead"
        )
    if any(spec.model != specs[0].model for spec in specs):
        raise UserError("the members of the ensemble have different settings, so they take different inputs: no graph")
