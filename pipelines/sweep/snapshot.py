"""What the driver of a sweep knows, saved as of one moment: Ray Tune's records and the scheduler's state.

Ray Tune would copy its records to the storage one by one, in the background. A killed driver would leave files of
different moments, or half-written ones. Nor does Ray Tune save the state of a scheduler, so the trials still to come
would be compared with none that has ended. So all of it is copied to a new folder, which then replaces the old one.

With ten thousand trials that takes a second. So it is done the less often the longer it takes, and what has happened
since is read from the trials' folders when a sweep is resumed.
"""

from __future__ import annotations

import pickle
import shutil
import time
from pathlib import Path
from typing import Any

from ray.tune.schedulers import TrialScheduler

from fgcme.errors import UserError
from pipelines.sweep import internals

_SNAPSHOT, _OLD, _NEW = "snapshot", "snapshot.old", "snapshot.new"
_SCHEDULER = "scheduler.pkl"
_PICKLES = (internals.SEARCHER, internals.GENERATOR, internals.MEMBERS, _SCHEDULER)


# A snapshot is the older the longer it takes to save, so that saving takes a fiftieth of the driver's time.
_LEAST_SECONDS, _PATIENCE = 1.0, 50


class SnapshotSaver:
    """Saves snapshots of a sweep: every second, or less often if that would take more than a fiftieth of the time.

    Args:
        folder: of the sweep, in the storage.

    Attributes:
        seconds: spent on saving so far.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._next_at = 0.0
        self.seconds = 0.0

    def save(self, records: internals.TuneRecords, now: bool) -> None:
        """Save a snapshot if it is time to, unless the sweep could not be resumed from it.

        Args:
            records: of Ray Tune.
            now: whether to save one whatever the time.
        """
        started = time.monotonic()
        if (started < self._next_at and not now) or records.stopped:
            return
        records.write()
        save(self._folder, records.folder, records.scheduler)
        ended = time.monotonic()
        self.seconds += ended - started
        self._next_at = ended + max(_LEAST_SECONDS, _PATIENCE * (ended - started))


def save(folder: Path, staging: Path, scheduler: TrialScheduler) -> None:
    """Save what the driver knows.

    Args:
        folder: of the sweep, in the storage.
        staging: where Ray Tune has just written its records.
        scheduler: of the sweep. Only successive halving (ASHA) has a state that can be saved.
    """
    snapshot, old, new = folder / _SNAPSHOT, folder / _OLD, folder / _NEW
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir()
    for pattern in internals.RECORDS:
        for path in staging.glob(pattern):
            shutil.copy(path, new)
    if (state := internals.asha_state(scheduler)) is not None:
        (new / _SCHEDULER).write_bytes(pickle.dumps(state))
    shutil.rmtree(old, ignore_errors=True)
    if snapshot.exists():
        snapshot.rename(old)
    new.rename(snapshot)
    shutil.rmtree(old, ignore_errors=True)


def require_readable(folder: Path, commit: str) -> None:
    """Check that the snapshot was not saved by an earlier version of the code, with classes that are gone.

    Args:
        folder: of the sweep.
        commit: of the code that started the sweep.

    Raises:
        UserError: names the sweep and what to do.
    """
    snapshot = _latest(folder)
    for path in [] if snapshot is None else [path for pattern in _PICKLES for path in snapshot.glob(pattern)]:
        try:
            with path.open("rb") as file:
                _NameCheck(file).load()
        except FileNotFoundError:
            # Another driver replaces the snapshot at this moment, and will be named when the sweep is locked.
            return
        except (ImportError, AttributeError) as error:
            raise UserError(
                f"sweep {folder.name} was started by an earlier version of the code (commit {commit}) and cannot be "
                f"resumed by this one ({error}); resume it with that version, or start a new sweep without --resume"
            ) from None


def restore(folder: Path) -> bool:
    """Copy the snapshot's records to where Ray Tune looks for them; returns whether there are any."""
    snapshot = _latest(folder)
    if snapshot is None:
        return False
    for pattern in internals.RECORDS:
        for path in folder.glob(pattern):
            path.unlink()
        for path in snapshot.glob(pattern):
            shutil.copy(path, folder)
    return any(folder.glob(internals.TRIALS))


def restore_scheduler(folder: Path, scheduler: TrialScheduler) -> None:
    """Let the new scheduler of a resumed sweep know what the one before it knew.

    Args:
        folder: of the sweep.
        scheduler: changed in place.
    """
    path = folder / _SNAPSHOT / _SCHEDULER
    if path.exists():
        internals.restore_asha(scheduler, pickle.loads(path.read_bytes()))


def _latest(folder: Path) -> Path | None:
    """The whole snapshot; the old one if the driver was killed before the new one replaced it."""
    return next((path for name in (_SNAPSHOT, _OLD) if (path := folder / name).is_dir()), None)


class _NameCheck(pickle.Unpickler):
    """Looks up all classes and functions that a pickle names, and makes none of its objects.

    An object may do more than lie in memory: Optuna's storage connects to its database.
    """

    def find_class(self, module: str, name: str) -> Any:
        super().find_class(module, name)
        return _Placeholder


class _Placeholder:
    """Stands for any class, function or object of a pickle, and takes whatever is done with it."""

    def __new__(cls, *arguments: Any, **named: Any) -> _Placeholder:
        return super().__new__(cls)

    def __call__(self, *arguments: Any, **named: Any) -> _Placeholder:
        return self

    def __init__(self, *arguments: Any, **named: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        pass

    def __setitem__(self, key: Any, value: Any) -> None:
        pass

    def append(self, item: Any) -> None:
        """Ignore an item."""

    def extend(self, items: Any) -> None:
        """Ignore some items."""

    def add(self, item: Any) -> None:
        """Ignore an item."""
