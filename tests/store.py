"""An MLflow store for tests, and runs in it as `fgcme train` records them."""

from __future__ import annotations

import atexit
import functools
import shutil
import tempfile
from pathlib import Path

from fgcme.tracking import Tracker, prepare_store
from tests.fitted_model import save_fitted


@functools.cache
def _fresh_database() -> Path:
    # Making the tables takes seconds, copying them nothing.
    folder = tempfile.mkdtemp(prefix="fgcme-tests-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    path = Path(folder) / "mlflow.db"
    prepare_store(f"sqlite:///{path}")
    return path


def make_tracker(folder: Path) -> Tracker:
    """A tracker of a fresh SQLite store in a folder."""
    shutil.copy(_fresh_database(), folder / "mlflow.db")
    return Tracker(f"sqlite:///{folder}/mlflow.db", folder / "artifacts")


def record_cross_validation(
    tracker: Tracker, folder: Path, dev_scores: list[float], selection: str = "dev", complete: bool = True
) -> tuple[str, list[str]]:
    """Record a cross-validation whose folds have these best dev scores, all reached in the first of two epochs.

    The test metrics run the other way: the fold with the best dev score has the worst.

    Returns:
        The ids of the cross-validation and of its folds.
    """
    study = tracker.experiment("demo")
    parent = tracker.start(
        study,
        "demo train",
        tags={
            "fgcme.kind": "cross_validation",
            "fgcme.corpus": "demo",
            "fgcme.corpus_hash": "c0ffee",
            "fgcme.commit": "abc123-dirty",
            "fgcme.protocol": "demo/4class",
            "fgcme.selection": selection,
        },
    )
    folds = []
    for fold, score in enumerate(dev_scores):
        run = tracker.start(study, f"fold {fold}, seed 0", parent, {"fgcme.kind": "fold", "fgcme.fold": str(fold)})
        tracker.log(run, {"dev/score": score}, 1)
        tracker.log(run, {"dev/score": 0.01 * fold}, 2)
        tracker.artifact(run, save_fitted(folder / f"fold-{fold}", selection=selection, fold=fold), "model")
        best = {"best/dev/ua": score, "best/dev/wa": score, "test/ua": 1 - score, "test/wa": 0.9 - score}
        tracker.log(run, best, 1)
        tracker.finish(run, "FINISHED")
        folds.append(run)
    if complete:
        tracker.log(parent, {"test/ua": 0.444, "test/wa": 0.555}, 0)
    tracker.finish(parent, "FINISHED" if complete else "FAILED")
    return parent, folds
