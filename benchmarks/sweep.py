"""How busy a sweep keeps its machine: the share of its slots' time that is spent in training.

Prepares the demo corpus, runs a sweep of short trials, then a plain loop that starts `fgcme train` for one fold after
the other, as without a sweep. With `--seconds` a small sweep first finds how many utterances make trials that long.
*Busy* is the time inside training and evaluation, summed over the trials, divided by slots x wall time: of the sweep
from when Ray is up to the end of the last trial, of the loop from start to end. *First step* is the time from the
proposal of a configuration to the first step of its training, for trials that found a warm process. A *result* is an
epoch that was recorded in MLflow, on SQLite. The last line is JSON.

    python benchmarks/sweep.py [--trials 32] [--epochs 8] [--trainings 4]
    python benchmarks/sweep.py --seconds 1 --trials 1000 --epochs 4 --trainings 0
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

# Of the demo corpus; multiples of this number balance its emotions, speakers and sentences.
UTTERANCES, BALANCED = 480, 32
SPACE = """\
parameters:
  training.learning_rate: {float: [2.0e-4, 2.0e-3], log: true}
  model.fusion.readout: {choice: [max, mean, attention]}
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=32)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--trainings", type=int, default=4, help="of the plain loop")
    parser.add_argument("--seconds", type=float, help="that a trial takes: the corpus is made smaller")
    arguments = parser.parse_args()
    # One thread a slot, in this process and all others.
    os.environ["OMP_NUM_THREADS"] = "1"
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        fgcme("prepare", "demo")
        utterances = UTTERANCES
        if arguments.seconds:
            # A slot takes two trials, of which only the second finds a warm process.
            found = sweep(2 * (os.cpu_count() or 1), arguments.epochs, utterances)
            utterances = BALANCED * max(2, round(utterances * arguments.seconds / found["trial_median_s"] / BALANCED))
            fgcme("prepare", "demo", f"corpus.utterances={utterances}")
        figures = sweep(arguments.trials, arguments.epochs, utterances)
        if arguments.trainings:
            figures |= loop(arguments.trainings, arguments.epochs)
    print(f"\n{'':24}{'busy':>8}{'first step, median':>22}{'results a second':>20}")
    print(
        f"{'sweep, warm processes':24}{figures['slots_busy']:8.2f}{figures['first_step_median_s']:20.2f} s"
        f"{figures['results_per_s']:20.1f}"
    )
    if arguments.trainings:
        print(f"{'loop of fgcme train':24}{figures['loop_busy']:8.2f}")
    print(json.dumps(figures))


def sweep(trials: int, epochs: int, utterances: int) -> dict[str, float]:
    """The figures of a sweep that this process drives."""
    from fgcme.experiment import load_experiment
    from fgcme.tracking import Tracker
    from pipelines import tune
    from pipelines.bundled import experiment_file
    from pipelines.cluster import cluster_resources, ray_session

    Path("space.yaml").write_text(SPACE)
    settings = [f"training.epochs={epochs}", f"tune.trials={trials}", "tune.scheduler=none"]
    settings.append(f"corpus.utterances={utterances}")
    experiment = load_experiment(experiment_file("demo"), settings)
    with ray_session():
        slots = int(cluster_resources()["CPU"])
        tune.run(experiment, "space.yaml")
    tracker = Tracker(f"sqlite:///{Path('mlflow.db').absolute()}")
    run = tracker.find_run("latest")
    children = tracker.child_runs(run.info.run_id)
    wall = (max(child.info.end_time for child in children) - run.info.start_time) / 1000
    histories = [tracker.metric_history(child.info.run_id, "seconds") for child in children]
    results = sum(map(len, histories))
    trained = [sum(seconds for _, seconds in history) for history in histories]
    # In the order of their start: the first in each slot waited for its process.
    first_steps = [child.data.metrics["seconds_to_first_step"] for child in children]
    return {
        "slots": slots,
        "trials": len(children),
        "trial_median_s": round(statistics.median(trained), 2),
        "slots_busy": round(sum(trained) / (slots * wall), 3),
        "results_per_s": round(results / wall, 2),
        "first_step_median_s": round(statistics.median(first_steps[slots:]), 3),
        "first_step_cold_s": round(max(first_steps[:slots]), 2),
    }


def loop(trainings: int, epochs: int) -> dict[str, float]:
    """The figures of one `fgcme train` after the other."""
    from fgcme.tracking import Tracker

    started = time.monotonic()
    for seed in range(trainings):
        fgcme("train", "demo", "--fold", "0", f"training.epochs={epochs}", f"training.seeds=[{seed}]", "name=loop")
    wall = time.monotonic() - started
    tracker = Tracker(f"sqlite:///{Path('mlflow.db').absolute()}")
    experiment = tracker.client.get_experiment_by_name("loop")
    runs = tracker.client.search_runs([experiment.experiment_id], "tags.`fgcme.kind` = 'fold'")
    assert len(runs) == trainings
    return {"loop_busy": round(sum(run.data.metrics["seconds"] for run in runs) / wall, 3)}


def fgcme(*arguments: str) -> None:
    """Run `fgcme`; print its output if it fails."""
    done = subprocess.run([sys.executable, "-m", "pipelines.cli", *arguments], capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stdout + done.stderr)


if __name__ == "__main__":
    main()
