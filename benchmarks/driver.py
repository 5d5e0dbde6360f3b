"""The driver of a sweep alone: what ten thousand trials on 64 slots cost it, and whether that grows with their number.

The sweep is run by the code that runs any: Ray Tune's controller, Optuna's search, successive halving, the recorder,
the trials' folders and the snapshots are the real ones. Simulated are the processes of the trials, whose results come
at once, so that all the time that passes is the driver's; and MLflow, whose writes are counted and dropped (with
`--mlflow` they go to SQLite, from the recorder's thread). What Ray takes to bring a result is missing.

Proposals are random; those of TPE are timed by themselves, on studies of 1,000 and of 10,000 trials with 64 that run.
The last line is JSON.

    python benchmarks/driver.py [--trials 10000] [--slots 64] [--epochs 20] [--mlflow]
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from unittest import mock

import optuna
from ray.air.execution._internal.tracked_actor import TrackedActor
from ray.tune.execution import tune_controller

sys.path.insert(0, str(Path(__file__).parent.parent))

from fgcme.experiment import Experiment, load_space
from fgcme.tracking import Tracker, prepare_store
from pipelines.cluster import ray_session
from pipelines.sweep import driver, search, snapshot
from pipelines.sweep.plan import plan_sweep
from pipelines.sweep.recorder import FailureLimit
from tests import small_corpus

SPACE = """\
parameters:
  training.learning_rate: {float: [1.0e-4, 1.0e-2], log: true}
  training.weight_decay: {float: [1.0e-7, 1.0e-3], log: true}
  training.label_smoothing: {float: [0.0, 0.3]}
  model.fusion.dropout: {float: [0.0, 0.6], step: 0.1}
  model.pooling.kind: {choice: [mean_max, mean, max, lse]}
  model.pooling.temperature: {float: [0.5, 1.5], when: {model.pooling.kind: [lse]}}
