"""Names that Ray Tune and Optuna keep private and a sweep uses: they hold for the versions given here."""

from __future__ import annotations

import importlib
import inspect
import json
import pickle
import warnings
from pathlib import Path
from typing import Any

import optuna
import pytest
import ray
from optuna.samplers import RandomSampler
from ray import tune
from ray.exceptions import ActorDiedError, ActorUnavailableError
from ray.tune.experiment import Trial
from ray.tune.schedulers import AsyncHyperBandScheduler, FIFOScheduler, HyperBandScheduler, PopulationBasedTraining
from ray.tune.search import ConcurrencyLimiter, Searcher
from ray.tune.search.basic_variant import BasicVariantGenerator
from ray.tune.search.optuna import OptunaSearch

from pipelines.sweep import internals

TRIED_WITH = "Ray 2.60 and Optuna 5.0"
INSTALLED = f"Ray {ray.__version__} and Optuna {optuna.__version__}"
MEND = f"{INSTALLED} are installed; {TRIED_WITH} were tried: mend pipelines/sweep/internals.py"


def private(module: str, name: str) -> Any:
    """A class that Ray Tune does not document; the test fails with a clear message if it is gone."""
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError):
        pytest.fail(f"{module}.{name} is gone: {MEND}")


def controller() -> Any:
    return private("ray.tune.execution.tune_controller", "TuneController")


def search_generator() -> Any:
    return private("ray.tune.search.search_generator", "SearchGenerator")


def test_the_private_names_hold_for_the_installed_versions() -> None:
    assert controller().CKPT_FILE_TMPL.format("*") == internals.TRIALS, MEND
    assert Searcher.CKPT_FILE_TMPL.format("*") == internals.SEARCHER, MEND
    assert search_generator().CKPT_FILE_TMPL.format("*") == internals.GENERATOR, MEND
    assert BasicVariantGenerator.CKPT_FILE_TMPL.format("*") == internals.MEMBERS, MEND
    exploit = getattr(PopulationBasedTraining, "_checkpoint_or_exploit", None)
    assert exploit is not None, MEND
    assert list(inspect.signature(exploit).parameters) == [
        "self",
        "trial",
        "tune_controller",
        "upper_quantile",
        "lower_quantile",
    ], MEND
    assert hasattr(HyperBandScheduler(metric="objective", mode="max"), "_trial_info"), MEND


def test_ray_tune_asks_after_each_step_for_its_records_to_be_saved() -> None:
    manager = private("ray.tune.execution.tune_controller", "_ExperimentCheckpointManager")
    assert list(inspect.signature(manager.sync_up_experiment_state).parameters) == ["self", "save_fn", "force", "wait"]
    assert {"_storage", "_should_force_sync_up", "_trial_num_checkpoints_since_last_sync"} <= set(
        inspect.getsource(manager.__init__).replace("self.", " ").replace(":", " ").split()
    ), MEND
    assert "save_fn=self.save_to_dir, force=force, wait=wait" in inspect.getsource(controller().checkpoint), MEND
    assert "self.checkpoint()" in inspect.getsource(controller().step), MEND
    assert "_ExperimentCheckpointManager(" in inspect.getsource(controller()._create_checkpoint_manager), MEND


def searching(max_concurrent: int) -> ConcurrencyLimiter:
    search = OptunaSearch(dict, metric="objective", mode="max", sampler=RandomSampler(seed=0))
    return ConcurrencyLimiter(search, max_concurrent=max_concurrent)


def test_a_resumed_sweep_obeys_the_limits_that_are_set_now(tmp_path: Path) -> None:
    record = {"trial_data": [], "runner_data": {"_stopper": "of then", "_iteration": 7}, "stats": {}}
    (tmp_path / "experiment_state-1.json").write_text(json.dumps(record))
    before = searching(max_concurrent=1)
    before.live_trials.add("one")
    search_generator()(before).save_to_dir(str(tmp_path), "1")
    internals.delete_stopper(tmp_path)
    internals.set_max_concurrent(tmp_path, 5)
    kept = json.loads((tmp_path / "experiment_state-1.json").read_text())
    assert kept == {**record, "runner_data": {"_iteration": 7}}, MEND
    after = searching(max_concurrent=5)
    search_generator()(after).restore_from_dir(str(tmp_path))
    assert (after.max_concurrent, after.live_trials) == (5, {"one"}), MEND


def test_ray_s_head_is_asked_once_for_a_trainable(monkeypatch: pytest.MonkeyPatch) -> None:
    registry = importlib.import_module("ray.tune.registry")
    asked = []

    def ask(key: bytes) -> bytes | None:
        asked.append(key)
        return pickle.dumps(len) if b"known" in key else None

    # Else it would ask Ray for the number of its job.
    monkeypatch.setattr(registry._global_registry, "_prefix", "test")
    monkeypatch.setattr(registry, "_internal_kv_initialized", lambda: True)
    monkeypatch.setattr(registry, "_internal_kv_get", ask)
    with internals.trainable_fetched_once():
        assert [registry.get_trainable_cls("known") for _ in range(3)] == [len] * 3
        assert not registry._has_trainable("other")
    assert len(asked) == 3, "whether it is there and what it is, then nothing; and the one that is not there"
    assert registry.get_trainable_cls("known") is len and len(asked) == 5


