"""Utterances of random sizes, to compare two ways of computing an answer on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import cast

import numpy as np
import torch
from torch import Tensor

from fgcme.data import Batch, collate, layout_frames
from fgcme.export.graph import Graph, Input
from fgcme.model import Network

_MOST_FRAMES, _MOST_WORDS, _LONGEST_WORD = 400, 24, 60


@dataclass(frozen=True)
class RandomUtterance:
    """An utterance.

    Attributes:
        given: what `Graph` takes, by name.
        batches: what each member of the graph's models takes.
    """

    given: dict[Input, Tensor]
    batches: list[Batch]


def random_utterances(graph: Graph, count: int, seed: int = 0) -> Iterator[RandomUtterance]:
    """Draw utterances; the sizes, the words and where they are know nothing of each other, so some words have no frame.

    Args:
        graph: they are for.
        count: how many.
        seed: of all that is drawn.
    """
    generator = np.random.default_rng(seed)
    for number in range(count):
        # The smallest sizes, which random ones hardly ever have, come first.
        frame_count = number + 1 if number < 8 else int(generator.integers(1, _MOST_FRAMES + 1))
        word_count = 1 if number % 8 == 0 else int(generator.integers(1, _MOST_WORDS + 1))
        yield _draw(graph, generator, frame_count, word_count)


def _draw(graph: Graph, generator: np.random.Generator, frame_count: int, word_count: int) -> RandomUtterance:
    spec, standardise = graph.spec, cast("Network", graph.networks[0]).standardise
    mean, deviation = standardise.mean.numpy(), standardise.deviation.numpy()
    frames = (mean + deviation * generator.standard_normal((frame_count, spec.frame_size))).astype(np.float32)
    begin = generator.integers(0, frame_count, word_count)
    end = np.minimum(begin + generator.integers(0, _LONGEST_WORD, word_count), frame_count)
    first = int(generator.integers(0, frame_count))
    speech = first, int(generator.integers(first, frame_count)) + 1
    words = generator.integers(1, len(graph.words) + 2, word_count)
    said = generator.standard_normal((word_count, spec.word_feature_size)).astype(np.float32)
    values: dict[Input, np.ndarray] = {
        "frames": frames,
        "begin": begin,
        "end": end,
        "speech": np.array(speech),
        "words": words,
        "word_features": said,
    }
    layout = layout_frames(graph.scheme, begin, end, frame_count, speech)
    batches = []
    for numbers in graph.numbers:
        batch = collate([frames], [layout], [numbers[words].numpy()], [-1], graph.scheme.lookahead + 1)
        batches.append(replace(batch, word_features=torch.from_numpy(said) if spec.word_feature_size else None))
    return RandomUtterance({name: torch.from_numpy(values[name]) for name in graph.inputs}, batches)
