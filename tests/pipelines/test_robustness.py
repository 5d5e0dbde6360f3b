"""A cross-validation's models answer their own test utterances anew, and the model card has what that gave."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fgcme.corpora.demo import synthesise
from fgcme.corpora.manifest import read_manifest
from fgcme.errors import UserError
from fgcme.evaluation.cross_validation import predictions_table
from fgcme.experiment import parse_experiment
from fgcme.robustness import CLEAN
from fgcme.serving.classifier import Classifier
from fgcme.tracking import Tracker
from pipelines.register import register
from pipelines.robustness import read_robustness, robustness
from tests.store import record_cross_validation

# Of the small models of the tests, by which the labels go; the protocol's are others.
CLASSES = ["angry", "calm", "happy"]


@pytest.fixture
def recorded(tracker: Tracker, tmp_path: Path) -> str:
    """A cross-validation of two folds over a synthesised corpus of eight utterances, as `fgcme train` records it."""
    manifest = synthesise(tmp_path / "corpus", utterances=8, seed=0)
    parent, folds = record_cross_validation(tracker, tmp_path, [0.5, 0.6])
    for run in folds:
        tracker.set_tags(run, {"fgcme.seed": "0"})
    utterances = list(read_manifest(manifest).utterances)
    speakers = sorted({each.speaker for each in utterances})
    tables = []
    for fold in (0, 1):
        own = [each for each in utterances if speakers.index(each.speaker) % 2 == fold]
        labels = np.arange(len(own)) % 3
        ids, said_by = [each.id for each in own], [each.speaker for each in own]
        tables.append(predictions_table(ids, said_by, labels, np.eye(3)[labels], CLASSES, fold, seed=0))
    pq.write_table(pa.concat_tables(tables), tmp_path / "predictions.parquet")
    tracker.log_artifact(parent, tmp_path / "predictions.parquet")
    experiment = parse_experiment(
        {
            "name": "mine",
            "corpus": {"kind": "manifest", "manifest": str(manifest)},
            "protocol": {"name": "mine/3class", "labels": {name: name for name in CLASSES}, "folds": 3},
        },
        "a test",
    )
    tracker.log_text(parent, experiment.to_yaml(), "experiment.yaml")
    return parent


def test_each_fold_s_own_model_answers_and_the_card_has_the_table(
    tracker: Tracker, recorded: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = []
    predict = Classifier.predict

    def watched(self: Classifier, samples: np.ndarray, text: str) -> object:
        asked.append((self.spec.origin["fold"], text))
        return predict(self, samples, text)

    monkeypatch.setattr(Classifier, "predict", watched)
    conditions = robustness(recorded, 6, tracking_uri=tracker.uri)
    assert [each.name for each in conditions][:2] == [CLEAN, "white noise at 20 dB"]
    assert [each.name for each in conditions][-1] == "40 % of words wrong"
    assert "recorded with the run" in capsys.readouterr().out
    table = read_robustness(tracker, recorded)
    assert table is not None and len(table) == 6 * 11 == len(asked)
    # An utterance is asked about by the model of the fold that it is tested in, never by one that heard its speaker.
    assert [fold for fold, _ in asked] == table["fold"].to_pylist() and {fold for fold, _ in asked} == {0, 1}
    # Wrong words are not those that are said.
    assert asked[10][1] != asked[0][1] == asked[7][1]
    version = register(recorded, "robust", None, tracker.uri).version
    source = tracker.client.get_model_version("robust", str(version)).source
    card = (Path(source.removeprefix("file://")) / "README.md").read_text()
    assert "| telephone, 300 to 3,400 Hz | " in card and "| without an answer |" in card


def test_a_corpus_that_is_gone_says_so(tracker: Tracker, recorded: str, tmp_path: Path) -> None:
    for path in (tmp_path / "corpus").rglob("*.wav"):
        path.unlink()
    with pytest.raises(UserError, match=r"does not exist; give the corpus's folder with --root"):
        robustness(recorded, 4, tracking_uri=tracker.uri)


def test_only_a_finished_cross_validation_has_models_for_all_speakers(tracker: Tracker, tmp_path: Path) -> None:
    parent, folds = record_cross_validation(tracker, tmp_path, [0.5])
    for run in (parent, folds[0]):
        with pytest.raises(UserError, match="is no finished cross-validation"):
            robustness(run, tracking_uri=tracker.uri)


def test_without_a_measurement_there_is_no_table(tracker: Tracker, tmp_path: Path) -> None:
    parent, _ = record_cross_validation(tracker, tmp_path, [0.5])
    assert read_robustness(tracker, parent) is None
