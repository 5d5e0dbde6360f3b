"""A sweep whose driver is killed at random moments, round after round, and gone on with: what is lost or repeated?

Each round starts a small sweep, kills its driver and all that it started with SIGKILL after a random while, resumes it,
kills it again or not, and completes it. Then the trials are counted: every one has ended exactly once, MLflow shows no
run RUNNING and none twice, every epoch of a trial is there once, and one trial at a time proposed what an undisturbed
sweep with the same seed proposes. Prints a line for each round; the last line is JSON.

    python benchmarks/soak.py [--rounds 20] [--seed 0]
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

SPACE = """\
parameters:
  model.pooling.kind: {choice: [mean_max, mean, max]}
  training.learning_rate: {float: [1.0e-3, 3.0e-2], log: true}
"""
TRIALS, EPOCHS = 6, 6
NAMES = ("model.pooling.kind", "training.learning_rate")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0, help="of the moments at which the driver is killed")
    arguments = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    moments = random.Random(arguments.seed)
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        Path("space.yaml").write_text(SPACE)
        corpus(Path("corpus").absolute())
        started = time.monotonic()
        run("--space", "space.yaml")
        length = time.monotonic() - started
        undisturbed = outcome()
        passed = kills = 0
        for number in range(arguments.rounds):
            times = [moments.uniform(0.3, 1.0) * length for _ in range(moments.randint(1, 2))]
            survived = [
                run("--space", "space.yaml", *(["--resume"] if kill else []), seconds=seconds)
                for kill, seconds in enumerate(times)
            ]
            kills += survived.count(None)
            if survived[-1] is None:
                run("--space", "space.yaml", "--resume")
            same = outcome() == undisturbed
            passed += same
            print(
                f"round {number}: killed after {', '.join(f'{seconds:.1f} s' for seconds in times)}: "
                f"{'as undisturbed' if same else f'DIFFERS: {outcome()} instead of {undisturbed}'}",
                flush=True,
            )
    print(json.dumps({"rounds": arguments.rounds, "kills": kills, "passed": passed}))
    sys.exit(passed < arguments.rounds)


def corpus(folder: Path) -> None:
    """A small prepared corpus, and an experiment on it, one trial at a time."""
    from tests import small_corpus

    small_corpus.write(folder, each=16)
    experiment = small_corpus.experiment(
        prepare={"folder": str(folder)},
        storage={"path": str(Path("storage").absolute())},
        tracking={"uri": f"sqlite:///{Path('mlflow.db').absolute()}"},
        training={"epochs": EPOCHS, "batch_size": 2},
        tune={"trials": TRIALS, "folds": [0]},
        scaling={"parallel": 1},
    )
    Path("small.yaml").write_text(experiment.to_yaml())


def run(*options: str, seconds: float | None = None) -> int | None:
    """A sweep's driver: its exit status, or None if it was killed after so many seconds."""
    command = [sys.executable, "-m", "pipelines.cli", "tune", "small.yaml", *options]
    with Path("driver.log").open("a") as log:
        driver = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            status = driver.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            everything = psutil.Process(driver.pid)
            for process in [*everything.children(recursive=True), everything]:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
            driver.wait()
            return None
    if status and "no sweep to resume" in Path("driver.log").read_text().splitlines()[-1]:
        # It was killed before there was anything to resume.
        return run("--space", "space.yaml", seconds=seconds)
    if status:
        sys.exit(Path("driver.log").read_text())
    return status


def outcome() -> dict[str, Any]:
    """What the latest sweep and its trials came to; times apart."""
    from fgcme.tracking import Tracker

    tracker = Tracker(f"sqlite:///{Path('mlflow.db').absolute()}")
    sweep = tracker.find("latest")
    trials = [
        (
            trial.data.tags["fgcme.trial"],
            trial.info.status,
            *(trial.data.params[name] for name in NAMES),
            *tracker.history(trial.info.run_id, "dev/objective"),
        )
        for trial in tracker.children(sweep.info.run_id)
    ]
    return {"sweep": sweep.info.status, "trials": sorted(trials)}


if __name__ == "__main__":
    main()
