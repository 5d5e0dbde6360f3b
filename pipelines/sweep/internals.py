"""What is used of Ray Tune and Optuna beyond their public interfaces, in one place; the test names the versions."""

from __future__ import annotations

import json
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from optuna.trial import FrozenTrial
from ray.exceptions import ActorDiedError
from ray.tune.experiment import Trial
from ray.tune.schedulers import AsyncHyperBandScheduler, HyperBandScheduler, PopulationBasedTraining, TrialScheduler

from fgcme.files import atomic_write, write_text

TRIALS = "experiment_state-*.json"
"""Ray Tune's record of its trials."""
SEARCHER = "searcher-state-*.pkl"
"""Ray Tune's record of what Optuna has proposed."""
GENERATOR = "search_gen_state-*.json"
"""Ray Tune's record of its limit to trials at once: a pickle, in spite of its name."""
MEMBERS = "basic-variant-state-*.json"
"""Ray Tune's record of the members of a population that have not started: a pickle, too."""
RECORDS = (TRIALS, SEARCHER, GENERATOR, MEMBERS)
"""All that Ray Tune writes of a sweep to resume it, and nothing of its scheduler."""

HEAD_NODE = "node:__internal_head__"
"""A resource that the head of every cluster has, and no other node."""

REPEATED_REPORT = "The reported value is ignored"
"""How Optuna's warning begins that a trial reports an epoch again."""


def delete_stopper(folder: Path) -> None:
    """Delete from Ray Tune's records what ends a sweep early, so that a new stopper counts."""
    for path in folder.glob(TRIALS):
        record = json.loads(path.read_text(encoding="utf-8"))
        record["runner_data"].pop("_stopper", None)
        write_text(path, json.dumps(record))


def set_max_concurrent(folder: Path, trials: int) -> None:
    """Set in Ray Tune's records how many trials may run at once."""
    for path in folder.glob(GENERATOR):
        record = pickle.loads(path.read_bytes())
        record["name:ConcurrencyLimiter"]["max_concurrent"] = trials
        with atomic_write(path) as partial:
            partial.write_bytes(pickle.dumps(record))


def proposed_numbers(folder: Path) -> set[int]:
    """Numbers in Optuna's study of all trials in Ray Tune's records."""
    numbers: set[int] = set()
    for path in folder.glob(SEARCHER):
        numbers |= {trial.number for trial in pickle.loads(path.read_bytes())["_ot_trials"].values()}
    return numbers


def staging_folder(trial: Trial) -> Path:
    """The folder of this machine in which Ray Tune writes its records, before it copies them to the storage."""
    return Path(trial.local_experiment_path)


def last_error(trial: Trial) -> Exception | None:
    """What ended the trial's process last, if anything did."""
    return trial.get_pickled_error()


def lost_with_node(error: Exception | None) -> bool:
    """Whether a process ended because its node did."""
    return isinstance(error, ActorDiedError) and (error.preempted or "node has died" in str(error))


def asha_state(scheduler: TrialScheduler) -> dict[str, Any] | None:
    """What a scheduler of successive halving (ASHA) knows of trials; None of any other, which cannot be pickled."""
    return vars(scheduler) if isinstance(scheduler, AsyncHyperBandScheduler) else None


def restore_asha(scheduler: TrialScheduler, state: Mapping[str, Any]) -> None:
    """Restore the state of a scheduler of successive halving (ASHA); leave other schedulers unchanged."""
    if isinstance(scheduler, AsyncHyperBandScheduler):
        vars(scheduler).update(state)


def in_bracket(scheduler: HyperBandScheduler, trial: Trial) -> bool:
    """Whether Hyperband has placed a trial in one of its brackets."""
    return trial in scheduler._trial_info


class DonorPopulation(PopulationBasedTraining):
    """Population-based training with a choice of whom a bad member copies.

    Ray Tune would choose with a random generator that all code of the process shares.
    """

    def choose_donor(self, candidates: list[Trial]) -> Trial:
        """The member to copy, out of the good ones."""
        raise NotImplementedError

    def _checkpoint_or_exploit(
        self, trial: Trial, tune_controller: Any, upper_quantile: list[Trial], lower_quantile: list[Trial]
    ) -> None:
        if trial in lower_quantile:
            upper_quantile = [self.choose_donor(upper_quantile)]
        super()._checkpoint_or_exploit(trial, tune_controller, upper_quantile, lower_quantile)


def fix_parameters(trial: FrozenTrial, point: Mapping[str, Any]) -> None:
    """Let a trial that Optuna has just created take these parameters, as if it had been enqueued with them."""
    trial.system_attrs["fixed_params"] = dict(point)
