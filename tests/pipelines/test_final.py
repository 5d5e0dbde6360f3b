"""Training on all speakers: what it takes from a cross-validation, records and prints; in this process, without Ray."""

from __future__ import annotations

from pathlib import Path

import pytest

from fgcme.errors import UserError
from fgcme.experiment import Experiment
from fgcme.serving import fitted
from fgcme.serving.registry import download_model
from fgcme.tracking import Tracker
from pipelines import final, train
from pipelines.register import register
from pipelines.report import report
from pipelines.training.runner import Training
from tests import small_corpus
from tests.in_process import train_in_process


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[Training]:
    train_in_process(train, monkeypatch)
    return train_in_process(final, monkeypatch)


@pytest.fixture
def experiment(tracker: Tracker, tmp_path: Path) -> Experiment:
    return small_corpus.experiment(
        prepare={"folder": str(small_corpus.write(tmp_path / "corpus", each=4))},
        storage={"path": str(tmp_path / "storage")},
        tracking={"uri": tracker.uri},
        training={"epochs": 2, "batch_size": 32, "seeds": [0, 1]},
    )


def test_a_final_training_takes_the_epochs_and_the_estimate_of_its_cross_validation(
    experiment: Experiment,
    tracker: Tracker,
    trained: list[Training],
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    with pytest.raises(UserError, match="no finished cross-validation of small"):
        final.run(experiment)
    measured = train.run(experiment)
    capsys.readouterr()
    run = final.run(experiment)
    printed = capsys.readouterr().out
    recorded, before = tracker.find_run(run), tracker.find_run(measured)
    assert recorded.info.status == "FINISHED" and tracker.find_run("latest").info.run_id == run
    tags = recorded.data.tags
    assert (tags["fgcme.kind"], tags["fgcme.cross_validation"]) == ("final_training", measured)
    assert tags["fgcme.tested"].startswith("no test part") and tags["fgcme.epochs"] == str(trained[0].job.epochs)
    best = sorted(int(child.data.metrics["best/epoch"]) for child in tracker.child_runs(measured))
    assert [(each.job.fold, each.job.seed, each.job.epochs) for each in trained] == [
        (None, 0, best[4]),
        (None, 1, best[4]),
    ]
    # No metric of it is called a test of it.
    assert recorded.data.metrics["cross_validation_test/ua"] == before.data.metrics["test/ua"]
    assert all(name.startswith("cross_validation_test") for name in recorded.data.metrics)
    ua, deviation = (100 * before.data.metrics[f"test/ua{suffix}"] for suffix in ("", "_deviation"))
    assert f"no test part; the estimate is that of cross-validation {measured}, selection dev (honest)" in printed
    assert f"UA {ua:.1f} ± {deviation:.1f}" in printed and f"next: fgcme register {run}" in printed
    for child in tracker.child_runs(run):
        assert not any(name.startswith(("test/", "best/dev/")) for name in child.data.metrics)
    with pytest.raises(UserError, match=f"has nothing to report: .* its estimate is that of run {measured}"):
        report("latest", tmp_path / "report", tracker.uri)


def test_its_models_are_registered_with_the_estimate_named_as_such(
    experiment: Experiment,
    tracker: Tracker,
    trained: list[Training],
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    measured = train.run(experiment)
    run = final.run(experiment, measured)
    capsys.readouterr()
    registered = register("latest", "everybody", "champion", tracker.uri)
    assert registered.run == tracker.child_runs(run)[0].info.run_id
    assert ": all speakers, seed 0, the first of 2 seeds\n" in capsys.readouterr().out
    _, spec = fitted.load(download_model("models:/everybody@champion", tracker.uri, tmp_path / "download"))
    assert spec.origin["seed"] == 0 and len(spec.words) == len(small_corpus.WORDS)
    version = tracker.client.get_model_version("everybody", "1")
    assert version.tags["cross_validation"] == measured
    assert version.tags["epochs"] == str(trained[0].job.epochs)
    ua = tracker.find_run(measured).data.metrics["test/ua"]
    assert version.tags["cross_validation.test_ua"] == f"{ua:.4f}"
    assert not any(name.startswith("fold.") for name in version.tags)
    assert f"cross-validation {measured}, test parts, out of fold | {100 * ua:.1f}" in version.description
    assert "Trained on all speakers" in version.description and "not complete" not in version.description
    together = register(run, "together", None, tracker.uri, together=True)
    version = tracker.client.get_model_version("together", "1")
    assert (together.run, version.tags["members"], version.tags["seed"]) == (run, "2", "0, 1")
    expected = tracker.find_run(run).data.metrics["cross_validation_test_together/ua"]
    assert version.tags["ensemble.test_ua"] == f"{expected:.4f}"
    assert "2 models of all speakers" in version.description and "some of its models" not in version.description


def test_it_is_resumed_with_the_cross_validation_that_it_began_with(
    experiment: Experiment, tracker: Tracker, trained: list[Training]
) -> None:
    first = train.run(experiment)
    run = final.run(experiment)
    for each in trained[1:]:
        (each.job.folder / "result.json").unlink()
    second = train.run(experiment)
    with pytest.raises(UserError, match=f"began with cross-validation {first}: resume it with --final alone"):
        final.run(experiment, second, resume="latest")
    assert final.run(experiment, resume="latest") == run
    assert [each.job.seed for each in trained] == [0, 1, 1]
    assert tracker.find_run(run).data.tags["fgcme.cross_validation"] == first
    # Each verb resumes its own.
    assert train.run(experiment, resume="latest") == second
    with pytest.raises(UserError, match=f"--resume {second}: is no final-training; give the id of one"):
        final.run(experiment, resume=second)
