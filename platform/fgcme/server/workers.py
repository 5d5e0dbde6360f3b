"""Threads that compute answers, a bounded number of questions that wait for them, and a bound on what these hold."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

import torch

from fgcme.server.limits import Limits, RefusalError, busy

Result = TypeVar("Result")


class Workers:
    """Computes in threads, one processor each, so that an answer does not depend on what else is computed.

    Args:
        limits: how many work and wait at once, and for how long.

    Attributes:
        inside: how many questions wait or are being answered.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        # The number of threads that an operation of torch uses belongs to the thread that calls it.
        self._pool = ThreadPoolExecutor(limits.workers, "answer", initializer=torch.set_num_threads, initargs=(1,))
        self.inside = 0

    async def run(self, work: Callable[[], Result]) -> Result:
        """What `work` returns, when a worker has had time for it.

        Raises:
            RefusalError: too many wait, or it takes too long; a thread cannot be stopped, so its place stays taken.
        """
        if self.inside >= self._limits.workers + self._limits.waiting:
            raise busy(f"{self.inside} questions are being answered or wait")
        self.inside += 1
        future = asyncio.get_running_loop().run_in_executor(self._pool, _attempt, work)
        future.add_done_callback(self._leave)
        try:
            result = await asyncio.wait_for(asyncio.shield(future), self._limits.computing)
        except TimeoutError:
            raise RefusalError(
                504, "slow", f"there is no answer after {self._limits.computing:g} s; ask for a shorter utterance"
            ) from None
        if isinstance(result, RefusalError):
            raise result
        return result

    def _leave(self, future: asyncio.Future[Result | RefusalError]) -> None:
        self.inside -= 1
        if not future.cancelled():
            # Marks the error as seen: whoever asked may have gone.
            future.exception()

    def close(self) -> None:
        """Start nothing that still waits."""
        self._pool.shutdown(wait=False, cancel_futures=True)


def _attempt(work: Callable[[], Result]) -> Result | RefusalError:
    """What `work` returns, or why it refuses.

    An error that a future carries keeps all that was in hand where it arose, and so the sound, until garbage is
    collected.
    """
    try:
        return work()
    except RefusalError as error:
        return RefusalError(error.status, error.reason, error.detail, error.headers)


class Held:
    """Counts the bytes of all bodies that are held at once.

    Args:
        limit: how many there may be.

    Attributes:
        size: how many there are.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self.size = 0

    @contextmanager
    def body(self) -> Iterator[Callable[[int], None]]:
        """Within the block, a function to call before so many more bytes of one body are kept.

        Raises:
            RefusalError: from the function; all requests together hold too much.
        """
        own = 0

        def keep(more: int) -> None:
            nonlocal own
            if self.size + more > self._limit:
                raise busy("the requests that are being answered hold all the memory there is for them")
            own += more
            self.size += more

        try:
            yield keep
        finally:
            self.size -= own
