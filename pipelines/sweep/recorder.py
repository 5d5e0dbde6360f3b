"""Keeps MLflow, the trials' folders and the terminal in step with a sweep on Ray Tune, from the driver."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from ray import tune
from ray.exceptions import ActorDiedError
from ray.tune.experiment import Trial
from ray.tune.schedulers import TrialScheduler

from fgcme.experiment import apply_configuration
from fgcme.files import write_text
from fgcme.tracking import Tracker
from pipelines.sweep import snapshot
from pipelines.sweep.progress_table import ProgressTable, Row, SweepProgress, TrialState
from pipelines.sweep.search import settings_of
from pipelines.sweep.trial import FAILURE, NOTE, TrialContext, TrialFolder
from pipelines.training.failure import TAG, failure_reason

# Of a report, what is neither Ray Tune's own nor the configuration.
_OWN = ("train/", "dev/", "objective", "cost", "epoch", "seconds", FAILURE)

_OF_THIS_PROCESS = ("_board", "_started", "_before", "_kept_at", "_logged")


class FailureLimit(tune.Stopper):
    """Ends a sweep when more trials have failed than it may go on after.

    Args:
        most: so many may fail.
        failed: the trials that have, by the names of their folders.
    """

    def __init__(self, most: int, failed: Iterable[str] = ()) -> None:
        self.most = most
        self.failed = set(failed)

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        """No trial is stopped for what it reports itself."""
        return False

    def stop_all(self) -> bool:
        """Whether it is enough."""
        return len(self.failed) > self.most


class SweepRecorder(tune.Callback):
    """Ray Tune's callbacks of a sweep.

    A sweep that goes on has a recorder of its own, so nothing that lasts is kept here: which run belongs to which trial
    is in the trials' folders, and what is done is read off Ray Tune's list of trials.

    Args:
        tracker: where the trials' runs are recorded.
        study: id of the MLflow experiment.
        parent: id of the sweep's run.
        sweep: what the trials have in common.
        total: trials in all.
        failures: is told of each trial that fails.
        scheduler: that stops the sweep's trials.
    """

    def __init__(
        self,
        tracker: Tracker,
        study: str,
        parent: str,
        sweep: TrialContext,
        total: int,
        failures: FailureLimit,
        scheduler: TrialScheduler,
    ) -> None:
        self._tracker = tracker
        self._study = study
        self._parent = parent
        self._sweep = sweep
        self._total = total
        self._failures = failures
        self._scheduler = scheduler
        self._begin()

    def _begin(self) -> None:
        self._board = ProgressTable(self._sweep.experiment.training.epochs)
        self._started = time.monotonic()
        self._before: int | None = None
        self._kept_at = 0.0
        # The last epoch that was recorded of each trial.
        self._logged: dict[str, int] = {}

    def __getstate__(self) -> dict[str, Any]:
        """Without what belongs to this process: the terminal and the clock."""
        return {name: value for name, value in vars(self).items() if name not in _OF_THIS_PROCESS}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """As it was, at a terminal of its own."""
        vars(self).update(state)
        self._begin()

    def setup(
        self, stop: Any = None, num_samples: int | None = None, total_num_samples: int | None = None, **info: Any
    ) -> None:
        """Go on from what the sweep knew when it was killed."""
        snapshot.restore_scheduler(self._sweep.folder.parent, self._scheduler)
        # Asked now, while the store is known to answer, and not when a trial is started again.
        for path in self._sweep.folder.glob("*/run"):
            self._logged[path.parent.name] = self._last_epoch(TrialFolder(path.parent))

    def on_trial_start(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """Make the trial's run, or open it again."""
        kept, settings = self._kept(trial), settings_of(trial.config)
        drawn = kept.folder / "configuration.json"
        known = json.loads(drawn.read_text(encoding="utf-8")) if kept.run.exists() else settings
        if known != settings and not self._sweep.is_population:
            # Of a trial that was proposed just before the driver was killed, and that nobody remembers.
            self._close(kept, "KILLED")
            kept.delete()
            self._logged.pop(kept.folder.name, None)
            self._failures.failed.discard(kept.folder.name)
        if kept.run.exists():
            self._record(kept, self._tracker.reopen_run)
        else:
            kept.folder.mkdir(parents=True, exist_ok=True)
            run_id = self._tracker.create_run(
                self._study,
                f"trial {kept.folder.name}",
                parent=self._parent,
                tags={"fgcme.kind": "trial", "fgcme.trial": kept.folder.name, "fgcme.selection": "dev"},
                parameters=apply_configuration(self._sweep.experiment, settings).flat(),
            )
            write_text(drawn, json.dumps(settings))
            write_text(kept.run, run_id)
        kept.run_open_marker.touch()

    def on_trial_result(
        self, iteration: int, trials: list[Trial], trial: Trial, result: dict[str, Any], **info: Any
    ) -> None:
        """Record an epoch."""
        kept = self._kept(trial)
        if NOTE in result:
            self._board.say(f"trial {kept.folder.name}: {result[NOTE]}")
        # A trial that goes on may train epochs again that were trained, but not saved, before.
        if FAILURE in result or result["epoch"] <= self._logged.get(kept.folder.name, 0):
            return
        self._logged[kept.folder.name] = result["epoch"]
        metrics = {name: value for name, value in result.items() if name.startswith(("train/", "dev/"))}
        metrics["dev/objective"] = result["objective"]
        for name in ("cost", "seconds", "seconds_to_first_step"):
            if name in result:
                metrics[name] = result[name]
        if self._sweep.is_population:
            # What changes as it trains cannot be a parameter of its run.
            settings = settings_of(trial.config)
            metrics |= {name: float(value) for name, value in settings.items() if isinstance(value, int | float)}
        self._record(kept, lambda run: self._tracker.log_metrics(run, metrics, result["epoch"]))

    def on_trial_complete(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """End the trial's run: as failed if it said why it cannot be trained."""
        kept = self._kept(trial)
        last = {name: value for name, value in trial.last_result.items() if name.startswith(_OWN)}
        kept.end(last)
        name = f"trial {kept.folder.name}"
        if (why := last.get(FAILURE)) is not None:
            self._fail(kept, why)
            self._say(f"{name} failed: {why}", trial, trials)
            return
        self._close(kept, "FINISHED")
        stopped = " (stopped early)" if _standing(trial, self._sweep.experiment.training.epochs) == "stopped" else ""
        epochs, objective = last.get("epoch", 0), last.get("objective", math.nan)
        self._say(f"{name}: dev score {objective:.4f} after {epochs} epochs{stopped}", trial, trials)

    def on_trial_recover(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """Say that a trial goes on after what befell it; a lost machine is not the trial's own doing."""
        kept, error = self._kept(trial), trial.get_pickled_error()
        with_node = isinstance(error, ActorDiedError) and (error.preempted or "node has died" in str(error))
        if with_node:
            kept.made_progress()
        what = "machine" if with_node else "process"
        self._board.say(f"trial {kept.folder.name} was lost with its {what}, and goes on from its last epoch")

    def on_trial_error(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """End the trial's run as failed; what it needs to go on stays, for `--resume`."""
        kept = self._kept(trial)
        why = failure_reason(trial.get_pickled_error() or RuntimeError("it was lost"))
        self._fail(kept, why)
        self._say(f"trial {kept.folder.name} failed: {why}", trial, trials)

    def on_step_end(self, iteration: int, trials: list[Trial], **info: Any) -> None:
        """Bring the table up to date, and keep what Ray Tune has just written down."""
        self._board.show(self._summary(trials))
        # When too many have failed, Ray Tune takes all trials for ended: nobody could go on from there.
        if trials and not self._failures.stop_all():
            staging = Path(trials[0].local_experiment_path)
            written = max((path.stat().st_mtime for path in staging.glob("experiment_state-*.json")), default=0.0)
            if written > self._kept_at:
                snapshot.save(self._sweep.folder.parent, staging, self._scheduler)
                self._kept_at = written

    def on_experiment_end(self, trials: list[Trial], **info: Any) -> None:
        """Take the table away."""
        self._board.close()

    def _kept(self, trial: Trial) -> TrialFolder:
        return self._sweep.folder_of(trial.trial_id, trial.config)

    def _last_epoch(self, kept: TrialFolder) -> int:
        """The last epoch that was recorded of a trial."""
        if (last := kept.ended()) is not None:
            return int(last.get("epoch", 0))
        steps = self._tracker.metric_history(kept.run.read_text(encoding="utf-8"), "dev/objective")
        return max((step for step, _ in steps), default=0)

    def _fail(self, kept: TrialFolder, why: str) -> None:
        self._failures.failed.add(kept.folder.name)
        self._record(kept, lambda run: self._tracker.set_tags(run, {TAG: why}))
        self._close(kept, "FAILED")

    def _close(self, kept: TrialFolder, status: Any) -> None:
        self._record(kept, lambda run: self._tracker.end_run(run, status))
        kept.run_open_marker.unlink(missing_ok=True)

    def _record(self, kept: TrialFolder, write: Callable[[str], object]) -> None:
        write(kept.run.read_text(encoding="utf-8"))

    def _say(self, message: str, just_ended: Trial, trials: list[Trial]) -> None:
        summary = self._summary(trials, just_ended)
        best = f", best {summary.best.objective:.4f}" if summary.best else ""
        self._board.say(f"{message}{best}  {summary.progress()}")

    def _summary(self, trials: list[Trial], just_ended: Trial | None = None) -> SweepProgress:
        epochs = self._sweep.experiment.training.epochs
        rows = []
        for trial in trials:
            standing = _standing(trial, epochs, trial is just_ended)
            objective = trial.last_result.get("objective")
            rows.append(Row(self._kept(trial).folder.name, standing, trial.last_result.get("epoch", 0), objective))
        if self._before is None:
            self._before = sum(row.standing in ("ended", "stopped", "failed") for row in rows) - bool(just_ended)
        return SweepProgress(self._total, rows, time.monotonic() - self._started, self._before)


def _standing(trial: Trial, epochs: int, just_ended: bool = True) -> TrialState:
    """How a trial stands; Ray Tune calls back before it marks a trial as ended."""
    last = trial.last_result
    if FAILURE in last or trial.status == Trial.ERROR:
        return "failed"
    if just_ended or trial.status == Trial.TERMINATED:
        return "ended" if last.get("epoch", 0) >= epochs else "stopped"
    return "running" if trial.status == Trial.RUNNING else "waiting"
