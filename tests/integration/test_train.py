"""Training on Ray: in process, with workers, killed, resumed; what it leaves in MLflow and on disk."""

from __future__ import annotations

import os
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import ray

from fgcme.data import SpeechCorpus
from fgcme.errors import UserError
from fgcme.experiment import Experiment
from fgcme.serving import ensemble
from fgcme.serving.prediction import predict
from fgcme.serving.registry import download_model
from fgcme.tracking import Tracker
from pipelines import cli, final, train
from pipelines.register import register
from tests import small_corpus
from tests.integration.conftest import PATIENCE, Make, descendants, program, wait_for
from tests.store import make_tracker

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("ray_session")]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the store, which all tests share."""
    return tmp_path_factory.mktemp("trainings")


@pytest.fixture(scope="module")
def tracker(place: Path) -> Tracker:
    """The store."""
    return make_tracker(place)


@pytest.fixture(scope="module")
def experiment(prepared: Path, tracker: Tracker, place: Path) -> Make:
    """Makes small experiments on the prepared corpus, recorded in the store."""

    def make(**sections: dict[str, object]) -> Experiment:
        return small_corpus.experiment(
            prepare={"folder": str(prepared)},
            storage={"path": str(place / "storage")},
            tracking={"uri": tracker.uri},
            **sections,
        )

    return make


@pytest.fixture(scope="module")
def undisturbed(experiment: Make) -> str:
    """A cross-validation that was never interrupted."""
    return train.run(experiment(training={"seeds": [0, 1]}))


def history(tracker: Tracker, run: str, metric: str) -> list[tuple[int, float]]:
    """All (epoch, value) of a metric of the run's first training."""
    return tracker.metric_history(tracker.child_runs(run)[0].info.run_id, metric)


def measured(tracker: Tracker, run: str) -> dict[tuple[str, str], dict[str, float]]:
    """Metrics of a run's trainings on their test parts, by fold and seed."""
    return {
        (child.data.tags["fgcme.fold"], child.data.tags["fgcme.seed"]): {
            name: value for name, value in child.data.metrics.items() if name.startswith("test/")
        }
        for child in tracker.child_runs(run)
    }


def run_with_file(storage: Path, name: str) -> str | None:
    """The run whose first training has left a file or folder of this name."""
    # Look for files: asking the store as often would slow the training down.
    found = list(storage.glob(f"runs/*/fold-0-seed-0/{name}"))
    return found[0].parents[1].name if found else None


def test_a_cross_validation_is_recorded_completely(tracker: Tracker, undisturbed: str, tmp_path: Path) -> None:
    run = undisturbed
    parent = tracker.find_run(run)
    children = tracker.child_runs(run)
    assert parent.info.status == "FINISHED"
    assert parent.data.params["model.pooling.kind"] == "mean_max"
    tags = parent.data.tags
    assert tags["fgcme.protocol"] == "demo/4class"
    assert tags["fgcme.selection"] == "dev"
    assert len(tags["fgcme.corpus_hash"]) == 16
    assert tags["fgcme.commit"]
    assert 0 <= parent.data.metrics["test/ua"] <= 1
    assert {(child.data.tags["fgcme.fold"], child.data.tags["fgcme.seed"]) for child in children} == {
        (str(fold), str(seed)) for fold in range(4) for seed in range(2)
    }
    assert all(child.info.status == "FINISHED" for child in children)
    for name in ("experiment.yaml", "confusion.png", "predictions.parquet"):
        assert tracker.has_artifact(run, name)
    assert tracker.has_artifact(children[0].info.run_id, "model/model.safetensors")
    assert [step for step, _ in tracker.metric_history(children[0].info.run_id, "dev/ua")] == [1, 2, 3]
    predictions = pq.read_table(tracker.download_artifact(run, "predictions.parquet", tmp_path)).to_pylist()
    assert len(predictions) == 2 * 128
    assert len({(row["id"], row["seed"]) for row in predictions}) == 2 * 128


