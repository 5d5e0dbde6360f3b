"""How far a sweep is: a table that stays at the bottom of a terminal, or a line for each trial anywhere else."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from pipelines.cluster import clock

TrialEnd = Literal["ended", "stopped", "failed"]
"""How a trial has ended; `stopped` trials ended early because others were better."""

_SECONDS_BETWEEN_UPDATES = 0.5


@dataclass(frozen=True)
class TrialProgress:
    """How far a trial is.

    Attributes:
        name: of the trial's folder.
        epoch: epochs it has trained.
        objective: the best so far, or None before the first epoch.
    """

    name: str
    epoch: int
    objective: float | None


class Tally:
    """Counts the trials of a sweep as they report and end; no event costs more the more trials there are."""

    def __init__(self) -> None:
        self._ends: dict[str, TrialEnd] = {}
        self._counts: Counter[TrialEnd] = Counter()
        self._objectives: dict[str, float] = {}
        self._best: str | None = None

    def report(self, name: str, objective: float) -> None:
        """Take note of a trial's best objective so far."""
        if self._ends.get(name) == "failed":
            return
        # A restarted trial reports earlier epochs again.
        self._objectives[name] = max(objective, self._objectives.get(name, objective))
        if self._best is None or objective > self._objectives[self._best]:
            self._best = name

    def end(self, name: str, end: TrialEnd) -> None:
        """Take note that a trial has ended; one that failed is never the best."""
        if (before := self._ends.get(name)) is not None:
            self._counts[before] -= 1
        self._ends[name] = end
        self._counts[end] += 1
        if end == "failed" and self._objectives.pop(name, None) is not None and name == self._best:
            self._best = max(self._objectives, key=lambda name: self._objectives[name], default=None)

    def count(self, *ends: TrialEnd) -> int:
        """How many trials have ended in one of these ways."""
        return sum(self._counts[end] for end in ends)

    @property
    def ended(self) -> int:
        """How many trials have ended, well or not."""
        return len(self._ends)

    @property
    def best(self) -> tuple[str, float] | None:
        """Name and objective of the trial with the highest objective, the first of equals; None before any report."""
        return None if self._best is None else (self._best, self._objectives[self._best])


@dataclass(frozen=True)
class SweepProgress:
    """How far a sweep is.

    Attributes:
        total: trials in all.
        tally: what has ended so far.
        running: the trials that run.
        seconds: since the sweep was started, or resumed.
        ended_before: trials that had ended when it was resumed.
    """

    total: int
    tally: Tally
    running: Sequence[TrialProgress]
    seconds: float
    ended_before: int = 0

    @property
    def seconds_left(self) -> float:
        """Seconds to go at the pace so far; infinite before the first trial has ended."""
        ended_since = self.tally.ended - self.ended_before
        return self.seconds / ended_since * (self.total - self.tally.ended) if ended_since > 0 else math.inf

    def fraction(self) -> str:
        """Trials that have ended, of all, and the time left, in brackets.

        >>> tally = Tally()
        >>> tally.end("0", "ended")
        >>> SweepProgress(4, tally, [], seconds=10).fraction()
        '[1/4, 00:30 left]'
        """
        known = math.isfinite(self.seconds_left) and self.tally.ended < self.total
        left = f", {clock(self.seconds_left)} left" if known else ""
        return f"[{self.tally.ended}/{self.total}{left}]"

    def summary(self) -> str:
        """The sweep on one line.

        >>> tally = Tally()
        >>> tally.report("0", 0.5)
        >>> tally.end("0", "ended")
        >>> SweepProgress(4, tally, [TrialProgress("1", 1, None)], seconds=10).summary()
        'best 0.5000 (trial 0) · 1 running · 0 stopped early · 0 failed · [1/4, 00:30 left]'
        """
        best = "no result yet" if self.tally.best is None else "best {1:.4f} (trial {0})".format(*self.tally.best)
        counts = [
            f"{len(self.running)} running",
            f"{self.tally.count('stopped')} stopped early",
            f"{self.tally.count('failed')} failed",
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
    for trial in progress.running:
        objective = "" if trial.objective is None else f"{trial.objective:.4f}"
        table.add_row(trial.name, f"{trial.epoch} of {epochs}", objective)
    return Group(table, Text(progress.summary()))
