"""Training on Ray: in process, with workers, killed, resumed; what it leaves in MLflow and on disk."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pyarrow.parquet as pq
import pytest

from fgcme.errors import UserError
from fgcme.experiment import Experiment
from fgcme.tracking import Tracker
from pipelines import train
from tests import small_corpus
from tests.store import make_tracker

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("ray_session")]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    yield small_corpus.write(tmp_path_factory.mktemp("prepared") / "corpus", each=16)


@pytest.fixture
def tracker(tmp_path: Path) -> Tracker:
    return make_tracker(tmp_path)


def experiment(prepared: Path, tracker: Tracker, **sections: dict[str, object]) -> Experiment:
    folder = Path(tracker.uri.removeprefix("sqlite:///")).parent
    return small_corpus.experiment(
        prepare={"folder": str(prepared)},
        storage={"path": str(folder / "storage")},
        tracking={"uri": tracker.uri},
        **sections,
    )


def test_a_cross_validation_leaves_its_whole_record(prepared: Path, tracker: Tracker, tmp_path: Path) -> None:
    run = train.run(experiment(prepared, tracker, training={"seeds": [0, 1]}))
    parent = tracker.find(run)
    children = tracker.children(run)
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
        assert tracker.holds(run, name)
    assert tracker.holds(children[0].info.run_id, "model/model.safetensors")
    assert [step for step, _ in tracker.history(children[0].info.run_id, "dev/ua")] == [1, 2, 3]
    predictions = pq.read_table(tracker.fetch(run, "predictions.parquet", tmp_path)).to_pylist()
    assert len(predictions) == 2 * 128
    assert len({(row["id"], row["seed"]) for row in predictions}) == 2 * 128


def test_one_fold_can_be_trained_alone(prepared: Path, tracker: Tracker) -> None:
    run = train.run(experiment(prepared, tracker), folds=[2])
    assert [child.data.tags["fgcme.fold"] for child in tracker.children(run)] == ["2"]
    # One fold is no cross-validation, and is not recorded as one.
    assert "test/ua" not in tracker.find(run).data.metrics


def test_two_workers_learn_what_one_process_learns(prepared: Path, tracker: Tracker) -> None:
    alone = train.run(experiment(prepared, tracker), folds=[0])
    together = train.run(experiment(prepared, tracker, scaling={"workers": 2, "cpus_per_worker": 0.5}), folds=[0])

    def losses(run: str) -> list[float]:
        return [value for _, value in tracker.history(tracker.children(run)[0].info.run_id, "train/loss")]

    assert losses(together) == pytest.approx(losses(alone), abs=1e-4)


def test_a_killed_worker_resumes_from_its_last_checkpoint(prepared: Path, tracker: Tracker) -> None:
    # Long enough to be met in the middle; what an undisturbed training gives is known from one in process.
    training = {"epochs": 16, "batch_size": 1}
    expected = train.run(experiment(prepared, tracker, training=training), folds=[0])
    killed: list[int] = []

    def kill_a_worker() -> None:
        deadline = time.monotonic() + 90
        while time.monotonic() < deadline and not killed:
            for process in psutil.process_iter(["cmdline"]):
                if "RayTrainWorker" in " ".join(process.info["cmdline"] or []) and _epochs(tracker) >= 5:
                    os.kill(process.pid, signal.SIGKILL)
                    killed.append(_epochs(tracker))
                    return
            time.sleep(0.05)

    def _epochs(tracker: Tracker) -> int:
        newest = tracker.find("latest").info.run_id
        children = tracker.children(newest)
        return len(tracker.history(children[0].info.run_id, "train/loss")) if children and newest != expected else 0

    killer = threading.Thread(target=kill_a_worker)
    killer.start()
    run = train.run(experiment(prepared, tracker, training=training, scaling={"workers": 1}), folds=[0])
    killer.join()

    def history(run: str, metric: str) -> list[tuple[int, float]]:
        return tracker.history(tracker.children(run)[0].info.run_id, metric)

    assert killed, "no worker was killed while training"
    assert 5 <= killed[0] < 16
    steps = [step for step, _ in history(run, "train/loss")]
    # No epoch is skipped, and none is done again but those whose checkpoints were on their way when the worker died.
    assert sorted(set(steps)) == list(range(1, 17))
    assert len(steps) <= 16 + 2
    assert dict(history(run, "train/loss")) == pytest.approx(dict(history(expected, "train/loss")), rel=1e-5)
    assert history(run, "test/ua") == history(expected, "test/ua")


def test_an_interrupted_cross_validation_is_completed_by_resume(
    prepared: Path, tracker: Tracker, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = experiment(prepared, tracker)
    undisturbed = train.run(whole)
    run = train.run(whole, folds=[0, 1])
    folder = Path(whole.storage.path) / "runs" / run
    # As a kill would leave it: one fold finished, one begun.
    (folder / "fold-1-seed-0" / "result.json").unlink()
    before = (folder / "fold-0-seed-0" / "result.json").stat().st_mtime_ns
    assert train.run(whole, resume=run) == run
    assert "1 of 4 trainings are there already" in capsys.readouterr().out
    assert (folder / "fold-0-seed-0" / "result.json").stat().st_mtime_ns == before
    assert len(tracker.children(run)) == 4
    assert tracker.find(run).data.metrics["test/ua"] == tracker.find(undisturbed).data.metrics["test/ua"]


def test_resuming_with_other_settings_is_refused_by_name(prepared: Path, tracker: Tracker) -> None:
    run = train.run(experiment(prepared, tracker), folds=[0])
    with pytest.raises(UserError, match=r"another training\.epochs"):
        train.run(experiment(prepared, tracker, training={"epochs": 4}), resume=run)


def test_a_training_that_fails_is_recorded_as_failed_and_can_be_completed(prepared: Path, tracker: Tracker) -> None:
    broken = experiment(prepared, tracker, model={"semantic": {"embedding": 8, "vectors": "nowhere.txt"}})
    with pytest.raises(UserError, match=r"nowhere\.txt.*--resume"):
        train.run(broken, folds=[0])
    parent = tracker.find("latest")
    assert parent.info.status == "FAILED"
    assert [child.info.status for child in tracker.children(parent.info.run_id)] == ["FAILED"]


def test_more_workers_than_there_are_cpus_is_refused_at_once(prepared: Path, tracker: Tracker) -> None:
    with pytest.raises(UserError, match=r"needs 1000 CPUs"):
        train.run(experiment(prepared, tracker, scaling={"workers": 1000}), folds=[0])


def test_selection_on_the_test_part_is_called_optimistic(
    prepared: Path, tracker: Tracker, capsys: pytest.CaptureFixture[str]
) -> None:
    run = train.run(experiment(prepared, tracker, protocol={"selection": "test"}), folds=[0])
    assert "optimistic" in capsys.readouterr().out
    child = tracker.children(run)[0]
    assert child.data.metrics["best/dev/ua"] == child.data.metrics["test/ua"]
    assert tracker.find(run).data.tags["fgcme.selection"] == "test"


def test_the_program_trains_and_says_what_to_do_next(prepared: Path, tmp_path: Path) -> None:
    path = tmp_path / "small.yaml"
    path.write_text(small_corpus.experiment(prepare={"folder": str(prepared)}).to_yaml())
    command = [sys.executable, "-m", "pipelines.cli", "train", str(path), "--fold", "0", "training.epochs=1"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=180)
    assert done.returncode == 0, done.stderr
    assert "next: fgcme register" in done.stdout
    assert (tmp_path / "mlflow.db").exists()
    assert (tmp_path / "storage" / "runs").is_dir()
