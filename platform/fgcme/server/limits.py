"""What a server takes at most, and what it says of what it does not take."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Any

from fastapi.responses import JSONResponse

MEBIBYTE = 1 << 20


def _processors() -> int:
    return len(os.sched_getaffinity(0))


@dataclass(frozen=True)
class Limits:
    """What a server takes at most; together they bound its memory.

    Attributes:
        body: bytes of a request's body.
        held: bytes of the bodies of all requests at once.
        seconds: of decoded audio in a question.
        text: characters of a transcript.
        patience: seconds within which a request has to arrive.
        computing: seconds after which nobody waits for an answer any longer.
        workers: answers that are computed at once.
        waiting: questions that wait for a worker.
        connections: open at once.
    """

    body: int = 8 * MEBIBYTE
    held: int = 128 * MEBIBYTE
    seconds: float = 60.0
    text: int = 4_000
    patience: float = 10.0
    computing: float = 60.0
    workers: int = field(default_factory=_processors)
    waiting: int = 32
    connections: int = 128


class RefusalError(Exception):
    """A request that is not answered.

    Attributes:
        status: of HTTP.
        detail: one sentence for a person.
        reason: a short code.
        headers: that the answer has besides.
    """

    def __init__(self, status: int, reason: str, detail: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(detail)
        self.status = status
        self.reason = reason
        self.detail = detail
        self.headers = headers or {}

    @property
    def content(self) -> dict[str, Any]:
        """What the client is told, ready for JSON."""
        return {"detail": self.detail, "reason": self.reason}

    def response(self) -> JSONResponse:
        """The answer of HTTP."""
        return JSONResponse(self.content, self.status, self.headers)


def busy(detail: str) -> RefusalError:
    """A request that came at a bad moment: the client may ask again in a second."""
    return RefusalError(503, "busy", f"{detail}; ask again in a second", {"Retry-After": "1"})
