"""Sweeps that lose processes, drivers, servers and disk space while they run: no trial is lost or repeated."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from fgcme.errors import UserError
from fgcme.experiment import Experiment
from fgcme.tracking import Tracker
from pipelines import cluster, tune
from tests.integration.conftest import PATIENCE, Make, descendants, kill, program, stand_still, wait_for
from tests.store import Server, make_tracker, serving

pytestmark = [pytest.mark.integration, pytest.mark.survival]

SPACE = """\
parameters:
  model.pooling.kind: {choice: [mean_max, mean, max]}
  training.learning_rate: {float: [1.0e-3, 3.0e-2], log: true}
  training.weight_decay: {choice: [0.0, 1.0e-5]}
"""
NAMES = ("model.pooling.kind", "training.learning_rate")


@pytest.fixture
def ray_session() -> Iterator[None]:
    """Ray in this process, for one test; the other tests start a program that has its own."""
    with cluster.ray_session():
        yield


@pytest.fixture
def space(tmp_path: Path) -> str:
    path = tmp_path / "small.yaml"
    path.write_text(SPACE)
    return str(path)


@pytest.fixture
def slow(experiment: Make) -> Make:
    """Makes sweeps whose trials take a while, one at a time."""

    def make(**sections: dict[str, Any]) -> Experiment:
        content: dict[str, dict[str, Any]] = {
            "training": {"epochs": 4, "batch_size": 1},
            "tune": {"trials": 5, "grace_period": 4, "folds": [0]},
            "scaling": {"max_concurrent": 1},
        }
        return experiment(
            **{name: {**content.get(name, {}), **sections.get(name, {})} for name in {*content, *sections}}
        )

    return make


def outcome(tracker: Tracker, run: str) -> dict[str, tuple[Any, ...]]:
    """The status, settings and objectives, epoch by epoch, of each trial of a sweep, by its number."""
    return {
        trial.data.tags["fgcme.trial"]: (
            trial.info.status,
            *(trial.data.params[name] for name in NAMES),
            *tracker.metric_history(trial.info.run_id, "dev/objective"),
        )
        for trial in tracker.child_runs(run)
    }


def wait_for_line(lines: Iterable[str], text: str) -> None:
    """Read what a program prints up to a line that holds a text."""
    assert any(text in line for line in lines), f"it ended before {text}"


@pytest.mark.usefixtures("ray_session")
def test_a_resumed_sweep_ends_like_an_uninterrupted_one(
    slow: Make, tracker: Tracker, space: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tune.run(slow(), space)
    undisturbed = tracker.find_run("latest").info.run_id
    path = tmp_path / "experiment.yaml"
    path.write_text(slow().to_yaml())
    with program(tmp_path, "tune", str(path), "--space", space) as driver:
        assert driver.stdout is not None
        wait_for_line(driver.stdout, "[2/5")
        stand_still(driver, tmp_path / "mlflow.db")
        with pytest.raises(UserError, match="is being run by another driver"):
            tune.run(slow(), space, resume=True)
        kill(driver)
    killed = tracker.find_run("latest").info.run_id
    assert killed != undisturbed and tracker.find_run(killed).info.status == "RUNNING"
    with pytest.raises(UserError, match=r"tune\.trials \(5 then, 7 now\)"):
        tune.run(slow(tune={"trials": 7}), space, resume=True)
    Path(space).write_text(SPACE.replace("mean_max, ", ""))
    with pytest.raises(UserError, match="was started with another search space"):
        tune.run(slow(), space, resume=True)
    Path(space).write_text(SPACE)
    capsys.readouterr()
    tune.run(slow(), space, resume=True)
    # The count continues, and all that is proposed and measured is the same.
    printed = capsys.readouterr().out
    assert "[1/5" not in printed and "[5/5" in printed
    assert tracker.find_run(killed).info.status == "FINISHED"
    assert outcome(tracker, killed) == outcome(tracker, undisturbed)
    assert len(outcome(tracker, killed)) == 5


def test_an_interrupted_sweep_leaves_no_run_running(slow: Make, tracker: Tracker, space: str, tmp_path: Path) -> None:
    path = tmp_path / "experiment.yaml"
    path.write_text(slow(training={"epochs": 100}, tune={"grace_period": 100}).to_yaml())

    def sweep_with_an_epoch() -> str | None:
        """The sweep's run, once one of its trials has logged an epoch."""
        try:
            run = tracker.find_run("latest").info.run_id
        except UserError:
            return None
        trials = tracker.child_runs(run)
        return run if any(tracker.metric_history(trial.info.run_id, "dev/objective") for trial in trials) else None

    with program(tmp_path, "tune", str(path), "--space", space) as driver:
        run = wait_for(sweep_with_an_epoch)
        driver.send_signal(signal.SIGINT)
        assert driver.wait(timeout=PATIENCE) == 130
        assert driver.stderr is not None
        assert f"resume with `fgcme tune {path} --space {space} --resume`" in driver.stderr.read()
    assert tracker.find_run(run).info.status == "KILLED"
    assert {trial.info.status for trial in tracker.child_runs(run)} == {"KILLED"}


