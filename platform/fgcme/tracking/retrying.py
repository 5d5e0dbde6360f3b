"""Calls to a store that may not answer: retried for a moment, given up after a while."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, wait
from typing import TypeVar

from fgcme.tracking.failures import is_permanent

T = TypeVar("T")

# A server that is silent for so long counts as away; MLflow itself would wait for minutes.
PATIENCE_SECONDS = 8.0
# An idle connection may just have been closed: a call that fails at once is retried for so long.
_RETRY_SECONDS = 2.0


def retry_briefly(call: Callable[[], T]) -> T:
    """Return the result of a call; repeat it for up to two seconds while it fails.

    Raises:
        Exception: the last one that the call raised; a permanent one at once.
    """
    deadline = time.monotonic() + _RETRY_SECONDS
    while True:
        try:
            return call()
        except Exception as error:
            if is_permanent(error) or time.monotonic() > deadline:
                raise
        time.sleep(random.uniform(0.05, 0.3))


def with_timeout(call: Callable[[], T]) -> T:
    """The result of a call that ends within `PATIENCE_SECONDS`; a slower one is left running in its thread.

    Raises:
        TimeoutError: the call takes longer.
        Exception: what the call raised.
    """
    future = _start_thread(call)
    if not wait([future], PATIENCE_SECONDS).done:
        raise TimeoutError("timed out")
    return future.result()


def wait_while_alive(call: Callable[[], T], ping: Callable[[], object]) -> T:
    """The result of a call that may take long, such as an upload.

    Args:
        call: what to wait for.
        ping: called every `PATIENCE_SECONDS` meanwhile; raises if the store does not answer.

    Raises:
        Exception: what the call or `ping` raised.
    """
    future = _start_thread(call)
    while not wait([future], PATIENCE_SECONDS).done:
        ping()
    return future.result()


def _start_thread(call: Callable[[], T]) -> Future[T]:
    """Run a call in a daemon thread, which does not keep the program from ending."""
    future: Future[T] = Future()

    def run() -> None:
        try:
            future.set_result(call())
        except BaseException as error:  # noqa: BLE001  raised again in the thread that waits
            future.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return future
