"""Records the trials of a sweep in MLflow and in their folders, and shows them in the terminal, from the driver."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterable
from typing import Any, Literal

from ray import tune
from ray.tune.experiment import Trial
from ray.tune.schedulers import TrialScheduler
from typing_extensions import override

from fgcme.experiment import apply_configuration
from fgcme.files import write_text
from fgcme.tracking import Tracker
from pipelines.sweep import internals, snapshot
from pipelines.sweep.progress_table import ProgressTable, SweepProgress, TrialProgress, TrialState
from pipelines.sweep.search import settings_of
from pipelines.sweep.trial_folder import FAILURE, NOTE, TrialContext, TrialFolder, trial_folders
from pipelines.training.failure import TAG, failure_reason

# How the names begin that a trial reports; Ray Tune adds measurements of its own.
_REPORTED = ("train/", "dev/", "objective", "cost", "epoch", "seconds", FAILURE)

# Attributes that are not pickled, because they belong to this process.
_PROCESS_ATTRIBUTES = ("_table", "_started_at", "_ended_before", "_snapshot_at", "_recorded_epochs")


class FailureLimit(tune.Stopper):
    """Ends a sweep when more trials have failed than it allows.

    Args:
        max_failures: how many trials may fail.
        failed: names of the folders of trials that have failed before.
    """

    def __init__(self, max_failures: int, failed: Iterable[str] = ()) -> None:
        self.max_failures = max_failures
        self.failed = set(failed)

    @override
    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        """No single trial is stopped."""
        return False

    @override
    def stop_all(self) -> bool:
        """Whether too many trials have failed."""
        return len(self.failed) > self.max_failures


class SweepRecorder(tune.Callback):
    """Ray Tune's callbacks of a sweep.

    A resumed sweep has a new recorder. So which run belongs to which trial is kept in the trials' folders, and how far
    the trials are is read from Ray Tune's list of trials.

    Args:
        tracker: where the trials' runs are recorded.
        mlflow_experiment: id of the MLflow experiment.
        parent: id of the sweep's run.
        context: what the trials share.
        total: trials in all.
        failures: counts the trials that fail.
        scheduler: of the sweep; its state is saved with each snapshot.
    """

    def __init__(
        self,
        tracker: Tracker,
        mlflow_experiment: str,
        parent: str,
        context: TrialContext,
        total: int,
        failures: FailureLimit,
        scheduler: TrialScheduler,
    ) -> None:
        self._tracker = tracker
        self._mlflow_experiment = mlflow_experiment
        self._parent = parent
        self._context = context
        self._total = total
        self._failures = failures
        self._scheduler = scheduler
        self._set_process_attributes()

    def _set_process_attributes(self) -> None:
        self._table = ProgressTable(self._context.experiment.training.epochs)
        self._started_at = time.monotonic()
        self._ended_before: int | None = None
        self._snapshot_at = 0.0
        # The last recorded epoch of each trial.
        self._recorded_epochs: dict[str, int] = {}

    def __getstate__(self) -> dict[str, Any]:
        """All attributes but those of this process, as the terminal and the clock."""
        return {name: value for name, value in vars(self).items() if name not in _PROCESS_ATTRIBUTES}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restore the attributes, with new ones for this process."""
        vars(self).update(state)
        self._set_process_attributes()

    @override
    def setup(
        self, stop: Any = None, num_samples: int | None = None, total_num_samples: int | None = None, **info: Any
    ) -> None:
        """Restore what was known when the driver of a resumed sweep was killed."""
        snapshot.restore_scheduler(self._context.trials_folder.parent, self._scheduler)
        # Read from the store now, because it may be gone when a trial starts again.
        for folder in trial_folders(self._context.trials_folder):
            if folder.run_id_file.exists():
                self._recorded_epochs[folder.name] = self._last_epoch(folder)

    @override
    def on_trial_start(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """Create the trial's run, or reopen it."""
        folder, settings = self._folder(trial), settings_of(trial.config)
        if folder.run_id_file.exists() and not self._context.is_population:
            self._delete_forgotten(folder, settings)
        if folder.run_id_file.exists():
            self._tracker.reopen_run(folder.run_id())
        else:
            folder.path.mkdir(parents=True, exist_ok=True)
            run_id = self._tracker.create_run(
                self._mlflow_experiment,
                f"trial {folder.name}",
                parent=self._parent,
                tags={"fgcme.kind": "trial", "fgcme.trial": folder.name, "fgcme.selection": "dev"},
                parameters=apply_configuration(self._context.experiment, settings).flat(),
            )
            write_text(folder.configuration, json.dumps(settings))
            write_text(folder.run_id_file, run_id)
        folder.run_open_marker.touch()

    @override
    def on_trial_result(
        self, iteration: int, trials: list[Trial], trial: Trial, result: dict[str, Any], **info: Any
    ) -> None:
        """Record an epoch."""
        folder = self._folder(trial)
        if NOTE in result:
            self._table.say(f"trial {folder.name}: {result[NOTE]}")
        # A resumed trial repeats the epochs after its last saved state.
        if FAILURE in result or result["epoch"] <= self._recorded_epochs.get(folder.name, 0):
            return
        self._recorded_epochs[folder.name] = result["epoch"]
        metrics = {name: value for name, value in result.items() if name.startswith(("train/", "dev/"))}
        metrics["dev/objective"] = result["objective"]
        for name in ("cost", "seconds", "seconds_to_first_step"):
            if name in result:
                metrics[name] = result[name]
        if self._context.is_population:
            # Settings that change during a training are metrics, because a run's parameters cannot change.
            settings = settings_of(trial.config)
            metrics |= {name: float(value) for name, value in settings.items() if isinstance(value, int | float)}
        self._tracker.log_metrics(folder.run_id(), metrics, result["epoch"])

    @override
    def on_trial_complete(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """End the trial's run, as failed if the trial has reported a failure."""
        folder = self._folder(trial)
        last = {name: value for name, value in trial.last_result.items() if name.startswith(_REPORTED)}
        folder.end(last)
        if (reason := last.get(FAILURE)) is not None:
            self._fail(folder, reason, trial, trials)
            return
        self._end_run(folder, "FINISHED")
        stopped = " (stopped early)" if self._state(trial, just_ended=True) == "stopped" else ""
        epochs, objective = last.get("epoch", 0), last.get("objective", math.nan)
        message = f"trial {folder.name}: dev score {objective:.4f} after {epochs} epochs{stopped}"
        self._say(message, trial, trials)

    @override
    def on_trial_recover(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """Say that a lost trial resumes; the loss of a machine does not count as a start without progress."""
        folder, with_node = self._folder(trial), internals.lost_with_node(internals.last_error(trial))
        if with_node:
            folder.made_progress()
        what = "machine" if with_node else "process"
        self._table.say(f"trial {folder.name} lost its {what}, and resumes from its last saved epoch")

    @override
    def on_trial_error(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """End the trial's run as failed; what the trial needs to resume stays, for `--resume`."""
        reason = failure_reason(internals.last_error(trial) or RuntimeError("it was lost"))
        self._fail(self._folder(trial), reason, trial, trials)

    @override
    def on_step_end(self, iteration: int, trials: list[Trial], **info: Any) -> None:
        """Update the table, and save a snapshot if Ray Tune has written its records."""
        self._table.update(self._progress(trials))
        # Once too many have failed, Ray Tune's records say that all trials have ended, and cannot be resumed.
        if trials and not self._failures.stop_all():
            staging = internals.staging_folder(trials[0])
            written_at = max((path.stat().st_mtime for path in staging.glob(internals.TRIALS)), default=0.0)
            if written_at > self._snapshot_at:
                snapshot.save(self._context.trials_folder.parent, staging, self._scheduler)
                self._snapshot_at = written_at

    @override
    def on_experiment_end(self, trials: list[Trial], **info: Any) -> None:
        """Remove the table from the terminal."""
        self._table.close()

    def _folder(self, trial: Trial) -> TrialFolder:
        return self._context.folder_of(trial.trial_id, trial.config)

    def _delete_forgotten(self, folder: TrialFolder, settings: dict[str, Any]) -> None:
        """Delete the folder of an earlier trial of this number, which the driver was killed too early to remember."""
        if json.loads(folder.configuration.read_text(encoding="utf-8")) == settings:
            return
        self._end_run(folder, "KILLED")
        folder.delete()
        self._recorded_epochs.pop(folder.name, None)
        self._failures.failed.discard(folder.name)

    def _last_epoch(self, folder: TrialFolder) -> int:
        """The last recorded epoch of a trial."""
        if (last := folder.read_last_report()) is not None:
            return int(last.get("epoch", 0))
        steps = self._tracker.metric_history(folder.run_id(), "dev/objective")
        return max((step for step, _ in steps), default=0)

    def _fail(self, folder: TrialFolder, reason: str, trial: Trial, trials: list[Trial]) -> None:
        self._failures.failed.add(folder.name)
        self._tracker.set_tags(folder.run_id(), {TAG: reason})
        self._end_run(folder, "FAILED")
        self._say(f"trial {folder.name} failed: {reason}", trial, trials)

    def _end_run(self, folder: TrialFolder, status: Literal["FINISHED", "FAILED", "KILLED"]) -> None:
        self._tracker.end_run(folder.run_id(), status)
        folder.run_open_marker.unlink(missing_ok=True)

    def _say(self, message: str, just_ended: Trial, trials: list[Trial]) -> None:
        progress = self._progress(trials, just_ended)
        best = f", best {progress.best.objective:.4f}" if progress.best else ""
        self._table.say(f"{message}{best}  {progress.fraction()}")

    def _progress(self, trials: list[Trial], just_ended: Trial | None = None) -> SweepProgress:
        rows = [
            TrialProgress(
                name=self._folder(trial).name,
                state=self._state(trial, trial is just_ended),
                epoch=trial.last_result.get("epoch", 0),
                objective=trial.last_result.get("objective"),
            )
            for trial in trials
        ]
        if self._ended_before is None:
            self._ended_before = sum(row.state in ("ended", "stopped", "failed") for row in rows) - bool(just_ended)
        return SweepProgress(self._total, rows, time.monotonic() - self._started_at, self._ended_before)

    def _state(self, trial: Trial, just_ended: bool) -> TrialState:
        """The state of a trial; Ray Tune's callbacks come before it marks a trial as ended."""
        last = trial.last_result
        if FAILURE in last or trial.status == Trial.ERROR:
            return "failed"
        if just_ended or trial.status == Trial.TERMINATED:
            return "ended" if last.get("epoch", 0) >= self._context.experiment.training.epochs else "stopped"
        return "running" if trial.status == Trial.RUNNING else "waiting"