def test_a_model_of_all_speakers_is_trained_registered_and_asked(
    experiment: Make, tracker: Tracker, undisturbed: str, prepared: Path, tmp_path: Path
) -> None:
    run = final.run(experiment(training={"seeds": [0, 1]}))
    assert tracker.find_run(run).data.tags["fgcme.cross_validation"] == undisturbed
    assert [child.info.status for child in tracker.child_runs(run)] == ["FINISHED"] * 2
    register(run, "everybody", "champion", tracker.uri, together=True)
    members = ensemble.load(download_model("models:/everybody@champion", tracker.uri, tmp_path))
    assert [spec.origin["seed"] for _, spec in members] == [0, 1]
    corpus = SpeechCorpus(prepared)
    speech = [corpus.analysed(utterance) for utterance in range(0, len(corpus), 4)]
    answers = [predict(members, each) for each in speech]
    # Both members kept their average words.
    assert all(len(answer.contributions) == len(answer.words) for answer in answers)
    assert {answer.label for answer in answers} <= set(members[0][1].classes)


@pytest.mark.slow
def test_two_workers_learn_what_one_process_learns(experiment: Make, tracker: Tracker) -> None:
    alone = train.run(experiment(), folds=[0])
    together = train.run(experiment(scaling={"workers": 2, "cpus_per_worker": 0.5}), folds=[0])
    expected = [value for _, value in history(tracker, alone, "train/loss")]
    assert [value for _, value in history(tracker, together, "train/loss")] == pytest.approx(expected, abs=1e-4)


@pytest.mark.survival
def test_a_killed_worker_resumes_from_its_last_checkpoint(experiment: Make, tracker: Tracker, place: Path) -> None:
    # Long enough to be killed in the middle; compared with an uninterrupted training in process.
    training = {"epochs": 12, "batch_size": 1}
    expected = train.run(experiment(training=training), folds=[0])

    def kill_the_worker() -> int:
        """The epochs that it had trained."""
        run = wait_for(lambda: run_with_file(place / "storage", "train"))
        # Ray Train takes one report at a time: in the fourth epoch it has taken two, and so kept the first checkpoint.
        wait_for(lambda: len(history(tracker, run, "train/loss")) >= 4)
        workers = descendants(os.getpid(), "RayTrainWorker")
        for worker in workers:
            worker.kill()
        assert workers, "no worker was killed while training"
        return len(history(tracker, run, "train/loss"))

    with ThreadPoolExecutor() as threads:
        killing = threads.submit(kill_the_worker)
        run = train.run(experiment(training=training, scaling={"workers": 1}), folds=[0])
    assert killing.result() < 12
    # No epoch is skipped, training does not start over, and repeated epochs have the same results.
    losses = history(tracker, run, "train/loss")
    assert sorted({step for step, _ in losses}) == list(range(1, 13))
    assert [step for step, _ in losses].count(1) == 1
    assert dict(losses) == pytest.approx(dict(history(tracker, expected, "train/loss")), rel=1e-5)
    assert history(tracker, run, "test/ua") == history(tracker, expected, "test/ua")


