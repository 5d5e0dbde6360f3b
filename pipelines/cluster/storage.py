"""The folder that results go to, shared by all nodes."""

from __future__ import annotations

import tempfile
from pathlib import Path

from fgcme.errors import UserError
from fgcme.experiment import Experiment


def storage_folder(experiment: Experiment) -> Path:
    """Where an experiment's results go, absolute because workers run in other folders.

    Raises:
        UserError: `storage.path` is no folder but an address.
    """
    path = experiment.storage.path.removeprefix("file://")
    if "://" in path:
        raise UserError(f"storage.path={path} is not a folder: give one on a disk that all nodes share")
    return Path(path).expanduser().absolute()


def writable_folder(experiment: Experiment, *below: str) -> Path:
    """The same folder, or one below it, made if need be.

    Raises:
        UserError: it cannot be made or written to.
    """
    path = storage_folder(experiment).joinpath(*below)
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass
    except OSError as error:
        raise UserError(f"storage.path: {path} cannot be written to ({error.strerror})") from None
    return path
