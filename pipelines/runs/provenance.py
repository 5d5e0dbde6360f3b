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
    """The origin of a run.

    Args:
        run: it.
        experiment: what was run.
        commands: that repeat it, from the commit that made it if that is known, and made all of it.
        trainings: the runs below it that its numbers are of; those that do not say by what code they were made, and
            gone on with, were made by the run's.
    """
    tags = run.data.tags
    own = tags.get(COMMIT_TAG, "unknown")
    made_by = [tags.get(COMMIT_TAG, own) for tags in (each.data.tags for each in trainings)]
    gone_on_with = [each.data.tags[RESUMED_COMMIT_TAG] for each in trainings if RESUMED_COMMIT_TAG in each.data.tags]
    commits = list(dict.fromkeys([own, *made_by, *gone_on_with]))
    known = len(commits) == 1 and own != "unknown" and not own.endswith("-dirty")
    checkout = [f"git checkout {own}"] if known else []
    return Provenance(
        run=run.info.run_id,
        # A run is called what it is of, and the verb that made it.
        title=run.info.run_name.rpartition(" ")[0] or run.info.run_name,
        kind=tags["fgcme.kind"],
        begun=_date(run.info.start_time),
        ended=_date(run.info.end_time) if run.info.end_time else f"not yet ({run.info.status.lower()})",
        corpus=tags.get("fgcme.corpus", experiment.corpus.kind),
        corpus_hash=tags.get("fgcme.corpus_hash", "unknown"),
        commit=", ".join(commits),
        versions={key.removeprefix(_VERSION): value for key, value in sorted(tags.items()) if key.startswith(_VERSION)},
        commands=[*checkout, *commands],
    )


def _date(milliseconds: int) -> str:
    return f"{datetime.fromtimestamp(milliseconds / 1000, UTC):%Y-%m-%d %H:%M} UTC"
