"""Aligners held against true times of words: EMO-DB's hand-made labels, and the onsets of the demo corpus.

An error is the distance of a word's edge, as `fgcme.alignment.contract.edge_seconds` gives its time, to the true one:
of begins and ends on EMO-DB, of begins on the demo corpus, whose onsets alone are known. Sphinx aligns EMO-DB by German
pronunciations. What was tuned on EMO-DB (Sphinx's weight of silence, Whisper's lead and margins) was chosen on speakers
03 and 08 to 11; `held_out` counts the others, who say the same ten sentences. The last line is JSON.

    python benchmarks/alignment.py [--emodb EMODB] [--whisper openai/whisper-base] [--limit 48]
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow.parquet as pq
from rich.console import Console
from rich.table import Table

from fgcme import alignment, audio
from fgcme.alignment import Aligner
from fgcme.alignment.contract import edge_seconds
from fgcme.corpora import demo

TUNED_ON = ("03", "08", "09", "10", "11")
TOLERANCE = 0.05


class Spoken(NamedTuple):
    """An utterance whose words have known times: seconds of their begins, and of their ends where those are known."""

    speaker: str
    samples: audio.Samples
    text: str
    begins: list[float]
    ends: list[float]


class Measured(NamedTuple):
    """Errors in seconds, whether each is of a held-out speaker, CPU seconds for a second of speech, and fallbacks."""

    errors: np.ndarray
    held_out: np.ndarray
    cost: float
    spread: int


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--emodb", type=Path, default=os.environ.get("EMODB_ROOT"), help="EMO-DB with its words.json")
    parser.add_argument("--whisper", help="folder or hub name of a Whisper")
    parser.add_argument("--ctc", help="folder or hub name of a CTC model of English characters, for the demo corpus")
    parser.add_argument("--limit", type=int, help="only about this many utterances of each corpus")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        corpora = {"demo": list(demo_speech(Path(folder), arguments.limit or 96))}
        if arguments.emodb is not None:
            corpora["emodb"] = list(emodb_speech(arguments.emodb, arguments.limit))
    results = {
        f"{corpus}_{method}": measure(aligner, speech)
        for corpus, speech in corpora.items()
        for method, aligner in aligners("de" if corpus == "emodb" else "en", arguments.whisper, arguments.ctc)
    }
    report(results)


def aligners(language: str, whisper: str | None, ctc: str | None) -> Iterator[tuple[str, Aligner]]:
    """The aligners to measure on speech of a language, and their names."""
    yield "uniform", alignment.build("uniform")
    yield "sphinx", alignment.build("sphinx", language=language)
    if language != "en":
        yield "sphinx_english", alignment.build("sphinx")
    if whisper is not None:
        yield "whisper", alignment.build("whisper", whisper, language=language)
    if ctc is not None and language == "en":
        yield "ctc", alignment.build("ctc", ctc)


def emodb_speech(root: Path, limit: int | None) -> Iterator[Spoken]:
    """EMO-DB's labelled utterances, or every n-th of them under a limit."""
    times = json.loads((root / "words.json").read_text(encoding="utf-8"))
    names = sorted(times)
    for name in names[:: max(1, len(names) // limit) if limit else 1]:
        (path,) = root.rglob(f"{name}.*")
        words = times[name]
        text = " ".join(word["word"] for word in words)
        begins, ends = ([word[edge] for word in words] for edge in ("start", "end"))
        yield Spoken(name[:2], audio.read(path), text, begins, ends)


def demo_speech(folder: Path, utterances: int) -> Iterator[Spoken]:
    """The demo corpus, with the onsets at which its words were synthesised."""
    manifest = demo.synthesise(folder, utterances, seed=0)
    onsets = {row["id"]: row["onset"] for row in pq.read_table(folder / "words.parquet").to_pylist()}
    with manifest.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            yield Spoken(row["speaker"], audio.read(folder / row["audio"]), row["text"], list(onsets[row["id"]]), [])


def measure(aligner: Aligner, speech: list[Spoken]) -> Measured:
    """Align speech whose times are known."""
    errors, held_out, spread, began = [], [], 0, time.process_time()
    for spoken in speech:
        found = aligner.align("", spoken.samples, spoken.text)
        times = [edge_seconds(edge) for edge in found.begin] + [edge_seconds(edge) for edge in found.end]
        known = [*spoken.begins, *spoken.ends]
        errors += [abs(found - true) for found, true in zip(times, known, strict=bool(spoken.ends))]
        held_out += [spoken.speaker not in TUNED_ON] * len(known)
        spread += found.method == "uniform"
    seconds = sum(spoken.samples.size for spoken in speech) / audio.SAMPLE_RATE
    return Measured(np.array(errors), np.array(held_out), (time.process_time() - began) / seconds, spread)


def report(results: dict[str, Measured]) -> None:
    """Print a table, and JSON as the last line."""
    table = Table(title="errors of the edges of words")
    for heading in (
        "corpus, aligner",
        "edges",
        "median ms",
        "95 % ms",
        "within 50 ms",
        "held out",
        "CPU s/s",
        "spread",
    ):
        table.add_column(heading, justify="right")
    figures: dict[str, float] = {}
    for name, found in results.items():
        median, most = np.median(found.errors) * 1000, np.percentile(found.errors, 95) * 1000
        within = found.errors <= TOLERANCE
        held = within[found.held_out].mean()
        table.add_row(
            *(name, str(found.errors.size), f"{median:.1f}", f"{most:.0f}", f"{within.mean():.1%}", f"{held:.1%}"),
            *(f"{found.cost:.3f}", str(found.spread)),
        )
        figures |= {
            f"{name}_median_ms": round(float(median), 1),
            f"{name}_p95_ms": round(float(most), 1),
            f"{name}_within_50_ms": round(float(within.mean()), 4),
            f"{name}_held_out_median_ms": round(float(np.median(found.errors[found.held_out])) * 1000, 1),
            f"{name}_held_out_within_50_ms": round(float(held), 4),
        }
    Console().print(table)
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
