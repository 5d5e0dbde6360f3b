"""Aligners held against true times of words: EMO-DB's hand-made labels, and the onsets of the demo corpus.

An error is the distance of a word's edge, as `fgcme.alignment.contract.edge_seconds` gives its time, to the true one:
of begins and ends on EMO-DB, of begins on the demo corpus, whose onsets alone are known. Sphinx aligns EMO-DB by German
pronunciations. What was tuned on EMO-DB (Sphinx's weight of silence, Whisper's lead and margins) was chosen on speakers
03 and 08 to 11; `held_out` counts the others, who say the same ten sentences. With `--minutes`, the utterances are
put together to one recording, with pauses of 0.1 to 0.8 s between them. Each aligner works in a process of its own,
whose peak of memory is told, with the recordings in it. What is imported are the true times themselves. The last line
is JSON.

    python benchmarks/alignment.py [--emodb EMODB] [--whisper openai/whisper-base] [--limit 48] [--minutes 60]
        [--only emodb_whisper ...]
"""

from __future__ import annotations

import argparse
import csv
import functools
import json
import multiprocessing
import os
import resource
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from itertools import cycle
from pathlib import Path
from typing import NamedTuple

import numpy as np
from rich.console import Console
from rich.table import Table

from fgcme import alignment, audio
from fgcme.alignment import Aligner
from fgcme.alignment.contract import edge_seconds
from fgcme.alignment.words import normalise

TUNED_ON = ("03", "08", "09", "10", "11")
TOLERANCE = 0.05


class Spoken(NamedTuple):
    """A recording whose words have known times: seconds of their begins, and of their ends where those are known.

    Of one that was put together, `speakers` has the speaker of each edge.
    """

    speakers: list[str]
    samples: audio.Samples
    text: str
    begins: list[float]
    ends: list[float]


class Measured(NamedTuple):
    """Errors in seconds, whether each is of a held-out speaker, CPU seconds for a second of speech, fallbacks, MiB."""

    errors: np.ndarray
    held_out: np.ndarray
    cost: float
    spread: int
    peak: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--emodb", type=Path, default=os.environ.get("EMODB_ROOT"), help="EMO-DB with its words.json")
    parser.add_argument("--whisper", help="folder or hub name of a Whisper")
    parser.add_argument("--ctc", help="folder or hub name of a CTC model of English characters, for the demo corpus")
    parser.add_argument("--only", nargs="+", metavar="CORPUS_ALIGNER", help="only these of the results")
    parser.add_argument("--limit", type=int, help="only about this many utterances of each corpus")
    parser.add_argument("--minutes", type=float, help="put the utterances together to a recording that lasts so long")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        corpora = {"demo": list(demo_speech(Path(folder), arguments.limit or 96))}
        if arguments.emodb is not None:
            corpora["emodb"] = list(emodb_speech(arguments.emodb, arguments.limit))
    if arguments.minutes is not None:
        corpora = {name: [join(speech, arguments.minutes)] for name, speech in corpora.items()}
    results = {}
    for corpus, speech in corpora.items():
        with tempfile.TemporaryDirectory() as times:
            write_times(Path(times), speech)
            language = "de" if corpus == "emodb" else "en"
            for method, build in aligners(language, times, arguments.whisper, arguments.ctc):
                name = f"{corpus}_{method}"
                if arguments.only is None or name in arguments.only:
                    # A peak of memory is a process's own.
                    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
                        results[name] = process.submit(measure, build, speech).result()
    report(results)


def aligners(
    language: str, times: str, whisper: str | None, ctc: str | None
) -> Iterator[tuple[str, Callable[[], Aligner]]]:
    """The aligners to measure on speech of a language, and their names; `times` holds what is imported."""
    build = functools.partial(functools.partial, alignment.build)
    yield "uniform", build("uniform")
    yield "imported", build("imported", folder=times)
    yield "sphinx", build("sphinx", language=language)
    if language != "en":
        yield "sphinx_english", build("sphinx")
    if whisper is not None:
        yield "whisper", build("whisper", whisper, language=language)
    if ctc is not None and language == "en":
        yield "ctc", build("ctc", ctc)


