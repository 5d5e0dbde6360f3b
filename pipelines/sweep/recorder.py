"""Records the trials of a sweep in MLflow and in their folders, and shows them in the terminal, from the driver."""

from __future__ import annotations

import functools
import math
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Literal

from ray import tune
from ray.tune.experiment import Trial
from ray.tune.schedulers import TrialScheduler
from typing_extensions import override

from fgcme.errors import UnfinishedError
from fgcme.experiment import apply_configuration
from fgcme.files import write_text
from fgcme.tracking import Tracker
from pipelines.sweep import internals, snapshot
from pipelines.sweep.progress_table import ProgressTable, SweepProgress, Tally, TrialEnd, TrialProgress
from pipelines.sweep.run_writer import RunWriter
from pipelines.sweep.search import settings_of
from pipelines.sweep.trial_folder import FAILURE, NOTE, TrialContext, TrialFolder, trial_folders
from pipelines.training.failure import NODE_PATIENCE, TAG, failure_reason, lost_machine

# Names of what a trial reports besides its metrics; Ray Tune adds measurements of its own.
_MEASURED = ("cost", "seconds", "seconds_to_first_step")
_ENDS: dict[TrialEnd, Literal["FINISHED", "FAILED"]] = {"ended": "FINISHED", "stopped": "FINISHED", "failed": "FAILED"}

# More writes than these take a moment at the end of a sweep.
_MANY_WRITES = 100

# Attributes that are not pickled, because they belong to this process.
_PROCESS_ATTRIBUTES = (
    "_table",
    "_tally",
    "_live",
    "_losses",
    "_writer",
    "_started_at",
    "_ended_before",
    "_recorded_epochs",
)


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


@dataclass(frozen=True)
class _Loss:
    """The loss of a trial's process.

    Attributes:
        folder: of the trial.
        error: of Ray.
        node: on which the process ran.
        deadline: when Ray must know by what it was lost, by the monotonic clock.
    """

    folder: TrialFolder
    error: Exception | None
    node: str
    deadline: float


