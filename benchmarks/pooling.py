"""What the ragged model saves: a training step against the masked form of the same model, in time and in memory.

The masked form (`tests/fgcme/model/masked.py`) works like the published code: it pads a batch to its longest utterance,
convolves all of it, and multiplies a tensor of utterances x words x frames x channels by a mask. Both forms have the
same weights and get the same random batches of 32 utterances; their logits must agree before they are timed. A step is
forward, backward and Adam, without making the batch. Repetitions alternate between the two, and the fastest of each
counts, because other work on the machine only adds to a time. Memory is the peak of what a step allocates. The last
line is JSON.

    python benchmarks/pooling.py [--prepared FOLDER] [--repetitions 6] [--threads N]

On a busy machine, use `--threads 1`: otherwise threads wait for each other, and a step of milliseconds takes seconds.
"""

from __future__ import annotations

import argparse
import copy
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import cast

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from torch.nn import functional
from torch.profiler import ProfilerActivity, profile

from fgcme.data import SpeechCorpus, Vocabulary, scheme_of
from fgcme.experiment import ModelSettings
from fgcme.model import FineGrainedExcitement, Network, build_model
from fgcme.model.word_acoustics import SpanPooling
from tests.fgcme.model.masked import MaskedExcitement, Utterance, masked_pool, padded_batch, ragged_batch, read_mask

BATCH_SIZE, BINS, CLASSES = 32, 40, 8
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
TARGETS = {"ravdess_step_speedup": 4, "iemocap_step_speedup": 15, "pooling_memory_ratio": 0.1}


@dataclass(frozen=True)
class Comparison:
    """The same work in both forms.

    Attributes:
        ragged, masked: milliseconds a batch: the fastest repetition of each, averaged over the batches.
        ragged_bytes, masked_bytes: peak of memory of the first batch.
    """

    ragged: float
    masked: float
    ragged_bytes: int
    masked_bytes: int

    @property
    def speedup(self) -> float:
        """How many times faster the ragged form is."""
        return self.masked / self.ragged