def test_a_cross_validation_is_completed_by_resume(
    experiment: Make, tracker: Tracker, undisturbed: str, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = experiment()
    run = train.run(whole, folds=[0, 1])
    # Two folds of four are no cross-validation, and are not recorded as one.
    assert "test/ua" not in tracker.find_run(run).data.metrics
    assert {child.data.tags["fgcme.fold"] for child in tracker.child_runs(run)} == {"0", "1"}
    folder = Path(whole.storage.path) / "runs" / run
    # As a killed driver leaves it: one fold unfinished, and one finished whose run is still open.
    (folder / "fold-1-seed-0" / "result.json").unlink()
    tracker.reopen_run((folder / "fold-0-seed-0" / "run").read_text())
    before = (folder / "fold-0-seed-0" / "result.json").stat().st_mtime_ns
    assert train.run(whole, resume=run) == run
    assert "1 of 4 trainings are there already" in capsys.readouterr().out
    assert (folder / "fold-0-seed-0" / "result.json").stat().st_mtime_ns == before
    assert [child.info.status for child in tracker.child_runs(run)] == ["FINISHED"] * 4
    assert "test/ua" in tracker.find_run(run).data.metrics
    assert measured(tracker, run) == {
        key: values for key, values in measured(tracker, undisturbed).items() if key[1] == "0"
    }


def test_resuming_with_other_settings_or_another_corpus_is_refused(
    experiment: Make, undisturbed: str, tmp_path: Path
) -> None:
    run = undisturbed
    with pytest.raises(UserError, match=r"other settings: training\.epochs \(3 then, 4 now\)"):
        train.run(experiment(training={"epochs": 4, "seeds": [0, 1]}), resume=run)
    other = small_corpus.write(tmp_path / "other", each=16, seed=1)
    moved = experiment(training={"seeds": [0, 1]})
    moved = moved.model_copy(update={"prepare": moved.prepare.model_copy(update={"folder": str(other)})})
    with pytest.raises(UserError, match="the corpus has changed since its start"):
        train.run(moved, resume=run)


def test_a_training_that_fails_is_recorded_as_failed_and_can_be_completed(experiment: Make, tracker: Tracker) -> None:
    broken = experiment(training={"learning_rate": 1e30})
    with pytest.raises(UserError, match=r"the loss is not a number.*--resume"):
        train.run(broken, folds=[0])
    parent = tracker.find_run("latest")
    assert parent.info.status == "FAILED"
    (child,) = tracker.child_runs(parent.info.run_id)
    assert child.info.status == "FAILED" and "not a number" in child.data.tags["fgcme.failure"]


@pytest.mark.parametrize(
    ("scaling", "sentence"),
    [
        ({"workers": 1000}, "one training needs 1000 CPUs at once"),
        ({"gpus_per_worker": 9}, "needs 9 GPUs at once"),
    ],
)
def test_resources_that_ray_lacks_are_refused_at_once(
    experiment: Make, scaling: dict[str, object], sentence: str
) -> None:
    with pytest.raises(UserError, match=sentence):
        train.run(experiment(scaling=scaling), folds=[0])


def test_selection_on_the_test_part_is_called_optimistic(
    experiment: Make, tracker: Tracker, capsys: pytest.CaptureFixture[str]
) -> None:
    run = train.run(experiment(protocol={"selection": "test"}), folds=[0])
    assert "optimistic" in capsys.readouterr().out
    child = tracker.child_runs(run)[0]
    assert child.data.metrics["best/dev/ua"] == child.data.metrics["test/ua"]
    assert tracker.find_run(run).data.tags["fgcme.selection"] == "test"


def test_the_program_trains_and_says_what_to_do_next(
    prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "small.yaml"
    path.write_text(small_corpus.experiment(prepare={"folder": str(prepared)}).to_yaml())
    assert cli.main(["train", str(path), "--fold", "0", "training.epochs=1"]) == 0
    assert "next: fgcme register" in capsys.readouterr().out
    assert (tmp_path / "mlflow.db").exists()
    assert (tmp_path / "storage" / "runs").is_dir()


@pytest.mark.survival
def test_a_terminated_program_leaves_no_run_running(
    experiment: Make, tracker: Tracker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The program joins the Ray that runs here already.
    monkeypatch.setenv("RAY_ADDRESS", ray.get_runtime_context().gcs_address)
    path = tmp_path / "small.yaml"
    whole = experiment(training={"epochs": 200, "batch_size": 1})
    storage = whole.storage.model_copy(update={"path": str(tmp_path / "storage")})
    path.write_text(whole.model_copy(update={"storage": storage}).to_yaml())
    with program(tmp_path, "train", str(path)) as driver:
        run = wait_for(lambda: run_with_file(tmp_path / "storage", "state.pt"))
        driver.send_signal(signal.SIGTERM)
        assert driver.wait(timeout=PATIENCE) == 130
    assert tracker.find_run(run).info.status == "KILLED"
    assert {child.info.status for child in tracker.child_runs(run)} == {"KILLED"}
