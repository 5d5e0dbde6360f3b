"""Reports of a real ablation, a real cross-validation and a sweep: what they hold, and how a browser shows them."""

from __future__ import annotations

import csv
import re
import shutil
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from fgcme.data import Selection
from fgcme.evaluation.comparison import compare_variants
from fgcme.experiment import Experiment
from fgcme.report.formatting import percent, points
from fgcme.tracking import Tracker
from pipelines import ablate, cli, report, train
from tests import small_corpus
from tests.integration import browser
from tests.recorded_sweep import record, some
from tests.store import make_tracker

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("ray_session")]

SPACE = """\
reference: fgcme
variants:
  fgcme:
  by_speaker: {model.acoustic.normalisation: speaker}
"""
SELECTIONS: tuple[Selection, ...] = ("dev", "test")
EMOTIONS = list(small_corpus.EMOTIONS)
VARIANTS = ("fgcme", "by_speaker")


@dataclass(frozen=True)
class Reported:
    """A run, its report, and what it was made from."""

    experiment: Experiment
    tracker: Tracker
    run: str
    page: Path

    @property
    def text(self) -> str:
        """The page's source."""
        return self.page.read_text(encoding="utf-8")

    def artifact(self, name: str, folder: Path) -> Path:
        """An artifact of the run."""
        folder.mkdir(exist_ok=True)
        return self.tracker.download_artifact(self.run, name, folder)


@pytest.fixture(scope="module")
def made(ray_session: None, tmp_path_factory: pytest.TempPathFactory) -> Reported:
    """An ablation by both selection rules, with its report in a folder of its own."""
    folder = tmp_path_factory.mktemp("ablation")
    tracker = make_tracker(folder)
    (folder / "parts.yaml").write_text(SPACE)
    experiment = small_corpus.experiment(
        # As few folds as leave something to train on.
        protocol={"name": "three", "labels": {name: name for name in EMOTIONS}, "folds": 3},
        prepare={"folder": str(small_corpus.write(folder / "corpus"))},
        storage={"path": str(folder / "storage")},
        tracking={"uri": tracker.uri},
        training={"epochs": 2},
        # Starting a second process takes longer than all that it would train.
        scaling={"max_concurrent": 1},
    )
    run = ablate.run(experiment, str(folder / "parts.yaml"), SELECTIONS)
    return Reported(experiment, tracker, run, report.report(run, folder / "report", tracker.uri))


