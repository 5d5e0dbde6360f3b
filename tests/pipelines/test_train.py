"""What a cross-validation records and prints; trained in this process, without Ray."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from fgcme.errors import UserError
from fgcme.experiment import Experiment
from fgcme.tracking import LOCAL_ID_TAG, Tracker
from pipelines import train
from pipelines.report import report
from pipelines.training.runner import Training
from tests import rated_corpus, small_corpus
from tests.in_process import train_in_process

# Of 8, in 4 folds of 2.
SPEAKERS = [f"s{number}" for number in range(8)]


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[Training]:
    return train_in_process(train, monkeypatch)


@pytest.fixture
def experiment(tracker: Tracker, tmp_path: Path) -> Experiment:
    return small_corpus.experiment(
        prepare={"folder": str(small_corpus.write(tmp_path / "corpus", each=4))},
        storage={"path": str(tmp_path / "storage")},
        tracking={"uri": tracker.uri},
        training={"epochs": 1, "batch_size": 32},
    )


def with_protocol(experiment: Experiment, **changes: Any) -> Experiment:
    return experiment.model_copy(update={"protocol": experiment.protocol.model_copy(update=changes)})


def test_the_mean_of_some_folds_is_not_recorded_as_a_cross_validation(
    experiment: Experiment, tracker: Tracker, trained: list[Training], capsys: pytest.CaptureFixture[str]
) -> None:
    run = train.run(experiment, folds=[1, 3])
    assert [training.job.fold for training in trained] == [1, 3]
    assert "2 folds x 1 seed\n" in (printed := capsys.readouterr().out)
    assert "demo/4class, selection dev (honest), not all folds, 1 seed, in per cent:" in printed
    assert "(16 utterances a seed)" in printed and "  2 trainings, " in printed
    assert not any(name.startswith("test/") for name in tracker.find_run(run).data.metrics)
    assert train.run(experiment, resume=run) == run
    assert [training.job.fold for training in trained] == [1, 3, 0, 2]
    printed = capsys.readouterr().out
    assert "2 of 4 trainings are there already" in printed and "(32 utterances a seed)" in printed
    assert f"next: fgcme register {run} --name fgcme-small --alias champion" in printed
    assert "test/ua" in tracker.find_run(run).data.metrics


def test_a_run_that_began_while_the_server_was_away_is_resumed_in_its_own_folder(
    experiment: Experiment, tracker: Tracker, trained: list[Training], tmp_path: Path
) -> None:
    run = train.run(experiment, folds=[1])
    local_id = tracker.find_run(run).data.tags[LOCAL_ID_TAG]
    # As if MLflow had learned of it later.
    (tmp_path / "storage" / "runs" / run).rename(tmp_path / "storage" / "runs" / local_id)
    assert train.run(experiment, resume="latest") == local_id
    assert [training.job.fold for training in trained] == [1, 0, 2, 3]
    assert len(tracker.child_runs(run)) == 4


@pytest.mark.usefixtures("trained")
def test_the_latest_run_that_is_resumed_is_the_experiment_s_own_of_this_storage(
    experiment: Experiment, tracker: Tracker
) -> None:
    own = train.run(experiment, folds=[1])
    train.run(experiment.model_copy(update={"name": "another"}), folds=[1])
    colleague = tracker.create_run(tracker.get_or_create_experiment("small"), "small train")
    tracker.set_tags(colleague, {"fgcme.kind": train.KIND})
    assert train.run(experiment, resume="latest") == own


@pytest.mark.parametrize(
    ("tuned_on", "untuned", "last_line"), [(SPEAKERS[:2], True, "WA "), (SPEAKERS, False, "no speaker is left")]
)
@pytest.mark.usefixtures("trained")
def test_a_tuned_configuration_has_its_result_without_the_speakers_it_was_tuned_on(
    experiment: Experiment,
    tracker: Tracker,
    tuned_on: list[str],
    untuned: bool,
    last_line: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run = train.run(with_protocol(experiment, tuned_on=tuned_on))
    printed = capsys.readouterr().out.splitlines()
    warning = next(number for number, line in enumerate(printed) if line.startswith("  optimistic: "))
    assert printed[warning + 1].startswith(f"  {last_line}")
    assert ("test_untuned/ua" in tracker.find_run(run).data.metrics) == untuned


@pytest.mark.usefixtures("trained")
def test_predictions_of_all_folds_and_seeds_are_kept_with_the_run(
    experiment: Experiment, tracker: Tracker, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    training = experiment.training.model_copy(update={"seeds": [0, 1]})
    run = train.run(experiment.model_copy(update={"training": training}))
    predictions = pq.read_table(tracker.download_artifact(run, "predictions.parquet", tmp_path))
    assert predictions.num_rows == 2 * 32
    assert "2 seeds, mean ± deviation, in per cent:" in capsys.readouterr().out


def test_a_fold_that_the_protocol_lacks_is_refused_before_anything_is_recorded(
    experiment: Experiment, tracker: Tracker, trained: list[Training], tmp_path: Path
) -> None:
    with pytest.raises(UserError, match="fold"):
        train.run(experiment, folds=[4])
    assert trained == [] and not (tmp_path / "storage").exists()


def test_a_run_of_another_verb_is_not_resumed(
    experiment: Experiment, tracker: Tracker, trained: list[Training]
) -> None:
    other = tracker.create_run(
        tracker.get_or_create_experiment("small"), "small-pooling tune", tags={"fgcme.kind": "sweep"}
    )
    with pytest.raises(UserError, match=rf"--resume {other}: is no cross-validation"):
        train.run(experiment, resume=other)
    assert trained == []


def test_raters_and_a_rating_are_learnt_at_once_and_said_beside_what_humans_agree_on(
    tracker: Tracker, trained: list[Training], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    experiment = rated_corpus.rated_experiment(
        rated_corpus.write(tmp_path / "corpus", raters=5),
        protocol={
            "labels": {"calm": "calm", "angry": "angry"},
            "distribution": "raters",
            "dimensions": {"arousal": [1, 7]},
        },
        storage={"path": str(tmp_path / "storage")},
        tracking={"uri": tracker.uri},
        training={"score": "ccc", "epochs": 8, "batch_size": 16, "learning_rate": 0.02},
    )
    run = train.run(experiment)
    metrics = tracker.find_run(run).data.metrics
    assert metrics["test/ccc_arousal"] > 0.8
    # Two raters of five tones of one loudness often differ, and the best answer does no better than they do.
    assert 0.6 < metrics["test/human_ua"] < 0.9
    assert metrics["test/model_with_raters_ua"] > metrics["test/human_ua"] - 0.05
    assert metrics["test/jensen_shannon"] < 0.35
    assert {"test/ua", "test/cross_entropy", "test/human_wa"} <= metrics.keys()
    printed = capsys.readouterr().out
    assert "rated/dimensions, distribution of raters: 96 of 96 utterances" in printed
    assert "raters: 480 labels of classes, 5.0 an utterance; 0 labels of no class" in printed
    assert "each rater against the majority of the others: WA " in printed
    table = pq.read_table(tracker.download_artifact(run, "predictions.parquet", tmp_path))
    assert {sum(votes) for votes in table["votes"].to_pylist()} == {5}
    page = report(run, tmp_path / "report", tracker.uri)
    assert "Raters and rated" in (text := page.read_text(encoding="utf-8"))
    assert f"{100 * metrics['test/human_ua']:.1f}" in text
    assert (page.parent / "ratings.html").is_file()
