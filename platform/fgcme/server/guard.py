"""Lets only pages of the server itself use it: others, which a person may have open beside it, are refused.

A page of another origin can send requests to this machine, and by giving its own name this machine's address (DNS
rebinding) it could read the answers. So the name that a request was sent to has to be this machine's own, and the page
that sends it has to be the server's.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from fgcme.server.limits import RefusalError

_NAMES = ("127.0.0.1", "localhost", "::1")
_HEADERS = {
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "microphone=(self)",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
_NOTHING = "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"


class Guard:
    """Refuses requests of other origins, and tells browsers what the answers may be used for.

    Args:
        app: what is guarded.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; see ASGI."""

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.update(_HEADERS)
                headers.setdefault("Content-Security-Policy", _NOTHING)
            await send(message)

        if scope["type"] != "http":
            await self._app(scope, receive, send)
        elif refusal := check(Headers(scope=scope)):
            await refusal.response()(scope, receive, send_with_headers)
        else:
            await self._app(scope, receive, send_with_headers)


def check(headers: Headers) -> RefusalError | None:
    """Why a request with these headers is refused, if it is.

    >>> check(Headers({"host": "127.0.0.1:8080"})), check(Headers({"host": "rebound.example"})).status
    (None, 421)
    """
    host = headers.get("host", "")
    try:
        name = urlsplit(f"//{host}").hostname
    except ValueError:
        name = None
    if name not in _NAMES:
        return RefusalError(421, "host", f"this server answers on this machine only, and not as {host[:80]!r}")
    origin = headers.get("origin")
    if origin is not None and origin != f"http://{host}":
        return RefusalError(403, "origin", f"pages of {origin[:80]!r} may not use this server")
    return None
