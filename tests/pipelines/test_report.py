from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fgcme.data import SpeechCorpus
from fgcme.errors import UserError
from fgcme.evaluation.cross_validation import predictions_table
from fgcme.tracking import Tracker
from pipelines import cli
from pipelines.report import choose, report
from tests import small_corpus
from tests.store import make_tracker, record_cross_validation


@pytest.fixture(scope="module")
def tracker(tmp_path_factory: pytest.TempPathFactory) -> Tracker:
    return make_tracker(tmp_path_factory.mktemp("store"))


def started(tracker: Tracker, kind: str, status: str = "FINISHED") -> str:
    run = tracker.create_run(tracker.get_or_create_experiment("runs"), f"a {kind}", tags={"fgcme.kind": kind})
    if status != "RUNNING":
        tracker.end_run(run, status)  # type: ignore[arg-type]
    return run


@pytest.mark.parametrize(
    ("kind", "status", "sentence"),
    [
        ("model", "FINISHED", "has nothing to report: name a run of `fgcme ablate`, `fgcme train` or `fgcme tune`"),
        ("ablation", "FAILED", "is FAILED: complete it with `fgcme ablate` and --resume"),
        ("ablation", "RUNNING", "is RUNNING: complete it with `fgcme ablate`"),
        ("cross_validation", "KILLED", "is KILLED: complete it with `fgcme train`"),
    ],
)
def test_what_cannot_be_reported_on_is_one_line_with_the_way_out(
    tracker: Tracker, tmp_path: Path, kind: str, status: str, sentence: str
) -> None:
    run = started(tracker, kind, status)
    with pytest.raises(UserError, match=sentence) as refused:
        report(run, tmp_path / "report", tracker.uri)
    assert run in str(refused.value)
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "report").exists()


def test_a_fold_says_what_it_belongs_to(tracker: Tracker, tmp_path: Path) -> None:
    parent, folds = record_cross_validation(tracker, tmp_path, [0.5])
    with pytest.raises(UserError, match=rf"fold\) has nothing to report.*belongs to run {parent}"):
        report(folds[0], tmp_path / "report", tracker.uri)


def test_some_folds_are_no_cross_validation(tracker: Tracker) -> None:
    study = tracker.get_or_create_experiment("runs")
    run = tracker.create_run(study, "small train", tags={"fgcme.kind": "cross_validation"})
    tracker.log_text(run, small_corpus.experiment().to_yaml(), "experiment.yaml")
    tracker.end_run(run, "FINISHED")
    with pytest.raises(UserError, match=rf"does not have all folds.*--resume {run}"):
        report(run, None, tracker.uri)


def test_a_store_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no MLflow database here"):
        report("latest", None, f"sqlite:///{tmp_path}/nothing.db")


def test_the_verb_takes_a_run_and_a_folder() -> None:
    options = cli.parse(["report", "latest", "--output", "folder"])
    assert (options.run_id, options.output) == ("latest", "folder")


def test_one_utterance_an_emotion_is_drawn_each_from_another_fold(tmp_path: Path) -> None:
    corpus = SpeechCorpus(small_corpus.write(tmp_path / "corpus"))
    classes = list(small_corpus.EMOTIONS)
    labels = [classes.index(label) for label in corpus.table.raw_labels]
    folds = [int(speaker[1]) % 4 for speaker in corpus.table.speakers]

    def chosen(answer: int) -> list[tuple[str, int]]:
        parts = []
        for fold in range(4):
            own = [index for index, each in enumerate(folds) if each == fold]
            parts.append(
                predictions_table(
                    [corpus.table.ids[index] for index in own],
                    [corpus.table.speakers[index] for index in own],
                    np.array([labels[index] for index in own]),
                    np.eye(4)[[answer] * len(own)],
                    classes,
                    fold,
                    seed=3,
                )
            )
        return [(row["id"], row["fold"]) for row in choose(pa.concat_tables(parts), corpus, classes)]

    rows = chosen(0)
    assert [fold for _, fold in rows] == [0, 1, 2, 3]
    lengths = dict(zip(corpus.table.ids, map(len, corpus.words), strict=True))
    for number, (name, fold) in enumerate(rows):
        rivals = [
            other
            for other, label, each in zip(corpus.table.ids, labels, folds, strict=True)
            if label == number and each == fold
        ]
        assert name == min(rivals, key=lambda other: (abs(lengths[other] - 6), other))
    # What was answered plays no part.
    assert chosen(2) == rows


def test_a_folder_that_cannot_be_written_to_is_one_line(tracker: Tracker, tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file")
    study = tracker.get_or_create_experiment("whole")
    run = tracker.create_run(study, "small train", tags={"fgcme.kind": "cross_validation"})
    tracker.log_text(run, small_corpus.experiment().to_yaml(), "experiment.yaml")
    predictions = predictions_table(["a"], ["s0"], np.array([0]), np.eye(4)[[0]], small_corpus.EMOTIONS, 0, 0)
    pq.write_table(predictions, tmp_path / "predictions.parquet")
    tracker.log_artifact(run, tmp_path / "predictions.parquet")
    tracker.log_metrics(run, {"test/ua": 0.5}, 0)
    tracker.end_run(run, "FINISHED")
    with pytest.raises(UserError, match=r"taken: cannot be written to .*--output"):
        report(run, tmp_path / "taken", tracker.uri)
