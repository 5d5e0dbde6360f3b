"""Ratings from the protocol to the report: learnt from sounds whose ratings are a known function of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile

from fgcme.evaluation.ratings import read_ratings
from fgcme.experiment import Experiment
from fgcme.report.predictions import Answer, to_csv, to_table
from fgcme.serving.classifier import Classifier
from fgcme.tracking import Tracker
from pipelines import ablate, check, train
from pipelines.report import report
from tests import rated_corpus
from tests.in_process import train_in_process
from tests.store import make_tracker


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the corpus, the store and the results."""
    return tmp_path_factory.mktemp("rated")


@pytest.fixture(scope="module")
def tracker(place: Path) -> Tracker:
    """The store."""
    return make_tracker(place)


@pytest.fixture(scope="module")
def experiment(place: Path, tracker: Tracker) -> Experiment:
    """Learns valence and arousal; nobody rated one utterance of each speaker for valence."""
    folder = rated_corpus.write(place / "corpus", unrated=1)
    return rated_corpus.rated_experiment(
        folder, storage={"path": str(place / "storage")}, tracking={"uri": tracker.uri}
    )


@pytest.fixture(scope="module")
def run(experiment: Experiment) -> Iterator[str]:
    """Id of its cross-validation."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        train_in_process(train, monkeypatch)
        yield train.run(experiment)


def test_ratings_of_unseen_speakers_are_answered_with_a_concordance_of_0_9(run: str, tracker: Tracker) -> None:
    metrics = tracker.find_run(run).data.metrics
    assert metrics["test/ccc_valence"] >= 0.9
    assert metrics["test/ccc_arousal"] >= 0.9
    assert metrics["test/ccc"] == pytest.approx((metrics["test/ccc_valence"] + metrics["test/ccc_arousal"]) / 2)
    assert "test/ua" not in metrics


def test_predictions_hold_ratings_and_answers_on_the_corpus_s_scale(run: str, tracker: Tracker, tmp_path: Path) -> None:
    table = pq.read_table(tracker.download_artifact(run, "predictions.parquet", tmp_path))
    assert table.num_rows == 96
    assert table["valence"].null_count == 6
    ratings, answered = read_ratings(table, ["valence", "arousal"])
    assert np.nanmax(ratings["arousal"]) > 5 and answered["arousal"].max() > 5
    assert np.nanmin(ratings["valence"]) >= 1


def test_the_model_of_a_fold_answers_a_file_as_it_answered_the_test_part(
    run: str, tracker: Tracker, place: Path, tmp_path: Path
) -> None:
    fold = next(each for each in tracker.child_runs(run) if each.data.tags["fgcme.fold"] == "0")
    classifier = Classifier(tracker.download_artifact(fold.info.run_id, "model", tmp_path))
    table = pq.read_table(tracker.download_artifact(fold.info.run_id, "predictions.parquet", tmp_path))
    row = table.to_pylist()[-1]
    samples, _ = soundfile.read(place / "corpus-sounds" / f"{row['id']}.wav", dtype="float32")
    answer = classifier.predict(samples, "red green blue")
    assert answer.ratings == pytest.approx(
        {name: row[f"{name}_predicted"] for name in ("valence", "arousal")}, abs=1e-3
    )
    assert (answer.label, answer.probabilities, answer.base) == ("", {}, None)
    assert classifier.without_contributions.endswith("the model answers ratings alone")
    told = Answer("a.wav", 0.0, 0.5, answer)
    assert f"a.wav  valence {answer.ratings['valence']:.1f}  arousal " in to_table(told)
    assert to_csv(told).splitlines()[0].endswith(f",{answer.ratings['arousal']:.4f}")


def test_the_report_is_a_page_with_the_figures_of_the_run(run: str, tracker: Tracker, tmp_path: Path) -> None:
    page = report(run, tmp_path / "report", tracker.uri)
    assert {each.name for each in page.parent.iterdir()} >= {"index.html", "figures", "ratings.csv", "experiment.yaml"}
    expected = tracker.find_run(run).data.metrics["test/ccc_valence"]
    assert f"{expected:.3f}" in page.read_text(encoding="utf-8")


def test_the_check_counts_ratings(experiment: Experiment, capsys: pytest.CaptureFixture[str]) -> None:
    assert check.run(experiment) == 0
    line = next(line for line in capsys.readouterr().out.splitlines() if "valence" in line and "1 to 5" in line)
    assert line.split()[4:6] == ["90", "6"]


def test_an_ablation_compares_variants_by_their_concordance(
    experiment: Experiment, tracker: Tracker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train_in_process(ablate, monkeypatch)
    space = tmp_path / "depth.yaml"
    lines = ["reference: own", "variants:", "  own: {training.epochs: 9}", "  short: {training.epochs: 1}"]
    space.write_text("\n".join(lines), encoding="utf-8")
    run = ablate.run(experiment, str(space))
    metrics = tracker.find_run(run).data.metrics
    assert metrics["test/short/ccc"] - metrics["test/own/ccc"] == pytest.approx(metrics["test/short/ccc_difference"])
    assert metrics["test/short/ccc_difference"] < 0
    page = report(run, tmp_path / "report", tracker.uri)
    assert {each.name for each in page.parent.iterdir()} >= {"ratings.csv", "ratings-dev.tex", "experiment.yaml"}
    text = page.read_text(encoding="utf-8")
    assert f'<td class="number strong">\N{MINUS SIGN}{-metrics["test/short/ccc_difference"]:.3f}</td>' in text
    latex = (page.parent / "ratings-dev.tex").read_text(encoding="utf-8")
    assert f"short & ${metrics['test/short/ccc']:.3f}$" in latex
