"""The report of what a run answers of ratings: computed from the recorded run, and written into a folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa

from fgcme.data import Tasks
from fgcme.evaluation.rating_comparison import compare_ratings
from fgcme.evaluation.ratings import summarise_ratings
from fgcme.report.conditions import Conditions
from fgcme.report.ratings_latex import ratings_latex
from fgcme.report.ratings_page import RatingResults, RatingsReport, to_csv, to_html
from fgcme.report.results import without_speakers
from fgcme.report.theme import LIGHT, to_png
from fgcme.tracking import LOCAL_ID_TAG, Tracker
from pipelines.reporting.recorded_run import RecordedRun
from pipelines.runs.provenance import provenance_of
from pipelines.runs.reproduce import Repetition


def collect_ratings(tracker: Tracker, recorded: RecordedRun) -> RatingsReport:
    """Compute all that the report on a run's ratings holds."""
    protocol, tasks = recorded.experiment.protocol, recorded.tasks
    of_all, untuned = [], []
    for selection, predictions in recorded.predictions.items():
        conditions = recorded.conditions(selection, recorded.protocol_label)
        of_all.append(_results(conditions, predictions, recorded.reference, tasks))
        others = without_speakers(predictions, protocol.tuned_on)
        left = len(others[recorded.reference]["speaker"].unique())
        # Statistics over speakers need at least two.
        if protocol.tuned_on and left > (len(predictions) > 1):
            untuned.append(_results(conditions.without_tuned_on(), others, recorded.reference, tasks))
    run_ids = {training.run for training in recorded.trainings}
    trainings = [
        child
        for child in tracker.child_runs(recorded.run.info.run_id)
        if run_ids & {child.info.run_id, child.data.tags.get(LOCAL_ID_TAG)}
    ]
    commands = [*recorded.repetition.commands, "fgcme report latest"]
    provenance = provenance_of(recorded.run, recorded.experiment, commands, trainings)
    main = recorded.predictions[recorded.main_selection][recorded.reference]
    return RatingsReport(provenance, tasks, main, [*of_all, *untuned])


def _results(
    conditions: Conditions, predictions: Mapping[str, pa.Table], reference: str, tasks: Tasks
) -> RatingResults:
    """The metrics of one variant, or those of several and how they differ."""
    if len(predictions) == 1:
        return RatingResults(conditions, summarise_ratings(predictions[reference], tasks.dimensions))
    compared = compare_ratings(predictions, reference, tasks.dimensions)
    return RatingResults(conditions, compared.summaries[reference], compared)


def write_ratings(folder: Path, content: RatingsReport, repetition: Repetition, page: str) -> None:
    """Write the page, its picture, its tables and the files that repeat the run.

    Args:
        folder: is created where it is missing.
        content: the report.
        repetition: the files that repeat the run.
        page: name of the page's file.
    """
    (folder / "figures").mkdir(parents=True, exist_ok=True)
    light = to_png(content.scatter, LIGHT)
    (folder / "figures" / f"{content.scatter.name}.png").write_bytes(light)
    tables = {f"ratings-{each.conditions.file_name}.tex": ratings_latex(each) for each in content.results}
    texts = {page: to_html(content, light), "ratings.csv": to_csv(content), **tables, **repetition.files}
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")
