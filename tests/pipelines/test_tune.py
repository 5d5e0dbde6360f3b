"""What a sweep is planned to be, what its trials ask for, and with whom it shares a study, before anything starts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fgcme.errors import UserError
from pipelines import tune
from pipelines.tune import Plan
from tests import small_corpus
from tests.store import make_tracker

SPACE = """\
parameters:
  training.learning_rate: {float: [1.0e-4, 1.0e-2], log: true}
"""
STEPS = """\
parameters:
  training.learning_rate: {float: [0.005, 0.015], step: 0.005}
"""
Planned = Callable[..., Plan]


@pytest.fixture
def planned(tmp_path: Path) -> Planned:
    """Plans small sweeps on a small corpus."""
    corpus = small_corpus.write(tmp_path / "corpus")

    def make(space: str = SPACE, **sections: dict[str, Any]) -> Plan:
        path = tmp_path / "space.yaml"
        path.write_text(space)
        return tune.plan(small_corpus.experiment(**sections, prepare={"folder": str(corpus)}), str(path))

    return make


POPULATION = {"search": "random", "scheduler": "pbt"}


@pytest.mark.parametrize(
    ("scaling", "sentence"),
    [
        ({"workers": 2}, "its trials are of one process each; set scaling.workers to 0 or 1"),
        ({"parallel": 1}, "its trials take turns at all that Ray has; leave scaling.parallel out"),
    ],
)
def test_a_population_is_refused_what_it_cannot_have(
    planned: Planned, scaling: dict[str, object], sentence: str
) -> None:
    with pytest.raises(UserError, match=sentence):
        planned(tune=POPULATION, scaling=scaling)


def test_a_population_takes_turns_and_keeps_few_checkpoints(planned: Planned, tmp_path: Path) -> None:
    def made(**settings: Any) -> Any:
        plan = planned(tune={"trials": 6, "grace_epochs": 2, **settings})
        folder, tracker = tmp_path / "sweep", make_tracker(tmp_path)
        proposing = tune._proposing(plan, folder, None)
        return tune._tuner(plan, folder, tracker, 2, proposing, tune.Failures(0))._local_tuner

    population, others = made(**POPULATION), made()
    assert population._tune_config.max_concurrent_trials is None
    assert others._tune_config.max_concurrent_trials == 2
    # A copy is of what was kept up to an interval of two epochs ago, and is read within another.
    assert population._run_config.checkpoint_config.num_to_keep > 4


def test_a_grid_is_one_driver_s_alone(planned: Planned, tmp_path: Path) -> None:
    study = {"study": f"sqlite:///{tmp_path}/study.db"}
    plan = planned(STEPS, tune={"search": "grid"}, storage=study)
    storage = tune._join(plan, going_on=False)
    proposed = tune._proposing(plan, tmp_path / "one", storage)
    assert [proposed.suggest(str(n))["training.learning_rate"] for n in range(3)] == [0.005, 0.01, 0.015]  # type: ignore
    with pytest.raises(UserError, match="a grid is one driver's alone; go on with --resume"):
        tune._join(plan, going_on=False)
    assert tune._join(plan, going_on=True) is not None


def test_a_trial_that_a_killed_driver_forgot_leaves_nothing_and_is_proposed_again(
    planned: Planned, tmp_path: Path
) -> None:
    plan, tracker = planned(storage={"study": f"sqlite:///{tmp_path}/study.db"}), make_tracker(tmp_path)
    folder = tmp_path / "sweep"
    storage = tune._join(plan, going_on=False)
    assert storage is not None
    drawn = tune._proposing(plan, folder, storage).suggest("forgotten")  # type: ignore[union-attr]
    kept = tune.Kept(folder / "trials" / "0")
    kept.folder.mkdir(parents=True)
    run = tracker.start(tracker.experiment("small"), "trial 0")
    kept.run.write_text(run)
    kept.open.touch()
    tune._give_up_forgotten(plan, folder, tracker, storage)
    assert tracker.find(run).info.status == "KILLED"
    assert not kept.folder.exists() and not tune._end_what_is_left(tracker, folder / "trials")
    again = tune._proposing(plan, folder, storage).suggest("again")  # type: ignore[union-attr]
    assert (again["training.learning_rate"], again["number"]) == (drawn["training.learning_rate"], 1)


@pytest.mark.parametrize(
    ("scaling", "takes"),
    [
        ({}, (1, 0)),
        ({"cpus_per_worker": 2, "gpus_per_worker": 0.5}, (2, 0.5)),
        ({"workers": 4, "gpus_per_worker": 1}, (4, 4)),
        # What a trial is given is its own, whatever its workers would ask for.
        ({"gpus_per_trial": 0.125}, (1, 0.125)),
        ({"workers": 2, "cpus_per_worker": 3, "gpus_per_worker": 1, "gpus_per_trial": 0.5}, (6, 0.5)),
        ({"gpus_per_worker": 1, "gpus_per_trial": 0}, (1, 0)),
    ],
)
def test_a_trial_takes_what_its_workers_need_or_the_gpus_that_it_is_given(
    scaling: dict[str, object], takes: tuple[float, float]
) -> None:
    assert tune._takes(small_corpus.experiment(scaling=scaling)) == takes


def test_the_workers_of_a_trial_share_its_gpus(planned: Planned, tmp_path: Path) -> None:
    plan = planned(scaling={"workers": 2, "gpus_per_trial": 0.5})
    assert tune._sweep(plan, tmp_path).experiment.scaling.gpus_per_worker == 0.25
