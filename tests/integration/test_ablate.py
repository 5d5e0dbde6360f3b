"""Ablations on Ray Tune: complete, paired, completed after a kill, and added to without training anything twice."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from fgcme.errors import UserError
from fgcme.tracking import Tracker
from pipelines import ablate
from tests import small_corpus
from tests.integration.conftest import Make, kill, program, wait_for

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("ray_session")]

VARIANTS = "reference: fgcme\nvariants:\n  fgcme:\n  mean:\n"


def space(folder: Path, text: str = VARIANTS) -> str:
    path = folder / "two_ablation.yaml"
    path.write_text(text)
    return str(path)


def results(tracker: Tracker, run: str, folder: Path) -> dict[tuple[Any, ...], dict[str, Any]]:
    """The results of an ablation's trainings, by variant, selection rule, fold and seed, without their times."""
    rows = json.loads(tracker.fetch(run, "results.json", folder).read_text())
    return {
        (row["variant"], row["selection"], row["fold"], row["seed"]): {
            name: row[name] for name in ("best_epoch", "epochs", "dev", "test")
        }
        for row in rows
    }


def test_an_ablation_trains_all_variants_alike_and_is_added_to_without_training_twice(
    experiment: Make, tracker: Tracker, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = ablate.run(experiment(training={"epochs": 1}), space(tmp_path))
    parent, children = tracker.find(run), tracker.children(run)
    assert parent.info.status == "FINISHED" and parent.data.tags["fgcme.kind"] == "ablation"
    assert [child.info.status for child in children] == ["FINISHED"] * 8
    first = results(tracker, run, tmp_path)
    assert set(first) == {(variant, "dev", fold, 0) for variant in ("fgcme", "mean") for fold in range(4)}
    answers = {
        name: pq.read_table(tracker.fetch(run, f"predictions/dev/{name}.parquet", tmp_path))
        for name in ("fgcme", "mean")
    }
    assert answers["fgcme"].sort_by("id")["id"] == answers["mean"].sort_by("id")["id"]
    printed = capsys.readouterr().out
    assert "[8/8" in printed and "selection dev (honest)" in printed and "reference" in printed
    assert "optimistic" not in printed
    # Another seed, then another variant.
    more = experiment(training={"epochs": 1, "seeds": [0, 1]})
    assert ablate.run(more, space(tmp_path), resume=True) == run
    assert "8 of 16 trainings are there already" in capsys.readouterr().out
    wider = space(tmp_path, VARIANTS + "  wide: {model.pooling.margin: 3}\n")
    assert ablate.run(experiment(training={"epochs": 1}), wider, resume=True) == run
    assert "8 of 12 trainings are there already" in capsys.readouterr().out
    second = results(tracker, run, tmp_path)
    assert len(second) == 12 and len(tracker.children(run)) == 20
    assert {key: second[key] for key in first} == first


def test_epochs_chosen_on_the_test_part_are_called_optimistic(
    experiment: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    only = space(tmp_path, "reference: fgcme\nvariants:\n  fgcme:\n")
    ablate.run(experiment(training={"epochs": 1}), only, ("test",))
    printed = capsys.readouterr().out
    assert "selection TEST (optimistic" in printed and "dev (honest)" not in printed


def test_a_killed_ablation_is_completed_to_what_an_undisturbed_one_gives(
    experiment: Make, tracker: Tracker, tmp_path: Path
) -> None:
    whole = experiment(training={"epochs": 6, "batch_size": 4})
    undisturbed = ablate.run(whole, space(tmp_path))
    path = tmp_path / "small.yaml"
    path.write_text(whole.to_yaml())
    folder = Path(whole.storage.path) / "ablations" / "small-two_ablation"

    def some_are_done() -> Path | None:
        begun = [parent for parent in folder.glob("*") if parent.name != undisturbed]
        return begun[0] if begun and len(list(begun[0].glob("*/dev/*/result.json"))) >= 2 else None

    with program(tmp_path, "ablate", str(path), "--space", space(tmp_path)) as driver:
        killed = wait_for(some_are_done)
        kill(driver)
    assert tracker.find(killed.name).info.status == "RUNNING"
    done = {file: file.stat().st_mtime_ns for file in killed.glob("*/dev/*/result.json")}
    assert len(done) < 8, "it ended before it was killed"
    assert ablate.run(whole, space(tmp_path), resume=True) == killed.name
    assert {file: file.stat().st_mtime_ns for file in done} == done
    assert [child.info.status for child in tracker.children(killed.name)] == ["FINISHED"] * 8
    assert results(tracker, killed.name, tmp_path) == results(tracker, undisturbed, tmp_path)


def test_what_cannot_be_resumed_is_refused(experiment: Make, tracker: Tracker, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no ablation to resume; start one without --resume"):
        ablate.run(experiment(), space(tmp_path), resume=True)
    only = space(tmp_path, "reference: fgcme\nvariants:\n  fgcme:\n")
    ablate.run(experiment(training={"epochs": 1}), only)
    with pytest.raises(UserError, match=r"other settings: training\.epochs \(1 then, 2 now\)"):
        ablate.run(experiment(training={"epochs": 2}), only, resume=True)
    other = small_corpus.write(tmp_path / "other", each=16, seed=1)
    moved = experiment(training={"epochs": 1})
    moved = moved.model_copy(update={"prepare": moved.prepare.model_copy(update={"folder": str(other)})})
    with pytest.raises(UserError, match="another state of the corpus"):
        ablate.run(moved, only, resume=True)


def test_a_variant_that_fails_is_named_and_leaves_the_others(
    experiment: Make, tracker: Tracker, tmp_path: Path
) -> None:
    broken = space(tmp_path, "reference: fgcme\nvariants:\n  fgcme:\n  lost: {model.semantic.vectors: nowhere.txt}\n")
    with pytest.raises(UserError, match=r"4 of 8 trainings failed \(.*nowhere\.txt.*--resume"):
        ablate.run(experiment(training={"epochs": 1}), broken)
    assert tracker.find("latest").info.status == "FAILED"
    statuses = [child.info.status for child in tracker.children(tracker.find("latest").info.run_id)]
    assert sorted(statuses) == ["FAILED"] * 4 + ["FINISHED"] * 4
