"""What a run records about its origin, and which runs may be resumed."""

from pathlib import Path

import pytest

from fgcme.data import SpeechCorpus, apply_protocol
from fgcme.errors import UserError
from fgcme.tracking import LOCAL_ID_TAG
from pipelines.runs import records
from tests import small_corpus
from tests.store import make_tracker


@pytest.mark.parametrize("modalities", ["both", "semantic"])
@pytest.mark.parametrize("normalisation", ["none", "train", "utterance", "speaker"])
def test_the_protocol_label_says_that_unlabelled_test_audio_was_read(
    tmp_path: Path, normalisation: str, modalities: str
) -> None:
    corpus = SpeechCorpus(small_corpus.write(tmp_path / "corpus"))
    experiment = small_corpus.experiment(model={"acoustic": {"normalisation": normalisation}, "modalities": modalities})
    assignment = apply_protocol(experiment.protocol, "demo", corpus.table)
    # A model without audio normalises none.
    reads_test_audio = normalisation == "speaker" and modalities == "both"
    expected = "demo/4class, speaker-normalised (uses unlabelled test audio)" if reads_test_audio else "demo/4class"
    assert records.protocol_label(experiment) == expected
    assert records.run_tags(experiment, corpus, assignment)["fgcme.protocol"] == expected


def test_only_child_runs_that_never_started_are_deleted(tmp_path: Path) -> None:
    tracker = make_tracker(tmp_path)
    mlflow_experiment = tracker.get_or_create_experiment("records")
    parent = tracker.create_run(mlflow_experiment, "sweep")
    known, orphan, elsewhere = (
        tracker.create_run(mlflow_experiment, name, parent=parent) for name in ("known", "orphan", "elsewhere")
    )
    tracker.end_run(elsewhere, "FINISHED")
    (tmp_path / "sweep" / "0").mkdir(parents=True)
    (tmp_path / "sweep" / "0" / "run").write_text(known)
    records.delete_unstarted(tracker, parent, tmp_path / "sweep")
    left = {child.info.run_id for child in tracker.child_runs(parent)}
    assert left == {tracker.find_run(run).info.run_id for run in (known, elsewhere)} and orphan not in left


def test_a_run_is_resumed_by_its_local_id(tmp_path: Path) -> None:
    tracker, experiment = make_tracker(tmp_path), small_corpus.experiment()
    corpus = SpeechCorpus(small_corpus.write(tmp_path / "corpus"))
    assignment = apply_protocol(experiment.protocol, "demo", corpus.table)
    mlflow_experiment = tracker.get_or_create_experiment("records")
    run = tracker.create_run(mlflow_experiment, "started", tags=records.run_tags(experiment, corpus, assignment))
    tracker.log_text(run, experiment.to_yaml(), "experiment.yaml")
    child = tracker.create_run(mlflow_experiment, "never started", parent=run)
    # The driver knows this id if the server was away at the start.
    local = tracker.find_run(run).data.tags[LOCAL_ID_TAG]
    records.require_unchanged(tracker, local, experiment, corpus)
    records.delete_unstarted(tracker, local, tmp_path / "nothing")
    assert child not in {each.info.run_id for each in tracker.child_runs(local)}


def test_a_run_is_resumed_only_with_its_own_settings_and_corpus(tmp_path: Path) -> None:
    tracker, experiment = make_tracker(tmp_path), small_corpus.experiment()
    corpus = SpeechCorpus(small_corpus.write(tmp_path / "corpus"))
    assignment = apply_protocol(experiment.protocol, "demo", corpus.table)
    run = tracker.create_run(
        tracker.get_or_create_experiment("records"), "sweep", tags=records.run_tags(experiment, corpus, assignment)
    )
    tracker.log_text(run, experiment.to_yaml(), "experiment.yaml")
    records.require_unchanged(tracker, run, experiment, corpus)
    # Machines do not matter, nor settings in `ignoring`.
    records.require_unchanged(tracker, run, small_corpus.experiment(scaling={"max_concurrent": 2}), corpus)
    longer = small_corpus.experiment(training={"epochs": 4})
    records.require_unchanged(tracker, run, longer, corpus, ignoring=("training.epochs",))
    with pytest.raises(UserError, match=r"training\.epochs \(3 then, 4 now\); resume it with the same"):
        records.require_unchanged(tracker, run, longer, corpus)
    changed = SpeechCorpus(small_corpus.write(tmp_path / "changed", seed=1))
    with pytest.raises(UserError, match=f"run {run}: the corpus has changed since its start"):
        records.require_unchanged(tracker, run, experiment, changed)


def test_participants_are_utterances_however_many_copies_they_have(tmp_path: Path) -> None:
    experiment = small_corpus.experiment()
    for copies, phrase in (((), "4 classes"), ((0.9, 1.1), "each at 3 speeds, 4 classes")):
        corpus = SpeechCorpus(small_corpus.write(tmp_path / f"corpus-{len(copies)}", copies=copies))
        assignment = apply_protocol(experiment.protocol, "demo", corpus.table)
        line = next(records.describe_participants(experiment, corpus, assignment, "4 folds"))
        assert line == f"demo/4class: 64 of 64 utterances, {phrase}; 4 folds"
