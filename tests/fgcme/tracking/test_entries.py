"""Entries become writes to a real store, once however often they are applied."""

from __future__ import annotations

from pathlib import Path

import pytest

from fgcme.errors import UserError
from fgcme.tracking import LOCAL_ID_TAG, Outbox, RunDataset, Tracker, outbox_for
from fgcme.tracking.entries import apply_entry, find_by_local_id, merge_entries, resolve_run_id
from fgcme.tracking.outbox import Entry
from tests.store import make_tracker

LOCAL_ID = "local-1"
DATASET = RunDataset("demo", "c0ffee", "/prepared/demo", "training", "demo/4class")


@pytest.fixture(scope="module")
def tracker(tmp_path_factory: pytest.TempPathFactory) -> Tracker:
    return make_tracker(tmp_path_factory.mktemp("entries"))


@pytest.fixture
def experiment(tracker: Tracker, request: pytest.FixtureRequest) -> str:
    """An experiment of each test's own."""
    return tracker.get_or_create_experiment(request.node.name)


@pytest.fixture
def outbox(tracker: Tracker, tmp_path: Path) -> Outbox:
    return outbox_for(tmp_path / "outbox", tracker.uri)


def start(experiment: str, parent: str | None = None) -> Entry:
    tags = {"fgcme.kind": "fold"}
    return {"kind": "start", "experiment": experiment, "name": "run", "parent": parent, "tags": tags, "time": 1000}


def test_a_start_creates_a_run_that_is_found_by_its_local_id(tracker: Tracker, experiment: str) -> None:
    assert find_by_local_id(tracker.client, LOCAL_ID, [experiment]) is None
    run = apply_entry(tracker.client, LOCAL_ID, start(experiment))
    found = tracker.client.get_run(run)
    assert (found.info.run_name, found.info.start_time, found.info.status) == ("run", 1000, "RUNNING")
    assert (found.data.tags["fgcme.kind"], found.data.tags[LOCAL_ID_TAG]) == ("fold", LOCAL_ID)
    assert find_by_local_id(tracker.client, LOCAL_ID, [experiment]) == run
    assert find_by_local_id(tracker.client, LOCAL_ID, []) is None
    assert find_by_local_id(tracker.client, "local-2", [experiment]) is None


def test_a_parent_may_be_named_by_its_local_id(tracker: Tracker, experiment: str) -> None:
    parent = apply_entry(tracker.client, "local-parent", start(experiment))
    child = apply_entry(tracker.client, "local-child", start(experiment, "local-parent"))
    assert tracker.client.get_run(child).data.tags["mlflow.parentRunId"] == parent


def test_a_run_whose_parent_was_never_recorded_is_recorded_all_the_same(tracker: Tracker, experiment: str) -> None:
    child = apply_entry(tracker.client, "local-orphan", start(experiment, "local-nobody"))
    assert tracker.client.get_run(child).data.tags["mlflow.parentRunId"] == "local-nobody"


def test_applying_an_entry_twice_writes_once(tracker: Tracker, experiment: str, tmp_path: Path) -> None:
    (tmp_path / "file.txt").write_text("content")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "inner.txt").write_text("inner")
    run = apply_entry(tracker.client, "local-twice", start(experiment))
    entries: list[Entry] = [
        {"kind": "metrics", "metrics": [["loss", 0.5, 2000, 1], ["ua", 0.25, 2000, 1]]},
        {"kind": "parameters", "parameters": {"training.epochs": "3"}},
        {"kind": "tags", "tags": {"fgcme.note": "later"}},
        {"kind": "artifact", "path": str(tmp_path / "file.txt"), "folder": "notes"},
        {"kind": "artifact", "path": str(tmp_path / "folder"), "folder": None},
        {"kind": "dataset", "dataset": DATASET.to_entry()},
        {"kind": "ended", "status": "FAILED", "time": 3000},
    ]
    for entry in [*entries, *entries]:
        assert apply_entry(tracker.client, run, entry) == run
    found = tracker.client.get_run(run)
    history = tracker.client.get_metric_history(run, "loss")
    assert [(metric.step, metric.value, metric.timestamp) for metric in history] == [(1, 0.5, 2000)]
    assert found.data.metrics["ua"] == 0.25
    assert found.data.params == {"training.epochs": "3"}
    assert found.data.tags["fgcme.note"] == "later"
    assert (found.info.status, found.info.end_time) == ("FAILED", 3000)
    assert tracker.has_artifact(run, "notes/file.txt") and tracker.has_artifact(run, "inner.txt")
    assert [each.dataset.digest for each in found.inputs.dataset_inputs] == ["c0ffee"]
    apply_entry(tracker.client, run, {"kind": "running"})
    assert tracker.client.get_run(run).info.status == "RUNNING"


def test_successive_metrics_parameters_and_tags_are_one_request(tracker: Tracker, experiment: str) -> None:
    started, ended = start(experiment), {"kind": "ended", "status": "FINISHED", "time": 3000}
    written: list[Entry] = [
        {"kind": "parameters", "parameters": {"fold": "0"}},
        *({"kind": "metrics", "metrics": [["loss", 1 / step, 2000, step]]} for step in range(1, 2501)),
        {"kind": "tags", "tags": {"fgcme.note": "first"}},
        {"kind": "tags", "tags": {"fgcme.note": "last"}},
    ]
    merged = list(merge_entries([started, *written, ended, {"kind": "running"}, written[0]]))
    assert [parts for _, parts in merged] == [[started], written, [ended], [{"kind": "running"}], [written[0]]]
    run = apply_entry(tracker.client, "local-merged", started)
    apply_entry(tracker.client, run, merged[1][0])
    found = tracker.client.get_run(run)
    assert (found.data.params, found.data.tags["fgcme.note"]) == ({"fold": "0"}, "last")
    assert tracker.metric_history(run, "loss") == [(step, 1 / step) for step in range(1, 2501)]


def test_a_copied_file_is_read_from_the_outbox(
    tracker: Tracker, experiment: str, outbox: Outbox, tmp_path: Path
) -> None:
    (tmp_path / "note.txt").write_text("a: 1")
    run = apply_entry(tracker.client, "local-copied", start(experiment))
    name = outbox.copy_file(tmp_path / "note.txt")
    (tmp_path / "note.txt").unlink()
    apply_entry(tracker.client, run, {"kind": "artifact", "kept": name, "folder": None}, outbox)
    assert tracker.load_yaml(run, "note.txt") == {"a": 1}


def test_a_local_id_is_looked_up_once_and_then_known(tracker: Tracker, experiment: str, outbox: Outbox) -> None:
    run = apply_entry(tracker.client, "local-known", start(experiment))
    assert resolve_run_id(tracker.client, run) == run
    assert outbox.run_id("local-known") is None
    assert resolve_run_id(tracker.client, "local-known", outbox) == run
    assert outbox.run_id("local-known") == run
    outbox.save_run_id("local-known", "saved")
    assert resolve_run_id(tracker.client, "local-known", outbox) == "saved"


def test_a_local_id_that_nobody_recorded_is_one_clear_line(tracker: Tracker) -> None:
    with pytest.raises(UserError, match=r"run local-none is not recorded; .* `fgcme sync` sends it"):
        resolve_run_id(tracker.client, "local-none")
