"""A run's model becomes a version of a registered model, which says where its numbers come from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from huggingface_hub import ModelCard

from fgcme import audio
from fgcme.data.protocol import named_protocols
from fgcme.errors import UserError
from fgcme.evaluation.cross_validation import predictions_table
from fgcme.serving import fitted
from fgcme.serving.classifier import Classifier
from fgcme.serving.registry import download_model
from fgcme.tracking import Tracker
from pipelines.predict import predict
from pipelines.register import register
from tests import small_corpus
from tests.fitted_model import CLASSES, mean_logits, write_audio
from tests.store import crowd, make_tracker, record_cross_validation


@pytest.fixture(scope="module")
def tracker(tmp_path_factory: pytest.TempPathFactory) -> Tracker:
    return make_tracker(tmp_path_factory.mktemp("store"))


@pytest.fixture(scope="module")
def cross_validation(tracker: Tracker, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, list[str]]:
    return record_cross_validation(tracker, tmp_path_factory.mktemp("folds"), [0.5, 0.7, 0.6])


def test_the_fold_with_the_highest_dev_score_is_registered(
    tracker: Tracker, cross_validation: tuple[str, list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    parent, folds = cross_validation
    registered = register(parent, "best", "champion", tracker.uri)
    assert registered.run == folds[1]
    assert registered.uri == "models:/best@champion"
    assert fitted.load(download_model("models:/best@champion", tracker.uri, tmp_path))[1].origin["fold"] == 1
    assert 'next: fgcme predict models:/best@champion some.wav --text "' in capsys.readouterr().out


def test_a_version_has_its_origin_and_its_scores(tracker: Tracker, cross_validation: tuple[str, list[str]]) -> None:
    _, folds = cross_validation
    registered = register(folds[0], "told", None, tracker.uri)
    assert registered.uri == "models:/told/1"
    version = tracker.client.get_model_version("told", "1")
    assert version.run_id == folds[0]
    assert version.tags == {
        "protocol": "demo/4class",
        "selection": "dev",
        "corpus": "demo",
        "corpus_hash": "c0ffee",
        "commit": "abc123-dirty",
        "fold": "0",
        "seed": "0",
        "source_run": folds[0],
        "fold.dev_ua": "0.5000",
        "fold.dev_wa": "0.5000",
        "fold.test_ua": "0.5000",
        "fold.test_wa": "0.4000",
        "cross_validation.dev_ua": "0.6000",
        "cross_validation.dev_wa": "0.6000",
        "cross_validation.test_ua": "0.4440",
        "cross_validation.test_wa": "0.5550",
    }
    for said in ("demo/4class", "c0ffee", "abc123-dirty", "44.4", "angry, calm, happy", "3 finished trainings"):
        assert said in version.description
    assert "ptimistic" not in version.description


def test_an_ensemble_of_all_models_says_its_out_of_fold_estimate(
    tracker: Tracker, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    parent, folds = record_cross_validation(tracker, tmp_path, [0.5, 0.7, 0.6])
    # Two seeds of one fold, each right about one utterance, and together about both; and another fold.
    logits = {(0, 0): [[3.0, 0.0, 0.0], [1.0, 0.0, 0.0]], (0, 1): [[0.0, 1.0, 0.0], [0.0, 3.0, 0.0]]}
    for run, ((fold, seed), rows) in zip(
        folds, [*logits.items(), ((1, 0), [[0.0, 0.0, 1.0], [0.0, 0.0, 1.0]])], strict=True
    ):
        ids = [f"{fold}-{index}" for index in range(2)]
        labels = np.array([0, 1] if fold == 0 else [2, 0])
        table = predictions_table(ids, ["s", "s"], labels, np.array(rows), CLASSES, fold, seed)
        pq.write_table(table, tmp_path / "predictions.parquet")
        tracker.log_artifact(run, tmp_path / "predictions.parquet")
    registered = register(parent, "together", "champion", tracker.uri, together=True)
    printed = capsys.readouterr().out
    assert "together version 1: 3 models of folds 0, 1, 2, seeds 0" in printed
    tags = tracker.client.get_model_version("together", "1").tags
    assert (tags["members"], tags["fold"], tags["source_run"], registered.run) == ("3", "0, 1, 2", parent, parent)
    # Two of three recalls are whole, angry's is one of two.
    assert float(tags["ensemble.test_ua"]) == pytest.approx((1 / 2 + 1 + 1) / 3, abs=1e-4)
    assert float(tags["ensemble.test_wa"]) == pytest.approx(3 / 4, abs=1e-4)
    assert tags["cross_validation.test_ua"] == "0.4440" and not [key for key in tags if key.startswith("fold.")]
    description = tracker.client.get_model_version("together", "1").description
    assert "3 models of folds 0, 1, 2" in description and "no honest score" in description
    folder = download_model("models:/together@champion", tracker.uri, tmp_path / "download")
    sound = audio.read(write_audio(tmp_path / "a.wav"))
    alone = [Classifier(tmp_path / f"fold-{fold}").predict(sound, "dogs are") for fold in range(3)]
    together = Classifier(folder).predict(sound, "dogs are").probabilities
    assert list(together.values()) == pytest.approx(mean_logits(alone), rel=1e-5)


def test_metrics_are_those_of_the_logged_model_on_the_corpus(
    tracker: Tracker, cross_validation: tuple[str, list[str]]
) -> None:
    _, folds = cross_validation
    register(folds[0], "linked", None, tracker.uri)
    (model,) = tracker.client.search_logged_models([tracker.get_or_create_experiment("demo")], "name = 'linked'")
    measured = {metric.key: (metric.value, metric.dataset_name, metric.dataset_digest) for metric in model.metrics}
    assert measured["fold.test_ua"] == (0.5, "demo", "c0ffee")
    assert measured["cross_validation.test_ua"] == (0.444, "demo", "c0ffee")
    (given,) = tracker.client.get_run(folds[0]).inputs.dataset_inputs
    assert given.dataset.digest == "c0ffee"


def test_an_ensemble_takes_a_cross_validation(tracker: Tracker, cross_validation: tuple[str, list[str]]) -> None:
    with pytest.raises(UserError, match="is no cross-validation: --ensemble takes a run of `fgcme train`"):
        register(cross_validation[1][0], "one", None, tracker.uri, together=True)


def test_a_model_selected_on_test_is_called_optimistic(tracker: Tracker, tmp_path: Path) -> None:
    parent, _ = record_cross_validation(tracker, tmp_path, [0.5], selection="test")
    register(parent, "selected-on-test", None, tracker.uri, force=True)
    version = tracker.client.get_model_version("selected-on-test", "1")
    assert version.tags["selection"] == "test (optimistic)"
    assert "**Optimistic" in version.description


@pytest.mark.parametrize("together", [False, True])
@pytest.mark.parametrize(
    ("tags", "selection", "complete", "reason"),
    [
        ({}, "test", True, "its epochs were chosen on the test part"),
        ({}, "dev", False, "run {} is FAILED"),
        ({"fgcme.corpus_hash": "unknown"}, "dev", True, "its corpus_hash is unknown"),
    ],
    ids=["selected on test", "unfinished", "of an unknown corpus"],
)
def test_what_cannot_be_trusted_is_refused_unless_forced_and_tagged(
    tracker: Tracker,
    tmp_path: Path,
    tags: dict[str, str],
    selection: str,
    complete: bool,
    reason: str,
    together: bool,
) -> None:
    parent, _ = record_cross_validation(tracker, tmp_path, [0.5], selection, complete)
    tracker.set_tags(parent, tags)
    reason = reason.format(parent)
    with pytest.raises(UserError, match=f"is not registered: {reason}. With --force it is"):
        register(parent, "doubtful", None, tracker.uri, together)
    version = register(parent, "doubtful", None, tracker.uri, together, force=True).version
    registered = tracker.client.get_model_version("doubtful", str(version))
    assert registered.tags["forced"] == reason and f"Forced: {reason}" in registered.description


def test_a_training_of_an_ablation_has_its_variant_and_its_own_cross_validation(
    tracker: Tracker, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    parent, folds = record_cross_validation(tracker, tmp_path, [0.5, 0.7, 0.6, 0.9, 0.8], complete=False)
    tracker.set_tags(parent, {"fgcme.kind": "ablation", "fgcme.space": "demo-parts", "fgcme.tuned_on": "s1"})
    of = [("mean", "dev"), ("mean", "dev"), ("mean", "test"), ("max", "dev"), ("max", "test")]
    for run, (variant, selection) in zip(folds, of, strict=True):
        tracker.set_tags(run, {"fgcme.variant": variant, "fgcme.selection": selection})

    def version(run: str) -> tuple[dict[str, str], str]:
        number = str(register(run, "variant", None, tracker.uri, force=True).version)
        registered = tracker.client.get_model_version("variant", number)
        return registered.tags, registered.description

    tags, description = version(folds[1])
    assert not [key for key in tags if key.startswith("cross_validation")]
    assert "one of 2 finished trainings" in description and "is not complete" in description
    measured = {"test": 0.11, "test_untuned": 0.22, "test_selected_on_test": 0.33}
    for name, value in measured.items():
        tracker.log_metrics(parent, {f"{name}/mean/{each}": value for each in ("ua", "wa")}, 0)
    tags, description = version(folds[1])
    assert (tags["variant"], tags["ablation"], tags["tuned_on"]) == ("mean", "demo-parts", "s1")
    assert "Variant mean of the ablation demo-parts. Fold 1" in description and "not complete" not in description
    scores = {key.partition(".")[2]: value for key, value in tags.items() if key.startswith("cross_validation")}
    assert {key: value for key, value in scores.items() if key.endswith("ua")} == {
        "test_ua": "0.1100",
        "untuned_ua": "0.2200",
        "dev_ua": "0.6000",
    }
    assert "version 2: mean, fold 1, seed" in capsys.readouterr().out
    assert version(folds[2])[0]["cross_validation.test_ua"] == "0.3300"
    with pytest.raises(UserError, match="compares several variants: give the id of one of its trainings"):
        register(parent, "variant", None, tracker.uri)


def test_an_incomplete_cross_validation_has_no_metrics_of_its_own(tracker: Tracker, tmp_path: Path) -> None:
    parent, _ = record_cross_validation(tracker, tmp_path, [0.5, 0.6], complete=False)
    register(parent, "incomplete", None, tracker.uri, force=True)
    version = tracker.client.get_model_version("incomplete", "1")
    assert not [key for key in version.tags if key.startswith("cross_validation")]
    assert "not complete" in version.description


def test_registering_again_creates_a_new_version_and_moves_the_alias(
    tracker: Tracker, cross_validation: tuple[str, list[str]], tmp_path: Path
) -> None:
    _, folds = cross_validation
    assert register(folds[0], "again", "champion", tracker.uri).version == 1
    assert register(folds[2][:12], "again", "champion", tracker.uri).version == 2
    for address, fold in (("models:/again/1", 0), ("models:/again@champion", 2)):
        folder = tmp_path / str(fold)
        folder.mkdir()
        assert fitted.load(download_model(address, tracker.uri, folder))[1].origin["fold"] == fold


def test_the_latest_is_ours_whatever_others_keep_in_the_same_store(tmp_path: Path) -> None:
    tracker = make_tracker(tmp_path)
    _, folds = record_cross_validation(tracker, tmp_path, [0.5, 0.75])
    crowd(tracker.uri, experiments=1500, runs=3000)
    assert register("latest", "ours", "champion", tracker.uri).run == folds[1]


@pytest.mark.parametrize(("name", "alias"), [("a/b", None), ("fine", "v1")])
def test_names_that_mlflow_cannot_hold_are_refused_before_anything_is_registered(
    tracker: Tracker, name: str, alias: str | None
) -> None:
    with pytest.raises(UserError, match=r"model name|alias"):
        register("latest", name, alias, tracker.uri)
    assert "fine" not in [model.name for model in tracker.client.search_registered_models()]


def test_runs_without_a_model_say_what_to_register_instead(tracker: Tracker) -> None:
    experiment = tracker.get_or_create_experiment("sweeps")
    sweep = tracker.create_run(experiment, "a sweep", tags={"fgcme.kind": "sweep"})
    foreign = tracker.create_run(experiment, "from a notebook")
    unfinished = tracker.create_run(experiment, "fold 0", tags={"fgcme.kind": "fold"})
    empty = tracker.create_run(experiment, "no folds", tags={"fgcme.kind": "cross_validation"})
    for run, message in (
        (sweep, r"\(a sweep, sweep\) has no model: train its artifact best\.yaml with `fgcme train`"),
        (foreign, r"\(from a notebook, run of another program\) has no model: register a run of `fgcme train`"),
        (unfinished, "has no model, its status is RUNNING"),
        (empty, "no finished fold with a model"),
    ):
        with pytest.raises(UserError, match=message):
            register(run, "none", None, tracker.uri)


def test_predicting_by_alias_by_version_and_by_run_agree(
    tracker: Tracker,
    cross_validation: tuple[str, list[str]],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    _, folds = cross_validation
    recording = write_audio(tmp_path / "a.wav")
    register(folds[2], "agree", "champion", tracker.uri)
    capsys.readouterr()

    def answer(address: str) -> str:
        assert predict(address, [recording], ["the dogs are"], "json", tracking_uri=tracker.uri) == 0
        return capsys.readouterr().out

    first = answer("models:/agree@champion")
    assert '"label"' in first
    assert answer("models:/agree/1") == first
    assert answer(f"runs:/{folds[2]}/model") == first
    assert answer(f"runs:/{folds[0]}/model") != first


def test_a_version_has_a_card_with_the_figures_of_its_cross_validation(tracker: Tracker, tmp_path: Path) -> None:
    parent, _ = record_cross_validation(tracker, tmp_path, [0.5, 0.7])
    classes = named_protocols()["demo/4class"].classes
    tables = []
    for fold, speaker in enumerate(["female1", "male1", "male2"]):
        labels = np.arange(8) % 4
        # One of eight answers of each man is wrong.
        said = np.where(np.arange(8) < fold, (labels + 1) % 4, labels)
        ids = [f"{speaker}-{number}" for number in range(8)]
        tables.append(predictions_table(ids, [speaker] * 8, labels, 4 * np.eye(4)[said], classes, fold, seed=0))
    pq.write_table(pa.concat_tables(tables), tmp_path / "predictions.parquet")
    tracker.log_artifact(parent, tmp_path / "predictions.parquet")
    tracker.log_text(parent, small_corpus.experiment().to_yaml(), "experiment.yaml")
    version = tracker.client.get_model_version("carded", str(register(parent, "carded", None, tracker.uri).version))
    card = (Path(version.source.removeprefix("file://")) / "README.md").read_text()
    result, *_ = ModelCard(card).data.eval_results
    assert (result.metric_name, result.metric_value) == ("UA", 0.875)
    for text in (card, version.description):
        assert "3 speakers, 1 female and 2 male" in text
        assert "| female speakers | 100.0 |" in text
    assert "fgcme predict models:/carded/VERSION" in card and "| male2 | 8 | 75.0 |" in card
    assert "README.md" in version.description and "male2" not in version.description