def emodb_speech(root: Path, limit: int | None) -> Iterator[Spoken]:
    """EMO-DB's labelled utterances, or every n-th of them under a limit."""
    times = json.loads((root / "words.json").read_text(encoding="utf-8"))
    names = sorted(times)
    for name in names[:: max(1, len(names) // limit) if limit else 1]:
        (path,) = root.rglob(f"{name}.*")
        words = times[name]
        text = " ".join(word["word"] for word in words)
        begins, ends = ([word[edge] for word in words] for edge in ("start", "end"))
        yield Spoken([name[:2]] * 2 * len(words), audio.read(path), text, begins, ends)


def demo_speech(folder: Path, utterances: int) -> Iterator[Spoken]:
    """The demo corpus, with the onsets at which its words were synthesised."""
    # Arrow takes 80 MiB, which are none of an aligner's: each imports this module.
    import pyarrow.parquet as pq

    from fgcme.corpora import demo

    manifest = demo.synthesise(folder, utterances, seed=0)
    onsets = {row["id"]: row["onset"] for row in pq.read_table(folder / "words.parquet").to_pylist()}
    with manifest.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            begins = list(onsets[row["id"]])
            yield Spoken([row["speaker"]] * len(begins), audio.read(folder / row["audio"]), row["text"], begins, [])


def join(speech: list[Spoken], minutes: float) -> Spoken:
    """The utterances in a random order, again and again, as one recording that lasts so long."""
    generator = np.random.default_rng(0)
    samples: list[audio.Samples] = []
    begins: list[float] = []
    ends: list[float] = []
    of_begins: list[str] = []
    of_ends: list[str] = []
    texts, length = [], 0
    for number in cycle(generator.permutation(len(speech)).tolist()):
        each = speech[number]
        begins += [length / audio.SAMPLE_RATE + begin for begin in each.begins]
        ends += [length / audio.SAMPLE_RATE + end for end in each.ends]
        of_begins += each.speakers[: len(each.begins)]
        of_ends += each.speakers[len(each.begins) :]
        texts.append(each.text)
        pause = generator.normal(0, 1e-4, int(generator.uniform(0.1, 0.8) * audio.SAMPLE_RATE)).astype(np.float32)
        samples += [each.samples, pause]
        length += each.samples.size + pause.size
        if length >= 60 * minutes * audio.SAMPLE_RATE:
            break
    return Spoken(of_begins + of_ends, np.concatenate(samples), " ".join(texts), begins, ends)


def write_times(folder: Path, speech: list[Spoken]) -> None:
    """The true times as CTM, by the numbers of the recordings; without its end, a word lasts until the next one."""
    lines = []
    for number, spoken in enumerate(speech):
        last = spoken.samples.size / audio.SAMPLE_RATE
        ends = spoken.ends or [*spoken.begins[1:], last]
        for word, begin, end in zip(normalise(spoken.text), spoken.begins, ends, strict=True):
            lines.append(f"{number} 1 {begin:.4f} {end - begin:.4f} {word}\n")
    (folder / "words.ctm").write_text("".join(lines), encoding="utf-8")


def measure(build: Callable[[], Aligner], speech: list[Spoken]) -> Measured:
    """Align speech whose times are known."""
    aligner = build()
    errors, held_out, spread, began = [], [], 0, time.process_time()
    for number, spoken in enumerate(speech):
        found = aligner.align(str(number), spoken.samples, spoken.text)
        times = [edge_seconds(edge) for edge in found.begin] + [edge_seconds(edge) for edge in found.end]
        known = [*spoken.begins, *spoken.ends]
        errors += [abs(found - true) for found, true in zip(times, known, strict=bool(spoken.ends))]
        held_out += [speaker not in TUNED_ON for speaker in spoken.speakers]
        spread += found.method == "uniform"
    seconds = sum(spoken.samples.size for spoken in speech) / audio.SAMPLE_RATE
    cost, peak = (time.process_time() - began) / seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return Measured(np.array(errors), np.array(held_out), cost, spread, peak)


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
        "peak MiB",
    ):
        table.add_column(heading, justify="right")
    figures: dict[str, float] = {}
    for name, found in results.items():
        median, most = np.median(found.errors) * 1000, np.percentile(found.errors, 95) * 1000
        within = found.errors <= TOLERANCE
        held = within[found.held_out].mean()
        table.add_row(
            *(name, str(found.errors.size), f"{median:.1f}", f"{most:.0f}", f"{within.mean():.1%}", f"{held:.1%}"),
            *(f"{found.cost:.3f}", str(found.spread), f"{found.peak:.0f}"),
        )
        figures |= {
            f"{name}_median_ms": round(float(median), 1),
            f"{name}_p95_ms": round(float(most), 1),
            f"{name}_within_50_ms": round(float(within.mean()), 4),
            f"{name}_held_out_median_ms": round(float(np.median(found.errors[found.held_out])) * 1000, 1),
            f"{name}_held_out_within_50_ms": round(float(held), 4),
            f"{name}_cpu_s_per_minute": round(60 * found.cost, 2),
            f"{name}_peak_mib": round(found.peak),
        }
    Console(width=110).print(table)
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
