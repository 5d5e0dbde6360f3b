"""A counter for long work: what is done, what is left, and how long that will take."""

from __future__ import annotations

import time


class Progress:
    """Prints a line for each finished piece of work.

    Args:
        total: pieces in all.
        noun: what a piece is.
        already: pieces that were done before.
    """

    def __init__(self, total: int, noun: str, already: int = 0) -> None:
        self._total = total
        self._already = already
        self._done = already
        self._started = time.monotonic()
        if already:
            print(f"{already} of {total} {noun}s are there already", flush=True)

    def step(self, message: str) -> None:
        """One more piece is done."""
        self._done += 1
        elapsed = time.monotonic() - self._started
        left = elapsed / (self._done - self._already) * (self._total - self._done)
        self.say(f"{message}  [{self._done}/{self._total}, {clock(left)} left]")

    def say(self, message: str) -> None:
        """Something worth knowing in between."""
        print(message, flush=True)


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