def test_the_trial_of_a_killed_worker_resumes_from_its_last_epoch(
    slow: Make, tracker: Tracker, space: str, tmp_path: Path
) -> None:
    path = tmp_path / "experiment.yaml"
    path.write_text(slow(training={"epochs": 15}, tune={"trials": 1, "grace_period": 15}).to_yaml())
    with program(tmp_path, "tune", str(path), "--space", space) as driver:
        # Found first, so that it is killed as soon as it has saved an epoch.
        [worker] = wait_for(lambda: descendants(driver.pid, "ray::ImplicitFunc"), every=0.2)
        states = wait_for(lambda: list((tmp_path / "storage").glob("sweeps/*/*/trials/0/state.pt")), every=0.01)
        worker.kill()
        printed, _ = driver.communicate(timeout=PATIENCE)
        assert driver.returncode == 0
    assert "trial 0 lost its process, and resumes from its last saved epoch" in printed
    [trial] = tracker.child_runs(tracker.find_run("latest").info.run_id)
    assert trial.info.status == "FINISHED"
    # No epoch is missing, and none was trained twice.
    assert [epoch for epoch, _ in tracker.metric_history(trial.info.run_id, "dev/objective")] == list(range(1, 16))
    assert not states[0].exists()


def test_a_sweep_without_its_server_finishes_and_sync_sends_all_of_it(slow: Make, space: str, tmp_path: Path) -> None:
    path, storage = tmp_path / "experiment.yaml", tmp_path / "storage"
    with serving(Server(tmp_path, make_tracker(tmp_path).uri, str(tmp_path / "kept"))) as server:
        path.write_text(slow(tracking={"uri": server.address}).to_yaml())
        with program(tmp_path, "tune", str(path), "--space", space) as driver:
            assert driver.stdout is not None
            wait_for_line(driver.stdout, "[1/5")
            server.stop()
            printed, errors = driver.communicate(timeout=PATIENCE)
            assert driver.returncode == 0 and "next: fgcme train" in printed
        assert "The work goes on" in errors
        assert f"`fgcme sync --storage {storage}`" in errors
        server.start()
        with program(tmp_path, "sync", "--storage", str(storage)) as sync:
            assert "writes of" in sync.communicate(timeout=PATIENCE)[0] and sync.returncode == 0
        tracker = Tracker(server.address)
        sweep = tracker.find_run("latest")
        assert (sweep.info.status, "dev/best_score" in sweep.data.metrics) == ("FINISHED", True)
        trials = outcome(tracker, sweep.info.run_id)
        assert sorted(trials) == ["0", "1", "2", "3", "4"]
        for status, _, _, *history in trials.values():
            assert (status, [epoch for epoch, _ in history]) == ("FINISHED", [1, 2, 3, 4])


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own, of a few megabytes."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", str(folder)]
    if not shutil.which("mount") or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting a file system takes rights that are not there")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_a_sweep_on_a_full_disk_says_so_and_continues_when_there_is_room(
    slow: Make, tracker: Tracker, space: str, small_disk: Path, tmp_path: Path
) -> None:
    path, ballast = tmp_path / "experiment.yaml", small_disk / "ballast"
    path.write_text(slow(storage={"path": str(small_disk)}).to_yaml())
    with program(tmp_path, "tune", str(path), "--space", space) as driver:
        assert driver.stdout is not None
        wait_for_line(driver.stdout, "[2/5")
        with ballast.open("wb", buffering=0) as file:

            def driver_ends_on_full_disk() -> bool:
                # What the sweep deletes meanwhile leaves it no room, either.
                with pytest.raises(OSError, match="No space left"):
                    while True:
                        file.write(bytes(4096))
                return driver.poll() is not None

            wait_for(driver_ends_on_full_disk, every=0.02)
        printed, errors = driver.communicate(timeout=PATIENCE)
        assert driver.returncode == 2, printed + errors
    assert f"the disk is full; make room; resume with `fgcme tune {path} --space {space} --resume`" in errors
    assert "Traceback" not in printed + errors
    ballast.unlink()
    with program(tmp_path, "tune", str(path), "--space", space, "--resume") as driver:
        printed, errors = driver.communicate(timeout=PATIENCE)
        assert driver.returncode == 0, printed + errors
    sweep = tracker.find_run("latest")
    trials = outcome(tracker, sweep.info.run_id)
    assert sweep.info.status == "FINISHED" and sorted(trials) == ["0", "1", "2", "3", "4"]
    for status, _, _, *history in trials.values():
        assert (status, [epoch for epoch, _ in history]) == ("FINISHED", [1, 2, 3, 4])


