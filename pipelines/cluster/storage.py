"""The folder for results, which all nodes share."""

from __future__ import annotations

import tempfile
from pathlib import Path

from fgcme.errors import UserError
from fgcme.experiment import Experiment


def storage_folder(experiment: Experiment) -> Path:
    """The folder of an experiment's results, absolute because workers run in other folders.

    Raises:
        UserError: `storage.path` is an address, not a folder.
    """
    path = experiment.storage.path.removeprefix("file://")
    if "://" in path:
        raise UserError(
            f"storage.path={path} is an address, not a folder: files there cannot be locked or mapped into memory. "
            "Give a folder that all nodes mount, on NFS, EFS, FSx, Filestore or Lustre"
        )
    return Path(path).expanduser().absolute()


def writable_folder(experiment: Experiment, *below: str) -> Path:
    """The folder of an experiment's results or one below it, created if it does not exist.

    Args:
        experiment: whose results.
        below: names of folders, each below the one before.

    Raises:
        UserError: it cannot be created or written to.
    """
    path = storage_folder(experiment).joinpath(*below)
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass
    except OSError as error:
        raise UserError(f"storage.path: {path} cannot be written to ({error.strerror})") from None
    return path
