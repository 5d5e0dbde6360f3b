"""Runs are found, and what is recorded of them is read back."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from fgcme.errors import UserError
from fgcme.tracking import LOCAL_ID_TAG, RunReader, Tracker
from tests.store import crowd, make_tracker


@pytest.fixture(scope="module")
def tracker(tmp_path_factory: pytest.TempPathFactory) -> Tracker:
    return make_tracker(tmp_path_factory.mktemp("reading"))


@pytest.fixture(scope="module")
def reader(tracker: Tracker) -> RunReader:
    return RunReader(tracker.uri)


@pytest.fixture(scope="module")
def experiment(tracker: Tracker) -> str:
    return tracker.get_or_create_experiment("demo")


def test_without_runs_the_latest_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no runs are recorded at sqlite:.*make one with `fgcme train`"):
        make_tracker(tmp_path).find_run("latest")


def test_a_run_is_found_by_id_prefix_name_or_as_the_latest(tracker: Tracker, reader: RunReader) -> None:
    # In experiments of their own: all are searched.
    parent = tracker.create_run(tracker.get_or_create_experiment("parents"), "ravdess's train")
    child = tracker.create_run(tracker.get_or_create_experiment("children"), "fold 0, seed 0 of it", parent)
    for text in (child, child[:10], child[:6], "fold 0, seed 0 of it"):
        assert reader.find_run(text).info.run_id == child
    assert reader.find_run("ravdess's train").info.run_id == parent
    assert reader.find_run("latest").info.run_id == parent


def test_a_run_is_found_by_the_local_id_that_its_driver_knew(tracker: Tracker, reader: RunReader) -> None:
    run = tracker.create_run(tracker.get_or_create_experiment("local"), "run")
    local_id = reader.find_run(run).data.tags[LOCAL_ID_TAG]
    assert reader.find_run(local_id).info.run_id == run
    tracker.log_metrics(run, {"ua": 0.5}, 1)
    assert reader.metric_history(local_id, "ua") == [(1, 0.5)]
    for unknown in ("local-unknown", "local-' OR ''='"):
        with pytest.raises(UserError, match=r"is not recorded at .* yet; send what waits with `fgcme sync`"):
            reader.find_run(unknown)


def test_a_run_that_is_missing_or_ambiguous_is_refused(tracker: Tracker, reader: RunReader, experiment: str) -> None:
    ids = {tracker.create_run(experiment, "twice") for _ in range(2)}
    with pytest.raises(UserError, match="2 or more runs are called 'twice'; give one id") as refusal:
        reader.find_run("twice")
    assert all(run_id in str(refusal.value) for run_id in ids)
    for unknown in ("abcdef", "no such name", "both ' and \""):
        with pytest.raises(UserError, match=r"is not recorded at .*; give its id, .* or `latest`"):
            reader.find_run(unknown)


def test_runs_are_found_among_thousands_of_experiments_and_of_runs_of_other_programs(tmp_path: Path) -> None:
    tracker = make_tracker(tmp_path)
    first = tracker.create_run(tracker.get_or_create_experiment("first"), "first train")
    crowd(tracker.uri, experiments=1500, runs=3000)
    experiment = tracker.get_or_create_experiment("last")
    run = tracker.create_run(experiment, "demo train")
    children = [tracker.create_run(experiment, f"fold {fold}", run) for fold in range(3)]
    reader = RunReader(tracker.uri)
    local_id = reader.find_run(run).data.tags[LOCAL_ID_TAG]
    for text in ("latest", run, run[:8], "demo train", local_id):
        assert reader.find_run(text).info.run_id == run
    assert reader.find_run("first train").info.run_id == first
    for parent in (run, local_id):
        assert [child.info.run_id for child in reader.child_runs(parent)] == children
    # The whole id of another program's run means that run, and part of it nothing.
    assert reader.find_run(f"{1:032x}").info.run_id == f"{1:032x}"
    with pytest.raises(UserError, match="is not recorded at"):
        reader.find_run("000000")


def test_a_deleted_run_says_how_to_bring_it_back(tracker: Tracker, reader: RunReader, experiment: str) -> None:
    run = tracker.create_run(experiment, "thrown away")
    tracker.delete_run(run)
    with pytest.raises(UserError, match=f"run {run} was deleted in MLflow .* `mlflow runs restore --run-id {run}`"):
        reader.find_run(run)
    tracker.client.restore_run(run)
    assert reader.find_run(run).info.run_id == run
    tracker.client.delete_experiment(experiment)
    with pytest.raises(UserError, match=f"`mlflow experiments restore --experiment-id {experiment}`"):
        reader.find_run(run)
    tracker.client.restore_experiment(experiment)
    assert reader.find_run(run).info.run_id == run


def test_child_runs_come_oldest_first(tracker: Tracker, reader: RunReader, experiment: str) -> None:
    parent, other = (tracker.create_run(experiment, name) for name in ("parent", "other"))
    children = [tracker.create_run(experiment, f"fold {fold}", parent) for fold in range(3)]
    tracker.create_run(experiment, "elsewhere", other)
    assert [child.info.run_id for child in reader.child_runs(parent)] == children
    assert reader.child_runs(children[0]) == []


def test_a_metric_history_is_sorted_by_step(tracker: Tracker, reader: RunReader, experiment: str) -> None:
    run = tracker.create_run(experiment, "metrics")
    for step, value in ((2, 0.75), (1, 0.5), (3, float("inf")), (2, 0.25)):
        tracker.log_metrics(run, {"dev/ua": value}, step)
    history = reader.metric_history(run, "dev/ua")
    assert [step for step, _ in history] == [1, 2, 2, 3]
    assert history[0] == (1, 0.5)
    assert sorted(value for _, value in history[1:3]) == [0.25, 0.75]
    assert reader.metric_history(run, "never/logged") == []


def test_artifacts_come_back_as_they_were_stored(
    tracker: Tracker, reader: RunReader, experiment: str, tmp_path: Path
) -> None:
    run = tracker.create_run(experiment, "artifacts")
    source = tmp_path / "source"
    source.mkdir()
    (source / "weights").write_bytes(b"\x00\x01")
    (tmp_path / "table.csv").write_text("a,b\n")
    tracker.log_artifact(run, source, "model")
    tracker.log_artifact(run, tmp_path / "table.csv")
    (tmp_path / "copies").mkdir()
    assert (reader.download_artifact(run, "model", tmp_path / "copies") / "weights").read_bytes() == b"\x00\x01"
    assert reader.has_artifact(run, "model/weights")
    assert reader.has_artifact(run, "table.csv")
    assert not reader.has_artifact(run, "model/biases")
    with pytest.raises(UserError, match=f"run {run} has no artifact 'nothing'"):
        reader.download_artifact(run, "nothing", tmp_path / "copies")


def test_yaml_and_json_artifacts_are_parsed(tracker: Tracker, reader: RunReader, experiment: str) -> None:
    run = tracker.create_run(experiment, "documents")
    tracker.log_text(run, "training:\n  epochs: 3\n", "experiment.yaml")
    tracker.log_text(run, "[1e-05, null]", "space.json")
    tracker.log_text(run, "a: [1", "broken.yaml")
    assert reader.load_yaml(run, "experiment.yaml") == {"training": {"epochs": 3}}
    # YAML takes a number without a point for a text.
    assert reader.load_json(run, "space.json") == [1e-5, None]
    with pytest.raises(UserError, match=rf"run {run}: artifact 'experiment\.yaml' is not JSON"):
        reader.load_json(run, "experiment.yaml")
    with pytest.raises(UserError, match=rf"run {run}: artifact 'broken\.yaml' is not YAML"):
        reader.load_yaml(run, "broken.yaml")
    tracker.log_text(run, "day: 2024-13-01", "date.yaml")
    with pytest.raises(UserError, match=rf"run {run}: artifact 'date\.yaml' is not YAML"):
        reader.load_yaml(run, "date.yaml")
    with pytest.raises(UserError, match="has no artifact"):
        reader.load_yaml(run, "nothing.yaml")


def test_a_reader_is_pickled_even_after_use(tracker: Tracker, reader: RunReader, experiment: str) -> None:
    run = tracker.create_run(experiment, "pickled")
    assert reader.find_run(run)
    copy: RunReader = pickle.loads(pickle.dumps(reader))
    assert copy == reader
    assert copy.find_run(run).info.run_id == run


def test_a_store_that_is_away_is_one_clear_line() -> None:
    reader = RunReader("http://127.0.0.1:1")
    with pytest.raises(UserError, match=r"127\.0\.0\.1:1: the MLflow server does not answer"):
        reader.find_run("latest")
