"""What a server counts, for Prometheus."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.6, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0)


class Metrics:
    """Counts the requests of one server, with nothing of what they say."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "fgcme_questions", "Questions, by the status of their answer", ["status"], registry=self._registry
        )
        self._seconds = Histogram(
            "fgcme_seconds",
            "Seconds of a question: until its body was there, and from then until its answer",
            ["part"],
            buckets=_SECONDS,
            registry=self._registry,
        )
        self.inside = Gauge(
            "fgcme_questions_inside", "Questions that wait or are being answered", registry=self._registry
        )
        self.held = Gauge("fgcme_bytes_held", "Bytes of the bodies that are held", registry=self._registry)
        ProcessCollector(registry=self._registry)

    def count(self, status: int) -> None:
        """Count a question by the status of its answer."""
        self._requests.labels(str(status)).inc()

    @contextmanager
    def time(self, part: str) -> Iterator[None]:
        """Time a block as a part of a question."""
        begin = time.perf_counter()
        try:
            yield
        finally:
            self._seconds.labels(part).observe(time.perf_counter() - begin)

    def text(self) -> bytes:
        """All counts, in Prometheus's format."""
        return generate_latest(self._registry)
