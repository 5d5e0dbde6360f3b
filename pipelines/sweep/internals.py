"""What is used of Ray Tune and Optuna beyond their public interfaces, in one place; the test names the versions."""

from __future__ import annotations

import json
import logging
import pickle
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import optuna
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState
from ray.tune import registry
from ray.tune.execution import tune_controller
from ray.tune.execution.experiment_state import _ExperimentCheckpointManager
from ray.tune.experiment import Trial
from ray.tune.schedulers import AsyncHyperBandScheduler, HyperBandScheduler, PopulationBasedTraining, TrialScheduler
from ray.tune.search.optuna import OptunaSearch

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


def propose_again(search: OptunaSearch, trial: str, number: int) -> None:
    """Let a search propose for a trial what its study has already.

    Args:
        search: of Ray Tune.
        trial: Ray Tune's id of the trial.
        number: of a trial in the study.
    """
    study: Any = search._ot_study
    known = study._storage.get_trial_id_from_study_id_trial_number(study._study_id, number)
    search._ot_trials[trial] = optuna.Trial(study, known)


@dataclass(frozen=True)
class TuneRecords:
    """Ray Tune's records of a running sweep.

    Attributes:
        write: writes them.
        folder: of this machine, in which they are written.
        scheduler: of the sweep.
        stopped: whether the sweep's stopper ends it; then they say that all trials have ended.
    """

    write: Callable[[], None]
    folder: Path
    scheduler: TrialScheduler
    stopped: bool


@contextmanager
def records_saved_by(save: Callable[[TuneRecords, bool], None], restore: Callable[[], object]) -> Iterator[None]:
    """A block in which Ray Tune's records are saved by a function, which is asked after each step of the driver.

    Ray Tune itself would write them as often as `TUNE_GLOBAL_CHECKPOINT_S` says, however long that takes, and copy its
    whole folder of this machine to the storage each time, file by file.

    Args:
        save: called with the records, and whether to save them now or when it is time to.
        restore: called at the end of a sweep; copies the records to where Ray Tune reads them.
    """

    class Saver(_ExperimentCheckpointManager):
        def sync_up_experiment_state(self, save_fn: Any, force: bool = False, wait: bool = False) -> None:
            controller: tune_controller.TuneController = save_fn.__self__
            assert self._storage is not None
            folder = Path(self._storage.experiment_driver_staging_path)
            records = TuneRecords(save_fn, folder, controller.scheduler_alg, controller._stopper.stop_all())
            save(records, force or self._should_force_sync_up)
            self._trial_num_checkpoints_since_last_sync.clear()
            self._should_force_sync_up = False
            if wait:
                restore()

    # At the end it looks for the files of epochs that it would have written itself.
    logging.getLogger("ray.tune.analysis.experiment_analysis").setLevel(logging.ERROR)
    with mock.patch.object(tune_controller, "_ExperimentCheckpointManager", Saver):
        yield


@contextmanager
def trainable_fetched_once() -> Iterator[None]:
    """A block in which Ray Tune asks Ray's head for its trainable once, instead of three times a trial."""
    shelf: Any = registry._global_registry
    fetch, ask, fetched = shelf.get, shelf.contains, dict[tuple[str, str], Any]()

    def get(category: str, key: str) -> Any:
        if (category, key) not in fetched:
            fetched[category, key] = fetch(category, key)
        return fetched[category, key]

    def contains(category: str, key: str) -> bool:
        return (category, key) in fetched or ask(category, key)

    with mock.patch.object(shelf, "get", get), mock.patch.object(shelf, "contains", contains):
        yield


def forget_statistics(trial: Trial) -> None:
    """Delete the statistics that Ray Tune keeps of each metric of a trial: most of its record, and used by nobody."""
    metadata = trial.run_metadata
    metadata.metric_analysis.clear()
    metadata.metric_n_steps.clear()
    metadata.invalidate_cache()  # type: ignore[no-untyped-call]


def last_error(trial: Trial) -> Exception | None:
    """What ended the trial's process last, if anything did.

    Ray Tune keeps it in its folder of this machine, and looks for it in the storage, to which it is not copied here.
    """
    path = trial.pickled_error_file
    if path is None or not Path(path).exists():
        return None
    error: Exception = pickle.loads(Path(path).read_bytes())
    return error


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


class StudyWindow:
    """An Optuna study of which a sampler sees some trials only.

    Args:
        study: the study.
        trials: those that are seen.
    """

    def __init__(self, study: Study, trials: Sequence[FrozenTrial]) -> None:
        self._study = study
        self._trials = trials

    def __getattr__(self, name: str) -> Any:
        """What the study says of all else."""
        return getattr(self._study, name)

    def _get_trials(
        self, deepcopy: bool = True, states: Container[TrialState] | None = None, use_cache: bool = False
    ) -> list[FrozenTrial]:
        return [trial for trial in self._trials if states is None or trial.state in states]