Work = Callable[[], object]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prepared", type=Path, help="folder of a prepared RAVDESS; by default utterances are random")
    parser.add_argument("--repetitions", type=int, default=6, help="of each batch; a third of them for IEMOCAP's shape")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="CPU threads; by default all")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    generator = np.random.default_rng(0)
    if arguments.prepared is not None:
        ravdess, vocabulary_size = read(arguments.prepared)
        origin = f"RAVDESS, {len(ravdess)} utterances"
    else:
        ravdess, vocabulary_size = [draw_like_ravdess(generator) for _ in range(256)], 12
        origin = "shaped like RAVDESS, random"
    iemocap = [draw_like_iemocap(generator) for _ in range(256)]
    torch.manual_seed(0)
    corpora = {
        origin: compare(batches(ravdess, 4, generator), vocabulary_size, arguments.repetitions),
        "shaped like IEMOCAP, random": compare(batches(iemocap, 3, generator), 3000, -(-arguments.repetitions // 3)),
    }
    report(corpora)


def read(folder: Path) -> tuple[list[Utterance], int]:
    """Utterances of a prepared corpus, and the size of its vocabulary."""
    corpus = SpeechCorpus(folder)
    vocabulary = Vocabulary.from_utterances(corpus.words)
    classes = sorted({label or "" for label in corpus.table.raw_labels})
    utterances = [
        Utterance(corpus.frames(index), *corpus.spans(index), vocabulary.index(words), classes.index(label or ""))
        for index, (words, label) in enumerate(zip(corpus.words, corpus.table.raw_labels, strict=True))
    ]
    return utterances, len(vocabulary)


def draw_like_ravdess(generator: np.random.Generator) -> Utterance:
    """Six words without pauses in 1.6 to 2 s, with about a second of silence before and after."""
    silence, speech = generator.integers(80, 110, 2), generator.integers(160, 200)
    edges = np.concatenate([[0], np.sort(generator.choice(np.arange(10, speech - 10), 5, replace=False)), [speech]])
    return draw(generator, int(silence.sum() + speech), silence[0] + edges[:-1], silence[0] + edges[1:], 12)


def draw_like_iemocap(generator: np.random.Generator) -> Utterance:
    """450 frames on average and 2,000 at most, a word for every 35 frames, a pause before every fourth word."""
    # Log-normal, with a deviation of 0.7 times the mean.
    spread = np.sqrt(np.log(1 + 0.7**2))
    frame_count = int(np.clip(generator.lognormal(np.log(450) - spread**2 / 2, spread), 60, 2000))
    words = max(1, round(frame_count / 35))
    lasting = generator.gamma(4, size=2 * words + 1)
    lasting[::2] *= generator.random(words + 1) < 0.25
    edges = np.round(np.cumsum(lasting) * frame_count / lasting.sum()).astype(np.int64)
    return draw(generator, frame_count, edges[:-1:2], edges[1::2], 3000)


def draw(
    generator: np.random.Generator, frame_count: int, begin: np.ndarray, end: np.ndarray, vocabulary_size: int
) -> Utterance:
    """An utterance with given spans, random frames and random words."""
    frames = generator.normal(size=(frame_count, BINS)).astype(np.float32)
    words = generator.integers(2, vocabulary_size, len(begin))
    return Utterance(frames, begin, end, words, int(generator.integers(CLASSES)))


def batches(utterances: Sequence[Utterance], count: int, generator: np.random.Generator) -> list[list[Utterance]]:
    """`count` random batches."""
    order = generator.permutation(len(utterances))[: count * BATCH_SIZE].reshape(count, BATCH_SIZE)
    return [[utterances[index] for index in rows] for rows in order]


def compare(groups: Sequence[Sequence[Utterance]], vocabulary_size: int, repetitions: int) -> dict[str, Comparison]:
    """Compare the whole step, and the encoder and the pooling forward and backward."""
    model = build_model(ModelSettings(), BINS, vocabulary_size, CLASSES).to(DEVICE)
    works = [works_of(model, MaskedExcitement(copy.deepcopy(model)), group) for group in groups]
    return {name: measure([batch[name] for batch in works], repetitions) for name in works[0]}


def works_of(
    model: Network, masked_model: MaskedExcitement, group: Sequence[Utterance]
) -> dict[str, tuple[Work, Work]]:
    """The work to measure on one batch, in both forms."""
    listening = cast("SpanPooling", cast("FineGrainedExcitement", model.core).acoustic)
    encoder, pooling = listening.encoder, listening.pooling
    masked_encoder = masked_model.span_pooling.encoder
    scheme = scheme_of(ModelSettings())
    batch, masked_batch = ragged_batch(group, scheme).to(DEVICE), padded_batch(group, scheme.lookahead).to(DEVICE)
    with torch.no_grad():
        torch.testing.assert_close(model(batch).logits, masked_model(masked_batch), rtol=1e-3, atol=1e-4)
        hidden, masked_hidden = encoder(batch.frames), masked_model.encode(masked_batch)
    hidden.requires_grad_()
    masked_hidden.requires_grad_()
    weights, masked_weights = list(encoder.convolutions.parameters()), list(masked_encoder.convolutions.parameters())

    def pool_masked() -> Tensor:
        return masked_pool(masked_hidden, read_mask(masked_batch, masked_model.kernels), pooling.kind)

    return {
        "training step": (
            training_step(model, lambda: model(batch).logits, batch.labels),
            training_step(masked_model, lambda: masked_model(masked_batch), masked_batch.labels),
        ),
        "encoder": (
            forward_backward(lambda: encoder(batch.frames), weights),
            forward_backward(lambda: masked_model.encode(masked_batch), masked_weights),
        ),
        "pooling": (
            forward_backward(lambda: pooling(hidden, batch.reads, batch.spans), [hidden]),
            forward_backward(pool_masked, [masked_hidden]),
        ),
    }


def training_step(model: nn.Module, logits: Callable[[], Tensor], labels: Tensor) -> Work:
    """Forward, backward and Adam."""
    optimiser = torch.optim.Adam(model.parameters(), lr=5e-4, fused=True)

    def step() -> None:
        optimiser.zero_grad()
        torch.autograd.backward(functional.cross_entropy(logits(), labels))
        optimiser.step()

    return step


def forward_backward(forward: Callable[[], Tensor], inputs: Sequence[Tensor]) -> Work:
    """Forward, and backward to the gradients of some inputs."""
    gradient = torch.ones_like(forward())
    return lambda: torch.autograd.grad(forward(), inputs, gradient)


def measure(works: Sequence[tuple[Work, Work]], repetitions: int) -> Comparison:
    """Measure the memory of both forms, which also warms them up, then their times in turn."""
    ragged_bytes, masked_bytes = (peak_bytes(work) for work in works[0])
    # [repetitions, batches, 2]
    times = np.array([[[milliseconds(work) for work in pair] for pair in works] for _ in range(repetitions)])
    ragged_ms, masked_ms = times.min(0).mean(0).tolist()
    return Comparison(ragged_ms, masked_ms, ragged_bytes, masked_bytes)


def milliseconds(work: Work) -> float:
    """How long some work takes, until the GPU has finished."""
    wait()
    began = time.perf_counter()
    work()
    wait()
    return 1000 * (time.perf_counter() - began)


def wait() -> None:
    if DEVICE.type == "cuda":
        torch.cuda.synchronize()


def peak_bytes(work: Work) -> int:
    """Peak of the bytes that some work allocates."""
    # The first call also makes lasting buffers: gradients, the optimiser's moments.
    work()
    if DEVICE.type == "cuda":
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        work()
        return int(torch.cuda.max_memory_allocated() - before)
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True, acc_events=True) as profiler:
        work()
    assert profiler.profiler is not None and profiler.profiler.kineto_results is not None
    events = [event for event in profiler.profiler.kineto_results.events() if event.name() == "[memory]"]
    events.sort(key=lambda event: event.start_ns())
    return int(max(accumulate(event.nbytes() for event in events)))


def report(corpora: dict[str, dict[str, Comparison]]) -> None:
    """Print a table, and JSON as the last line."""
    where = torch.cuda.get_device_name() if DEVICE.type == "cuda" else f"{torch.get_num_threads()} CPU thread(s)"
    table = Table(title=f"ragged against masked, batches of {BATCH_SIZE}, {where}")
    headings = ("", "ragged ms", "masked ms", "speed-up", "ragged MB", "masked MB", "memory ratio")
    for heading in headings:
        table.add_column(heading, justify="right" if heading else "left")
    for name, rows in corpora.items():
        table.add_section()
        table.add_row(name, style="bold")
        for part, row in rows.items():
            table.add_row(
                part,
                f"{row.ragged:.1f}",
                f"{row.masked:.1f}",
                f"{row.speedup:.1f}",
                f"{row.ragged_bytes / 1e6:.1f}",
                f"{row.masked_bytes / 1e6:.1f}",
                f"{row.ragged_bytes / row.masked_bytes:.3f}",
            )
    Console(width=110).print(table)
    ravdess, iemocap = corpora.values()
    result = {
        "ravdess_step_speedup": round(ravdess["training step"].speedup, 2),
        "iemocap_step_speedup": round(iemocap["training step"].speedup, 2),
        "pooling_memory_ratio": round(
            max(rows["pooling"].ragged_bytes / rows["pooling"].masked_bytes for rows in corpora.values()), 4
        ),
        "targets": TARGETS,
        "device": DEVICE.type,
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