@pytest.mark.usefixtures("ray_session")
def test_trials_that_cannot_be_trained_are_marked_failed_and_the_sweep_continues(
    experiment: Make, tracker: Tracker, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # Reading a pipe that nobody writes to never ends.
    hanging = tmp_path / "vectors.txt"
    os.mkfifo(hanging)
    path = tmp_path / "bad.yaml"
    path.write_text(f"""\
parameters:
  training.learning_rate: {{choice: [0.01, 1.0e+30]}}
  model.fusion.hidden: {{choice: [8, 10000000]}}
  model.semantic.vectors: {{choice: [null, {hanging}]}}
initial_trials:
  - {{training.learning_rate: 1.0e+30, model.fusion.hidden: 8, model.semantic.vectors: null}}
  - {{training.learning_rate: 0.01, model.fusion.hidden: 10000000, model.semantic.vectors: null}}
  - {{training.learning_rate: 0.01, model.fusion.hidden: 8, model.semantic.vectors: {hanging}}}
""")
    settings = {"trials": 4, "folds": [0], "epoch_minutes": 0.5}

    def sweep(most: int) -> Experiment:
        return experiment(tune={**settings, "max_failures": most}, scaling={"max_concurrent": 1})

    # One failure is allowed, and two trials fail.
    too_many = r"2 trials failed, more than tune\.max_failures=1"
    with pytest.raises(UserError, match=too_many):
        tune.run(sweep(1), str(path))
    found = tracker.find_run("latest")
    assert found.info.status == "FAILED"
    assert not {"RUNNING"} & {trial.info.status for trial in tracker.child_runs(found.info.run_id)}
    with pytest.raises(UserError, match=too_many):
        tune.run(sweep(1), str(path), resume=True)
    # With more allowed the sweep resumes, and earlier failures count.
    tune.run(sweep(3), str(path), resume=True)
    assert tracker.find_run("latest").info.run_id == found.info.run_id
    trials = tracker.child_runs(found.info.run_id)
    reasons = {trial.data.tags["fgcme.trial"]: trial.data.tags.get("fgcme.failure") for trial in trials}
    assert {trial.data.tags["fgcme.trial"]: trial.info.status for trial in trials} == {
        "0": "FINISHED",
        "1": "FAILED",
        "2": "FAILED",
        "3": "FAILED",
    }
    assert reasons["0"] is None
    assert "the loss is not a number" in str(reasons["1"])
    assert "out of memory" in str(reasons["2"])
    assert f"took longer than tune.epoch_minutes={settings['epoch_minutes']:g}" in str(reasons["3"])
    printed = capsys.readouterr().out
    assert "trial 1 failed: the loss is not a number" in printed and "[4/4]" in printed
