"""How fast the outbox empties when the MLflow server is back, and what a write costs while it is away.

A server stops; a driver and its workers create trials and log an epoch of each every second for `--minutes`, or as many
epochs in less time. Then the server starts again, and they go on, an epoch a second, until nothing waits any more. At
the end every metric must be recorded once. `emptied_s` counts from the server's first answer. The last line is JSON.

    python benchmarks/outbox.py [--minutes 10] [--times-faster 1] [--trials 4] [--workers 4]
"""

from __future__ import annotations

import argparse
import contextlib
import json
import multiprocessing
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

# What a sweep records of an epoch.
METRICS = ("train/loss", "dev/loss", "dev/wa", "dev/ua", "dev/f1", "dev/score", "dev/objective", "seconds")
PROCESSES = multiprocessing.get_context("spawn")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10, help="for which the server is away")
    parser.add_argument("--times-faster", type=float, default=1, help="log the epochs of these minutes in less time")
    parser.add_argument("--trials", type=int, default=4)
    parser.add_argument("--workers", type=int, default=4, help="processes that log them")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        figures = measure(Path(folder), arguments)
    print(f"{figures['entries']} writes of {figures['away_s']:.0f} s without a server, {figures['outbox_mib']} MiB")
    print(f"{'a write meanwhile, median':32}{figures['write_ms']:8.1f} ms")
    print(f"{'outbox empty after':32}{figures['emptied_s']:8.1f} s")
    print(json.dumps(figures))


def measure(folder: Path, arguments: argparse.Namespace) -> dict[str, float]:
    """The figures of one absence of the server."""
    from fgcme.tracking import Tracker, outbox_for
    from tests.store import Server, make_tracker, serving

    with serving(Server(folder, make_tracker(folder).uri, str(folder / "artifacts"))) as server:
        tracker = Tracker(server.address, outbox=folder / "outbox")
        outbox = outbox_for(folder / "outbox", server.address)
        experiment = tracker.get_or_create_experiment("away")
        parent = tracker.create_run(experiment, "sweep")
        server.stop()
        started = time.monotonic()
        with tracker.closing_run(parent), working(tracker, experiment, parent, arguments) as (away, back, results):
            for _ in range(arguments.workers):
                away.get()
            seconds = time.monotonic() - started
            entries, size = outbox.count_pending(), sum(path.stat().st_size for path in outbox.folder.rglob("*.jsonl"))
            server.start()
            started = time.monotonic()
            while outbox.pending_runs():
                time.sleep(0.05)
            emptied = time.monotonic() - started
            back.set()
            logged = [results.get() for _ in range(arguments.workers)]
        check(folder / "mlflow.db", [trial for worker in logged for trial in worker["epochs"]])
    return {
        "entries": entries,
        "outbox_mib": round(size / 2**20, 1),
        "away_s": round(seconds, 1),
        "write_ms": round(1000 * statistics.median(worker["write_s"] for worker in logged), 2),
        "emptied_s": round(emptied, 2),
    }


@contextlib.contextmanager
def working(
    tracker: Any, experiment: str, parent: str, arguments: argparse.Namespace
) -> Iterator[tuple[Any, Event, Any]]:
    """Workers that log: who says that the server may come back, what tells that nothing waits, what they return."""
    away, back, results = PROCESSES.Queue(), PROCESSES.Event(), PROCESSES.Queue()
    share = arguments.trials // arguments.workers
    epochs, pause = round(60 * arguments.minutes), 1 / arguments.times_faster
    task = (tracker, experiment, parent, share, epochs, pause, away, back, results)
    workers = [PROCESSES.Process(target=work, args=task, daemon=True) for _ in range(arguments.workers)]
    for worker in workers:
        worker.start()
    try:
        yield away, back, results
        for worker in workers:
            worker.join(timeout=60)
    finally:
        for worker in workers:
            worker.kill()


def work(
    tracker: Any,
    experiment: str,
    parent: str,
    trials: int,
    epochs: int,
    pause: float,
    away: Any,
    back: Event,
    results: Any,
) -> None:
    """Log trials: `epochs` epochs of each, `pause` seconds apart, then one a second until `back` is set."""
    runs = [tracker.create_run(experiment, "trial", parent, parameters={"number": trial}) for trial in range(trials)]
    durations: list[float] = []
    epoch = 0
    due = time.monotonic()
    while not back.is_set():
        epoch += 1
        for run in runs:
            began = time.monotonic()
            tracker.log_metrics(run, dict.fromkeys(METRICS, epoch / 7), epoch)
            durations.append(time.monotonic() - began)
        if epoch == epochs:
            away.put(True)
            logged_away = len(durations)
        due = max(due + (pause if epoch < epochs else 1.0), time.monotonic())
        time.sleep(max(0.0, due - time.monotonic()))
    for run in runs:
        tracker.end_run(run, "FINISHED")
    tracker.flush_outbox()
    results.put({"epochs": [epoch] * trials, "write_s": statistics.median(durations[:logged_away])})


def check(database: Path, epochs: list[int]) -> None:
    """Check that every trial's epochs are recorded once."""
    with contextlib.closing(sqlite3.connect(database)) as connection:
        counts = connection.execute(
            "SELECT count(*), count(DISTINCT key || step) FROM metrics GROUP BY run_uuid ORDER BY 1"
        ).fetchall()
        finished = connection.execute("SELECT count(*) FROM runs WHERE status = 'FINISHED'").fetchone()[0]
    expected = sorted((count * len(METRICS),) * 2 for count in epochs)
    if counts != expected or finished != len(epochs) + 1:
        sys.exit(f"recorded {counts} of {finished} finished runs instead of {expected}")


if __name__ == "__main__":
    main()
