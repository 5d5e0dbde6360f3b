"""The run that a verb works on: created once, resumed by one driver at a time, and ended whatever happens."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from fgcme.data import SpeechCorpus, apply_protocol
from fgcme.errors import UserError
from fgcme.tracking import Tracker
from pipelines.cluster import LOCK
from pipelines.runs import records
from pipelines.runs.opening import RunRequest, latest_run, open_run
from tests import small_corpus


@pytest.fixture
def request_(tmp_path: Path) -> RunRequest:
    experiment = small_corpus.experiment()
    corpus = SpeechCorpus(small_corpus.write(tmp_path / "corpus", each=4))
    return RunRequest(
        kind="ablation",
        title="small ablate",
        folder=tmp_path / "storage" / "ablations",
        experiment=experiment,
        corpus=corpus,
        assignment=apply_protocol(experiment.protocol, "demo", corpus.table),
        tags={"fgcme.space": "small-space"},
        resumed_tags={"fgcme.seeds": "0, 1"},
        documents={"experiment.yaml": experiment.to_yaml()},
        changeable=("training.seeds",),
    )


def test_a_new_run_says_what_it_is_and_ends_with_the_block(tracker: Tracker, request_: RunRequest) -> None:
    with open_run(tracker, request_) as opened:
        assert tracker.find_run(opened.run_id).info.status == "RUNNING"
        assert opened.folder == request_.folder / opened.run_id and opened.folder.is_dir() and not opened.resumed
    run = tracker.find_run(opened.run_id)
    assert (run.info.status, run.info.run_name) == ("FINISHED", "small ablate")
    assert run.info.experiment_id == opened.mlflow_experiment == tracker.get_or_create_experiment("small")
    tags = run.data.tags
    assert (tags["fgcme.kind"], tags["fgcme.space"]) == ("ablation", "small-space")
    assert tags["fgcme.corpus_hash"] == request_.corpus.description.corpus_hash and "fgcme.seeds" not in tags
    assert run.data.params["training.epochs"] == "3" and "training.seeds" not in run.data.params
    assert tracker.load_yaml(opened.run_id, "experiment.yaml")["name"] == "small"


def test_the_latest_run_is_the_last_one_opened_that_is_wanted(tmp_path: Path) -> None:
    for opened, name in enumerate(("a", "c", "b")):
        (tmp_path / name).mkdir()
        (tmp_path / name / LOCK).touch()
        os.utime(tmp_path / name / LOCK, (opened, opened))
    assert latest_run(tmp_path, "sweep") == "b"
    assert latest_run(tmp_path, "sweep", lambda run: run != "b") == "c"
    with pytest.raises(UserError, match="no sweep to resume; start one without --resume"):
        latest_run(tmp_path, "sweep", lambda run: False)


@pytest.mark.parametrize(("error", "status"), [(ValueError, "FAILED"), (KeyboardInterrupt, "KILLED")])
def test_an_interrupted_run_is_ended_as_failed_or_killed_and_can_be_resumed(
    tracker: Tracker, request_: RunRequest, error: type[BaseException], status: str
) -> None:
    with pytest.raises(error), open_run(tracker, request_) as opened:
        orphan = tracker.create_run(opened.mlflow_experiment, "created, never started", opened.run_id)
        raise error
    assert tracker.find_run(opened.run_id).info.status == status
    with open_run(tracker, request_, latest_run(request_.folder, "ablation")) as resumed:
        assert replace(resumed, resumed=False) == opened and resumed.resumed
        assert tracker.find_run(opened.run_id).info.status == "RUNNING"
        assert tracker.find_run(opened.run_id).data.tags["fgcme.seeds"] == "0, 1"
        assert orphan not in {child.info.run_id for child in tracker.child_runs(opened.run_id)}
    assert tracker.find_run(opened.run_id).info.status == "FINISHED"


def test_a_run_that_another_driver_works_on_is_refused_and_stays_as_it_is(
    tracker: Tracker, request_: RunRequest
) -> None:
    with open_run(tracker, request_) as opened:
        child = tracker.create_run(opened.mlflow_experiment, "just created", opened.run_id)
        refusal = pytest.raises(UserError, match=rf"ablation {opened.run_id} is being run by another driver \(process")
        with refusal, open_run(tracker, request_, opened.run_id):
            pass
        assert [each.info.run_id for each in tracker.child_runs(opened.run_id)] == [child]
        assert tracker.find_run(opened.run_id).info.status == "RUNNING"


def test_the_latest_run_is_the_one_opened_last(tracker: Tracker, request_: RunRequest) -> None:
    with pytest.raises(UserError, match="no ablation to resume; start one without --resume"):
        latest_run(request_.folder, "ablation")
    with open_run(tracker, request_) as first:
        pass
    with open_run(tracker, request_) as second:
        pass
    assert latest_run(request_.folder, "ablation") == second.run_id
    with open_run(tracker, request_, first.run_id):
        pass
    assert latest_run(request_.folder, "ablation") == first.run_id


def test_the_run_of_a_driver_that_was_killed_before_it_made_its_folder_is_ended_by_the_next(
    tracker: Tracker, request_: RunRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_folder = Path.mkdir

    def killed(path: Path, *arguments: object, **options: object) -> None:
        if path.parent == request_.folder:
            raise SystemExit
        make_folder(path, *arguments, **options)  # type: ignore[arg-type]

    with monkeypatch.context() as patch, pytest.raises(SystemExit):
        patch.setattr(Path, "mkdir", killed)
        with open_run(tracker, request_):
            pass
    lost = tracker.find_run("latest").info
    assert lost.status == "RUNNING"
    with open_run(tracker, request_):
        # It has no folder, so nobody could resume it.
        assert tracker.find_run(lost.run_id).info.status == "KILLED"
        with open_run(tracker, request_) as third:
            statuses = [tracker.find_run(run).info.status for run in (lost.run_id, third.run_id)]
    assert statuses == ["KILLED", "RUNNING"]


def test_a_new_run_has_the_tags_of_every_run(tracker: Tracker, request_: RunRequest) -> None:
    with open_run(tracker, request_) as opened:
        pass
    expected = records.run_tags(request_.experiment, request_.corpus, request_.assignment)
    assert expected.items() <= tracker.find_run(opened.run_id).data.tags.items()
