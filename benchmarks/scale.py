"""What grows with a corpus: preparing it, preparing it again when nothing has changed, and opening it for a training.

Hours: one and a hundred hours of noise in recordings of 10 s are prepared, words spread evenly: what the job takes at
its peak, all its processes together, each page that several share counted once.

Preparing: a synthetic corpus (a manifest and as many small WAV files) and its prepared corpus are written as a
preparation would have left them, with random frames. Then `fgcme prepare` runs in processes of its own, with 1,000 and
with 50,000 utterances: its seconds, start-up included, and the peak of its memory.

Training: a prepared corpus of a million utterances with few frames is mapped, then a new process opens a fold of it and
makes the first batch: its seconds, and how much memory of its own it has added at the peak. Pages of mapped files,
which all processes share, do not count. The last line is JSON.

    python benchmarks/scale.py [--only hours] [--share 0.1]
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import io
import json
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import wave
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
from rich.console import Console
from rich.table import Table

from fgcme import prepared
from fgcme.corpora import Utterance, catalogue
from fgcme.data import SpeechCorpus, open_fold
from fgcme.experiment import Experiment, parse_experiment
from fgcme.files import digest
from pipelines.preparing import FileHashes, alignment_finder, hash_sources
from pipelines.runs.corpus import feature_settings, prepared_folder

FEW, MANY = 1_000, 50_000
MILLION = 1_000_000
SPEAKERS, VOCABULARY, WORDS = 2_000, 20_000, 8
LABELS = ("angry", "happy", "neutral", "sad")
FRAMES, SHORT, BINS = 20, 10, 40
HOURS, RECORDING_SECONDS, RECORDINGS = 100, 10, 100
PART, ROWS = 2_000, 50_000
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
    measurements: dict[str, Callable[[float, Path], dict[str, float]]] = {
        "hours": measure_hours,
        "prepare": measure_prepare,
        "training": measure_training,
    }
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--share", type=float, default=1, help="measure smaller corpora, such as 0.1 of the size")
    parser.add_argument("--only", choices=list(measurements))
    parser.add_argument("--open", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.open is not None:
        open_fold_of(arguments.open)
        return
    result: dict[str, float] = {"share": arguments.share}
    for name, measure in measurements.items():
        if arguments.only in (None, name):
            with tempfile.TemporaryDirectory(prefix="fgcme-benchmark-") as work:
                result |= measure(arguments.share, Path(work))
    print(json.dumps(result))


def measure_hours(share: float, work: Path) -> dict[str, float]:
    """Seconds and peak of `fgcme prepare` for one hour of sound, and for many."""
    many = round(share * HOURS)
    table = Table(title="fgcme prepare")
    for heading in ("hours", "seconds", "peak MiB"):
        table.add_column(heading, justify="right")
    seconds, peak = {}, {}
    for hours in (1, many):
        folder = work / str(hours)
        write_recordings(folder, hours * 3600 // RECORDING_SECONDS)
        began = time.monotonic()
        command = [sys.executable, "-m", "pipelines.cli", "prepare", str(folder / "experiment.yaml")]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
            peak[hours] = 0.0
            while process.poll() is None:
                peak[hours] = max(peak[hours], memory_of_tree(process.pid) / 2**20)
                time.sleep(0.5)
        if process.returncode:
            raise SystemExit(f"fgcme prepare of {hours} hours ended with status {process.returncode}")
        seconds[hours] = time.monotonic() - began
        table.add_row(str(hours), f"{seconds[hours]:.0f}", f"{peak[hours]:.0f}")
        shutil.rmtree(folder)
    Console().print(table)
    return {
        "hours": many,
        "hours_s": round(seconds[many], 1),
        "hours_peak_mib": round(peak[many]),
        "hours_peak_ratio": round(peak[many] / peak[1], 3),
    }


def write_recordings(folder: Path, count: int) -> None:
    """A manifest of so many recordings, which are links to a hundred, and its experiment."""
    folder.mkdir(parents=True)
    generator = np.random.default_rng(0)
    for number in range(RECORDINGS):
        # Loud and quiet by turns, as speech is.
        envelope = 0.05 + 0.1 * (np.sin(np.arange(RECORDING_SECONDS * 16_000) / 4_000) > 0)
        noise = (32_767 * envelope * generator.normal(0, 0.3, envelope.size)).clip(-32_768, 32_767).astype("<i2")
        with wave.open(str(folder / f"sound-{number}.wav"), "wb") as file:
            file.setparams((1, 2, 16_000, 0, "NONE", ""))
            file.writeframes(noise.tobytes())
    with (folder / "list.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "audio", "text", "label", "speaker"])
        for number in range(count):
            name = f"{number:06d}.wav"
            (folder / name).hardlink_to(folder / f"sound-{number % RECORDINGS}.wav")
            writer.writerow([name, name, "dogs are sitting by the door", "sad", f"{number % 100:02d}"])
    content = {
        "name": "hours",
        "corpus": {"kind": "manifest", "manifest": str(folder / "list.csv")},
        "protocol": {"name": "none"},
        "prepare": {"alignment": {"method": "uniform"}},
        "storage": {"path": str(folder)},
    }
    (folder / "experiment.yaml").write_text(parse_experiment(content).to_yaml())


def memory_of_tree(pid: int) -> int:
    """Bytes of a process and of all that it has started, shared pages divided among those that share them."""
    total = 0
    with contextlib.suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        for each in [process, *process.children(recursive=True)]:
            with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
                total += each.memory_full_info().pss
    return total


def measure_prepare(share: float, work: Path) -> dict[str, float]:
    """Seconds and peak of `fgcme prepare` with nothing to do, for few utterances and for many."""
    count = round(share * MANY)
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
    return {
        "noop_prepare_50k_s": round(seconds[count], 2),
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
            "speech_begin": 0,
            "speech_end": FRAMES,
            "alignment": "uniform",
            "alignment_score": 0.0,
            "duration_deviation": 0.4,
            "signal_to_noise": 20.0,
            "start": 0.0,
            "frames": generator.standard_normal(FRAMES * BINS, np.float32),
            "frame_count": FRAMES,
            "frame_size": BINS,
            "clipped": 0,
            "oddities": [],
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


def measure_training(share: float, work: Path) -> dict[str, float]:
    """What a process that trains on a large corpus takes before its first batch, for each million utterances."""
    folder = work / "corpus"
    write_short_utterances(folder, round(share * MILLION))
    command = [sys.executable, __file__, "--open", str(folder)]
    # The first process maps the corpus for all others; the second one is measured.
    first, later = (json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout) for _ in range(2))
    table = Table(title=f"opening a fold of {round(share * MILLION):,} utterances")
    for heading in ("process", "MiB of its own", "map, s", "divide a fold, s", "first batch, s"):
        table.add_column(heading, justify="right")
    for name, found in (("first", first), ("later", later)):
        table.add_row(name, f"{found['mib']:.0f}", *(f"{found[key]:.2f}" for key in ("map_s", "fold_s", "batch_s")))
    Console().print(table)
    return {
        "corpus_mib_per_million": round(later["mib"] / share, 1),
        "fold_s_per_million": round((later["map_s"] + later["fold_s"]) / share, 2),
    }


def write_short_utterances(folder: Path, utterances: int) -> None:
    """Write a prepared corpus of random frames, words and labels."""
    generator = np.random.default_rng(0)
    words = pa.array([f"word{number}" for number in range(VOCABULARY)])
    (folder / "utterances").mkdir(parents=True)
    for first in range(0, utterances, ROWS):
        numbers = np.arange(first, min(first + ROWS, utterances))
        count = len(numbers)

        def lists(values: pa.Array, each: int, count: int = count) -> pa.Array:
            return pa.ListArray.from_arrays(pa.array(np.arange(count + 1) * each, pa.int32()), values)

        # Each speaker's utterances follow each other, as in a corpus that is listed by speaker.
        ids = [f"speaker{number * SPEAKERS // utterances:04}/recording-{number:07}" for number in numbers]
        begin = np.tile(np.arange(WORDS), count)
        columns = {
            "id": pa.array(ids),
            "audio": pa.array([f"{name}.wav" for name in ids]),
            "speaker": pa.array([name.partition("/")[0] for name in ids]),
            "raw_label": pa.array(LABELS).take(pa.array(numbers % 4)),
            "text": pa.array([f"What is said in recording {number} is not said elsewhere" for number in numbers]),
            "words": lists(words.take(pa.array(generator.integers(0, VOCABULARY, count * WORDS))), WORDS),
            "begin": lists(pa.array(begin, pa.int32()), WORDS),
            "end": lists(pa.array(begin + 2, pa.int32()), WORDS),
            "alignment": pa.array(["sphinx"] * count),
            "frames": lists(pa.array(generator.normal(size=count * SHORT * BINS).astype(np.float32)), SHORT * BINS),
            "frame_count": pa.array(np.full(count, SHORT, np.int32)),
            "frame_size": pa.array(np.full(count, BINS, np.int32)),
        }
        arrays = [columns.get(field.name, pa.nulls(count, field.type)) for field in prepared.UTTERANCES]
        pq.write_table(
            pa.table(arrays, prepared.UTTERANCES),
            folder / "utterances" / f"part-{first:09}.parquet",
            row_group_size=10_000,
        )
    counts = {"utterances": utterances, "rejected": 0}
    prepared.CorpusDescription("manifest", {}, "settings", "content", counts, {}).write(folder)


def open_fold_of(folder: Path) -> None:
    """Open a fold of the corpus and make the first batch; print seconds and the process's own memory at its peak."""
    protocol = {"name": "scale", "labels": {name: name for name in LABELS}, "folds": 10}
    experiment = parse_experiment({"name": "scale", "corpus": {"kind": "manifest"}, "protocol": protocol})
    before = own_memory()
    with PeakMemory() as peak:
        started = time.perf_counter()
        corpus = SpeechCorpus(folder)
        opened = time.perf_counter()
        _, loaders = open_fold(corpus, "content", experiment, 0, "dev", "benchmark")
        divided = time.perf_counter()
        loaders.train.batch(loaders.train.plan(seed=1)[0], seed=1)
        first_batch = time.perf_counter()
    print(
        json.dumps(
            {
                "mib": (peak.bytes - before) / 2**20,
                "map_s": opened - started,
                "fold_s": divided - opened,
                "batch_s": first_batch - divided,
            }
        )
    )


def own_memory() -> int:
    """Bytes of memory that this process shares with no file."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return 1024 * int(next(line for line in lines if line.startswith("RssAnon:")).split()[1])


class PeakMemory:
    """Watches `own_memory` in a `with` block; `bytes` is its peak."""

    def __enter__(self) -> PeakMemory:
        self.bytes = own_memory()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._ended.wait(0.01):
            self.bytes = max(self.bytes, own_memory())


if __name__ == "__main__":
    main()
