"""The report of what a recorded cross-validation answers of ratings: computed, and written into a folder."""

from __future__ import annotations

from pathlib import Path

from fgcme.evaluation.ratings import summarise_ratings
from fgcme.report.conditions import Conditions
from fgcme.report.ratings_page import RatingResults, RatingsReport, to_csv, to_html
from fgcme.report.theme import LIGHT, to_png
from fgcme.tracking import LOCAL_ID_TAG, Tracker
from pipelines.reporting.recorded_run import RecordedRun
from pipelines.runs.provenance import provenance_of
from pipelines.runs.reproduce import Repetition


def collect_ratings(tracker: Tracker, recorded: RecordedRun) -> RatingsReport:
    """Compute all that the report on a run's ratings holds."""
    protocol, tasks = recorded.experiment.protocol, recorded.tasks
    predictions = recorded.predictions[recorded.main_selection][recorded.reference]
    conditions = Conditions(
        recorded.protocol_label,
        recorded.main_selection,
        recorded.experiment.training.seeds,
        protocol.tuned_on,
        recorded.run.data.tags.get("fgcme.allow_missing", ""),
    )
    results = [RatingResults(conditions, summarise_ratings(predictions, tasks.dimensions))]
    if set(predictions["speaker"].to_pylist()) - set(protocol.tuned_on) and protocol.tuned_on:
        untuned = summarise_ratings(predictions, tasks.dimensions, protocol.tuned_on)
        results.append(RatingResults(conditions.without_tuned_on(), untuned))
    run_ids = {training.run for training in recorded.trainings}
    trainings = [
        child
        for child in tracker.child_runs(recorded.run.info.run_id)
        if run_ids & {child.info.run_id, child.data.tags.get(LOCAL_ID_TAG)}
    ]
    commands = [*recorded.repetition.commands, "fgcme report latest"]
    provenance = provenance_of(recorded.run, recorded.experiment, commands, trainings)
    return RatingsReport(provenance, tasks, predictions, results)


def write_ratings(folder: Path, content: RatingsReport, repetition: Repetition, page: str) -> None:
    """Write the page, its picture, its table and the files that repeat the run.

    Args:
        folder: is created where it is missing.
        content: the report.
        repetition: the files that repeat the run.
        page: name of the page's file.
    """
    (folder / "figures").mkdir(parents=True, exist_ok=True)
    light = to_png(content.scatter, LIGHT)
    (folder / "figures" / f"{content.scatter.name}.png").write_bytes(light)
    texts = {page: to_html(content, light), "ratings.csv": to_csv(content), **repetition.files}
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")
