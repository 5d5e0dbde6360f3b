"""A sweep in an MLflow store as `fgcme tune` records it, made without any training."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fgcme.experiment import Experiment, Space, apply_configuration, load_space
from fgcme.tracking import Tracker
from tests import small_corpus

SPACE = """\
parameters:
  model.pooling.kind: {choice: [mean_max, mean, lse]}
  model.pooling.temperature: {float: [0.1, 10.0], log: true, when: {model.pooling.kind: [lse]}}
  training.learning_rate: {float: [1.0e-5, 1.0e-1], log: true}
  training.gradient_clip: {choice: [null, 5]}
"""
EPOCHS = 3


@dataclass(frozen=True)
class Recorded:
    """One trial to be recorded.

    Attributes:
        drawn: its configuration.
        scores: its objective after each epoch.
        status: MLflow's.
        cost: its second objective.
        failure: why it failed.
    """

    drawn: dict[str, Any]
    scores: Sequence[float] = (0.3, 0.4, 0.5)
    status: str = "FINISHED"
    cost: float | None = None
    failure: str = ""


def some(number: int) -> Recorded:
    """A trial of the sweep; of several, scores rise with the learning rate, and every third is of lse pooling."""
    kind = ("mean_max", "mean", "lse")[number % 3]
    drawn = {"model.pooling.kind": kind, "training.learning_rate": 1e-5 * 10 ** (number / 5)}
    drawn |= {"model.pooling.temperature": 0.5 + number % 4} if kind == "lse" else {}
    score = 0.3 + number / 100
    scores = [score - 0.1, score, score] if number % 2 else [score]
    return Recorded(drawn | {"training.gradient_clip": (None, 5.0)[number % 2]}, scores)


def space(folder: Path, experiment: Experiment) -> Space:
    """The space of the sweep."""
    path = folder / "rates.yaml"
    path.write_text(SPACE, encoding="utf-8")
    return load_space(path, experiment)


def record(
    tracker: Tracker, folder: Path, trials: Sequence[Recorded], status: str = "FINISHED", cost: str = ""
) -> tuple[str, list[str]]:
    """Record a sweep of these trials; one that has not ended has no best configuration yet.

    Returns:
        The ids of the sweep and of its trials.
    """
    experiment = small_corpus.experiment(
        training={"epochs": EPOCHS},
        tune={"trials": max(1, len(trials)), "folds": [0, 2]},
        storage={"path": str(folder)},
    )
    made = space(folder, experiment)
    study = tracker.get_or_create_experiment("small")
    tags = {
        "fgcme.kind": "sweep",
        "fgcme.space": "small-rates",
        "fgcme.corpus": "demo",
        "fgcme.corpus_hash": "c0ffee",
        "fgcme.commit": "abc123-dirty",
        "fgcme.selection": "dev",
    }
    parent = tracker.create_run(study, "small-rates tune", tags=tags | ({"fgcme.cost": cost} if cost else {}))
    tracker.log_text(parent, experiment.to_yaml(), "experiment.yaml")
    kept = made.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    tracker.log_text(parent, json.dumps(kept, indent=2), "space.json")
    runs = []
    for number, trial in enumerate(trials):
        run = tracker.create_run(
            study,
            f"trial {number}",
            parent,
            {"fgcme.kind": "trial", "fgcme.trial": str(number)}
            | ({"fgcme.failure": trial.failure} if trial.failure else {}),
            apply_configuration(experiment, trial.drawn).flat(),
        )
        for epoch, score in enumerate(trial.scores, 1):
            tracker.log_metrics(
                run, {"dev/objective": score} | ({} if trial.cost is None else {"cost": trial.cost}), epoch
            )
        if trial.status != "RUNNING":
            tracker.end_run(run, trial.status)  # type: ignore[arg-type]
        runs.append(run)
    if status == "FINISHED":
        tracker.log_text(parent, experiment.model_copy(update={"name": "small-rates"}).to_yaml(), "best.yaml")
    if status != "RUNNING":
        tracker.end_run(parent, status)  # type: ignore[arg-type]
    return parent, runs
