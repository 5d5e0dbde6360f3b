"""Models of ratings: registered with a card, together, trained on everybody, exported, asked about worse recordings."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from fgcme import audio
from fgcme.experiment import Experiment
from fgcme.robustness import CLEAN
from fgcme.serving.classifier import Classifier
from fgcme.serving.registry import download_model
from fgcme.tracking import Tracker
from pipelines import final, train
from pipelines.export import export
from pipelines.predict import predict
from pipelines.promote import demote, promote
from pipelines.register import register
from pipelines.robustness import robustness
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
    """Learns valence and arousal with two seeds."""
    return rated_corpus.rated_experiment(
        rated_corpus.write(place / "corpus", speakers=9, each=8),
        storage={"path": str(place / "storage")},
        tracking={"uri": tracker.uri},
        training={"seeds": [0, 1]},
    )


@pytest.fixture(scope="module")
def run(experiment: Experiment) -> Iterator[str]:
    """Id of its cross-validation, whose robustness was measured."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        train_in_process(train, monkeypatch)
        yield train.run(experiment)


@pytest.fixture
def recording(place: Path) -> Path:
    return rated_corpus.sounds_of(place / "corpus") / "s0-00.wav"


def card_of(tracker: Tracker, name: str, version: int) -> str:
    source = tracker.client.get_model_version(name, str(version)).source
    return (Path(source.removeprefix("file://")) / "README.md").read_text(encoding="utf-8")


def test_a_version_has_its_concordance_in_its_tags_and_in_its_card(
    run: str, tracker: Tracker, recording: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    conditions = robustness(run, 12, tracking_uri=tracker.uri)
    assert conditions[0].name == CLEAN and "CCC (95 % interval)" in capsys.readouterr().out
    registered = register(run, "rated", "champion", tracker.uri)
    metrics = tracker.find_run(run).data.metrics
    version = tracker.client.get_model_version("rated", "1")
    for name in ("ccc", "ccc_valence", "ccc_arousal"):
        assert version.tags[f"cross_validation.test_{name}"] == f"{metrics[f'test/{name}']:.4f}"
    assert not any(name.endswith(("_ua", "_wa")) for name in version.tags)
    assert re.search(rf"cross_validation\.test_ccc +{metrics['test/ccc']:.3f}\n", capsys.readouterr().out)
    said = "valence from 1 to 5, arousal from 1 to 7"
    row = " | ".join(f"{metrics[f'test/{name}']:.3f}" for name in ("ccc", "ccc_valence", "ccc_arousal"))
    assert said in version.description and f"test parts, out of fold | {row} |" in version.description
    card = card_of(tracker, "rated", 1)
    assert "### Robustness of ratings" in card and "| telephone, 300 to 3,400 Hz | " in card
    assert predict(registered.uri, [recording], ["red green"], "json", tracking_uri=tracker.uri) == 0
    answer = json.loads(capsys.readouterr().out)
    assert set(answer["ratings"]) == {"valence", "arousal"} and "label" not in answer


def test_an_ensemble_answers_by_its_mean_ratings_and_its_estimate_is_that_of_the_seeds_together(
    run: str, tracker: Tracker, recording: Path, tmp_path: Path
) -> None:
    register(run, "together", "champion", tracker.uri, together=True)
    version = tracker.client.get_model_version("together", "1")
    metrics = tracker.find_run(run).data.metrics
    assert version.tags["members"] == "6"
    # The mean of two answers is closer to the rating than either.
    assert float(version.tags["ensemble.test_ccc"]) > metrics["test/ccc"]
    assert "all of them, by their mean ratings" in version.description
    folder, samples = download_model("models:/together@champion", tracker.uri, tmp_path), audio.read(recording)
    members = sorted(path.parent for path in folder.glob("member-*/model.json"))
    alone = [Classifier(member).predict(samples, "red green").ratings["valence"] for member in members]
    together = Classifier(folder).predict(samples, "red green").ratings["valence"]
    assert together == pytest.approx(np.mean(alone), abs=1e-5)


def test_only_a_better_model_becomes_the_champion(
    run: str,
    experiment: Experiment,
    tracker: Tracker,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    train_in_process(train, monkeypatch)
    training = experiment.training.model_copy(update={"epochs": 1})
    worse = register(train.run(experiment.model_copy(update={"training": training})), "best", None, tracker.uri)
    better = register(run, "best", None, tracker.uri)
    assert promote("best", str(worse.version), tracking_uri=tracker.uri)
    assert promote("best", str(better.version), tracking_uri=tracker.uri)
    assert "the champion now, over version 1: CCC +" in capsys.readouterr().out
    assert not promote("best", str(worse.version), tracking_uri=tracker.uri)
    assert "version 2 stays the champion: CCC \N{MINUS SIGN}" in capsys.readouterr().out
    demote("best", tracker.uri)
    assert int(tracker.client.get_model_version_by_alias("best", "champion").version) == 1


def test_a_model_of_everybody_has_the_estimate_of_the_cross_validation(
    run: str,
    experiment: Experiment,
    tracker: Tracker,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    trained = train_in_process(final, monkeypatch)
    everybody = final.run(experiment)
    measured = tracker.find_run(run).data.metrics
    printed = capsys.readouterr().out
    assert f"CCC {measured['test/ccc']:.3f} ± {measured['test/ccc_deviation']:.3f} (valence" in printed
    assert "per cent" not in printed.split("no test part")[1]
    assert [each.job.fold for each in trained] == [None, None]
    register(everybody, "everybody", None, tracker.uri, together=True)
    tags = tracker.client.get_model_version("everybody", "1").tags
    assert tags["cross_validation.test_ccc"] == f"{measured['test/ccc']:.4f}"
    assert float(tags["ensemble.test_ccc"]) > measured["test/ccc"]


def test_it_is_exported_to_a_folder_and_to_a_graph_that_answer_alike(
    run: str, tracker: Tracker, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    registered = register(run, "exported", None, tracker.uri)
    capsys.readouterr()
    export(registered.uri, tmp_path / "hub", tmp_path / "model.onnx", tracker.uri)
    assert "200 random utterances; the largest difference of a rating is " in capsys.readouterr().out
    assert "The ratings are valence from 1 to 5" in (tmp_path / "hub" / "README.md").read_text(encoding="utf-8")
