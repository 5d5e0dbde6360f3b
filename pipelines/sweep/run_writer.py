"""Writes to the MLflow runs of a sweep's trials from a thread: the driver waits for no store, and so does no trial."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import TypeAlias

from fgcme.tracking import Tracker
from pipelines.sweep.trial_folder import TrialFolder

# Writes of a run that come within this time share requests.
_SECONDS_BETWEEN_ROUNDS = 0.5

Write: TypeAlias = "Callable[[], object] | tuple[int, Mapping[str, float]]"


class RunWriter:
    """Writes to runs, those to one run in their order.

    A write that fails is the last one; `check` and `flush` raise its exception. What it has not written when its
    process is killed is written by the driver of the resumed sweep, from the trials' folders.

    Args:
        tracker: where the runs are recorded.
    """

    def __init__(self, tracker: Tracker) -> None:
        self._tracker = tracker
        self._waiting: dict[TrialFolder, list[Write]] = {}
        self._busy = False
        self._hurry = threading.Event()
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None

    def submit(self, folder: TrialFolder, write: Callable[[], object]) -> None:
        """Call a function that writes to a trial's run, later."""
        self._add(folder, write)

    def log(self, folder: TrialFolder, metrics: Mapping[str, float], step: int) -> None:
        """Log metrics of one step to a trial's run, later.

        Args:
            folder: of the trial.
            metrics: by name.
            step: such as the epoch.
        """
        self._add(folder, (step, metrics))

    def check(self) -> None:
        """Raise the exception of a write that failed, if any did."""
        if self._error is not None:
            raise self._error

    def flush(self) -> None:
        """Wait until all is written.

        Raises:
            Exception: a write failed.
        """
        self._hurry.set()
        with self._changed:
            while (self._waiting or self._busy) and self._error is None:
                # Ctrl-C does not interrupt a wait without a limit.
                self._changed.wait(0.5)
        self.check()

    def count_waiting(self) -> int:
        """How many writes wait."""
        with self._changed:
            return sum(map(len, self._waiting.values()))

    def _add(self, folder: TrialFolder, write: Write) -> None:
        with self._changed:
            self._waiting.setdefault(folder, []).append(write)
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, daemon=True)
                self._thread.start()
            self._changed.notify_all()

    def _work(self) -> None:
        while self._error is None:
            with self._changed:
                while not self._waiting:
                    self._hurry.clear()
                    self._changed.wait()
                writes, self._waiting, self._busy = self._waiting, {}, True
            try:
                for folder, waiting in writes.items():
                    self._write(folder, waiting)
            except BaseException as error:  # noqa: BLE001  it is raised in the driver's own thread
                self._error = error
            with self._changed:
                self._busy = False
                self._changed.notify_all()
            self._hurry.wait(_SECONDS_BETWEEN_ROUNDS)

    def _write(self, folder: TrialFolder, writes: list[Write]) -> None:
        history: dict[int, Mapping[str, float]] = {}
        for write in [*writes, None]:
            if isinstance(write, tuple):
                history[write[0]] = write[1]
                continue
            if history:
                self._tracker.log_history(folder.run_id(), history)
                history = {}
            if write is not None:
                write()
