"""What grows with a corpus: the time and the memory of preparing it again when nothing has changed.

A synthetic corpus (a manifest and as many small WAV files) and its prepared corpus are written as a preparation would
have left them, with random frames. Then `fgcme prepare` runs in processes of its own, with 1,000 and with many
utterances: its seconds, start-up included, and the peak of its memory. The last line is JSON.

    python benchmarks/scale.py [--utterances 50000] [--only prepare]
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import shutil
import subprocess
import sys
import tempfile
import time
import wave
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from fgcme import prepared
from fgcme.corpora import Utterance, catalogue
from fgcme.experiment import Experiment, parse_experiment
from fgcme.files import digest
from pipelines.preparing import FileHashes, alignment_finder, hash_sources
from pipelines.runs.corpus import feature_settings, prepared_folder

FEW = 1_000
FRAMES, BINS = 20, 40
PART = 2_000
# Files count as unchanged when their times are older than this.
SETTLED_SECONDS = 2.5

# Prints the status, the seconds that the verb took with its process's start, and its peak in KiB; not `ru_maxrss`,
# which begins with the memory of the process that started this one.
VERB = """
import re, sys, time
from pathlib import Path
from pipelines import cli
status = cli.main(["prepare", sys.argv[1]])
peak = re.search(r"VmHWM:\\s*(\\d+)", Path("/proc/self/status").read_text()).group(1)
print(status, time.time() - float(sys.argv[2]), peak)
"""


def main() -> None:
    measurements: dict[str, Callable[[int, Path], dict[str, float]]] = {"prepare": measure_prepare}
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--utterances", type=int, default=50_000)
    parser.add_argument("--only", choices=list(measurements))
    arguments = parser.parse_args()
    result: dict[str, float] = {"utterances": arguments.utterances}
    for name, measure in measurements.items():
        if arguments.only in (None, name):
            work = Path(tempfile.mkdtemp(prefix="fgcme-benchmark-"))
            try:
                result |= measure(arguments.utterances, work)
            finally:
                shutil.rmtree(work)
    print(json.dumps(result))


def measure_prepare(count: int, work: Path) -> dict[str, float]:
    """Seconds and peak of `fgcme prepare` with nothing to do, for few utterances and for many."""
    table = Table(title="fgcme prepare with nothing to do")
    for heading in ("utterances", "seconds", "peak MiB"):
        table.add_column(heading, justify="right")
    seconds, peak = {}, {}
    for number in (FEW, count):
        experiment = write_corpus(work / str(number), number)
        time.sleep(SETTLED_SECONDS)
        write_prepared(experiment)
        seconds[number], peak[number] = prepare_again(experiment)
        table.add_row(f"{number:,}", f"{seconds[number]:.2f}", f"{peak[number]:.0f}")
    Console().print(table)
    name = f"{count // 1000}k"
    return {
        f"noop_prepare_{name}_s": round(seconds[count], 2),
        "noop_prepare_1k_s": round(seconds[FEW], 2),
        "driver_peak_mib": round(peak[count], 1),
        "driver_peak_ratio": round(peak[count] / peak[FEW], 3),
    }


def write_corpus(folder: Path, count: int) -> Experiment:
    """A manifest and its audio files, which differ and are too short for any use; returns their experiment."""
    names = [f"audio/{number // 1000:04d}/{number:07d}" for number in range(count)]
    for name in names[::1000]:
        (folder / name).parent.mkdir(parents=True)
    sound = io.BytesIO()
    with wave.open(sound, "wb") as file:
        file.setparams((1, 2, 16_000, 0, "NONE", ""))
        file.writeframes(bytes(64))
    with (folder / "list.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "audio", "text", "label", "speaker"])
        for number, name in enumerate(names):
            (folder / f"{name}.wav").write_bytes(sound.getvalue() + number.to_bytes(8, "little"))
            writer.writerow([name, f"{name}.wav", "dogs are sitting by the door", "sad", f"{number % 100:02d}"])
    corpus = {"kind": "manifest", "manifest": str(folder / "list.csv")}
    content = {"name": "scale", "corpus": corpus, "protocol": {"name": "none"}, "storage": {"path": str(folder)}}
    experiment = parse_experiment(content)
    (folder / "experiment.yaml").write_text(experiment.to_yaml())
    return experiment


def write_prepared(experiment: Experiment) -> None:
    """The prepared corpus of an experiment, with random frames, and the hashes of its files."""
    folder = prepared_folder(experiment)
    folder.mkdir(parents=True)
    root, listing = catalogue.find_corpus(experiment.corpus, Path(experiment.storage.path))
    find_alignment = alignment_finder(experiment, listing.utterances, root)
    with FileHashes(folder / "file-hashes.npy") as files:
        hashed = (each for some in hash_sources(listing.utterances, root, find_alignment, files) for each in some)
        for number, rows in enumerate(in_parts(rows_of(listing.utterances, hashed))):
            prepared.write_part(folder, "utterances", f"part-{number:06d}", prepared.utterance_table(rows))
    prepared.merge_parts(folder)
    settings = feature_settings(experiment)
    prepared.CorpusDescription(
        corpus=experiment.corpus.kind,
        settings=settings,
        settings_hash=digest(settings),
        corpus_hash=prepared.corpus_hash(folder, digest(settings)),
        counts={"utterances": len(listing.utterances), "rejected": 0},
        versions={},
    ).write(folder)


def rows_of(utterances: Iterable[Utterance], hashed: Iterable[tuple[str, str | None]]) -> Iterator[dict[str, object]]:
    """A row for each utterance, with random frames."""
    generator = np.random.default_rng(0)
    for utterance, (_, source) in zip(utterances, hashed, strict=True):
        stored = {name: value for name, value in vars(utterance).items() if name in prepared.UTTERANCES.names}
        yield stored | {
            "audio_sha256": "0" * 64,
            "duration": 0.2,
            "words": utterance.text.split(),
            "begin": np.arange(6),
            "end": np.arange(6) + 1,
            "alignment": "uniform",
            "alignment_score": 0.0,
            "frames": generator.standard_normal(FRAMES * BINS, np.float32),
            "frame_count": FRAMES,
            "frame_size": BINS,
            "source_hash": source,
        }


def in_parts(rows: Iterator[dict[str, object]]) -> Iterator[list[dict[str, object]]]:
    """The rows, as many at a time as a part has."""
    while part := [row for _, row in zip(range(PART), rows, strict=False)]:
        yield part


def prepare_again(experiment: Experiment) -> tuple[float, float]:
    """Seconds and peak in MiB of the verb, with nothing to do."""
    settings = Path(experiment.storage.path) / "experiment.yaml"
    command = [sys.executable, "-c", VERB, str(settings), str(time.time())]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    status, seconds, peak = printed.splitlines()[-1].split()
    if status != "0" or "0 prepared now" not in printed:
        raise SystemExit(f"there was something to prepare:\n{printed}")
    return float(seconds), float(peak) / 1024


if __name__ == "__main__":
    main()
