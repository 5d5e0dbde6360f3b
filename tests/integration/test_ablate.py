"""Ablations on Ray: complete, paired, completed after a kill, and added to without training anything twice."""

from __future__ import annotations

import contextlib
import io
import json
import os
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from fgcme.errors import UserError
from fgcme.experiment import Experiment
from fgcme.tracking import Tracker
from pipelines import ablate
from pipelines.training import runner
from pipelines.training.job import Job
from tests import small_corpus
from tests.integration.conftest import descendants, kill, program, wait_for
from tests.store import make_tracker

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("ray_session")]

FGCME, TWO = "reference: fgcme\nvariants:\n  fgcme:\n", "reference: fgcme\nvariants:\n  fgcme:\n  mean:\n"
FOLDS = range(3)
# Long enough to be killed in the middle.
TRAINING = {"epochs": 6, "batch_size": 4}

Key = tuple[str, str, int, int]


@dataclass(frozen=True)
class Place:
    """Where the ablations of this module are recorded, and the corpus that they learn from."""

    folder: Path
    prepared: Path
    tracker: Tracker

    def experiment(self, name: str, prepared: Path | None = None, **training: Any) -> Experiment:
        """A small experiment with its own storage folder."""
        labels = {emotion: emotion for emotion in small_corpus.EMOTIONS}
        return small_corpus.experiment(
            prepare={"folder": str(prepared or self.prepared)},
            protocol={"name": "small/3fold", "labels": labels, "folds": len(FOLDS)},
            storage={"path": str(self.folder / name)},
            tracking={"uri": self.tracker.uri},
            training={**TRAINING, **training},
            # Starting a second process takes longer than all that it would train.
            scaling={"max_concurrent": 1},
        )

    def space(self, text: str) -> str:
        path = self.folder / "small_ablation.yaml"
        path.write_text(text)
        return str(path)

    def results(self, run: str) -> dict[Key, dict[str, Any]]:
        """The results of an ablation's trainings, by variant, selection rule, fold and seed, without their times."""
        path = self.tracker.download_artifact(run, "results.json", self.folder)
        return {
            (row["variant"], row["selection"], row["fold"], row["seed"]): {
                name: row[name] for name in ("best_epoch", "epochs", "dev", "test")
            }
            for row in json.loads(path.read_text())
        }

    def trainings(self, run: str) -> list[tuple[str, ...]]:
        """Status, selection rule, seed, variant and fold of the trainings, in the order in which they began."""
        return [
            (
                child.info.status,
                *(child.data.tags[f"fgcme.{name}"] for name in ("selection", "seed", "variant", "fold")),
            )
            for child in self.tracker.child_runs(run)
        ]


@dataclass(frozen=True)
class Undisturbed:
    """An ablation that was never interrupted."""

    run: str
    printed: str
    results: dict[Key, dict[str, Any]]


