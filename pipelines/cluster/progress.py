"""Progress of long work: what is done, what is left, and how long that will take."""

from __future__ import annotations

import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from statistics import mean
from types import TracebackType

import rich.progress
from rich.console import Console
from rich.text import Text

# Counted work prints no more often than this outside a terminal.
_SECONDS_BETWEEN_LINES = 10.0


class Progress:
    """Shows the progress of work: a live line at the foot of a terminal, plain lines anywhere else.

    The live line is on standard error, and only inside a `with` block, which removes it however the work ends.

    >>> progress = Progress("training", ["fold", "fold"])
    >>> progress.step("fold 0: UAR 0.612", "fold", seconds=60, others=0)
    fold 0: UAR 0.612  [1/2, 1 running, 00:00 left]

    Args:
        noun: what a piece of the work is.
        left: the kind of each piece that is left, or how many there are of each kind; pieces of one kind take about
            as long.
        already: pieces that were done before.
        failed_word: what to call pieces that failed.
        verbose: whether to print anything.
    """

    def __init__(
        self,
        noun: str,
        left: Iterable[str] | Mapping[str, int],
        already: int = 0,
        failed_word: str = "failed",
        verbose: bool = True,
    ) -> None:
        self._noun, self._failed_word, self._verbose = noun, failed_word, verbose
        self._left = Counter(left)
        self._total = already + self._left.total()
        self._done, self._running, self._failed = already, 0, 0
        self._seconds: defaultdict[str, list[float]] = defaultdict(list)
        self._started = time.monotonic()
        self._first_advance: tuple[float, int] | None = None
        self._last_line = self._started
        self._finishes_at: float | None = None
        self._live: rich.progress.Progress | None = None
        if already:
            self.say(f"{already} of {self._total} {noun}s are there already")

    def __getstate__(self) -> dict[str, object]:
        """Without the live line, which belongs to this process: Ray Tune pickles objects that hold a `Progress`."""
        return {**self.__dict__, "_live": None}

    def __enter__(self) -> Progress:
        """Show the live line, where standard error is a terminal."""
        console = Console(stderr=True)
        if self._verbose and console.is_terminal:
            self._live = rich.progress.Progress(
                rich.progress.TextColumn("{task.description}"),
                rich.progress.BarColumn(bar_width=20),
                _StateColumn(self),
                console=console,
                transient=True,
                refresh_per_second=2,
                # Redirected output must stay out of the terminal.
                redirect_stdout=sys.stdout.isatty(),
            )
            self._live.add_task(f"{self._noun}s", total=self._total, completed=self._done)
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Remove the live line, also after an error or Ctrl-C."""
        if self._live is not None:
            self._live.stop()
            self._live = None

    def step(self, message: str, kind: str, seconds: float, others: int) -> None:
        """Count a piece as done, and print a line.

        Args:
            message: the line.
            kind: of the piece.
            seconds: that the piece took.
            others: how many others are running.
        """
        self._done += 1
        self._left[kind] -= 1
        self._seconds[kind].append(seconds)
        # The next piece starts at once, as long as some are left.
        self._running = min(others + 1, self._left.total())
        now = time.monotonic()
        known = [seconds for each in self._seconds.values() for seconds in each]
        # A kind without times yet counts as the mean of the others.
        ahead = sum(count * mean(self._seconds.get(kind) or known) for kind, count in self._left.items())
        self._finishes_at = now + (now - self._started) * ahead / sum(known)
        self.say(message if self._live is not None else f"{message}  [{self.state(now)}]")

    def fail(self, message: str, kind: str) -> None:
        """Count a piece as failed, and print a line.

        Args:
            message: the line.
            kind: of the piece.
        """
        self._failed += 1
        self._left[kind] -= 1
        self.say(message)

    def advance(self, kind: str, done: int, failed: int) -> None:
        """Count several pieces as done, without a line for each.

        Args:
            kind: of the pieces.
            done: how many were done, failed ones among them.
            failed: how many of them failed.
        """
        self._done += done
        self._failed += failed
        self._left[kind] -= done
        now = time.monotonic()
        if self._first_advance is None:
            # Measure the pace from here: until now, workers were starting.
            self._first_advance = now, self._done
        since, before = self._first_advance
        if self._done > before:
            self._finishes_at = now + (now - since) / (self._done - before) * self._left.total()
        self._refresh()
        finished = not self._left.total()
        if self._verbose and self._live is None and (finished or now - self._last_line >= _SECONDS_BETWEEN_LINES):
            self._last_line = now
            print(f"{self._noun}s {self.state(now)}", file=sys.stderr, flush=True)

    def say(self, message: str) -> None:
        """Print a line that stays, on standard output."""
        if self._verbose:
            print(message, flush=True)
        self._refresh()

    def state(self, now: float) -> str:
        """The progress in words, such as `3/12, 2 running, 1 failed, 00:20 left`.

        Args:
            now: time by `time.monotonic`.
        """
        parts = [f"{self._done}/{self._total}"]
        if self._running:
            parts.append(f"{self._running} running")
        if self._failed:
            parts.append(f"{self._failed} {self._failed_word}")
        if self._finishes_at is not None:
            parts.append(f"{clock(max(0.0, self._finishes_at - now))} left")
        return ", ".join(parts)

    def _refresh(self) -> None:
        if self._live is not None:
            self._live.update(self._live.task_ids[0], completed=self._done, refresh=True)


class _StateColumn(rich.progress.ProgressColumn):
    """The end of the live line, whose time left counts down between two pieces."""

    def __init__(self, progress: Progress) -> None:
        super().__init__()
        self._progress = progress

    def render(self, task: rich.progress.Task) -> Text:
        return Text(self._progress.state(time.monotonic()))


def clock(seconds: float) -> str:
    """A duration for reading.

    >>> clock(75)
    '01:15'
    >>> clock(3675)
    '1:01:15'
    """
    hours, rest = divmod(round(seconds), 3600)
    minutes, seconds = divmod(rest, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes:02}:{seconds:02}"
