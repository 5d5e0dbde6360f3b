"""Examples for a report: single test utterances as the reference's models read them."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from fgcme.audio import frames_within
from fgcme.data import SpeechCorpus, reads_test_audio
from fgcme.errors import UserError
from fgcme.experiment import Experiment
from fgcme.model import Network
from fgcme.report.example import UtteranceExample
from fgcme.serving import fitted
from fgcme.serving.fitted import ModelSpec
from fgcme.serving.prediction import predict, why_no_contributions
from fgcme.tracking import Tracker
from pipelines.reporting.recorded_run import RecordedRun
from pipelines.runs.corpus import locate_prepared

# More words than about this many are too narrow to read in a picture.
_WORDS = 6
_UTTERANCES = 4
_FEATURES = {"log_mel": "mel bin", "speech_encoder": "value of the speech encoder"}


def read_examples(tracker: Tracker, recorded: RecordedRun) -> tuple[list[UtteranceExample], str]:
    """Examples, and a remark on them: why there are none, or how they differ from the counted predictions.

    They need the prepared corpus that the models were trained on, and the models.
    """
    try:
        corpus = SpeechCorpus(locate_prepared(recorded.experiment))
    except UserError:
        return [], "No examples: the prepared corpus was not available when this page was made."
    if corpus.description.corpus_hash != recorded.run.data.tags["fgcme.corpus_hash"]:
        return [], "No examples: the prepared corpus has changed since the models were trained."
    run_of = {(each.fold, each.seed): each.run for each in recorded.main_trainings(recorded.reference)}
    predictions = recorded.predictions[recorded.main_selection][recorded.reference]
    examples, without = [], ""
    for row in choose_examples(predictions, corpus, recorded.classes):
        with tempfile.TemporaryDirectory() as folder:
            try:
                model_folder = tracker.download_artifact(run_of[row["fold"], row["seed"]], "model", Path(folder))
            except UserError:
                return [], "No examples: the models of the run have been deleted."
            model, spec = fitted.load(model_folder)
            examples.append(_read_example(model, spec, row, corpus, recorded.experiment))
            without = without or why_no_contributions([(model, spec)])
    remarks = [f"There are no contributions of words: {without}."] if without else []
    if reads_test_audio(recorded.variants[recorded.reference].model):
        remarks.append(
            "In these pictures frames are normalised by the utterance, not by all audio of its speaker, so a "
            "prediction may differ from the one that was counted."
        )
    return examples, " ".join(remarks)


def choose_examples(predictions: pa.Table, corpus: SpeechCorpus, classes: Sequence[str]) -> list[dict[str, Any]]:
    """Choose rows of predictions: one for each of the first classes, each from another fold where possible.

    Of a class in a fold it is the utterance whose number of words is closest to six, the first by its id where several
    are; the predicted classes play no part.

    Args:
        predictions: of the reference, schema `fgcme.evaluation.cross_validation.PREDICTIONS`.
        corpus: the prepared corpus, for the number of words.
        classes: class names.
    """
    rows = predictions.to_pylist()
    seed = min(row["seed"] for row in rows)
    rows = [row for row in rows if row["seed"] == seed]
    tested = {row["id"] for row in rows}
    counted = zip(corpus.table.ids, corpus.word_counts.tolist(), strict=True)
    lengths = {name: count for name, count in counted if name in tested}
    chosen = []
    for number, name in enumerate(classes[:_UTTERANCES]):
        folds = sorted({row["fold"] for row in rows if row["label"] == name})
        if folds:
            fold = folds[number % len(folds)]
            candidates = [row for row in rows if (row["label"], row["fold"]) == (name, fold)]
            chosen.append(min(candidates, key=lambda row: (abs(lengths[row["id"]] - _WORDS), row["id"])))
    return chosen


def _read_example(
    model: Network, spec: ModelSpec, row: Mapping[str, Any], corpus: SpeechCorpus, experiment: Experiment
) -> UtteranceExample:
    """Predict the utterance of a row of test predictions anew, with its words."""
    utterance = corpus.table.ids.index(row["id"])
    speech = corpus.analysed(utterance)
    return UtteranceExample(
        id=row["id"],
        speaker=row["speaker"],
        label=row["label"],
        frames=corpus.frames(utterance)[: frames_within(spec.frame_limit, corpus.frame_step)],
        frame_step=corpus.frame_step,
        features=_FEATURES[experiment.prepare.features.kind],
        prediction=predict([(model, spec)], speech),
        fold=row["fold"],
        seed=row["seed"],
    )
