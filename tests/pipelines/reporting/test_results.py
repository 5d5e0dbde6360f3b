from __future__ import annotations

from pathlib import Path

import pytest

from fgcme.data import SpeechCorpus
from fgcme.report.content import TrainingCost
from fgcme.tracking import Tracker
from pipelines.reporting import collect_results, read_run, write_results
from pipelines.runs.reproduce import Repetition
from tests import small_corpus
from tests.fgcme.report.sample_report import sample_content
from tests.pipelines.reporting.sample_run import predict_class, record_run
from tests.store import make_tracker


@pytest.fixture(scope="module")
def tracker(tmp_path_factory: pytest.TempPathFactory) -> Tracker:
    return make_tracker(tmp_path_factory.mktemp("store"))


def test_a_report_holds_metrics_curves_and_costs_of_the_recorded_run(tracker: Tracker, tmp_path: Path) -> None:
    corpus = SpeechCorpus(small_corpus.write(tmp_path / "corpus"))
    run = record_run(tracker, tmp_path, small_corpus.experiment(), predict_class(corpus, 1), "hash")
    content = collect_results(tracker, read_run(tracker, tracker.find_run(run)))
    (results,) = content.result_sets
    # Always one of four classes, each as frequent as the others.
    assert results.ua("small") == pytest.approx(0.25)
    assert results.conditions.label == "demo/4class, epochs chosen on dev"
    assert results.remarks == {}
    assert content.without_tuned_on == []
    assert content.gaps == {}
    assert content.learning["small"].dev_ua.mean.tolist() == pytest.approx([0.3, 0.55])
    assert content.learning["small"].train_loss.mean.tolist() == pytest.approx([1.0, 0.5])
    assert content.training_costs == {"small": TrainingCost(2, 21.0)}
    assert content.provenance.run == run
    assert content.provenance.commands[-1] == "fgcme report latest"


def test_speakers_tuned_on_are_left_out_where_two_others_remain(tracker: Tracker, tmp_path: Path) -> None:
    corpus = SpeechCorpus(small_corpus.write(tmp_path / "corpus", speakers=4))
    predictions = predict_class(corpus, 1)
    for tuned_on, remaining in ((["s0", "s1"], {"s2", "s3"}), (["s0", "s1", "s2"], None)):
        experiment = small_corpus.experiment(protocol={"tuned_on": tuned_on})
        run = record_run(tracker, tmp_path, experiment, predictions, "hash")
        content = collect_results(tracker, read_run(tracker, tracker.find_run(run)))
        assert content.result_sets[0].conditions.tuned_on == tuned_on
        assert content.too_few_untuned == (remaining is None)
        assert [set(each.speakers) for each in content.without_tuned_on] == ([] if remaining is None else [remaining])
        assert all(not each.conditions.optimistic for each in content.without_tuned_on)


def test_a_folder_gets_the_page_its_figures_tables_and_the_files_that_repeat_the_run(tmp_path: Path) -> None:
    repetition = Repetition(small_corpus.experiment(), [], {"experiment.yaml": "name: small\n"})
    folder = tmp_path / "report"
    write_results(folder, sample_content(), repetition)
    assert {path.name for path in folder.iterdir()} == {
        "index.html",
        "figures",
        *(f"{table}.csv" for table in ("results", "speakers", "confusions")),
        "results-dev.tex",
        "results-test-optimistic.tex",
        "experiment.yaml",
    }
    assert (folder / "experiment.yaml").read_text() == "name: small\n"
    figures = {path.stem for path in (folder / "figures").iterdir()}
    assert {"estimates-dev", "estimates-test-optimistic", "selection-gap", "confusion-mean_max-dev"} <= figures
    assert (folder / "figures" / "recalls-dev.png").read_bytes().startswith(b"\x89PNG")
