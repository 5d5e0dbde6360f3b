"""How far a sweep is: a table that stays at the bottom of a terminal, or a line for each trial anywhere else."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from pipelines.cluster import clock

TrialState = Literal["waiting", "running", "ended", "stopped", "failed"]

_SECONDS_BETWEEN_UPDATES = 0.5


@dataclass(frozen=True)
class TrialProgress:
    """How far a trial is.

    Attributes:
        name: of the trial's folder.
        state: what it is doing; `stopped` trials ended early because others were better.
        epoch: epochs it has trained.
        objective: the best so far, or None before the first epoch.
    """

    name: str
    state: TrialState
    epoch: int
    objective: float | None


@dataclass(frozen=True)
class SweepProgress:
    """How far a sweep is.

    Attributes:
        total: trials in all.
        trials: those proposed so far.
        seconds: since the sweep was started, or resumed.
        ended_before: trials that had ended when it was resumed.
    """

    total: int
    trials: Sequence[TrialProgress]
    seconds: float
    ended_before: int = 0

    def count(self, *states: TrialState) -> int:
        """How many trials are in one of these states."""
        return sum(trial.state in states for trial in self.trials)

    @property
    def ended(self) -> int:
        """How many trials have ended, well or not."""
        return self.count("ended", "stopped", "failed")

    @property
    def best(self) -> TrialProgress | None:
        """The trial with the highest objective; the first of equals."""
        scored = [trial for trial in self.trials if trial.objective is not None and trial.state != "failed"]
        return max(scored, key=lambda trial: trial.objective or 0.0, default=None)

    @property
    def seconds_left(self) -> float:
        """Seconds to go at the pace so far; infinite before the first trial has ended."""
        ended_since = self.ended - self.ended_before
        return self.seconds / ended_since * (self.total - self.ended) if ended_since > 0 else math.inf

    def fraction(self) -> str:
        """Trials that have ended, of all, and the time left, in brackets.

        >>> SweepProgress(4, [TrialProgress("0", "ended", 3, 0.5)], seconds=10).fraction()
        '[1/4, 00:30 left]'
        """
        known = math.isfinite(self.seconds_left) and self.ended < self.total
        left = f", {clock(self.seconds_left)} left" if known else ""
        return f"[{self.ended}/{self.total}{left}]"

    def summary(self) -> str:
        """The sweep on one line.

        >>> trials = [TrialProgress("0", "ended", 3, 0.5), TrialProgress("1", "running", 1, None)]
        >>> SweepProgress(4, trials, seconds=10).summary()
        'best 0.5000 (trial 0) · 1 running · 0 stopped early · 0 failed · [1/4, 00:30 left]'
        """
        best = f"best {self.best.objective:.4f} (trial {self.best.name})" if self.best else "no result yet"
        counts = [
            f"{self.count('running')} running",
            f"{self.count('stopped')} stopped early",
            f"{self.count('failed')} failed",
        ]
        return " · ".join([best, *counts, self.fraction()])


class ProgressTable:
    """Shows how far a sweep is while it runs.

    Args:
        epochs: the most that a trial may train.
    """

    def __init__(self, epochs: int) -> None:
        self._epochs = epochs
        self._console = Console()
        self._live: Live | None = None
        self._updated_at = 0.0

    def say(self, message: str) -> None:
        """Print a line that stays, above the table."""
        if self._live is None:
            print(message, flush=True)
        else:
            self._console.print(message, markup=False, highlight=False)

    def update(self, progress: SweepProgress) -> None:
        """Show the progress in the table, twice a second at most."""
        if not self._console.is_terminal or time.monotonic() - self._updated_at < _SECONDS_BETWEEN_UPDATES:
            return
        self._updated_at = time.monotonic()
        if self._live is None:
            self._live = Live(console=self._console, auto_refresh=False, transient=True)
            self._live.start()
        self._live.update(progress_table(progress, self._epochs), refresh=True)

    def close(self) -> None:
        """Remove the table from the terminal."""
        if self._live is not None:
            self._live.stop()
            self._live = None


def progress_table(progress: SweepProgress, epochs: int) -> Group:
    """A table of the trials that run, and the sweep on one line below.

    Args:
        progress: of the sweep.
        epochs: the most that a trial may train.
    """
    table = Table()
    for title in ("trial", "epoch", "objective"):
        table.add_column(title, justify="right")
    for trial in progress.trials:
        if trial.state == "running":
            objective = "" if trial.objective is None else f"{trial.objective:.4f}"
            table.add_row(trial.name, f"{trial.epoch} of {epochs}", objective)
    return Group(table, Text(progress.summary()))
