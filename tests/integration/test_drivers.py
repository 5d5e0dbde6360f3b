"""Two drivers at once, for each pair of verbs on one corpus or run: the second is refused, and nothing is doubled."""

from __future__ import annotations

import signal
import socket
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import ray

from fgcme import prepared
from fgcme.experiment import load_experiment
from fgcme.tracking import Tracker
from pipelines import cli
from pipelines.runs.corpus import prepared_folder
from tests import small_corpus
from tests.integration.conftest import PATIENCE, program, stand_still, wait_for
from tests.store import make_tracker

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("ray_session")]

UTTERANCES = 32
SPACES = {
    "small_ablation": "reference: fgcme\nvariants:\n  fgcme:\n  mean:\n",
    "small_space": "parameters:\n  training.learning_rate: {float: [1.0e-3, 3.0e-2], log: true}\n",
}
# Words behind `EXPERIMENT` that start a driver, those that resume its run, and what the run is called.
VERBS = {
    "train": (["--fold", "0"], ["--fold", "0", "--resume", "latest"], "cross-validation"),
    "ablate": (["--space", "small_ablation.yaml"], ["--space", "small_ablation.yaml", "--resume"], "ablation"),
    "tune": (["--space", "small_space.yaml"], ["--space", "small_space.yaml", "--resume"], "sweep"),
}
# A file below the storage folder that is there once the first training or trial has its run.
TRAINING_BEGAN = {"train": "runs/*/*/run", "ablate": "ablations/*/*/*/*/*/run", "tune": "sweeps/*/*/trials/*/run"}


@dataclass(frozen=True)
class Place:
    """A folder with an experiment on the demo corpus, from where drivers are started, and what they record."""

    folder: Path
    tracker: Tracker

    @property
    def prepared(self) -> Path:
        return prepared_folder(load_experiment(self.folder / "small.yaml"))

    def rows(self) -> list[str]:
        """The ids of all prepared rows."""
        return [name for _, table in prepared.read_parts(self.prepared, ["id"]) for name in table["id"].to_pylist()]

    @contextmanager
    def changed_corpus(self) -> Iterator[None]:
        """For the length of a block an utterance has another recording, so that its row is out of date."""
        one, other = sorted(self.folder.glob("storage/corpora/*/audio/*.wav"))[:2]
        recording = one.read_bytes()
        one.write_bytes(other.read_bytes())
        yield
        one.write_bytes(recording)

    def runs(self) -> dict[str, tuple[str, dict[str, str]]]:
        """Status and tags of all runs."""
        experiments = [found.experiment_id for found in self.tracker.client.search_experiments()]
        found = self.tracker.client.search_runs(experiments)
        return {run.info.run_id: (run.info.status, run.data.tags) for run in found}

    @contextmanager
    def standing_still(self, moment: str, *words: str) -> Iterator[subprocess.Popen[str]]:
        """A driver that is stopped when a file is there, and killed at the end."""

        def reached() -> list[Path]:
            assert driver.poll() is None, "it ended too early"
            return list(self.folder.glob(f"storage/{moment}"))

        with program(self.folder, *words) as driver:
            wait_for(reached, every=0.01)
            stand_still(driver, self.folder / "mlflow.db")
            yield driver

    def preparing(self, drivers: Sequence[subprocess.Popen[str]]) -> subprocess.Popen[str] | None:
        """Which of some drivers has begun to change the prepared corpus."""
        locks = "".join(path.read_text() for path in self.folder.glob("storage/prepared/*/readers"))
        return next((driver for driver in drivers if f"process {driver.pid} on" in locks), None)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    """A fresh folder, in which the corpus is not prepared yet."""
    tracker = make_tracker(tmp_path)
    experiment = small_corpus.experiment(
        corpus={"kind": "demo", "utterances": UTTERANCES},
        prepare={"alignment": {"method": "uniform"}},
        storage={"path": str(tmp_path / "storage")},
        tracking={"uri": tracker.uri},
        training={"epochs": 2},
        tune={"trials": 2, "folds": [0]},
        scaling={"max_concurrent": 1},
    )
    (tmp_path / "small.yaml").write_text(experiment.to_yaml())
    for name, text in SPACES.items():
        (tmp_path / f"{name}.yaml").write_text(text)
    monkeypatch.chdir(tmp_path)
    # Programs join the Ray that runs here.
    monkeypatch.setenv("RAY_ADDRESS", ray.get_runtime_context().gcs_address)
    return Place(tmp_path, tracker)


