"""Training on all speakers: what it takes from a cross-validation, records and prints; in this process, without Ray."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from fgcme.errors import UserError
from fgcme.experiment import Experiment
from fgcme.prepared import read_description
from fgcme.serving import fitted
from fgcme.serving.registry import download_model
from fgcme.tracking import Tracker
from pipelines import final, train
from pipelines.predict import predict
from pipelines.register import register
from pipelines.report import report
from pipelines.training.runner import Training
from tests import small_corpus
from tests.fitted_model import write_audio
from tests.in_process import train_in_process
from tests.store import make_tracker


@dataclass(frozen=True)
class Done:
    """A cross-validation and the final training after it."""

    experiment: Experiment
    tracker: Tracker
    measured: str
    run: str
    trained: list[Training]
    printed: str


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Done]:
    place = tmp_path_factory.mktemp("final")
    tracker, folder = make_tracker(place), small_corpus.write(place / "corpus", each=4)
    # Its frames have as many values as those of a recording have by these settings.
    prepare = {"alignment": {"method": "uniform"}, "features": {"bins": 6}}
    description = read_description(folder)
    settings = {"prepare.alignment.method": "uniform", "prepare.features.bins": 6}
    replace(description, settings=description.settings | settings).write(folder)
    experiment = small_corpus.experiment(
        prepare={"folder": str(folder), **prepare},
        storage={"path": str(place / "storage")},
        tracking={"uri": tracker.uri},
        training={"epochs": 2, "batch_size": 32, "seeds": [0, 1]},
    )
    printed = io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        train_in_process(train, patch)
        trained = train_in_process(final, patch)
        with pytest.raises(UserError, match="no finished cross-validation of small"):
            final.run(experiment)
        measured = train.run(experiment)
        with contextlib.redirect_stdout(printed):
            run = final.run(experiment)
        yield Done(experiment, tracker, measured, run, trained, printed.getvalue())


def test_a_final_training_takes_the_epochs_and_the_estimate_of_its_cross_validation(done: Done, tmp_path: Path) -> None:
    tracker, measured, run = done.tracker, done.measured, done.run
    recorded, before = tracker.find_run(run), tracker.find_run(measured)
    assert recorded.info.status == "FINISHED" and tracker.find_run("latest").info.run_id == run
    best = sorted(int(child.data.metrics["best/epoch"]) for child in tracker.child_runs(measured))
    jobs = [(each.job.fold, each.job.seed, each.job.epochs) for each in done.trained[:2]]
    assert jobs == [(None, 0, best[4]), (None, 1, best[4])]
    tags = recorded.data.tags
    assert (tags["fgcme.kind"], tags["fgcme.cross_validation"]) == ("final_training", measured)
    assert tags["fgcme.tested"].startswith("no test part") and tags["fgcme.epochs"] == str(best[4])
    # No metric of it is called a test of it.
    assert recorded.data.metrics["cross_validation_test/ua"] == before.data.metrics["test/ua"]
    assert all(name.startswith("cross_validation_test") for name in recorded.data.metrics)
    for child in tracker.child_runs(run):
        assert not any(name.startswith(("test/", "best/dev/")) for name in child.data.metrics)
    ua, deviation = (100 * before.data.metrics[f"test/ua{suffix}"] for suffix in ("", "_deviation"))
    assert f"no test part; the estimate is that of cross-validation {measured}, selection dev (honest)" in done.printed
    assert f"UA {ua:.1f} ± {deviation:.1f}" in done.printed and f"next: fgcme register {run}" in done.printed
    with pytest.raises(UserError, match=f"has nothing to report: .* its estimate is that of run {measured}"):
        report("latest", tmp_path / "report", tracker.uri)


def test_its_models_are_registered_with_the_estimate_named_as_such(
    done: Done, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    tracker, measured, run = done.tracker, done.measured, done.run
    registered = register("latest", "everybody", "champion", tracker.uri)
    assert registered.run == tracker.child_runs(run)[0].info.run_id
    assert ": all speakers, seed 0, the first of 2 seeds\n" in capsys.readouterr().out
    _, spec = fitted.load(download_model("models:/everybody@champion", tracker.uri, tmp_path / "download"))
    assert spec.origin["seed"] == 0 and len(spec.words) == len(small_corpus.WORDS)
    version = tracker.client.get_model_version("everybody", "1")
    assert version.tags["cross_validation"] == measured
    assert version.tags["epochs"] == tracker.find_run(run).data.tags["fgcme.epochs"]
    ua = tracker.find_run(measured).data.metrics["test/ua"]
    assert version.tags["cross_validation.test_ua"] == f"{ua:.4f}"
    assert not any(name.startswith("fold.") for name in version.tags)
    assert f"cross-validation {measured}, test parts, out of fold | {100 * ua:.1f}" in version.description
    assert "Trained on all speakers" in version.description and "not complete" not in version.description
    recording = write_audio(tmp_path / "a.wav")
    assert predict("models:/everybody@champion", [recording], ["red green"], "json", tracking_uri=tracker.uri) == 0
    assert json.loads(capsys.readouterr().out)["label"] in spec.classes


def test_its_seeds_are_registered_together_with_the_estimate_of_seeds_together(done: Done) -> None:
    tracker, run = done.tracker, done.run
    together = register(run, "together", None, tracker.uri, together=True)
    version = tracker.client.get_model_version("together", "1")
    assert (together.run, version.tags["members"], version.tags["seed"]) == (run, "2", "0, 1")
    expected = tracker.find_run(run).data.metrics["cross_validation_test_together/ua"]
    assert version.tags["ensemble.test_ua"] == f"{expected:.4f}"
    assert "2 models of all speakers" in version.description and "some of its models" not in version.description


def test_it_is_resumed_with_the_cross_validation_that_it_began_with(done: Done) -> None:
    run, measured = done.run, done.measured
    (done.trained[1].job.folder / "result.json").unlink()
    with pytest.raises(UserError, match=f"began with cross-validation {measured}: resume it with --final alone"):
        final.run(done.experiment, run, resume="latest")
    assert final.run(done.experiment, resume="latest") == run
    assert [each.job.seed for each in done.trained] == [0, 1, 1]
    assert done.tracker.find_run(run).data.tags["fgcme.cross_validation"] == measured
    # Each verb resumes its own.
    assert train.run(done.experiment, resume="latest") == measured
    with pytest.raises(UserError, match=f"--resume {measured}: is no final-training; give the id of one"):
        final.run(done.experiment, resume=measured)
