"""Robustness: a cross-validation's models answer its test utterances anew, from worse recordings and worse transcripts.

Each fold's own model is asked about its test part, whose speakers it has not heard; of several seeds, the first. The
recordings are read, degraded, aligned and turned into features as those of a user would be. The table becomes an
artifact of the run, from where the model card takes it.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from fgcme.audio import AudioError, Samples, read
from fgcme.corpora import Utterance
from fgcme.corpora.catalogue import find_corpus
from fgcme.data import Tasks, has_words
from fgcme.errors import DataError, UserError
from fgcme.report.formatting import (
    count,
    decimals,
    decimals_range,
    percent,
    percent_range,
    points,
    points_range,
    signed_decimals,
    signed_decimals_range,
)
from fgcme.robustness import (
    CLEAN,
    DEGRADATIONS,
    WORD_ERROR_RATES,
    Condition,
    RatingCondition,
    choose_utterances,
    condition_rows,
    rating_cells,
    robustness_schema,
    summarise_conditions,
    summarise_rating_conditions,
    with_word_errors,
    word_error_title,
)
from fgcme.tracking import Tracker, require_store, resolve_uri
from pipelines.cluster import Progress, storage_folder
from pipelines.runs.out_of_fold import OutOfFold, read_out_of_fold
from pipelines.training.job import finished_trainings

if TYPE_CHECKING:
    from fgcme.serving.classifier import Classifier
    from fgcme.serving.prediction import Prediction

ARTIFACT = "robustness.parquet"
"""Of a cross-validation's run: the table, schema `fgcme.robustness.robustness_schema`."""


@dataclass(frozen=True)
class _Spoken:
    """A test utterance that is asked about.

    Attributes:
        row: its prediction in the cross-validation.
        utterance: what the corpus says of it.
    """

    row: dict[str, Any]
    utterance: Utterance


def robustness(
    run: str, utterances: int = 200, root: str | None = None, tracking_uri: str | None = None
) -> list[Condition | RatingCondition]:
    """Measure the robustness of a cross-validation, print it and record it with the run.

    Args:
        run: id, prefix of an id, name or `latest`, of a finished run of `fgcme train`.
        utterances: how many of its test utterances are asked about, drawn evenly from speakers and classes.
        root: folder of the corpus, if it is not where the run had it.
        tracking_uri: where the run is recorded, see `fgcme.tracking.resolve_uri`.

    Raises:
        UserError: the run is no finished cross-validation, or its corpus is not there.
    """
    uri = resolve_uri(tracking_uri)
    require_store(uri)
    tracker = Tracker(uri)
    found = tracker.find_run(run)
    title = f"run {found.info.run_id} ({found.info.run_name})"
    measured = None
    if found.data.tags.get("fgcme.kind") == "cross_validation":
        measured = read_out_of_fold(tracker, {"source_run": found.info.run_id, "selection": "dev"})
    if measured is None:
        raise UserError(f"{title} is no finished cross-validation: give a finished run of `fgcme train`")
    corpus_root, listed = _listed(measured, root)
    seed = min(measured.predictions["seed"].to_pylist())
    rows = {row["id"]: row for row in measured.predictions.to_pylist() if row["seed"] == seed}
    chosen = choose_utterances(pa.Table.from_pylist(list(rows.values())), utterances)
    if missing := [name for name in chosen if name not in listed]:
        raise UserError(f"{corpus_root}: {len(missing)} of {len(chosen)} are missing, such as {missing[0]}")
    spoken = [_Spoken(rows[name], listed[name]) for name in chosen]
    models = {
        int(training.data.tags["fgcme.fold"]): training.info.run_id
        for training in finished_trainings(tracker, found.info.run_id)
        if int(training.data.tags["fgcme.seed"]) == seed
    }
    print(f"{title}: {len(spoken)} of {count(len(rows), 'test utterance')}, by each fold's model of seed {seed}")
    tasks = measured.tasks
    answers = list(_answers(tracker, models, spoken, corpus_root, tasks))
    table = pa.Table.from_pylist(answers, robustness_schema(tasks))
    conditions = summarise_conditions(table, tasks.classes) if tasks.classes else []
    of_ratings = summarise_rating_conditions(table, tasks) if tasks.dimensions else []
    with tempfile.TemporaryDirectory() as scratch:
        pq.write_table(table, Path(scratch) / ARTIFACT)
        tracker.log_artifact(found.info.run_id, Path(scratch) / ARTIFACT)
    for lines in (describe_conditions(conditions), describe_rating_conditions(of_ratings)):
        if lines:
            print("\n".join(lines))
    print(f"\nrecorded with the run; the next `fgcme register {found.info.run_id} ...` has it in its model card")
    return [*conditions, *of_ratings]


