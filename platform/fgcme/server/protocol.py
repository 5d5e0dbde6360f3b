"""HTTP over one connection: with an end to patience, and with every refusal in JSON."""

from __future__ import annotations

import asyncio
import json
from typing import Any, ClassVar

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from fgcme.server.limits import Limits, RefusalError, busy

# Bytes of a request's first line and headers.
HEAD = 16_384
# States of h11 in which the client has still to send something, and those in which it can be answered.
_ARRIVING = (h11.IDLE, h11.SEND_BODY)
_ANSWERABLE = (h11.IDLE, h11.SEND_RESPONSE)


class BoundedProtocol(H11Protocol):
    """As uvicorn speaks HTTP; a request that does not arrive in time is refused, and so is one connection too many."""

    limits: ClassVar[Limits] = Limits()
    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Called by the event loop."""
        super().connection_made(transport)
        if len(self.connections) > self.limits.connections:
            self._refuse(busy(f"{self.limits.connections} connections are open"))
        else:
            self._watch()

    def data_received(self, data: bytes) -> None:
        """Called by the event loop."""
        super().data_received(data)
        self._watch()

    def on_response_complete(self) -> None:
        """Called when an answer is sent."""
        super().on_response_complete()
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by the event loop."""
        super().connection_lost(exc)
        self._disarm()

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no HTTP."""
        self._refuse(
            RefusalError(400, "not_http", f"this is no request of HTTP/1.1, or its headers have more than {HEAD} bytes")
        )

    def _watch(self) -> None:
        if self.transport.is_closing() or self.conn.their_state not in _ARRIVING:
            self._disarm()
        elif self._deadline is None:
            self._deadline = self.loop.call_later(self.limits.patience, self._give_up)

    def _disarm(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _give_up(self) -> None:
        self._deadline = None
        if self.conn.their_state is h11.IDLE and not self.conn.trailing_data[0]:
            # It has asked nothing.
            self.transport.close()
        else:
            patience = f"{self.limits.patience:g} s"
            self._refuse(RefusalError(408, "late", f"the request had not arrived after {patience}; send it faster"))

    def _refuse(self, refusal: RefusalError) -> None:
        if not self.transport.is_closing() and self.conn.our_state in _ANSWERABLE:
            body = json.dumps(refusal.content).encode()
            headers = {
                "content-type": "application/json",
                "content-length": str(len(body)),
                "connection": "close",
                **refusal.headers,
            }
            for event in (
                h11.Response(status_code=refusal.status, headers=list(headers.items())),
                h11.Data(data=body),
                h11.EndOfMessage(),
            ):
                self.transport.write(self.conn.send(event) or b"")
        self.transport.close()


def bounded(limits: Limits) -> type[BoundedProtocol]:
    """The protocol with these limits."""
    attributes: dict[str, Any] = {"limits": limits}
    return type("BoundedProtocol", (BoundedProtocol,), attributes)
