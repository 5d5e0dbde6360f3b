"""User and password of a tracking server's address, kept out of the address itself: MLflow repeats it in its errors."""

from __future__ import annotations

import functools
import os
from urllib.parse import unquote, urlsplit, urlunsplit

# MLflow's name of the way in which requests are signed.
_PROVIDER = "fgcme"

# Address of a server without user and password -> both.
_credentials: dict[str, tuple[str, str]] = {}


def without_credentials(address: str) -> str:
    """A server's address without user and password, with which MLflow signs its requests to this server from now on.

    >>> without_credentials("https://me:pass%2Fword@mlflow.example.org:5000/prefix")
    'https://mlflow.example.org:5000/prefix'
    """
    parts = urlsplit(address)
    if parts.scheme not in ("http", "https") or parts.password is None:
        return address
    place = urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
    _credentials[place] = unquote(parts.username or ""), unquote(parts.password)
    _register()
    os.environ["MLFLOW_TRACKING_AUTH"] = _PROVIDER
    return place


@functools.cache
def _register() -> None:
    """Let MLflow sign requests to servers whose credentials are known."""
    from mlflow.tracking.request_auth import registry
    from mlflow.tracking.request_auth.abstract_request_auth_provider import RequestAuthProvider
    from requests import PreparedRequest
    from requests.auth import AuthBase, HTTPBasicAuth

    class Signature(AuthBase):
        def __call__(self, request: PreparedRequest) -> PreparedRequest:
            for place, (user, password) in _credentials.items():
                if (request.url or "").startswith(f"{place}/"):
                    return HTTPBasicAuth(user, password)(request)
            return request

    class Provider(RequestAuthProvider):
        def get_name(self) -> str:
            return _PROVIDER

        def get_auth(self) -> AuthBase:
            return Signature()

    # MLflow would find a plugin by itself, but not one of a checkout.
    registry._request_auth_provider_registry.register(Provider)  # type: ignore[no-untyped-call]
