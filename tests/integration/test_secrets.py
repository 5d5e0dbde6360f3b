"""No password is written or shown: the whole work beside a guarded MLflow server and a guarded study, then a search."""

from __future__ import annotations

import re
import shlex
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import ray
from ray._private import worker

from fgcme.addresses import STUDY, TRACKING
from fgcme.tracking import Tracker, resolve_uri
from pipelines.sweep.trial_folder import trial_folders
from tests.guarded_server import GuardedServer
from tests.integration.conftest import kill, program, wait_for
from tests.postgresql import running_postgresql
from tests.store import serving

# Eight minutes: run by hand.
pytestmark = [pytest.mark.integration, pytest.mark.by_hand, pytest.mark.usefixtures("ray_session")]

# Of what was written, either half of the password would do.
HALVES = "Tr0ubador", "h0rseBattery"
PASSWORD = f"{HALVES[0]}/@{HALVES[1]}"
SMALL = ["corpus.utterances=32", "training.epochs=2"]


class Place:
    """A folder beside a guarded server and a guarded study; keeps all that the program prints there.

    Args:
        folder: where the program runs.
        server: records its runs.
        study: address of the study, with its password.
    """

    def __init__(self, folder: Path, server: GuardedServer, study: str) -> None:
        self.folder = folder
        self.tracking = server.address.replace("://", f"://me:{PASSWORD}@") + "/"
        self.study = study
        self.printed = ""

    def run(self, *arguments: str, status: int = 0) -> str:
        """Run the program to its end, or to its status; returns what it printed."""
        with program(self.folder, *arguments) as process:
            output, errors = process.communicate()
        self.printed += output + errors
        assert process.returncode == status, output + errors
        return output + errors

    def run_until(self, arguments: list[str], trials: int, end: signal.Signals) -> str:
        """Run the program until so many trials of its sweeps have an epoch, end it, and return what it printed."""
        with program(self.folder, *arguments) as process:
            wait_for(lambda: self.states() >= trials)
            if end == signal.SIGKILL:
                kill(process)
            else:
                process.send_signal(end)
            output, errors = process.communicate(timeout=120)
        self.printed += output + errors
        return errors

    def states(self) -> int:
        """The number of trials that have saved an epoch or ended."""
        folders = [each for path in self.folder.glob("storage/sweeps/*/*/trials") for each in trial_folders(path)]
        return sum(folder.state.exists() or folder.last_report.exists() for folder in folders)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    monkeypatch.setenv("RAY_ADDRESS", ray.get_runtime_context().gcs_address)
    for name in (TRACKING, STUDY, "MLFLOW_TRACKING_AUTH"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "server").mkdir()
    (tmp_path / "work").mkdir()
    server = GuardedServer(tmp_path / "server", "me", PASSWORD)
    with running_postgresql() as postgresql, serving(server):
        yield Place(tmp_path / "work", server, postgresql.with_password(PASSWORD))


def test_no_password_is_written_or_shown(place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tracking, study = f"tracking.uri={place.tracking}", f"tune.study_storage={place.study}"
    place.run("demo", *SMALL, tracking, study)
    sweep = ["tune", "demo", "--space", "joint", "--trials", "4", *SMALL, tracking, study]
    known = place.states()
    place.run_until(sweep, known + 1, signal.SIGKILL)
    told = place.run_until([*sweep, "--resume"], known + 3, signal.SIGINT)
    # The command that it names works as it is, once the passwords are in the environment.
    command = re.search(r"resume with `fgcme (.*)` and the whole address in (\w+) or (\w+)", told)
    assert command and {command[2], command[3]} == {TRACKING, STUDY}
    place.run(*shlex.split(command[1]), status=2)
    monkeypatch.setenv(TRACKING, place.tracking)
    monkeypatch.setenv(STUDY, place.study)
    resumed = place.run(*shlex.split(command[1]))
    assert "best of 4 trials" in resumed
    place.run("train", "demo", *SMALL, "scaling.workers=1", "--fold", "0")
    assert "missing  tracking" not in place.run("doctor")
    sweep_run = re.search(r"run (\w+); next: ", resumed)
    assert sweep_run
    place.run("report", sweep_run[1], "--output", "page")

    tracker = Tracker(resolve_uri(place.tracking))
    assert tracker.find_run("latest").data.params["tracking.uri"] == "None"
    [best] = place.folder.glob("storage/sweeps/demo-joint/*/best.yaml")
    assert "study_storage: postgresql+psycopg2://guarded:...@/postgres?host=" in best.read_text()
    assert_absent([tmp_path, Path(worker._global_node.get_session_dir_path())], place.printed)


def assert_absent(folders: list[Path], printed: str) -> None:
    """Check that no file in the folders, and no line of a text, has a half of the password."""
    for half in HALVES:
        assert half not in printed
        command = ["grep", "--recursive", "--files-with-matches", "--binary-files=text", half, *map(str, folders)]
        assert subprocess.run(command, capture_output=True, text=True).stdout == ""
