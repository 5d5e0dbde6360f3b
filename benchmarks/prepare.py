"""What Ray Data costs: preparing a corpus through the pipeline and through a plain pool of two processes.

Both list the corpus, call the same function on the same blocks and write the same Parquet, on two CPUs. Ray and the
pool have started, and their workers have imported everything, before the clock runs. Rounds alternate between the two,
each into an empty folder. The last line is JSON, with the ratio of the medians.

    python benchmarks/prepare.py [--root RAVDESS] [--limit 480] [--rounds 3]
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import shutil
import statistics
import tempfile
import time
from multiprocessing.pool import Pool
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from fgcme.corpora import catalogue
from fgcme.experiment import Experiment, parse_experiment
from fgcme.prepared import Sources
from pipelines import prepare
from pipelines.cluster import ray_session, require_capacity
from pipelines.preparing import (
    FileHashes,
    PrepareTask,
    alignment_finder,
    hash_sources,
    make_blocks,
    prepare_block,
)
from pipelines.runs.corpus import prepared_folder

PROCESSES = 2
TARGET = 1.3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", default=os.environ.get("RAVDESS_ROOT"), help="RAVDESS; without it, the demo corpus")
    parser.add_argument("--limit", type=int, help="prepare only this many utterances")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    work = Path(tempfile.mkdtemp(prefix="fgcme-benchmark-"))
    try:
        experiment = describe(arguments.root, arguments.limit, work)
        ray_seconds, pool_seconds, utterances = measure(experiment, arguments.rounds)
    finally:
        shutil.rmtree(work)
    report(ray_seconds, pool_seconds, utterances)


def describe(root: str | None, limit: int | None, work: Path) -> Experiment:
    """The experiment to prepare: RAVDESS, or every n-th utterance of it under a limit, or the demo corpus."""
    corpus: dict[str, object] = {"kind": "demo"} | ({"utterances": limit} if limit else {})
    if root is not None:
        corpus = {"kind": "ravdess", "root": root}
        if limit is not None:
            subset = work / "subset"
            listed = catalogue.CORPORA["ravdess"].find(Path(root)).utterances
            subset.mkdir()
            for utterance in listed[:: max(1, len(listed) // limit)][:limit]:
                (subset / Path(utterance.audio).name).symlink_to((Path(root) / utterance.audio).resolve())
            corpus["root"] = str(subset)
    content = {"name": "benchmark", "corpus": corpus, "protocol": {"name": "none"}, "storage": {"path": str(work)}}
    return parse_experiment(content)


def measure(experiment: Experiment, rounds: int) -> tuple[list[float], list[float], int]:
    """Seconds of every round, through Ray and through the pool, and utterances of a round."""
    with ray_session(), multiprocessing.get_context("spawn").Pool(PROCESSES) as pool:
        require_capacity(PROCESSES, 0, "this benchmark")
        by_ray, by_pool = [], []
        for number in range(rounds + 1):
            seconds, utterances = prepare_with_ray(experiment)
            pool_seconds, pool_utterances = prepare_with_pool(experiment, pool)
            if utterances != pool_utterances:
                raise SystemExit(f"Ray prepared {utterances} utterances and the pool {pool_utterances}")
            # The first round only warms up the workers.
            if number:
                by_ray.append(seconds)
                by_pool.append(pool_seconds)
    return by_ray, by_pool, utterances


def prepare_with_ray(experiment: Experiment) -> tuple[float, int]:
    """Seconds and utterances of the pipeline, as `fgcme prepare` runs it."""
    shutil.rmtree(prepared_folder(experiment), ignore_errors=True)
    began = time.perf_counter()
    summary = prepare.run(experiment, verbose=False)
    return time.perf_counter() - began, summary.utterances


def prepare_with_pool(experiment: Experiment, pool: Pool) -> tuple[float, int]:
    """Seconds and utterances of the least code that does the same: list, hand blocks out, write parts."""
    folder = Path(experiment.storage.path) / "pool"
    shutil.rmtree(folder, ignore_errors=True)
    began = time.perf_counter()
    root, listing = catalogue.find_corpus(experiment.corpus, Path(experiment.storage.path))
    find_alignment = alignment_finder(experiment, listing.utterances, root)
    with FileHashes(folder.with_name("hashes.npy")) as files:
        sources = Sources(hash_sources(listing.utterances, root, find_alignment, files))
    task = PrepareTask.from_experiment(experiment, root, folder)
    blocks = make_blocks(listing.utterances, sources, np.ones(len(sources), np.bool_), find_alignment, PROCESSES)
    tasks = [(block, task) for block in blocks]
    outcomes = pool.starmap(prepare_block, tasks, chunksize=1)
    seconds = time.perf_counter() - began
    return seconds, sum(outcome["reason"].null_count for outcome in outcomes)


def report(by_ray: list[float], by_pool: list[float], utterances: int) -> None:
    """Print a table, and JSON as the last line."""
    table = Table(title=f"preparing {utterances} utterances with {PROCESSES} processes, seconds")
    for heading in ("round", "Ray Data", "pool", "ratio"):
        table.add_column(heading, justify="right")
    for number, (ray_seconds, pool_seconds) in enumerate(zip(by_ray, by_pool, strict=True), start=1):
        table.add_row(str(number), f"{ray_seconds:.2f}", f"{pool_seconds:.2f}", f"{ray_seconds / pool_seconds:.2f}")
    ray_median, pool_median = statistics.median(by_ray), statistics.median(by_pool)
    ratio = ray_median / pool_median
    table.add_section()
    table.add_row("median", f"{ray_median:.2f}", f"{pool_median:.2f}", f"{ratio:.2f}")
    Console().print(table)
    result = {
        "ray_over_pool": round(ratio, 3),
        "target": TARGET,
        "ray_seconds": round(ray_median, 3),
        "pool_seconds": round(pool_median, 3),
        "utterances": utterances,
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