def test_reported_numbers_agree_with_the_recorded_predictions(made: Reported, tmp_path: Path) -> None:
    kept = made.artifact("predictions", tmp_path)
    with (made.page.parent / "results.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 4
    for selection in SELECTIONS:
        tables = {name: pq.read_table(kept / selection / f"{name}.parquet") for name in VARIANTS}
        table = compare_variants(tables, "fgcme", EMOTIONS)
        for row in (row for row in rows if row["selection"] == selection):
            assert float(row["ua"]) == table.estimates[row["variant"]]["ua"].mean
            assert percent(float(row["ua"])) in made.text
            if row["variant"] != "fgcme":
                assert float(row["ua_difference"]) == table.comparisons[row["variant"]].differences["ua"].mean
                assert points(float(row["ua_difference"])) in made.text


def test_the_report_is_in_the_folder_and_among_the_run_s_artifacts(made: Reported, tmp_path: Path) -> None:
    folder = made.page.parent
    expected = {
        "index.html",
        *(f"{table}.csv" for table in ("results", "speakers", "confusions")),
        "results-dev.tex",
        "results-test-optimistic.tex",
    }
    expected |= {"experiment.yaml", "parts.yaml", "figures"}
    assert {path.name for path in folder.iterdir()} == expected
    figures = {path.stem for path in (folder / "figures").iterdir()}
    for name in ("estimates-dev", "estimates-test-optimistic", "selection-gap", "recalls-dev", "speakers-dev"):
        assert name in figures
    for variant in VARIANTS:
        assert {f"confusion-{variant}-dev", f"learning-{variant}-dev"} <= figures
    assert sum(name.startswith("spoken-") for name in figures) == 4
    with_run = made.artifact("report", tmp_path)
    assert {path.relative_to(with_run) for path in with_run.rglob("*")} == {
        path.relative_to(folder) for path in folder.rglob("*")
    }
    assert made.page.stat().st_size < 3_000_000


def test_the_drawn_predictions_are_the_recorded_ones(made: Reported, tmp_path: Path) -> None:
    counted = pq.read_table(made.artifact("predictions", tmp_path) / "dev" / "fgcme.parquet").to_pylist()
    answers = {row["id"]: row for row in counted}
    captions = re.findall(r"\((s\d-\d\d)\), predicted (\w+) with (\d+)\s%", made.text)
    assert len(captions) == 4
    assert [answers[name]["label"] for name, _, _ in captions] == EMOTIONS
    for name, answer, share in captions:
        assert answers[name]["prediction"] == answer
        assert round(100 * max(answers[name]["probabilities"])) == int(share)
        speaker = answers[name]["speaker"]
        assert f"fold {answers[name]['fold']}, seed 0, trained without speaker {speaker}" in made.text


def test_curves_are_over_all_folds_and_epochs(made: Reported) -> None:
    assert made.text.count("Of 3 trainings, the mean dev UA goes from") == 2
    assert "in epoch 2, and is highest" in made.text or "in epoch 2 with" in made.text


def test_use_of_test_audio_is_marked_and_selection_on_test_is_called_optimistic(made: Reported) -> None:
    assert "uses unlabelled test audio" in made.text
    assert "Optimistic: the epoch of each training is chosen on the test part itself" in made.text
    assert "\\caption{" in (made.page.parent / "results-test-optimistic.tex").read_text()
    assert "TEST (optimistic)" in (made.page.parent / "results-test-optimistic.tex").read_text()


def test_the_files_beside_the_page_repeat_the_ablation(made: Reported) -> None:
    assert "fgcme ablate experiment.yaml --space parts.yaml --selection both" in made.text
    options = ["ablate", "experiment.yaml", "--space", "parts.yaml"]
    assert cli.parse(options).space == "parts.yaml"
    assert made.experiment.storage.path not in made.text
    assert made.experiment.storage.path not in (made.page.parent / "experiment.yaml").read_text()


def test_a_cross_validation_is_reported_without_its_corpus(
    made: Reported, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    protocol = made.experiment.protocol.model_copy(update={"tuned_on": ["s0", "s1"]})
    run = train.run(made.experiment.model_copy(update={"protocol": protocol}))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", made.tracker.uri)
    capsys.readouterr()
    corpus = Path(str(made.experiment.prepare.folder))
    elsewhere = shutil.move(corpus, tmp_path / "elsewhere")
    try:
        assert cli.main(["report", run]) == 0
    finally:
        shutil.move(elsewhere, corpus)
    page = tmp_path / f"report-{run[:8]}" / "index.html"
    assert str(page.relative_to(tmp_path)) in capsys.readouterr().out
    text = page.read_text(encoding="utf-8")
    metrics = made.tracker.find_run(run).data.metrics
    assert percent(metrics["test/ua"]) in text
    assert percent(metrics["test_untuned/ua"]) in text
    assert (
        "Optimistic: the configuration was chosen by its scores on speakers who are test speakers here (s0, s1)" in text
    )
    assert "Without the speakers the configuration was tuned on" in text
    assert "McNemar" not in text
    assert "No examples: the prepared corpus was not available when this page was made." in text
    assert not re.search(r"predicted \w+ with", text)
    assert "Learning curves" in text
    assert (page.parent / "figures" / "confusion-small-dev.png").exists()
    assert (page.parent / "results-dev-without-tuned-on.tex").exists()


@pytest.mark.skipif(browser.program() is None, reason="no Chromium here")
def test_pages_fit_the_browsers_of_a_desktop_and_a_phone(made: Reported, tmp_path: Path) -> None:
    trials = [replace(some(number), cost=float(100 + number)) for number in range(12)]
    sweep, _ = record(made.tracker, tmp_path, trials, cost="parameters")
    of_sweep = report.report(sweep, tmp_path / "report", made.tracker.uri)
    with browser.tab(str(browser.program())) as tab:
        # Estimates and differences by two rules, the gap, recalls, speakers, times; best, front, best trials, all.
        for page, tables in ((made.page, 8), (of_sweep, 4)):
            text = page.read_text(encoding="utf-8")
            for width, dark in ((1280, False), (375, True)):
                tab.open(page, width, dark)
                assert tab.evaluate("matchMedia('(prefers-color-scheme: dark)').matches") is dark
                widths = tab.evaluate("[...document.images].map(image => image.naturalWidth)")
                assert len(widths) == text.count("<img")
                assert min(widths) > 0
                shown = tab.evaluate("[...document.images].map(image => image.currentSrc === image.src)")
                assert set(shown) == {not dark}
                assert tab.evaluate("document.querySelectorAll('table').length") == tables
                assert tab.evaluate("document.documentElement.scrollWidth") <= width
                # Nothing sticks out of the page but what scrolls within its own box.
                outside = (
                    "[...document.querySelectorAll('body *')].filter(element => !element.closest('.scroll, pre, .skip')"
                    " && element.getBoundingClientRect().right > innerWidth).map(each => each.outerHTML.slice(0, 80))"
                )
                assert tab.evaluate(outside) == []
        assert tab.complaints == []