def test_the_controller_s_record_holds_the_stopper_that_is_deleted() -> None:
    assert '"_stopper"' not in inspect.getsource(controller().__getstate__), MEND
    assert "self._stopper = " in inspect.getsource(controller().__init__), MEND


def test_numbers_in_the_study_are_read_from_the_searcher_s_record(tmp_path: Path) -> None:
    search = OptunaSearch(draw_nothing, metric="objective", mode="max", sampler=RandomSampler(seed=0))
    for name in ("one", "two"):
        search.suggest(name)
    search.save_to_dir(str(tmp_path), "1")
    assert internals.proposed_numbers(tmp_path) == {0, 1}, MEND
    assert internals.proposed_numbers(tmp_path / "missing") == set()


def test_a_search_proposes_a_trial_of_its_study_again() -> None:
    search = OptunaSearch(number_of, metric="objective", mode="max", sampler=RandomSampler(seed=0))
    assert [search.suggest(name) for name in ("one", "two")] == [{"number": 0}, {"number": 1}]
    internals.propose_again(search, "again", 0)
    assert [search.suggest(name) for name in ("again", "three")] == [{"number": 0}, {"number": 2}], MEND


def number_of(trial: Any) -> dict[str, Any]:
    return {"number": trial.number}


def draw_nothing(trial: Any) -> dict[str, Any]:
    return {}


def test_only_successive_halving_has_a_state() -> None:
    asha = AsyncHyperBandScheduler(metric="objective", mode="max", max_t=4)
    assert internals.asha_state(asha) is not None
    fifo = FIFOScheduler()  # type: ignore[no-untyped-call]
    assert internals.asha_state(fifo) is None
    before = dict(vars(fifo))
    internals.restore_asha(fifo, {"_max_t": 9})
    assert vars(fifo) == before


def test_the_record_of_a_trial_is_small_without_statistics() -> None:
    tune.register_trainable("nothing", lambda configuration: None)
    trial = Trial("nothing", stub=True)
    trial.update_last_result({f"dev/{number}": 0.5 for number in range(20)})
    _, before = trial.get_json_state()
    internals.forget_statistics(trial)
    _, after = trial.get_json_state()
    assert len(after) < len(before) / 3, MEND
    assert "dev/19" in after, MEND


def test_the_last_error_of_a_trial_is_found_though_nothing_is_copied_to_the_storage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Ray Tune's folder of this machine; it would ask a running Ray for it.
    monkeypatch.setattr("ray.train._internal.storage._get_ray_train_session_dir", lambda: str(tmp_path / "session"))
    tune.register_trainable("nothing", lambda configuration: None)
    storage = private("ray.train._internal.storage", "StorageContext")(tmp_path, experiment_dir_name="sweep")
    trial = Trial("nothing", stub=True, storage=storage)
    trial.init_local_path()  # type: ignore[no-untyped-call]
    assert internals.last_error(trial) is None
    for error in (ActorDiedError(), ActorUnavailableError("away", None)):
        trial.handle_error(error)
        last = internals.last_error(trial)
        assert isinstance(last, type(error)) and str(last) == str(error), MEND


def test_hyperband_knows_which_trials_it_has_placed() -> None:
    tune.register_trainable("nothing", lambda configuration: None)
    placed, other = Trial("nothing", stub=True), Trial("nothing", stub=True)
    scheduler = HyperBandScheduler(metric="objective", mode="max")
    scheduler.on_trial_add(None, placed)  # type: ignore[arg-type]
    assert internals.in_bracket(scheduler, placed) and not internals.in_bracket(scheduler, other), MEND


class FixingSampler(RandomSampler):
    """Fixes the parameters of each trial that Optuna creates."""

    def before_trial(self, study: optuna.Study, trial: optuna.trial.FrozenTrial) -> None:
        internals.fix_parameters(trial, {"x": 0.25})


def test_optuna_takes_the_parameters_that_were_fixed() -> None:
    trial = optuna.create_study(sampler=FixingSampler(seed=0)).ask()
    assert trial.suggest_float("x", 0.0, 1.0) == 0.25, MEND


def test_optuna_warns_of_a_repeated_report_as_expected() -> None:
    trial = optuna.create_study().ask()
    trial.report(0.5, 1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", message=internals.REPEATED_REPORT)
        trial.report(0.5, 1)
    with pytest.warns(UserWarning, match=internals.REPEATED_REPORT):
        trial.report(0.5, 1)
