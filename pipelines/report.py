"""Report: a sweep, or a finished ablation or cross-validation, as one page to read and files to go on with.

All numbers are worked out anew from what the run keeps, so a report can be made anywhere the run can be read. Only the
pictures of single utterances need the prepared corpus; without it the page says so.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from fgcme.data import Selection, SpeechCorpus, reads_test_audio, resolve_protocol
from fgcme.errors import UserError
from fgcme.experiment import Experiment, parse_experiment
from fgcme.model import Network
from fgcme.prepared.utterance import AnalysedSpeech
from fgcme.report.conditions import Conditions
from fgcme.report.content import ReportData, TrainingCost, pictures
from fgcme.report.findings import Curve, Learning, ResultSet, selection_gaps, without_speakers
from fgcme.report.formatting import count
from fgcme.report.latex import results_latex
from fgcme.report.page import to_html
from fgcme.report.spoken import UtteranceExample
from fgcme.report.spreadsheet import confusions_csv, results_csv, speakers_csv
from fgcme.report.theme import LIGHT, to_png
from fgcme.serving import fitted
from fgcme.serving.fitted import ModelSpec
from fgcme.tracking import LOCAL_ID_TAG, Tracker, require_store, resolve_uri
from pipelines.runs.corpus import locate_prepared
from pipelines.runs.provenance import provenance_of
from pipelines.runs.reproduce import Repetition, repeat_ablation, repeat_training
from pipelines.sweep import report as sweep_report

if TYPE_CHECKING:
    from mlflow.entities import Run

ARTIFACTS = "report"
# Of a picture of an utterance, more words could not be read.
_WORDS = 6
_UTTERANCES = 4
_FEATURES = {"log_mel": "mel bin", "speech_encoder": "value of the speech encoder"}


@dataclass(frozen=True)
class RecordedTraining:
    """One training, as a report needs to know it.

    Attributes:
        variant, selection, fold, seed: which it is.
        run: the MLflow run that has its curves and its model.
        seconds: wall time.
    """

    variant: str
    selection: Selection
    fold: int
    seed: int
    run: str
    seconds: float


@dataclass(frozen=True)
class Recorded:
    """A finished run, read back.

    Attributes:
        run: the MLflow run.
        reference, variants: what was compared; of a cross-validation, the one model.
        trainings: all of them.
        predictions: selection rule -> variant -> predictions of all folds and seeds; an honest rule first.
        repetition: what repeats it.
    """

    run: Run
    reference: str
    variants: Mapping[str, Experiment]
    trainings: Sequence[RecordedTraining]
    predictions: Mapping[Selection, Mapping[str, pa.Table]]
    repetition: Repetition

    @property
    def experiment(self) -> Experiment:
        """What the variants change, or what was cross-validated; with the seeds that it has in the end."""
        return self.repetition.experiment

    @property
    def classes(self) -> list[str]:
        """Class names."""
        return resolve_protocol(self.experiment.protocol, self.experiment.corpus.kind).classes


def report(run: str, output: Path | None = None, tracking_uri: str | None = None) -> Path:
    """Write the report of a run into a folder, and keep it with the run.

    Args:
        run: id, beginning of an id, name or `latest`; of `fgcme ablate`, `fgcme train` or `fgcme tune`.
        output: the folder; `report-<first letters of the id>` in the working directory by default.
        tracking_uri: where the run is recorded, see `fgcme.tracking.resolve_uri`.

    Returns:
        The page.

    Raises:
        UserError: there is no such run, it is none that can be reported on or is not finished, or the folder cannot be
            written to.
    """
    uri = resolve_uri(tracking_uri)
    require_store(uri)
    tracker = Tracker(uri)
    found = tracker.find_run(run)
    write_into = (
        _sweep(tracker, found) if found.data.tags.get("fgcme.kind") == sweep_report.KIND else _results(tracker, found)
    )
    folder = Path(f"report-{found.info.run_id[:8]}") if output is None else output
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise UserError(f"{folder}: cannot be written to ({error.strerror}); set another with --output") from None
    with tempfile.TemporaryDirectory() as scratch:
        # Whatever else lies in the user's folder is not to be kept with the run.
        made = Path(scratch) / ARTIFACTS
        write_into(made)
        try:
            shutil.copytree(made, folder, dirs_exist_ok=True)
        except (OSError, shutil.Error) as error:
            raise UserError(f"{folder}: cannot be written to ({_first(error)}); set another with --output") from None
        tracker.log_artifact(found.info.run_id, made, ARTIFACTS)
    page = folder / "index.html"
    print(f"{page}, and with run {found.info.run_id} under {ARTIFACTS}/; open it in a browser")
    return page


def _sweep(tracker: Tracker, run: Run) -> Callable[[Path], None]:
    """What writes the report of a sweep into a new folder."""
    recorded = sweep_report.read_sweep(tracker, run)

    def write_into(folder: Path) -> None:
        print(f"{run.info.run_name}: figures of {recorded.sweep.census}", flush=True)
        sweep_report.write_sweep(folder, recorded)

    return write_into


def _results(tracker: Tracker, run: Run) -> Callable[[Path], None]:
    """What writes the report of an ablation or a cross-validation into a new folder."""
    recorded = read(tracker, run)

    def write_into(folder: Path) -> None:
        print(f"{run.info.run_name}: intervals of {count(len(recorded.variants), 'variant')}", flush=True)
        content = gather(tracker, recorded)
        print("figures", flush=True)
        write(folder, content, recorded.repetition)
        if content.spoken_note:
            print(f"  {content.spoken_note}")

    return write_into


def _first(error: OSError) -> str:
    """Why something could not be copied; of several files, the first."""
    if isinstance(error, shutil.Error):
        return str(error.args[0][0][2]).partition("] ")[2].partition(":")[0]
    return str(error.strerror)


def read(tracker: Tracker, run: Run) -> Recorded:
    """Read a finished run back.

    Raises:
        UserError: it is neither an ablation nor a cross-validation, or not finished.
    """
    kind = run.data.tags.get("fgcme.kind", "run of another program")
    title = f"run {run.info.run_id} ({run.info.run_name}, {kind.replace('_', ' ')})"
    if kind not in ("ablation", "cross_validation"):
        parent = run.data.tags.get("mlflow.parentRunId")
        belongs = f"; it belongs to run {parent}" if parent else ""
        raise UserError(
            f"{title} has nothing to report: name a run of `fgcme ablate`, `fgcme train` or `fgcme tune`{belongs}"
        )
    verb = "ablate" if kind == "ablation" else "train"
    if run.info.status != "FINISHED":
        raise UserError(f"{title} is {run.info.status}: complete it with `fgcme {verb}` and --resume")
    experiment = parse_experiment(tracker.load_yaml(run.info.run_id, "experiment.yaml"), f"run {run.info.run_id}")
    if kind == "ablation":
        return _ablation(tracker, run, experiment)
    if "test/ua" not in run.data.metrics:
        raise UserError(
            f"{title} does not have all folds, which is no cross-validation: complete it with `fgcme train` and "
            f"--resume {run.info.run_id}"
        )
    return _cross_validation(tracker, run, experiment)


def _ablation(tracker: Tracker, run: Run, experiment: Experiment) -> Recorded:
    description, results = (tracker.load_json(run.info.run_id, name) for name in ("ablation.json", "results.json"))
    variants = {
        name: parse_experiment(settings, f"run {run.info.run_id}, variant {name}")
        for name, settings in description["variants"].items()
    }
    with tempfile.TemporaryDirectory() as folder:
        kept = tracker.download_artifact(run.info.run_id, "predictions", Path(folder))
        selections: list[Selection] = sorted(description["selections"])
        predictions = {
            selection: {name: pq.read_table(kept / selection / f"{name}.parquet") for name in variants}
            for selection in selections
        }
    space = run.data.tags["fgcme.space"].removeprefix(f"{experiment.name}-")
    return Recorded(
        run=run,
        reference=description["reference"],
        variants=variants,
        trainings=[
            RecordedTraining(*(result[key] for key in ("variant", "selection", "fold", "seed", "run", "seconds")))
            for result in results
        ],
        predictions=predictions,
        repetition=repeat_ablation(experiment, space, description["reference"], variants, selections),
    )


def _cross_validation(tracker: Tracker, run: Run, experiment: Experiment) -> Recorded:
    selection = experiment.protocol.selection
    with tempfile.TemporaryDirectory() as folder:
        predictions = pq.read_table(tracker.download_artifact(run.info.run_id, "predictions.parquet", Path(folder)))
    return Recorded(
        run=run,
        reference=experiment.name,
        variants={experiment.name: experiment},
        trainings=[
            RecordedTraining(
                experiment.name,
                selection,
                int(child.data.tags["fgcme.fold"]),
                int(child.data.tags["fgcme.seed"]),
                child.info.run_id,
                child.data.metrics["seconds"],
            )
            for child in tracker.child_runs(run.info.run_id)
            if child.data.tags.get("fgcme.kind") == "fold" and child.info.status == "FINISHED"
        ],
        predictions={selection: {experiment.name: predictions}},
        repetition=repeat_training(experiment),
    )


def gather(tracker: Tracker, recorded: Recorded) -> ReportData:
    """Work out all that the report of a run holds."""
    protocol = recorded.experiment.protocol
    remarks = {
        name: "uses unlabelled test audio"
        for name, variant in recorded.variants.items()
        if reads_test_audio(variant.model)
    }
    results, untuned = [], []
    for selection, predictions in recorded.predictions.items():
        standing = Conditions(
            protocol.name,
            selection,
            recorded.experiment.training.seeds,
            protocol.tuned_on,
            recorded.run.data.tags.get("fgcme.allow_missing", ""),
        )
        results.append(ResultSet.of(predictions, recorded.reference, recorded.classes, standing, remarks))
        left = without_speakers(predictions, protocol.tuned_on)
        if protocol.tuned_on and len(set(left[recorded.reference]["speaker"].to_pylist())) > 1:
            standing = standing.without_tuned_on()
            untuned.append(ResultSet.of(left, recorded.reference, recorded.classes, standing, remarks))
    runs = {training.run for training in recorded.trainings}
    below = [
        child
        for child in tracker.child_runs(recorded.run.info.run_id)
        if runs & {child.info.run_id, child.data.tags.get(LOCAL_ID_TAG)}
    ]
    commands = [*recorded.repetition.commands, "fgcme report latest"]
    both = {"dev", "test"} <= set(recorded.predictions)
    spoken, note = _spoken(tracker, recorded)
    return ReportData(
        origin=provenance_of(recorded.run, recorded.experiment, commands, below),
        results=results,
        untuned=untuned,
        gaps=selection_gaps(recorded.predictions["test"], recorded.predictions["dev"], recorded.classes)
        if both
        else {},
        learning={name: _learning(tracker, recorded, name) for name in recorded.variants},
        spoken=spoken,
        spoken_note=note,
        efforts={name: _effort(recorded, name) for name in recorded.variants},
    )


def write(folder: Path, content: ReportData, repetition: Repetition) -> None:
    """Write the page, its figures and the files that go with it into a new folder."""
    drawn = pictures(content)
    (folder / "figures").mkdir(parents=True)
    light = {picture.name: to_png(picture, LIGHT) for picture in drawn}
    for picture in drawn:
        (folder / "figures" / f"{picture.name}.png").write_bytes(light[picture.name])
    results = [*content.results, *content.untuned]
    texts = {
        "index.html": to_html(content, drawn, light),
        "results.csv": results_csv(results),
        "speakers.csv": speakers_csv(results),
        "confusions.csv": confusions_csv(results),
        **{f"results-{findings.standing.file_name}.tex": results_latex(findings) for findings in results},
        **repetition.files,
    }
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")


def _learning(tracker: Tracker, recorded: Recorded, variant: str) -> Learning:
    runs = [training.run for training in _main_trainings(recorded, variant)]

    def curve(metric: str) -> Curve:
        return Curve.of([tracker.metric_history(run, metric) for run in runs])

    return Learning(curve("dev/ua"), curve("train/loss"), len(runs))


def _effort(recorded: Recorded, variant: str) -> TrainingCost:
    seconds = [training.seconds for training in recorded.trainings if training.variant == variant]
    return TrainingCost(len(seconds), sum(seconds))


def _main_trainings(recorded: Recorded, variant: str) -> list[RecordedTraining]:
    main = next(iter(recorded.predictions))
    return [each for each in recorded.trainings if (each.variant, each.selection) == (variant, main)]


def _spoken(tracker: Tracker, recorded: Recorded) -> tuple[list[UtteranceExample], str]:
    """Test utterances as the reference reads them, and what there is to say about it; none without the corpus."""
    try:
        corpus = SpeechCorpus(locate_prepared(recorded.experiment))
    except UserError:
        return [], "No utterance is drawn: the prepared corpus was not at hand when this page was made."
    if corpus.description.corpus_hash != recorded.run.data.tags["fgcme.corpus_hash"]:
        return [], "No utterance is drawn: the prepared corpus has changed since the models were trained."
    by_fold = {(each.fold, each.seed): each.run for each in _main_trainings(recorded, recorded.reference)}
    main = next(iter(recorded.predictions.values()))
    spoken = []
    for row in choose(main[recorded.reference], corpus, recorded.classes):
        with tempfile.TemporaryDirectory() as folder:
            try:
                kept = tracker.download_artifact(by_fold[row["fold"], row["seed"]], "model", Path(folder))
            except UserError:
                return [], "No utterance is drawn: the models of the run are not kept any more."
            spoken.append(_read_by(*fitted.load(kept), row, corpus, recorded.experiment))
    if reads_test_audio(recorded.variants[recorded.reference].model):
        return spoken, (
            "In these pictures frames are normalised by the utterance, not by all of its speaker's, so an answer may "
            "differ from the one that was counted."
        )
    return spoken, ""


def choose(predictions: pa.Table, corpus: SpeechCorpus, classes: Sequence[str]) -> list[dict[str, Any]]:
    """Rows of predictions to be drawn: one for each of the first classes, each from another fold where that can be.

    Of a class in a fold it is the utterance whose number of words is closest to six, the first by its id where several
    are; the answers play no part.
    """
    lengths = dict(zip(corpus.table.ids, map(len, corpus.words), strict=True))
    rows = predictions.to_pylist()
    seed = min(row["seed"] for row in rows)
    rows = [row for row in rows if row["seed"] == seed]
    chosen = []
    for number, name in enumerate(classes[:_UTTERANCES]):
        folds = sorted({row["fold"] for row in rows if row["label"] == name})
        if folds:
            fold = folds[number % len(folds)]
            own = [row for row in rows if (row["label"], row["fold"]) == (name, fold)]
            chosen.append(min(own, key=lambda row: (abs(lengths[row["id"]] - _WORDS), row["id"])))
    return chosen


def _read_by(
    model: Network, card: ModelSpec, row: Mapping[str, Any], corpus: SpeechCorpus, experiment: Experiment
) -> UtteranceExample:
    """What a fold's model says of the utterance of a row of its test predictions."""
    utterance = corpus.table.ids.index(row["id"])
    begin, end = corpus.spans(utterance)
    frames = corpus.frames(utterance)[: card.frame_limit]
    speech = AnalysedSpeech(corpus.words[utterance], begin, end, frames, corpus.alignments[utterance], 0.0)
    return UtteranceExample(
        id=row["id"],
        speaker=row["speaker"],
        label=row["label"],
        frames=frames,
        features=_FEATURES[experiment.prepare.features.kind],
        prediction=fitted.predict(model, card, speech),
        fold=row["fold"],
        seed=row["seed"],
    )
