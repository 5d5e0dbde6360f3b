"""Where the numbers of a recorded run come from, for a report."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from fgcme.experiment import Experiment
from fgcme.report.content import Provenance
from pipelines.runs.records import COMMIT_TAG, RESUMED_COMMIT_TAG

if TYPE_CHECKING:
    from mlflow.entities import Run

_VERSION = "fgcme.version."


def provenance_of(
    run: Run, experiment: Experiment, commands: Sequence[str], trainings: Sequence[Run] = ()
) -> Provenance:
    """Where the numbers of a run come from: commits, corpus, versions, and the commands that repeat it.

    The commands begin with a checkout only if one clean commit made all of it.

    Args:
        run: the run.
        experiment: what was run.
        commands: the commands that repeat it.
        trainings: the runs below it that its numbers come from; one without a commit counts as made by the run's.
    """
    tags = run.data.tags
    own = tags.get(COMMIT_TAG, "unknown")
    started_by = [training.data.tags.get(COMMIT_TAG, own) for training in trainings]
    resumed_by = [
        training.data.tags[RESUMED_COMMIT_TAG] for training in trainings if RESUMED_COMMIT_TAG in training.data.tags
    ]
    commits = list(dict.fromkeys([own, *started_by, *resumed_by]))
    repeatable = len(commits) == 1 and own != "unknown" and not own.endswith("-dirty")
    checkout = [f"git checkout {own}"] if repeatable else []
    return Provenance(
        run=run.info.run_id,
        # Runs are named by what was run and the verb, such as `ravdess train`.
        title=run.info.run_name.rpartition(" ")[0] or run.info.run_name,
        kind=tags["fgcme.kind"],
        started=_date(run.info.start_time),
        ended=_date(run.info.end_time) if run.info.end_time else f"not yet ({run.info.status.lower()})",
        corpus=tags.get("fgcme.corpus", experiment.corpus.kind),
        corpus_hash=tags.get("fgcme.corpus_hash", "unknown"),
        commit=", ".join(commits),
        versions={key.removeprefix(_VERSION): value for key, value in sorted(tags.items()) if key.startswith(_VERSION)},
        commands=[*checkout, *commands],
    )


def _date(milliseconds: int) -> str:
    return f"{datetime.fromtimestamp(milliseconds / 1000, UTC):%Y-%m-%d %H:%M} UTC"