@pytest.fixture(scope="module")
def place(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Place:
    folder = tmp_path_factory.mktemp("ablations")
    return Place(folder, prepared, make_tracker(folder))


@pytest.fixture(scope="module")
def undisturbed(place: Place) -> Undisturbed:
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        run = ablate.run(place.experiment("undisturbed"), place.space(TWO), ("dev", "test"))
    return Undisturbed(run, printed.getvalue(), place.results(run))


def test_all_variants_are_trained_on_the_same_utterances_rule_by_rule(place: Place, undisturbed: Undisturbed) -> None:
    parent = place.tracker.find_run(undisturbed.run)
    assert parent.info.status == "FINISHED" and parent.data.tags["fgcme.kind"] == "ablation"
    assert parent.data.tags["fgcme.selection"] == "both (test: optimistic)"
    # So that an interrupted ablation has complete rows: rules outermost, then seeds, then variants.
    assert place.trainings(undisturbed.run) == [
        ("FINISHED", rule, "0", variant, str(fold))
        for rule in ("dev", "test")
        for variant in ("fgcme", "mean")
        for fold in FOLDS
    ]
    assert set(undisturbed.results) == {
        (variant, rule, fold, 0) for variant in ("fgcme", "mean") for rule in ("dev", "test") for fold in FOLDS
    }
    answers = [
        pq.read_table(
            place.tracker.download_artifact(undisturbed.run, f"predictions/{rule}/{name}.parquet", place.folder)
        )
        for rule in ("dev", "test")
        for name in ("fgcme", "mean")
    ]
    assert answers[0].num_rows == 128
    assert all(each.sort_by("id")["id"] == answers[0].sort_by("id")["id"] for each in answers)
    metrics = parent.data.metrics
    assert {"test/mean/ua", "test_selected_on_test/mean/ua"} <= set(metrics)


def test_the_tables_say_by_which_rule_epochs_were_chosen(undisturbed: Undisturbed) -> None:
    head, dev, test = undisturbed.printed.partition("in per cent:")[0], *undisturbed.printed.split("in per cent:")[1:]
    assert "[12/12" in head and " running, " in head and "selection dev (honest)" in head
    assert "selection TEST (optimistic" in dev and "reference" in dev and "reference" in test
    assert head.count("(epoch chosen on test: optimistic)") == 6


@pytest.mark.survival
def test_a_killed_ablation_resumed_by_the_other_rule_equals_an_uninterrupted_one_by_both_rules(
    place: Place, undisturbed: Undisturbed, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = place.experiment("killed")
    path = place.folder / "killed.yaml"
    path.write_text(whole.to_yaml())
    runs = Path(whole.storage.path) / "ablations" / "small-small_ablation"
    with program(place.folder, "ablate", str(path), "--space", place.space(TWO)) as driver:
        wait_for(lambda: len(list(runs.glob("*/*/dev/*/result.json"))) >= 2, every=0.01)
        kill(driver)
    (folder,) = runs.glob("*/")
    assert place.tracker.find_run(folder.name).info.status == "RUNNING"
    done = list(folder.glob("*/dev/*/result.json"))
    assert len(done) < 6, "it ended before it was killed"
    finished = {file: file.stat().st_mtime_ns for file in done}
    assert ablate.run(whole, place.space(TWO), ("test",), resume=True) == folder.name
    assert f"{len(done)} of 12 trainings are there already" in capsys.readouterr().out
    assert {file: file.stat().st_mtime_ns for file in finished} == finished
    assert [status for status, *_ in place.trainings(folder.name)] == ["FINISHED"] * 12
    assert place.results(folder.name) == undisturbed.results
    assert place.tracker.load_yaml(folder.name, "ablation.json")["selections"] == ["dev", "test"]
    for rule in ("dev", "test"):
        assert place.tracker.has_artifact(folder.name, f"predictions/{rule}/mean.parquet")


@pytest.mark.survival
def test_only_trainings_whose_process_died_are_restarted_and_failed_ones_are_completed_by_resume(
    place: Place, undisturbed: Undisturbed, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = place.experiment("failing")
    runs = Path(whole.storage.path) / "ablations" / "small-small_ablation"
    starts: Counter[tuple[str, int]] = Counter()

    class Counting:
        """The task that trains, counted as it is started."""

        def __init__(self, options: dict[str, Any] | None = None) -> None:
            self.of = options or {}

        def options(self, **options: Any) -> Counting:
            return Counting(options)

        def remote(self, job: Job, addresses: Mapping[str, str]) -> Any:
            starts[job.folder.parents[1].name.rpartition("-")[0], job.fold] += 1
            return task.options(**self.of).remote(job, addresses)

    task = runner.train_task
    monkeypatch.setattr(runner, "train_task", Counting())
    broken = FGCME + "  lost: {model.semantic.vectors: nowhere.txt}\n  wild: {training.learning_rate: 1.0e+30}\n"
    with ThreadPoolExecutor() as threads:
        killing = threads.submit(kill_the_worker, runs, "fgcme-*/dev/fold-1-seed-0/state.pt")
        with pytest.raises(UserError) as refusal:
            ablate.run(whole, place.space(broken))
    killing.result()
    message = str(refusal.value)
    assert "\n" not in message and message.startswith("6 of 9 trainings failed (3 of lost: ")
    assert "nowhere.txt" in message and "3 of wild: the loss is not a number after epoch 1: lower" in message
    assert message.endswith("complete them with --resume")
    assert starts == {
        (variant, fold): 2 if (variant, fold) == ("fgcme", 1) else 1
        for variant in ("fgcme", "lost", "wild")
        for fold in FOLDS
    }
    printed = capsys.readouterr()
    assert "fgcme, fold 1, seed 0 lost its process, and resumes from its last saved epoch" in printed.out
    assert "Traceback" not in printed.out + printed.err
    (folder,) = runs.glob("*/")
    assert place.tracker.find_run(folder.name).info.status == "FAILED"
    reasons = {
        (child.data.tags["fgcme.variant"], child.info.status, child.data.tags.get("fgcme.failure", "")[:11])
        for child in place.tracker.child_runs(folder.name)
    }
    assert reasons == {("fgcme", "FINISHED", ""), ("lost", "FAILED", "model.seman"), ("wild", "FAILED", "the loss is")}
    # Resumed with the failed variant mended, one dropped and a seed added: only what is new is trained.
    more = FGCME + "  wild: {training.learning_rate: 1.0e-3}\n"
    assert ablate.run(place.experiment("failing", seeds=[0, 1]), place.space(more), resume=True) == folder.name
    assert "3 of 12 trainings are there already" in capsys.readouterr().out
    results = place.results(folder.name)
    assert set(results) == {
        (name, "dev", fold, seed) for name in ("fgcme", "wild") for fold in FOLDS for seed in (0, 1)
    }
    for fold in FOLDS:
        assert results["fgcme", "dev", fold, 0] == undisturbed.results["fgcme", "dev", fold, 0]


def kill_the_worker(runs: Path, state: str) -> None:
    """Kill the process that trains fold 1, as soon as it has saved a state."""
    [process] = wait_for(lambda: descendants(os.getpid(), "ray::fgcme, fold 1"), every=0.05)
    wait_for(lambda: list(runs.glob(f"*/{state}")), every=0.01)
    process.kill()


def test_an_ablation_that_cannot_be_resumed_is_refused(place: Place, undisturbed: Undisturbed, tmp_path: Path) -> None:
    space = place.space(TWO)
    with pytest.raises(UserError, match="no ablation to resume; start one without --resume"):
        ablate.run(place.experiment("none"), space, resume=True)
    with pytest.raises(UserError, match=r"other settings: training\.epochs \(6 then, 2 now\)"):
        ablate.run(place.experiment("undisturbed", epochs=2), space, resume=True)
    other = small_corpus.write(tmp_path / "other", each=16, seed=1)
    with pytest.raises(UserError, match="the corpus has changed since its start"):
        ablate.run(place.experiment("undisturbed", prepared=other), space, resume=True)
