"""Where the time of a training step goes, part by part, and how close each part comes to this machine's limits.

Each part of the default model runs by itself, forward and backward, on the same batch as the whole step. Its *floor* is
the time of its multiplications at the speed of one large matrix product, or of its reads and writes at the speed of one
large copy, whichever is longer; only what stays in a cache can be faster. *Gap* is the time divided by the floor. The
time of a step beyond its parts is the cost of joining them. The fastest repetition counts. The last line is JSON.

    python benchmarks/step.py [--batch-size 32] [--shape ravdess] [--precision float32] [--repetitions 20] [--threads N]

On a GPU, a part by itself takes at least the time of its kernel launches; the whole step overlaps them.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from pooling import BINS, CLASSES, DEVICE, draw_like_iemocap, draw_like_ravdess, forward_backward, milliseconds
from rich.console import Console
from rich.table import Table
from torch import Tensor
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from fgcme.data import Batch, collate, layout_frames, ranges_from_counts, scheme_of
from fgcme.experiment import ModelSettings
from fgcme.model import build_model

SHAPES = {"ravdess": (draw_like_ravdess, 12), "iemocap": (draw_like_iemocap, 3000)}


@dataclass(frozen=True)
class Part:
    """A part of a step.

    Attributes:
        work: runs the part once.
        moved: bytes that it reads and writes at least.
        forward: its forward half, if it has one.
    """

    work: Callable[[], object]
    moved: int
    forward: Callable[[], Tensor] | None = None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--shape", choices=SHAPES, default="ravdess")
    parser.add_argument("--precision", choices=["float32", "bfloat16"], default="float32")
    parser.add_argument("--repetitions", type=int, default=20)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="CPU threads; by default all")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    dtype = getattr(torch, arguments.precision)
    with torch.autocast(DEVICE.type, dtype, enabled=dtype != torch.float32):
        parts = parts_of_a_step(arguments.shape, arguments.batch_size)
        times = {name: fastest(part.work, arguments.repetitions) for name, part in parts.items()}
        floors = floors_of(parts, dtype, arguments.repetitions)
    report(times, floors, arguments)


def parts_of_a_step(shape: str, batch_size: int) -> dict[str, Part]:
    """The whole step, then its parts."""
    draw, vocabulary_size = SHAPES[shape]
    generator = np.random.default_rng(0)
    utterances = [draw(generator) for _ in range(batch_size)]
    settings = ModelSettings()
    torch.manual_seed(0)
    network = build_model(settings, BINS, vocabulary_size, CLASSES).to(DEVICE)
    optimiser = torch.optim.Adam(network.parameters(), lr=5e-4, fused=True)
    scheme = scheme_of(settings)
    layouts = [
        layout_frames(scheme, utterance.begin, utterance.end, len(utterance.frames), utterance.speech)
        for utterance in utterances
    ]

    def make_batch() -> Batch:
        words, labels = [utterance.words for utterance in utterances], [utterance.label for utterance in utterances]
        frames = [utterance.frames for utterance in utterances]
        return collate(frames, layouts, words, labels, scheme.lookahead + 1).to(DEVICE)

    batch, core = make_batch(), network.core

    def step() -> None:
        optimiser.zero_grad()
        torch.autograd.backward(functional.cross_entropy(network(batch).logits, batch.labels))
        optimiser.step()

    step()
    with torch.no_grad():
        frames = network.standardise(batch.frames)
        hidden = core.acoustic.encoder(frames)
        sounds = core.acoustic(batch, None).features.float()
        words = core.semantic(batch).float()
        joined = torch.cat([words, sounds], dim=1)
        sequence = core.sequence(joined, batch.word_counts).float()
    leaves = [hidden := hidden.float(), sounds, words, joined, sequence]
    for leaf in leaves:
        leaf.requires_grad_()
    utterance_ranges = ranges_from_counts(batch.word_counts).to(DEVICE)

    def excite() -> Tensor:
        excited_words, _ = core.excite_semantic(words, sounds)
        excited_sounds, _ = core.excite_acoustic(sounds, words)
        return torch.cat([excited_words, excited_sounds], dim=1)

    def classify() -> Tensor:
        return functional.cross_entropy(core.classify(core.readout(sequence, utterance_ranges)), batch.labels)

    def weights_of(*modules: torch.nn.Module) -> list[Tensor]:
        return [parameter for module in modules for parameter in module.parameters()]

    def part(forward: Callable[[], Tensor], weights: Sequence[Tensor], inputs: Sequence[Tensor], reads: Tensor) -> Part:
        # Weights and inputs are read forward and backward, and their gradients are written.
        moved = 3 * sum(size(tensor) for tensor in (*weights, *inputs)) + size(reads) + 2 * size(forward())
        return Part(forward_backward(forward, [*weights, *inputs]), moved, forward)

    nothing = torch.empty(0)
    weights = sum(size(parameter) for parameter in network.parameters())
    whole = Part(step, 0)
    excitement = weights_of(core.excite_semantic, core.excite_acoustic)
    return {
        "whole step": whole,
        "acoustic encoder": part(lambda: core.acoustic.encoder(frames), weights_of(core.acoustic.encoder), [], frames),
        "pooling": part(lambda: core.acoustic.pooling(hidden, batch.reads, batch.spans), [], [hidden], nothing),
        "semantic encoder": part(lambda: core.semantic(batch), weights_of(core.semantic), [], nothing),
        "excitement": part(excite, excitement, [words, sounds], nothing),
        "word LSTM": part(
            lambda: core.sequence(joined, batch.word_counts), weights_of(core.sequence), [joined], nothing
        ),
        "readout, classifier, loss": part(classify, weights_of(core.classify), [sequence], nothing),
        # Weight, gradient and two moments are read; weight and moments are written.
        "Adam": Part(optimiser.step, 7 * weights),
        "making the batch (beside the step)": Part(make_batch, 2 * size(batch.frames)),
    }


def size(tensor: Tensor) -> int:
    """Bytes of a tensor."""
    return tensor.numel() * tensor.element_size()


def fastest(work: Callable[[], object], repetitions: int) -> float:
    """Milliseconds of the fastest repetition, after three to warm up."""
    for _ in range(3):
        work()
    return min(milliseconds(work) for _ in range(repetitions))


def floors_of(parts: dict[str, Part], dtype: torch.dtype, repetitions: int) -> dict[str, float]:
    """The floor of each part in milliseconds; the whole step's is the sum of its parts'."""
    order = 4096 if DEVICE.type == "cuda" else 1024
    matrix = torch.randn(order, order, device=DEVICE, dtype=dtype)
    multiplied = 2 * order**3 / fastest(lambda: matrix @ matrix, repetitions)  # a millisecond
    block = torch.randn(64 * 2**20 // 4, device=DEVICE)
    target = torch.empty_like(block)
    copied = 2 * size(block) / fastest(lambda: target.copy_(block), repetitions)
    floors = {}
    for name, part in list(parts.items())[1:]:
        floors[name] = max(operations(part) / multiplied, part.moved / copied)
    within = [floor for name, floor in floors.items() if "beside" not in name]
    return {"whole step": sum(within), **floors}


def operations(part: Part) -> int:
    """Floating-point operations of the matrix products of a part, forward and backward."""
    # oneDNN runs an LSTM as one operation, which the counter does not know.
    with FlopCounterMode(display=False) as counter, torch.backends.mkldnn.flags(enabled=False):
        if part.forward is not None:
            torch.autograd.backward(part.forward().sum())
    return int(counter.get_total_flops())


def report(times: dict[str, float], floors: dict[str, float], arguments: argparse.Namespace) -> None:
    """Print a table, and JSON as the last line."""
    where = torch.cuda.get_device_name() if DEVICE.type == "cuda" else f"{torch.get_num_threads()} CPU thread(s)"
    table = Table(
        title=f"a training step: {arguments.batch_size} utterances like {arguments.shape}, "
        f"{arguments.precision}, {where}"
    )
    for heading in ("", "µs", "share", "floor µs", "gap"):
        table.add_column(heading, justify="right" if heading else "left")
    whole = times["whole step"]
    joining = whole - sum(time for name, time in times.items() if name != "whole step" and "beside" not in name)
    for name, time in times.items():
        gap = f"{time / floors[name]:.1f}" if floors[name] else ""
        table.add_row(name, f"{1000 * time:.0f}", f"{time / whole:.0%}", f"{1000 * floors[name]:.0f}", gap)
    table.add_row("joining them", f"{1000 * joining:.0f}", f"{joining / whole:.0%}", "", "")
    Console(width=110).print(table)
    shares = {name: round(time / whole, 3) for name, time in times.items()}
    step, floor = (round(1000 * each["whole step"]) for each in (times, floors))
    print(json.dumps({"step_us": step, "floor_us": floor, "shares": shares, "device": DEVICE.type}))


if __name__ == "__main__":
    main()
