"""What an encoder's frames cost: ours beside a plain loop over `transformers`' own padded call.

The loop hears each utterance padded to 30 s, keeps the hidden states that are asked for, repeats them to one frame
every 10 ms and keeps them in float32. Both run in a process of their own, on one thread, over the same utterances of
RAVDESS, after one that warms them up. `bytes_ratio` is of the files that trainings map; `parquet_ratio` of the prepared
corpus, where compression takes back a part of what is repeated. The last line is JSON.

    python benchmarks/encoders.py --root RAVDESS [--checkpoint openai/whisper-base] [--limit 48]
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import resource
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow.parquet as pq
from rich.console import Console
from rich.table import Table

from fgcme import audio, features, prepared
from fgcme.audio import HOP, SAMPLE_RATE, Samples, frame_count
from fgcme.corpora import catalogue

LAYERS = (2, 3, 4, 5)
BLOCK = 16
TARGETS = {"encoder_speedup": "at least 8", "bytes_ratio": "at most 0.3"}

Encode = Callable[[Sequence[Samples]], list[np.ndarray]]


class Cost(NamedTuple):
    """What one way of encoding costs.

    Attributes:
        cpu_seconds: of the encoding alone, for a second of speech.
        parquet_bytes, mapped_bytes: of an hour of speech.
        peak_mib: of the process.
    """

    cpu_seconds: float
    parquet_bytes: float
    mapped_bytes: float
    peak_mib: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", required=True, help="RAVDESS")
    parser.add_argument("--checkpoint", default="openai/whisper-base", help="folder or hub name of a Whisper")
    parser.add_argument("--limit", type=int, default=48, help="take this many utterances of the corpus")
    arguments = parser.parse_args()
    listed = catalogue.CORPORA["ravdess"].find(Path(arguments.root)).utterances
    step = max(1, len(listed) // arguments.limit)
    paths = [str(Path(arguments.root) / utterance.audio) for utterance in listed[::step][: arguments.limit]]
    costs = {}
    for name in ("ours", "plain"):
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            costs[name] = pool.apply(measure, (name, paths, arguments.checkpoint))
    report(costs, len(paths))


def measure(name: str, paths: Sequence[str], checkpoint: str) -> Cost:
    """The cost of encoding some recordings in one of the two ways; runs in a process of its own."""
    import torch

    torch.set_num_threads(1)
    encode = (ours if name == "ours" else plain)(checkpoint)
    recordings = [audio.read(path) for path in paths]
    encode(recordings[:1])
    frames = []
    began = time.process_time()
    for first in range(0, len(recordings), BLOCK):
        frames += encode(recordings[first : first + BLOCK])
    cpu = time.process_time() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    seconds = sum(samples.size for samples in recordings) / SAMPLE_RATE
    hours = seconds / 3600
    return Cost(cpu / seconds, parquet_bytes(frames) / hours, sum(each.nbytes for each in frames) / hours, peak)


def ours(checkpoint: str) -> Encode:
    """As `fgcme prepare` encodes a block."""
    extractor = features.build_extractor("speech_encoder", checkpoint=checkpoint, layers=LAYERS)
    return lambda recordings: [np.asarray(frames.values) for frames in extractor(recordings)]


def plain(checkpoint: str) -> Encode:
    """One utterance after the other, padded, by `transformers` alone."""
    import torch
    from transformers import AutoFeatureExtractor, AutoModel

    extractors: Any = AutoFeatureExtractor
    extract = extractors.from_pretrained(checkpoint)
    encoder = AutoModel.from_pretrained(checkpoint, dtype=torch.float32).eval().get_encoder()

    @torch.inference_mode()
    def encode(samples: Samples) -> np.ndarray:
        inputs = extract(samples, sampling_rate=SAMPLE_RATE, return_tensors="pt")
        states = encoder(**inputs, output_hidden_states=True).hidden_states
        source = np.arange(frame_count(samples.size)) * HOP // (2 * HOP)
        return np.concatenate([states[layer][0].numpy()[source] for layer in LAYERS], axis=1)

    return lambda recordings: [encode(samples) for samples in recordings]


def parquet_bytes(frames: Sequence[np.ndarray]) -> int:
    """Bytes of the frames as a part of a prepared corpus."""
    nothing: dict[str, object] = dict.fromkeys(prepared.UTTERANCES.names)
    rows = [
        nothing | {"frames": each.ravel(), "frame_count": each.shape[0], "frame_size": each.shape[1]} for each in frames
    ]
    with tempfile.TemporaryDirectory() as folder:
        prepared.write_part(Path(folder), "utterances", "part", prepared.utterance_table(rows))
        part = pq.ParquetFile(Path(folder) / "utterances" / "part.parquet").metadata
        groups = [part.row_group(number) for number in range(part.num_row_groups)]
        columns = [group.column(number) for group in groups for number in range(group.num_columns)]
        return sum(each.total_compressed_size for each in columns if each.path_in_schema.startswith("frames"))


def report(costs: dict[str, Cost], count: int) -> None:
    """Print a table, and JSON as the last line."""
    table = Table(title=f"{count} utterances, layers {', '.join(map(str, LAYERS))}")
    for heading in ("", "CPU s per s of speech", "Parquet GB/h", "mapped GB/h", "peak MiB"):
        table.add_column(heading, justify="right")
    for name, cost in costs.items():
        parquet, mapped = cost.parquet_bytes / 1e9, cost.mapped_bytes / 1e9
        table.add_row(name, f"{cost.cpu_seconds:.4f}", f"{parquet:.2f}", f"{mapped:.2f}", f"{cost.peak_mib:.0f}")
    Console().print(table)
    mine, other = costs["ours"], costs["plain"]
    result = {
        "encoder_speedup": round(other.cpu_seconds / mine.cpu_seconds, 2),
        "bytes_ratio": round(mine.mapped_bytes / other.mapped_bytes, 3),
        "parquet_ratio": round(mine.parquet_bytes / other.parquet_bytes, 3),
        "cpu_s_per_speech_s": round(mine.cpu_seconds, 4),
        "peak_mib": round(mine.peak_mib),
        "plain_peak_mib": round(other.peak_mib),
        "targets": TARGETS,
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
