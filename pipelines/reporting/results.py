"""The report of an ablation or a cross-validation: computed from the recorded run, and written into a folder."""

from __future__ import annotations

from pathlib import Path

from fgcme.data import reads_test_audio
from fgcme.evaluation.agreement import VOTES, measure_agreement
from fgcme.report.content import ReportData, TrainingCost
from fgcme.report.headline import describe_agreement
from fgcme.report.latex import results_latex
from fgcme.report.page import to_html
from fgcme.report.pictures import report_pictures
from fgcme.report.results import Curve, LearningCurves, ResultSet, selection_gaps, without_speakers
from fgcme.report.spreadsheet import confusions_csv, results_csv, speakers_csv
from fgcme.report.theme import LIGHT, to_png
from fgcme.tracking import LOCAL_ID_TAG, Tracker
from pipelines.reporting.examples import read_examples
from pipelines.reporting.recorded_run import RecordedRun
from pipelines.runs.provenance import provenance_of
from pipelines.runs.reproduce import Repetition


def collect_results(tracker: Tracker, recorded: RecordedRun) -> ReportData:
    """Compute all that the report of a run holds."""
    result_sets, without_tuned_on = _result_sets(recorded)
    by_selection = recorded.predictions
    examples, note = read_examples(tracker, recorded)
    run_ids = {training.run for training in recorded.trainings}
    trainings = [
        child
        for child in tracker.child_runs(recorded.run.info.run_id)
        if run_ids & {child.info.run_id, child.data.tags.get(LOCAL_ID_TAG)}
    ]
    commands = [*recorded.repetition.commands, "fgcme report latest"]
    return ReportData(
        provenance=provenance_of(recorded.run, recorded.experiment, commands, trainings),
        result_sets=result_sets,
        without_tuned_on=without_tuned_on,
        gaps=selection_gaps(by_selection["test"], by_selection["dev"], recorded.classes)
        if {"dev", "test"} <= set(by_selection)
        else {},
        learning={name: _learning_curves(tracker, recorded, name) for name in recorded.variants},
        examples=examples,
        examples_note=note,
        agreement=_agreement(recorded),
        training_costs={name: _training_cost(recorded, name) for name in recorded.variants},
    )


def _agreement(recorded: RecordedRun) -> list[str]:
    """How far the raters agree, and the reference with them; nothing where their shares are not learnt."""
    predictions = recorded.predictions[recorded.main_selection][recorded.reference]
    if VOTES not in predictions.column_names:
        return []
    return describe_agreement(measure_agreement(predictions, recorded.classes))


def write_results(folder: Path, content: ReportData, repetition: Repetition) -> None:
    """Write the page, its figures, its tables and the files that repeat the run into a folder.

    Args:
        folder: is created where it is missing.
        content: the report.
        repetition: the files that repeat the run.
    """
    pictures = report_pictures(content)
    (folder / "figures").mkdir(parents=True, exist_ok=True)
    light = {picture.name: to_png(picture, LIGHT) for picture in pictures}
    for name, png in light.items():
        (folder / "figures" / f"{name}.png").write_bytes(png)
    result_sets = [*content.result_sets, *content.without_tuned_on]
    texts = {
        "index.html": to_html(content, pictures, light),
        "results.csv": results_csv(result_sets),
        "speakers.csv": speakers_csv(result_sets),
        "confusions.csv": confusions_csv(result_sets),
        **{f"results-{results.conditions.file_name}.tex": results_latex(results) for results in result_sets},
        **repetition.files,
    }
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")


def _result_sets(recorded: RecordedRun) -> tuple[list[ResultSet], list[ResultSet]]:
    """One result set for each selection rule; and those without the speakers that the configuration was tuned on."""
    protocol = recorded.experiment.protocol
    remarks = {
        name: "uses unlabelled test audio"
        for name, variant in recorded.variants.items()
        if reads_test_audio(variant.model)
    }
    of_all, without_tuned_on = [], []
    for selection, predictions in recorded.predictions.items():
        conditions = recorded.conditions(selection, protocol.name)
        of_all.append(ResultSet.of(predictions, recorded.reference, recorded.classes, conditions, remarks))
        others = without_speakers(predictions, protocol.tuned_on)
        # Statistics over speakers need at least two.
        if protocol.tuned_on and len(set(others[recorded.reference]["speaker"].to_pylist())) > 1:
            conditions = conditions.without_tuned_on()
            without_tuned_on.append(ResultSet.of(others, recorded.reference, recorded.classes, conditions, remarks))
    return of_all, without_tuned_on


def _learning_curves(tracker: Tracker, recorded: RecordedRun, variant: str) -> LearningCurves:
    runs = [training.run for training in recorded.main_trainings(variant)]

    def curve(metric: str) -> Curve:
        return Curve.of([tracker.metric_history(run, metric) for run in runs])

    return LearningCurves(curve("dev/ua"), curve("train/loss"), len(runs))


def _training_cost(recorded: RecordedRun, variant: str) -> TrainingCost:
    seconds = [training.seconds for training in recorded.trainings if training.variant == variant]
    return TrainingCost(len(seconds), sum(seconds))
