"""How much speech `fgcme predict` answers in a minute, and in what memory.

A folder of recordings is answered on all CPUs by `--output FOLDER`, then one process answers a recording that was put
together from them, short and long: its memory must not grow with its length. Each is a process of its own, its start
included; `answering_hours_per_minute` leaves out what a run with nothing to do takes. Without `--model` it is the
recommended kind of model with random weights, which costs the same. The last line is JSON.

    python benchmarks/predict.py --root RAVDESS [--model FOLDER] [--minutes 60]
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from itertools import cycle, islice
from pathlib import Path
from typing import NamedTuple

import soundfile
import torch
from rich.console import Console
from rich.table import Table

from fgcme import audio
from fgcme.experiment import ModelSettings, PrepareSettings
from fgcme.model import build_model
from fgcme.serving import fitted

CLASSES = ["angry", "calm", "happy", "sad"]
# Reads what the kernel says of a process's largest memory, which is of it alone and not of its children.
PEAK = """
import resource, sys
from pipelines.cli import main
status = main(sys.argv[1:])
print("peak", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""


class Cost(NamedTuple):
    """Seconds by the clock, and the largest memory of the process that was started."""

    seconds: float
    peak_mib: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", required=True, type=Path, help="folder of recordings")
    parser.add_argument("--model", type=Path, help="folder of a fitted model; one with random weights if none is given")
    parser.add_argument("--limit", type=int, default=480, help="take this many recordings for the folder")
    parser.add_argument("--minutes", type=float, default=60, help="length of the long recording")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        model = arguments.model or untrained(folder / "model")
        files = sorted(path for path in arguments.root.rglob("*") if path.suffix in (".wav", ".flac"))
        chosen = files[:: max(1, len(files) // arguments.limit)][: arguments.limit]
        hours = sum(soundfile.info(path).duration for path in chosen) / 3600
        many = answer(model, *map(str, chosen), "--output", str(folder / "out"))
        nothing = answer(model, *map(str, chosen), "--output", str(folder / "out"))
        write_long(chosen, folder / "short.wav", 1.0)
        write_long(chosen, folder / "long.wav", arguments.minutes)
        short, long = (answer(model, str(folder / name), "--format", "json") for name in ("short.wav", "long.wav"))
    report(
        {
            "hours": round(hours, 3),
            "cpus": os.cpu_count(),
            "folder_s": round(many.seconds, 1),
            "nothing_to_do_s": round(nothing.seconds, 1),
            "hours_per_minute": round(60 * hours / many.seconds, 2),
            "answering_hours_per_minute": round(60 * hours / max(many.seconds - nothing.seconds, 1e-9), 2),
            "driver_peak_mib": round(many.peak_mib),
            "long_hours_per_minute": round(arguments.minutes / long.seconds, 2),
            "short_peak_mib": round(short.peak_mib),
            "long_peak_mib": round(long.peak_mib),
            "long_over_short_peak": round(long.peak_mib / short.peak_mib, 2),
        }
    )


def answer(model: Path, *arguments: str) -> Cost:
    """What a call of `fgcme predict` costs."""
    command = [sys.executable, "-c", PEAK, "predict", str(model), *arguments]
    began = time.monotonic()
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return Cost(time.monotonic() - began, float(done.stdout.rsplit("peak ", 1)[1]))


def untrained(folder: Path) -> Path:
    """A model of log-mel frames that answers by sound alone, so that every recording has an answer."""
    torch.manual_seed(0)
    settings = ModelSettings()
    prepare = PrepareSettings()
    model = build_model(settings, prepare.features.bins, vocabulary_size=2, classes=len(CLASSES))
    spec = fitted.ModelSpec(settings, prepare, CLASSES, [], prepare.features.bins, 3000, {}, modality_dropout=True)
    fitted.save(folder, model, spec)
    return folder


def write_long(files: list[Path], path: Path, minutes: float) -> None:
    """Put recordings together, again and again, until the whole lasts so long."""
    with soundfile.SoundFile(path, "w", audio.SAMPLE_RATE, 1, "PCM_16") as file:
        for each in islice(cycle(files), 100_000):
            file.write(audio.read(each))
            if file.tell() >= 60 * minutes * audio.SAMPLE_RATE:
                return


def report(figures: dict[str, float | int | None]) -> None:
    """Print the figures as a table, then as JSON."""
    table = Table(title="fgcme predict")
    for heading in ("", "figure"):
        table.add_column(heading, justify="right")
    for name, figure in figures.items():
        table.add_row(name, str(figure))
    Console().print(table)
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
