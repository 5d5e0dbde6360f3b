"""A SQLite store whose folder was moved or renamed: addresses of artifacts in it follow."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from urllib.parse import unquote, urlsplit

# Where a store of MLflow holds addresses of artifacts.
_COLUMNS = {
    "experiments": ("artifact_location",),
    "runs": ("artifact_uri",),
    "logged_models": ("artifact_location",),
    "model_versions": ("source", "storage_location"),
}
# Runs of an experiment that are looked for; not every run has artifacts.
_RUNS = 50


def follow_move(database: Path) -> Path | None:
    """Correct the addresses of artifacts that moved together with their database.

    A folder counts as moved if artifacts of a run are not where the database says, and lie beside the database: the
    run's id is in their path, so they are no others.

    Args:
        database: of MLflow; left alone if it is none, or not there.

    Returns:
        The folder of the database before; None where nothing has moved.

    Raises:
        sqlite3.Error: it cannot be read or written.
    """
    if not database.is_file():
        return None
    with closing(sqlite3.connect(database, timeout=10)) as connection, connection:
        tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        if not tables >= _COLUMNS.keys():
            return None
        now = database.absolute().parent
        before = _folder_before(connection, now)
        if before is None:
            return None
        for old, new in ((before.as_uri(), now.as_uri()), (str(before), str(now))):
            for table, columns in _COLUMNS.items():
                for column in columns:
                    change = f"UPDATE {table} SET {column} = ? || substr({column}, ?) WHERE substr({column}, 1, ?) = ?"
                    connection.execute(change, (new, len(old) + 1, len(old) + 1, f"{old}/"))
    return before


def _folder_before(connection: sqlite3.Connection, folder: Path) -> Path | None:
    experiments = connection.execute("SELECT experiment_id, artifact_location FROM experiments").fetchall()
    for experiment, location in experiments:
        place = _path(location)
        if place is None or place.exists():
            continue
        runs = connection.execute(
            "SELECT artifact_uri FROM runs WHERE experiment_id = ? ORDER BY start_time DESC LIMIT ?",
            (experiment, _RUNS),
        )
        for (address,) in runs.fetchall():
            path = _path(address)
            if path is None:
                continue
            # The longest end of the path that lies in this folder says which part has moved.
            for count in range(1, len(path.parts) - 1):
                if folder.joinpath(*path.parts[count:]).exists():
                    return Path(*path.parts[:count])
    return None


def _path(address: str | None) -> Path | None:
    """The folder of an address; None where it is on a server."""
    if address is not None and address.startswith("file://"):
        return Path(unquote(urlsplit(address).path))
    return Path(address) if address is not None and address.startswith("/") else None