"""
# Metrics that a trial of one tuning fold reports.
METRICS = ("train/loss", "train/ua", "dev/loss", "dev/wa", "dev/ua", "dev/macro_f1", "dev/objective/fold-0", "seconds")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=10_000)
    parser.add_argument("--slots", type=int, default=64)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--mlflow", action="store_true", help="record the runs, on SQLite")
    arguments = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    with tempfile.TemporaryDirectory() as scratch:
        os.chdir(scratch)
        folder = Path(scratch)
        (folder / "space.yaml").write_text(SPACE)
        experiment = make_experiment(folder, arguments.trials, arguments.epochs)
        tpe = {f"tpe_ms_at_{trials}": tpe_ms(experiment, trials, arguments.slots) for trials in (1_000, 10_000)}
        figures = run_driver(experiment, folder, arguments.slots, arguments.mlflow) | tpe
    print(f"\n{'driver, ms a result':36}{figures['driver_ms_per_result']:8.2f}")
    print(f"{'driver, ms a trial':36}{figures['driver_ms_per_trial']:8.2f}")
    print(f"{'  among the first and last thousand':36}{figures['ms_first']:8.2f}{figures['ms_last']:8.2f}")
    print(f"{'share of its time for snapshots':36}{figures['snapshot_share']:8.3f}")
    print(f"{'TPE, ms a proposal, 1,000 and 10,000':36}{tpe['tpe_ms_at_1000']:8.1f}{tpe['tpe_ms_at_10000']:8.1f}")
    print(json.dumps(figures))


def make_experiment(folder: Path, trials: int, epochs: int) -> Experiment:
    """A sweep on a small corpus, which only the plan looks at."""
    corpus = small_corpus.write(folder / "corpus")
    return small_corpus.experiment(
        prepare={"folder": str(corpus)},
        tracking={"uri": f"sqlite:///{folder / 'mlflow.db'}"},
        training={"epochs": epochs},
        tune={"trials": trials, "folds": [0], "search": "random"},
    )


class NoStore(Tracker):
    """Takes all writes and drops them."""

    def get_or_create_experiment(self, name: str) -> str:
        return "0"

    def _write(self, run_id: str, entry: Mapping[str, Any]) -> str:
        return run_id


def run_driver(experiment: Experiment, folder: Path, slots: int, mlflow: bool) -> dict[str, Any]:
    """The figures of a sweep whose trials are simulated."""
    tracker = (Tracker if mlflow else NoStore)(str(experiment.tracking.uri))
    if mlflow:
        prepare_store(tracker.uri)
    sweep = folder / "sweeps" / "simulated"
    sweep.mkdir(parents=True)
    plan = plan_sweep(experiment, "space.yaml")
    clock = Clock()
    with ray_session():
        proposer = driver.make_proposer(plan, sweep, None)
        tuner = driver.make_tuner(plan, sweep, tracker, slots, proposer, FailureLimit(0))
        savers: list[snapshot.SnapshotSaver] = []

        def saver(sweep: Path) -> snapshot.SnapshotSaver:
            savers.append(made := save(sweep))
            return made

        save = snapshot.SnapshotSaver
        actors = mock.patch.object(tune_controller, "RayActorManager", lambda **settings: Actors(clock))
        with actors, mock.patch.object(snapshot, "SnapshotSaver", saver):
            driver.run_trials(plan, tuner, sweep, tracker)
        seconds = clock.at[-1] - clock.at[0]
    state = next((sweep / "snapshot").glob("experiment_state-*.json"))
    tenth = len(clock.at) // 10
    return {
        "trials": plan.total,
        "slots": slots,
        "results": len(clock.at),
        "driver_ms_per_result": round(1000 * seconds / len(clock.at), 2),
        "driver_ms_per_trial": round(1000 * seconds / plan.total, 2),
        # The first tenth but for its first half, which starts the actors.
        "ms_first": round(1000 * (clock.at[tenth] - clock.at[tenth // 2]) / (tenth - tenth // 2), 2),
        "ms_last": round(1000 * (clock.at[-1] - clock.at[-tenth]) / tenth, 2),
        "snapshot_share": round(savers[0].seconds / seconds, 3),
        "snapshot_mib": round(state.stat().st_size / 2**20, 1),
    }


class Clock:
    """When each result came."""

    def __init__(self) -> None:
        self.at: list[float] = []


class Actors:
    """Ray Tune's actors, without processes: the next event is always there, of any trial that runs."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._random = random.Random(0)
        self._configurations: dict[TrackedActor, Mapping[str, Any]] = {}
        self._epochs: dict[TrackedActor, int] = {}
        self._events: deque[tuple[TrackedActor, Callable[[], None]]] = deque()
        self._live_actors_to_ray_actors_resources: dict[TrackedActor, tuple[None]] = {}
        self.num_actor_tasks = 0

    @property
    def num_live_actors(self) -> int:
        return len(self._live_actors_to_ray_actors_resources)

    num_total_actors = num_live_actors

    @property
    def num_pending_actors(self) -> int:
        return sum(actor not in self._live_actors_to_ray_actors_resources for actor, _ in self._events)

    def get_live_actors_resources(self) -> dict[str, float]:
        return {}

    def add_actor(self, cls: type, resource_request: Any, kwargs: Mapping[str, Any], **callbacks: Any) -> TrackedActor:
        actor = TrackedActor(len(self._epochs), **callbacks)
        self._begin(actor, kwargs["config"])

        def start() -> None:
            self._live_actors_to_ray_actors_resources[actor] = (None,)
            actor._on_start(actor)

        self._events.append((actor, start))
        return actor

    def remove_actor(self, tracked_actor: TrackedActor, **how: Any) -> bool:
        self.clear_actor_task_futures(tracked_actor)
        if self._live_actors_to_ray_actors_resources.pop(tracked_actor, None) is None:
            # Its trial has got another one before it started.
            return False
        if tracked_actor._on_stop is not None:
            self._events.append((tracked_actor, lambda: tracked_actor._on_stop(tracked_actor)))
        return True

    def schedule_actor_task(
        self,
        tracked_actor: TrackedActor,
        method_name: str,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
        on_result: Callable[..., None] | None = None,
        on_error: Any = None,
        _return_future: bool = False,
    ) -> None:
        if method_name == "reset":
            self._begin(tracked_actor, args[0])
        if on_result is not None:
            answer = self._train if method_name == "train" else lambda actor: True
            self._events.append((tracked_actor, lambda: on_result(tracked_actor, answer(tracked_actor))))

    def clear_actor_task_futures(self, tracked_actor: TrackedActor) -> None:
        self._events = deque(event for event in self._events if event[0] != tracked_actor)

    def next(self, timeout: float | None = None) -> bool:
        if not self._events:
            return False
        self._events.rotate(self._random.randrange(len(self._events)))
        self._events.popleft()[1]()
        return True

    def is_actor_started(self, tracked_actor: TrackedActor) -> bool:
        return tracked_actor in self._live_actors_to_ray_actors_resources

    def is_actor_failed(self, tracked_actor: TrackedActor) -> bool:
        return False

    def cleanup(self) -> None:
        self._events.clear()

    def _begin(self, actor: TrackedActor, configuration: Mapping[str, Any]) -> None:
        self._configurations[actor], self._epochs[actor] = configuration, 0

    def _train(self, actor: TrackedActor) -> dict[str, Any]:
        """The result of an epoch: the better, the nearer the rate is to 0.001; and Ray's own measurements."""
        self._clock.at.append(time.perf_counter())
        self._epochs[actor] += 1
        epoch, rate = self._epochs[actor], self._configurations[actor]["training.learning_rate"]
        objective = (1 - 50 * abs(rate - 1e-3)) * (1 - 1 / (1 + epoch)) + self._random.uniform(0, 0.05)
        own = {"time_this_iter_s": 1.0, "time_total_s": float(epoch), "timestamp": int(time.time()), "pid": 1}
        own |= {"training_iteration": epoch, "done": False, "hostname": "host", "node_ip": "10.0.0.1"}
        own |= {"config": dict(self._configurations[actor]), "iterations_since_restore": epoch, "date": "today"}
        return {**own, **dict.fromkeys(METRICS, objective), "objective": objective, "epoch": epoch}


def tpe_ms(experiment: Experiment, trials: int, running: int) -> float:
    """Milliseconds that TPE takes for a proposal, the median of ten, after so many trials have ended."""
    tpe = experiment.model_copy(update={"tune": experiment.tune.model_copy(update={"search": "tpe"})})
    space = load_space(Path("space.yaml"), tpe)
    # A hundred drawn at random, again and again, with random results: only their number counts.
    drawn = optuna.create_study(direction="maximize", sampler=optuna.samplers.RandomSampler(seed=0))
    for _ in range(100):
        space.draw(drawn.ask(), tpe.flat())
    searcher: Any = search.make_searcher(tpe, space, [], "sweep", "study")
    study, values, pattern = searcher._ot_study, random.Random(0), drawn.trials
    for number in range(trials):
        ended = pattern[number % len(pattern)]
        ended.state, ended.values = optuna.trial.TrialState.COMPLETE, [values.random()]
        study._storage.create_new_trial(study._study_id, template_trial=ended)
    seconds = []
    for number in range(running + 10):
        started = time.perf_counter()
        searcher.suggest(str(number))
        seconds.append(time.perf_counter() - started)
    return round(1000 * statistics.median(seconds[-10:]), 1)


if __name__ == "__main__":
    main()
