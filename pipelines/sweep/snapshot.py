"""What a sweep's driver knows, kept whole: Ray Tune's and the search's own records, and the scheduler's beside them.

Ray Tune writes its records in the driver's scratch folder and copies them to the storage one by one, in the background:
a driver that is killed leaves whatever was copied by then, of two moments or torn. And it keeps nothing of a scheduler,
which would compare the trials to come with none that has ended. So all of it is kept here, of one moment, and swapped
in as one.
"""

from __future__ import annotations

import pickle
import shutil
from pathlib import Path
from typing import Any

from ray.tune.schedulers import AsyncHyperBandScheduler, TrialScheduler

_SEARCHER = "searcher-state-*.pkl"
# The last is what proposes a population.
_RECORDS = ("experiment_state-*.json", "search_gen_state-*.json", _SEARCHER, "basic-variant-state-*.json")
_SCHEDULER = "scheduler.pkl"


def save(folder: Path, staging: Path, scheduler: TrialScheduler) -> None:
    """Keep what the driver knows.

    Args:
        folder: the sweep's, in the storage.
        staging: where Ray Tune has just written its records.
        scheduler: as it is now. Kept of successive halving (ASHA) alone; others hold on to what cannot be kept.
    """
    fresh, kept, old = folder / "snapshot.new", folder / "snapshot", folder / "snapshot.old"
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir()
    for pattern in _RECORDS:
        for path in staging.glob(pattern):
            shutil.copy(path, fresh)
    if isinstance(scheduler, AsyncHyperBandScheduler):
        (fresh / _SCHEDULER).write_bytes(pickle.dumps(vars(scheduler)))
    shutil.rmtree(old, ignore_errors=True)
    if kept.exists():
        kept.rename(old)
    fresh.rename(kept)
    shutil.rmtree(old, ignore_errors=True)


def restore(folder: Path) -> bool:
    """Put the records where Ray Tune looks for them; returns whether there are any."""
    kept = next((path for name in ("snapshot", "snapshot.old") if (path := folder / name).is_dir()), None)
    if kept is None:
        return False
    for pattern in _RECORDS:
        for path in folder.glob(pattern):
            path.unlink()
        for path in kept.glob(pattern):
            shutil.copy(path, folder)
    return any(folder.glob(_RECORDS[0]))


def restore_scheduler(folder: Path, scheduler: TrialScheduler) -> None:
    """Let a fresh scheduler of a sweep that is gone on with know what the one before it knew."""
    path = folder / "snapshot" / _SCHEDULER
    if path.exists() and isinstance(scheduler, AsyncHyperBandScheduler):
        state: dict[str, Any] = pickle.loads(path.read_bytes())
        vars(scheduler).update(state)


def proposed_numbers(folder: Path) -> set[int]:
    """Numbers in the study of all trials that the records know, after `give_back`."""
    numbers: set[int] = set()
    for path in folder.glob(_SEARCHER):
        numbers |= {trial.number for trial in pickle.loads(path.read_bytes())["_ot_trials"].values()}
    return numbers
