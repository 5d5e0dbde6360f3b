"""A counter for long work: what is done, what is left, and how long that will take."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Iterable
from statistics import mean


class Progress:
    """Prints a line for each finished piece of work.

    Args:
        noun: what a piece is.
        left: the kind of each piece that is to be done; those of one kind take about as long.
        already: pieces that were done before.
    """

    def __init__(self, noun: str, left: Iterable[str], already: int = 0) -> None:
        self._left = Counter(left)
        self._total = already + self._left.total()
        self._done = already
        self._failed = 0
        self._took: defaultdict[str, list[float]] = defaultdict(list)
        self._started = time.monotonic()
        if already:
            print(f"{already} of {self._total} {noun}s are there already", flush=True)

    def step(self, message: str, kind: str, seconds: float, beside: int) -> None:
        """One more piece is done.

        Args:
            message: what to say of it.
            kind: its own.
            seconds: that it took, by itself.
            beside: how many others are under way.
        """
        self._done += 1
        self._left[kind] -= 1
        self._took[kind].append(seconds)
        self.say(f"{message}  [{self._done}/{self._total}, {self._rest(beside)}{clock(self._seconds_left())} left]")

    def fail(self, message: str, kind: str) -> None:
        """A piece cannot be done."""
        self._failed += 1
        self._left[kind] -= 1
        self.say(message)

    def say(self, message: str) -> None:
        """Something worth knowing in between."""
        print(message, flush=True)

    def _rest(self, beside: int) -> str:
        # The place of what has ended is taken at once, as long as there is anything to take it.
        running = min(beside + 1, self._left.total())
        failed = f"{self._failed} failed, " if self._failed else ""
        return f"{running} running, {failed}" if running else failed

    def _seconds_left(self) -> float:
        """Time for what is left, at the pace so far; a kind that is not known yet is as long as the others' mean."""
        known = [seconds for each in self._took.values() for seconds in each]
        ahead = sum(count * mean(self._took.get(kind) or known) for kind, count in self._left.items())
        return (time.monotonic() - self._started) * ahead / sum(known)


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
