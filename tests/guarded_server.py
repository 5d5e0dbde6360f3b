"""A real MLflow server below a path of its address, for a user with a password."""

from __future__ import annotations

import base64
import os
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from typing_extensions import override

from tests.store import Server

_GUARD = "FGCME_TESTS_SIGNATURE"
_PREFIX = "/mlflow"


class GuardedServer(Server):
    """A server that refuses every request without user and password.

    Args:
        folder: for its database, its artifacts and its log.
        user: its only one.
        password: of the user.
    """

    def __init__(self, folder: Path, user: str, password: str) -> None:
        signature = base64.b64encode(f"{user}:{password}".encode()).decode()
        super().__init__(
            folder,
            f"sqlite:///{folder}/server.db",
            str(folder / "kept"),
            {
                _GUARD: f"Basic {signature}",
                "_MLFLOW_SERVER_FILE_STORE": f"sqlite:///{folder}/server.db",
                "_MLFLOW_SERVER_ARTIFACT_ROOT": "mlflow-artifacts:/",
                "_MLFLOW_SERVER_ARTIFACT_DESTINATION": str(folder / "kept"),
                "_MLFLOW_SERVER_SERVE_ARTIFACTS": "true",
                "PYTHONPATH": os.pathsep.join(map(os.path.abspath, filter(None, sys.path))),
            },
        )
        self.address += _PREFIX
        self.headers["Authorization"] = f"Basic {signature}"

    @override
    def command(self) -> list[str]:
        application = f"{__name__}:create_application()"
        return [sys.executable, "-m", "gunicorn", "--bind", self.host, "--threads", "4", application]


def create_application() -> Callable[[Mapping[str, Any], Callable[..., Any]], Iterable[bytes]]:
    """MLflow's own server behind the guard, for gunicorn."""
    from mlflow.server import app
    from werkzeug.exceptions import NotFound, Unauthorized
    from werkzeug.middleware.dispatcher import DispatcherMiddleware

    mounted = DispatcherMiddleware(NotFound(), {_PREFIX: app})

    def guarded(environment: Any, start_response: Any) -> Iterable[bytes]:
        is_known = environment.get("HTTP_AUTHORIZATION") == os.environ[_GUARD]
        return (mounted if is_known else Unauthorized())(environment, start_response)

    return guarded
