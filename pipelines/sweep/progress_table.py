"""How a sweep is doing: a table that stays at the bottom of a terminal, or a line for each trial anywhere else."""

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


@dataclass(frozen=True)
class Row:
    """A trial as it stands.

    Attributes:
        name: its number.
        standing: what it is doing; `stopped` ended early because others were better.
        epoch: epochs it has trained.
        objective: the best so far, or None before the first epoch.
    """

    name: str
    standing: TrialState
    epoch: int
    objective: float | None


@dataclass(frozen=True)
class SweepProgress:
    """A sweep as it stands.

    Attributes:
        total: trials in all.
        rows: those that were proposed.
        seconds: since it began, or was gone on with.
        before: trials that had ended by then.
    """

    total: int
    rows: Sequence[Row]
    seconds: float
    before: int = 0

    def count(self, *standings: TrialState) -> int:
        """Trials that stand so."""
        return sum(row.standing in standings for row in self.rows)

    @property
    def ended(self) -> int:
        """Trials that will not go on."""
        return self.count("ended", "stopped", "failed")

    @property
    def best(self) -> Row | None:
        """The trial with the highest objective; the first of equals."""
        scored = [row for row in self.rows if row.objective is not None and row.standing != "failed"]
        return max(scored, key=lambda row: row.objective or 0.0, default=None)

    @property
    def left(self) -> float:
        """Seconds to go at the pace so far; infinite before the first trial has ended."""
        fresh = self.ended - self.before
        return self.seconds / fresh * (self.total - self.ended) if fresh > 0 else math.inf

    def progress(self) -> str:
        """How far it is, in brackets.

        >>> SweepProgress(4, [Row("0", "ended", 3, 0.5)], seconds=10).progress()
        '[1/4, 00:30 left]'
        """
        left = f", {clock(self.left)} left" if math.isfinite(self.left) and self.ended < self.total else ""
        return f"[{self.ended}/{self.total}{left}]"

    def sentence(self) -> str:
        """All of it on one line.

        >>> SweepProgress(4, [Row("0", "ended", 3, 0.5), Row("1", "running", 1, None)], seconds=10).sentence()
        'best 0.5000 (trial 0) · 1 running · 0 stopped early · 0 failed · [1/4, 00:30 left]'
        """
        best = f"best {self.best.objective:.4f} (trial {self.best.name})" if self.best else "no result yet"
        counts = [(self.count("running"), "running"), (self.count("stopped"), "stopped early")]
        counts.append((self.count("failed"), "failed"))
        return " · ".join([best, *(f"{count} {what}" for count, what in counts), self.progress()])


class ProgressTable:
    """Shows a sweep while it goes on.

    Args:
        epochs: that a trial may train.
    """

    def __init__(self, epochs: int) -> None:
        self._epochs = epochs
        self._console = Console()
        self._live: Live | None = None
        self._shown = 0.0

    def say(self, message: str) -> None:
        """One line that stays."""
        if self._live is None:
            print(message, flush=True)
        else:
            self._console.print(message, markup=False, highlight=False)

    def show(self, summary: SweepProgress) -> None:
        """Bring the table up to date, twice a second at most."""
        if not self._console.is_terminal or time.monotonic() - self._shown < 0.5:
            return
        self._shown = time.monotonic()
        if self._live is None:
            self._live = Live(console=self._console, auto_refresh=False, transient=True)
            self._live.start()
        self._live.update(table(summary, self._epochs), refresh=True)

    def close(self) -> None:
        """Take the table away."""
        if self._live is not None:
            self._live.stop()
            self._live = None


def table(summary: SweepProgress, epochs: int) -> Group:
    """The trials that run, and the sweep in one line below."""
    made = Table()
    for title in ("trial", "epoch", "objective"):
        made.add_column(title, justify="right")
    for row in summary.rows:
        if row.standing == "running":
            objective = "" if row.objective is None else f"{row.objective:.4f}"
            made.add_row(row.name, f"{row.epoch} of {epochs}", objective)
    return Group(made, Text(summary.sentence()))