Refuse = Callable[..., str]


@pytest.fixture
def refusal(place: Place, capfd: pytest.CaptureFixture[str]) -> Refuse:
    """The line with which a driver is refused; it prints no other, and changes no run."""

    def refuse(*words: str) -> str:
        before = place.runs()
        capfd.readouterr()
        assert cli.main(words) == 2
        printed = capfd.readouterr()
        assert place.runs() == before
        assert printed.out == ""
        [line] = printed.err.splitlines()
        return line

    return refuse


def named(driver: subprocess.Popen[str]) -> str:
    return f"another driver (process {driver.pid} on {socket.gethostname()}): wait until it has ended, or end it"


def test_of_two_preparations_that_begin_together_one_is_refused_and_nobody_uses_the_corpus_meanwhile(
    place: Place, refusal: Refuse
) -> None:
    words = ("prepare", "small.yaml")
    with program(place.folder, *words) as one, program(place.folder, *words) as other:
        first = wait_for(lambda: place.preparing((one, other)), every=0.01)
        wait_for(place.prepared.joinpath("corpus.json").exists, every=0.01)
        stand_still(first, place.folder / "mlflow.db")
        second = other if first is one else one
        what = f"fgcme: prepared corpus {place.prepared.name} is being"
        assert second.communicate(timeout=PATIENCE) == ("", f"{what} run by {named(first)}\n")
        assert second.returncode == 2
        for verb, (options, _, _) in VERBS.items():
            assert refusal(verb, "small.yaml", *options) == f"{what} changed by {named(first)}"
        first.send_signal(signal.SIGCONT)
        first.communicate(timeout=PATIENCE)
        assert first.returncode == 0
    assert place.runs() == {}
    assert len(place.rows()) == len(set(place.rows())) == UTTERANCES


@pytest.mark.slow
@pytest.mark.parametrize("verb", ["train", "ablate", "tune"])
def test_while_a_driver_works_nobody_resumes_its_run_or_changes_its_corpus(
    place: Place, refusal: Refuse, verb: str
) -> None:
    assert cli.main(["prepare", "small.yaml"]) == 0
    options, resuming, run_name = VERBS[verb]
    with place.standing_still(TRAINING_BEGAN[verb], verb, "small.yaml", *options) as driver:
        [run] = [run for run, (_, tags) in place.runs().items() if "mlflow.parentRunId" not in tags]
        assert refusal(verb, "small.yaml", *resuming) == f"fgcme: {run_name} {run} is being run by {named(driver)}"
        # As long as nothing has changed, preparing changes nothing.
        assert cli.main(["prepare", "small.yaml"]) == 0
        rows, description = place.rows(), (place.prepared / "corpus.json").read_bytes()
        with place.changed_corpus():
            assert refusal("prepare", "small.yaml") == (
                f"fgcme: prepared corpus {place.prepared.name} is in use by {named(driver)}"
            )
        assert (place.rows(), (place.prepared / "corpus.json").read_bytes()) == (rows, description)
    if verb == "train":
        resume_after_the_kill(place, run)


def resume_after_the_kill(place: Place, run: str) -> None:
    """A killed driver is in nobody's way, and what it had done is not done twice."""
    assert cli.main(["train", "small.yaml", *VERBS["train"][1]]) == 0
    [child] = place.tracker.child_runs(run)
    assert {name: status for name, (status, _) in place.runs().items()} == dict.fromkeys(
        (run, child.info.run_id), "FINISHED"
    )
    # An epoch that was recorded and not saved yet is trained again, with the same loss.
    losses = set(place.tracker.metric_history(child.info.run_id, "train/loss"))
    assert sorted(epoch for epoch, _ in losses) == [1, 2]
    with place.changed_corpus():
        assert cli.main(["prepare", "small.yaml"]) == 0
    assert len(place.rows()) == len(set(place.rows())) == UTTERANCES