class SweepRecorder(tune.Callback):
    """Ray Tune's callbacks of a sweep.

    A resumed sweep has a new recorder. So which run belongs to which trial, what each of them has reported and how it
    ended is kept in the trials' folders.

    Args:
        tracker: where the trials' runs are recorded.
        mlflow_experiment: id of the MLflow experiment.
        parent: id of the sweep's run.
        context: what the trials share.
        total: trials in all.
        failures: counts the trials that fail.
        scheduler: of the sweep, restored from its snapshot.
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
        self._tally = Tally()
        self._live: dict[str, tuple[Trial, TrialProgress]] = {}
        self._losses: list[_Loss] = []
        self._writer = RunWriter(self._tracker)
        self._started_at = time.monotonic()
        self._ended_before = 0
        # The last recorded epoch of each trial.
        self._recorded_epochs: dict[str, float] = {}

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
        """Restore what was known when the driver of a resumed sweep was killed, and record what it no longer could.

        Raises:
            UnfinishedError: Ray Tune has begun another sweep, which it does when it cannot read its records.
        """
        if not self._context.is_population and total_num_samples not in (None, self._total):
            raise UnfinishedError(
                f"{self._context.trials_folder.parent}: Ray Tune could not restore the sweep from its records (the "
                "reason is above); nothing was changed"
            )
        snapshot.restore_scheduler(self._context.trials_folder.parent, self._scheduler)
        for folder in trial_folders(self._context.trials_folder):
            last = folder.read_last_report()
            if last is not None:
                # Counted now: Ray Tune's records may be older than this end.
                if "objective" in last:
                    self._tally.report(folder.name, last["objective"])
                self._tally.end(folder.name, self._end_of(last))
            if last is None or folder.run_open_marker.exists():
                # Read from the store now, because it may be gone when a trial starts again.
                self._recorded_epochs[folder.name] = self._last_epoch(folder)
            if last is not None and folder.run_open_marker.exists():
                self._writer.submit(folder, functools.partial(self._open_run, folder))
                for report in folder.reports():
                    self._record(folder, report)
                self._end(folder, self._end_of(last), last)
            if last is not None:
                self._recorded_epochs[folder.name] = math.inf
        self._ended_before = self._tally.ended

    @override
    def on_trial_start(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """Create the trial's run, or reopen it, unless the trial has ended and all of it is recorded."""
        folder = self._folder(trial)
        self._live[folder.name] = (trial, TrialProgress(folder.name, 0, None))
        if self._recorded_epochs.get(folder.name) == math.inf:
            return
        folder.path.mkdir(parents=True, exist_ok=True)
        folder.run_open_marker.touch()
        settings = settings_of(trial.config)
        self._writer.submit(folder, lambda: self._open_run(folder, settings))

    @override
    def on_trial_result(
        self, iteration: int, trials: list[Trial], trial: Trial, result: dict[str, Any], **info: Any
    ) -> None:
        """Record an epoch."""
        folder = self._folder(trial)
        if NOTE in result:
            self._table.say(f"trial {folder.name}: {result[NOTE]}")
        if FAILURE not in result:
            self._live[folder.name] = (trial, TrialProgress(folder.name, result["epoch"], result["objective"]))
            self._tally.report(folder.name, result["objective"])
            self._record(folder, result)
        if result.get("done"):
            # A full disk ends the sweep here; of what goes wrong in `on_trial_complete` Ray Tune prints a page.
            self._keep_end(folder, result)

    @override
    def on_trial_complete(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """End the trial's run, as failed if the trial has reported a failure."""
        folder = self._folder(trial)
        last = self._keep_end(folder, trial.last_result)
        internals.forget_statistics(trial)
        end = self._end_of(last)
        self._close(folder, end)
        if self._recorded_epochs.get(folder.name) != math.inf:
            self._end(folder, end, last)
        if end == "failed":
            self._fail(folder, last[FAILURE])
            return
        stopped = " (stopped early)" if end == "stopped" else ""
        epochs, objective = last.get("epoch", 0), last.get("objective", math.nan)
        self._say(f"trial {folder.name}: dev score {objective:.4f} after {epochs} epochs{stopped}")

    @override
    def on_trial_recover(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """Keep what Ray says of the loss of a trial, which resumes."""
        folder, error = self._folder(trial), internals.last_error(trial)
        with suppress(OSError), folder.losses_log.open("a", encoding="utf-8") as log:
            print(error, file=log)
        self._losses.append(_Loss(folder, error, folder.node(), time.monotonic() + NODE_PATIENCE))
        self._tell_losses()

    @override
    def on_trial_error(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """End the trial's run as failed; what the trial needs to resume stays, for `--resume`."""
        folder, reason = self._folder(trial), failure_reason(internals.last_error(trial) or RuntimeError("it was lost"))
        self._close(folder, "failed")
        self._end(folder, "failed", {FAILURE: reason})
        self._fail(folder, reason)

    @override
    def on_step_end(self, iteration: int, trials: list[Trial], **info: Any) -> None:
        """Update the table; raise what went wrong in the writer's thread."""
        self._writer.check()
        self._tell_losses()
        self._table.update(self._progress())

    @override
    def on_experiment_end(self, trials: list[Trial], **info: Any) -> None:
        """Remove the table from the terminal, and wait until all is recorded."""
        self._tell_losses(at_end=True)
        self._table.close()
        if (waiting := self._writer.count_waiting()) > _MANY_WRITES:
            print(f"recording the last {waiting} results in MLflow", flush=True)
        self._writer.flush()

    def _tell_losses(self, at_end: bool = False) -> None:
        """Say what lost trials were lost with, once Ray knows; a lost machine takes none of a trial's starts.

        Args:
            at_end: the sweep ends, whatever Ray knows.
        """
        unknown = []
        for loss in self._losses:
            with_machine = lost_machine(loss.error, loss.node)
            if with_machine is None and time.monotonic() < loss.deadline and not at_end:
                unknown.append(loss)
                continue
            if with_machine:
                loss.folder.made_progress()
            what = "was lost with its machine" if with_machine else "lost its process"
            self._table.say(f"trial {loss.folder.name} {what}, and resumes from its last saved epoch")
        self._losses = unknown

    def _folder(self, trial: Trial) -> TrialFolder:
        return self._context.folder_of(trial.trial_id, trial.config)

    def _open_run(self, folder: TrialFolder, settings: Mapping[str, Any] | None = None) -> None:
        """Create a trial's run, or reopen it; without settings, those that the trial has kept."""
        if folder.run_id_file.exists():
            self._tracker.reopen_run(folder.run_id())
            return
        settings = folder.settings() or {} if settings is None else settings
        run_id = self._tracker.create_run(
            self._mlflow_experiment,
            f"trial {folder.name}",
            parent=self._parent,
            tags={"fgcme.kind": "trial", "fgcme.trial": folder.name, "fgcme.selection": "dev"},
            parameters=apply_configuration(self._context.experiment, settings).flat(),
        )
        write_text(folder.run_id_file, run_id)

    def _record(self, folder: TrialFolder, report: Mapping[str, Any]) -> None:
        """Record the report of an epoch, unless it is recorded: a resumed trial repeats those that it has kept."""
        if report["epoch"] > self._recorded_epochs.get(folder.name, 0):
            self._recorded_epochs[folder.name] = report["epoch"]
            self._writer.log(folder, _metrics(report), report["epoch"])

    def _end(self, folder: TrialFolder, end: TrialEnd, last: Mapping[str, Any]) -> None:
        """End a trial's run."""

        def write() -> None:
            # In the writer's thread: the driver starts no trial while it deletes a file. One given up by Ray keeps it.
            if folder.last_report.exists():
                folder.delete_state()
            if end == "failed":
                self._tracker.set_tags(folder.run_id(), {TAG: last[FAILURE]})
            self._tracker.end_run(folder.run_id(), _ENDS[end])
            folder.run_open_marker.unlink(missing_ok=True)

        self._writer.submit(folder, write)

    def _keep_end(self, folder: TrialFolder, result: Mapping[str, Any]) -> dict[str, Any]:
        """The last report of a trial that has ended; it is kept in the trial's folder, unless one is."""
        last = folder.read_last_report()
        if last is None:
            last = {name: value for name, value in result.items() if _is_reported(name)}
            folder.end(last)
        return last

    def _close(self, folder: TrialFolder, end: TrialEnd) -> None:
        """Count a trial that has ended."""
        self._live.pop(folder.name, None)
        self._tally.end(folder.name, end)

    def _fail(self, folder: TrialFolder, reason: str) -> None:
        self._failures.failed.add(folder.name)
        self._say(f"trial {folder.name} failed: {reason}")

    def _last_epoch(self, folder: TrialFolder) -> int:
        """The last recorded epoch of a trial."""
        if not folder.run_id_file.exists():
            return 0
        steps = self._tracker.metric_history(folder.run_id(), "dev/objective")
        return max((step for step, _ in steps), default=0)

    def _end_of(self, last: Mapping[str, Any]) -> TrialEnd:
        """How a trial has ended, by its last report."""
        if FAILURE in last:
            return "failed"
        return "ended" if last.get("epoch", 0) >= self._context.experiment.training.epochs else "stopped"

    def _say(self, message: str) -> None:
        progress = self._progress()
        best = "" if self._tally.best is None else f", best {self._tally.best[1]:.4f}"
        self._table.say(f"{message}{best}  {progress.fraction()}")

    def _progress(self) -> SweepProgress:
        running = [progress for trial, progress in self._live.values() if trial.status == Trial.RUNNING]
        seconds = time.monotonic() - self._started_at
        return SweepProgress(self._total, self._tally, running, seconds, self._ended_before)


def _is_reported(name: str) -> bool:
    """Whether a trial has reported a value of this name, and not Ray Tune."""
    return "." in name or name.startswith(("train/", "dev/")) or name in ("objective", "epoch", FAILURE, *_MEASURED)


def _metrics(report: Mapping[str, Any]) -> dict[str, float]:
    """The metrics of an epoch; the settings of a member of a population, which change as it trains, are among them."""
    reported = (name for name in report if _is_reported(name) and name not in ("objective", "epoch"))
    return {name: float(report[name]) for name in reported} | {"dev/objective": float(report["objective"])}
