"""Sweeps whose driver is killed at random moments and resumed: is anything lost or repeated?

Each round starts a small sweep, kills its driver with all its processes by SIGKILL at a random moment, resumes it,
perhaps kills it again, and completes it. A driver that was killed before its sweep began is started anew. The outcome
must be that of an undisturbed sweep with the same seed: every trial ended once, with the same settings and every epoch
once, and MLflow shows no run as RUNNING. Prints a line for each round; the last line is JSON.

    python benchmarks/soak.py [--rounds 20] [--seed 0]
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
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
        _, length = run("undisturbed")
        undisturbed = outcome()
        passed = kills = 0
        for number in range(arguments.rounds):
            storage, story = f"round-{number}", []
            for resumed in range(moments.randint(1, 2)):
                killed, after = run(storage, resumed > 0, kill_after=moments.uniform(0, length))
                kills += killed
                story.append(f"killed after {after:.1f} s" if killed else f"ended after {after:.1f} s")
                if not killed:
                    break
            if killed:
                run(storage, resume=True)
            same = outcome() == undisturbed
            passed += same
            verdict = "as undisturbed" if same else f"DIFFERS: {outcome()} instead of {undisturbed}"
            print(f"round {number}: {', '.join(story)}: {verdict}", flush=True)
    print(json.dumps({"rounds": arguments.rounds, "kills": kills, "passed": passed}))
    sys.exit(passed < arguments.rounds)


def corpus(folder: Path) -> None:
    """Write a small prepared corpus, and an experiment on it with one trial at a time."""
    from tests import small_corpus

    small_corpus.write(folder, each=16)
    experiment = small_corpus.experiment(
        prepare={"folder": str(folder)},
        tracking={"uri": f"sqlite:///{Path('mlflow.db').absolute()}"},
        training={"epochs": EPOCHS, "batch_size": 2},
        tune={"trials": TRIALS, "folds": [0]},
        scaling={"max_concurrent": 1},
    )
    Path("small.yaml").write_text(experiment.to_yaml())


def run(storage: str, resume: bool = False, kill_after: float = math.inf) -> tuple[bool, float]:
    """Run a sweep's driver; returns whether it was killed, and how many seconds it ran.

    Args:
        storage: its storage folder.
        resume: whether to resume the sweep there.
        kill_after: seconds.
    """
    command = [sys.executable, "-u", "-m", "pipelines.cli", "tune", "small.yaml", "--space", "space.yaml"]
    command += [f"storage.path={storage}", *["--resume"] * resume]
    with Path("driver.log").open("w") as log:
        started = time.monotonic()
        driver = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            status = driver.wait(timeout=None if math.isinf(kill_after) else kill_after)
        except subprocess.TimeoutExpired:
            process_of_driver = psutil.Process(driver.pid)
            for process in [*process_of_driver.children(recursive=True), process_of_driver]:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
            driver.wait()
            return True, kill_after
    output = Path("driver.log").read_text()
    if resume and "no sweep to resume" in output:
        return run(storage, kill_after=kill_after)
    if status:
        sys.exit(output)
    return False, time.monotonic() - started


def outcome() -> dict[str, Any]:
    """Status, settings and history of the latest sweep's trials, and the number of RUNNING runs of any sweep."""
    from fgcme.tracking import Tracker

    tracker = Tracker(f"sqlite:///{Path('mlflow.db').absolute()}")
    sweep = tracker.find_run("latest")
    trials = [
        (
            trial.data.tags["fgcme.trial"],
            trial.info.status,
            *(trial.data.params[name] for name in NAMES),
            *tracker.metric_history(trial.info.run_id, "dev/objective"),
        )
        for trial in tracker.child_runs(sweep.info.run_id)
    ]
    running = tracker.client.search_runs([sweep.info.experiment_id], "attributes.status = 'RUNNING'")
    return {"sweep": sweep.info.status, "trials": sorted(trials), "running": len(running)}


if __name__ == "__main__":
    main()
