"""`fgcme serve` under load: 1,000 requests of 16 clients, and what one utterance takes by itself, part by part.

The server is a process of its own. Every answer is compared, byte by byte, with the one that a single client gets to
the same question. One utterance is then answered here by one thread: features, alignment and model apart. Recordings
are those of a folder, each with a `.txt` of what is said beside it. The last line is JSON.

    python benchmarks/serve.py MODEL_URI FOLDER [--requests 1000] [--clients 16]
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

# One utterance on one core is asked for; set before torch counts the processors.
os.environ["OMP_NUM_THREADS"] = "1"
sys.path.insert(0, str(Path(__file__).parent.parent))

import torch

from fgcme import audio, features
from fgcme.prepared.utterance import hear, place_words
from fgcme.serving import ensemble
from fgcme.serving.classifier import Classifier, build_aligner
from fgcme.serving.prediction import predict
from fgcme.serving.registry import download_model


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--requests", type=int, default=1_000)
    parser.add_argument("--clients", type=int, default=16)
    options = parser.parse_args()
    recordings = [(path, path.with_suffix(".txt").read_text().strip()) for path in sorted(options.folder.glob("*.wav"))]
    if not recordings:
        parser.error(f"{options.folder} has no WAV files with a .txt beside each")
    found = {**under_load(options, recordings), **alone(options.model, recordings)}
    for name, value in found.items():
        print(f"{name:<28} {value}")
    print(json.dumps(found))


def under_load(options: argparse.Namespace, recordings: Sequence[tuple[Path, str]]) -> dict[str, Any]:
    """Errors, answers that differ from a single client's, and seconds of a request."""
    command = [sys.executable, "-u", "-m", "pipelines.cli", "serve", options.model, "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            said = process.stdout.readline()
            port = int(said.partition("127.0.0.1:")[2].split()[0])
            bodies = [body(*recording) for recording in recordings]
            expected = [ask(port, each)[1] for each in bodies]
            begin = time.perf_counter()
            with ThreadPoolExecutor(options.clients) as clients:
                replies = list(
                    clients.map(lambda number: ask(port, bodies[number % len(bodies)]), range(options.requests))
                )
            whole = time.perf_counter() - begin
        finally:
            process.terminate()
    answers = [answer for status, answer, _ in replies if status == 200]
    seconds = sorted(taken for _, _, taken in replies)
    return {
        "requests": len(replies),
        "clients": options.clients,
        "errors": len(replies) - len(answers),
        "different answers": sum(
            answer != expected[number % len(bodies)] for number, (_, answer, _) in enumerate(replies)
        ),
        "requests a second": round(len(replies) / whole, 1),
        "p50 ms": round(1000 * statistics.median(seconds)),
        "p95 ms": round(1000 * seconds[int(0.95 * len(seconds))]),
    }


def body(path: Path, text: str) -> bytes:
    return json.dumps({"audio": base64.b64encode(path.read_bytes()).decode(), "text": text}).encode()


def ask(port: int, question: bytes) -> tuple[int, bytes, float]:
    begin = time.perf_counter()
    connection = HTTPConnection("127.0.0.1", port, timeout=120)
    try:
        connection.request("POST", "/predict", question, {"Content-Type": "application/json"})
        response = connection.getresponse()
        return response.status, response.read(), time.perf_counter() - begin
    finally:
        connection.close()


def alone(model_uri: str, recordings: Sequence[tuple[Path, str]]) -> dict[str, Any]:
    """Milliseconds of the parts of an answer on one core, the median over the recordings."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as downloads:
        folder = download_model(model_uri, None, Path(downloads))
        classifier, members = Classifier(folder), ensemble.load(folder)
    prepare = classifier.spec.prepare
    aligner = build_aligner(prepare.alignment, prepare.alignment.checkpoint)
    kind, layers = prepare.features, prepare.features.layers
    extractor = features.build_extractor(
        kind.kind, kind.bins, kind.checkpoint, layers if layers == "all" else tuple(layers), kind.padded
    )
    parts: dict[str, list[float]] = {"features": [], "alignment": [], "model": [], "answer": []}
    for number, (path, text) in enumerate([recordings[0], *recordings]):
        samples = audio.read(path)
        speech = place_words(hear(samples, extractor), samples, text, aligner)
        work: dict[str, Callable[[], object]] = {
            "features": lambda samples=samples: extractor([samples]),
            "alignment": lambda samples=samples, text=text: aligner.align("", samples, text),
            "model": lambda speech=speech: predict(members, speech),
            "answer": lambda path=path, text=text: classifier.predict(audio.read(path), text),
        }
        for part, do in work.items():
            begin = time.process_time()
            do()
            # The first loads what is loaded once.
            if number:
                parts[part].append(1000 * (time.process_time() - begin))
    return {f"{part} ms alone": round(statistics.median(taken), 1) for part, taken in parts.items()}


if __name__ == "__main__":
    main()