def read_robustness(tracker: Tracker, run: str) -> pa.Table | None:
    """The table of a run; None where its robustness was not measured.

    Args:
        tracker: where it is recorded.
        run: id of the cross-validation.
    """
    if not tracker.has_artifact(run, ARTIFACT):
        return None
    with tempfile.TemporaryDirectory() as scratch:
        return pq.read_table(tracker.download_artifact(run, ARTIFACT, Path(scratch)))


def describe_conditions(conditions: list[Condition]) -> list[str]:
    """The conditions as a table to read, in per cent and points; no line for none."""
    if not conditions:
        return []
    width = max(len(each.name) for each in conditions)
    lines = [f"{'':<{width}}  UA (95 % interval)      lost as against the recordings as they are"]
    for each in conditions:
        lost = "" if each.name == CLEAN else f"{points(each.loss)} ({points_range(each.loss_interval)})"
        left = f"; {count(each.unanswered, 'utterance')} without an answer" if each.unanswered else ""
        level = f"{percent(each.ua.mean)} ({percent_range(each.ua.interval)})"
        lines.append(f"{each.name:<{width}}  {level:<22}  {lost}{left}".rstrip())
    return lines


def describe_rating_conditions(conditions: list[RatingCondition]) -> list[str]:
    """The conditions of answers of ratings as a table to read; no line for none."""
    if not conditions:
        return []
    width = max(len(each.name) for each in conditions)
    lines = [f"{'':<{width}}  CCC (95 % interval)      lost as against the recordings as they are"]
    for each in conditions:
        lost = (
            "" if each.name == CLEAN else f"{signed_decimals(each.loss)} ({signed_decimals_range(each.loss_interval)})"
        )
        left = f"; {count(each.unanswered, 'utterance')} without an answer" if each.unanswered else ""
        level = decimals(each.ccc.mean) + (f" ({decimals_range(each.ccc.interval)})" if each.ccc.interval else "")
        lines.append(f"{each.name:<{width}}  {level:<23}  {lost}{left}".rstrip())
    return lines


def _listed(measured: OutOfFold, root: str | None) -> tuple[Path, Mapping[str, Utterance]]:
    """The root of the corpus, and its utterances by id."""
    settings = measured.experiment.corpus
    if root is not None:
        settings = settings.model_copy(update={"root": root})
    folder, listing = find_corpus(settings, storage_folder(measured.experiment))
    return folder, {utterance.id: utterance for utterance in listing.utterances}


def _answers(
    tracker: Tracker, models: Mapping[int, str], spoken: list[_Spoken], root: Path, tasks: Tasks
) -> Iterator[dict[str, Any]]:
    """Rows of `robustness_schema`: all conditions of each utterance, fold by fold; shows its progress."""
    from fgcme.serving.classifier import Classifier

    vocabulary = sorted({word for each in spoken for word in each.utterance.text.split()})
    with Progress("utterance", {"utterance": len(spoken)}) as progress:
        for fold in sorted({each.row["fold"] for each in spoken}):
            with tempfile.TemporaryDirectory() as scratch:
                folder = tracker.download_artifact(models[fold], "model", Path(scratch))
                classifier = Classifier(folder)
                for each in spoken:
                    if each.row["fold"] == fold:
                        yield from _under_all_conditions(classifier, each, root, vocabulary, tasks)
                        progress.advance("utterance", done=1, failed=0)


def _under_all_conditions(
    classifier: Classifier, spoken: _Spoken, root: Path, vocabulary: list[str], tasks: Tasks
) -> Iterator[dict[str, Any]]:
    utterance, words = spoken.utterance, spoken.utterance.text.split()
    try:
        samples = read(root / utterance.audio, utterance.start, utterance.end)
    except AudioError as error:
        raise UserError(f"{utterance.id}: {error.message}; give the corpus's folder with --root") from None
    # The same utterance meets the same noise and the same errors whichever others are asked about.
    generator = np.random.default_rng([*utterance.id.encode()])

    def answer(condition: str, heard: Samples, text: str) -> dict[str, Any]:
        prediction = _prediction(classifier, heard, text)
        kept = {key: spoken.row[key] for key in ("id", "speaker", "fold", "seed")} | {"condition": condition}
        if tasks.classes:
            probabilities = None if prediction is None else [prediction.probabilities[name] for name in tasks.classes]
            kept |= condition_rows(condition, spoken.row, probabilities, tasks.classes)
        return kept | rating_cells(spoken.row, None if prediction is None else prediction.ratings, tasks)

    yield answer(CLEAN, samples, utterance.text)
    for name, degrade in DEGRADATIONS.items():
        yield answer(name, degrade(samples, generator), utterance.text)
    if has_words(classifier.spec.model):
        for rate in WORD_ERROR_RATES:
            said = " ".join(with_word_errors(words, rate, vocabulary, generator))
            yield answer(word_error_title(rate), samples, said)


def _prediction(classifier: Classifier, samples: Samples, text: str) -> Prediction | None:
    """The answer; None where there is none."""
    try:
        return classifier.predict(samples, text)
    except DataError:
        return None
