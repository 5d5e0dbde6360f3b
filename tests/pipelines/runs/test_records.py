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
def test_a_protocol_is_named_with_what_a_result_owes_to_more_than_it_allows(
    tmp_path: Path, normalisation: str, modalities: str
) -> None:
    corpus = SpeechCorpus(small_corpus.write(tmp_path / "corpus"))
    experiment = small_corpus.experiment(model={"acoustic": {"normalisation": normalisation}, "modalities": modalities})
    assignment = apply_protocol(experiment.protocol, "demo", corpus.table)
    # A model that hears nothing owes nothing to what it could have heard.
    owes = normalisation == "speaker" and modalities == "both"
    expected = "demo/4class, speaker-normalised (uses unlabelled test audio)" if owes else "demo/4class"
    assert records.protocol_label(experiment) == expected
    assert records.run_tags(experiment, corpus, assignment)["fgcme.protocol"] == expected


def test_a_run_that_was_made_but_never_begun_is_dropped_and_no_other(tmp_path: Path) -> None:
    tracker = make_tracker(tmp_path)
    study = tracker.get_or_create_experiment("records")
    parent = tracker.create_run(study, "sweep")
    known, orphan, elsewhere = (
        tracker.create_run(study, name, parent=parent) for name in ("known", "orphan", "elsewhere")
    )
    tracker.end_run(elsewhere, "FINISHED")
    (tmp_path / "kept" / "0").mkdir(parents=True)
    (tmp_path / "kept" / "0" / "run").write_text(known)
    records.delete_unstarted(tracker, parent, tmp_path / "kept")
    left = {child.info.run_id for child in tracker.child_runs(parent)}
    assert left == {tracker.find_run(run).info.run_id for run in (known, elsewhere)} and orphan not in left


def test_a_run_that_goes_by_a_local_id_is_gone_on_with_as_any_other(tmp_path: Path) -> None:
    tracker, experiment = make_tracker(tmp_path), small_corpus.experiment()
    corpus = SpeechCorpus(small_corpus.write(tmp_path / "corpus"))
    assignment = apply_protocol(experiment.protocol, "demo", corpus.table)
    study = tracker.get_or_create_experiment("records")
    run = tracker.create_run(study, "begun", tags=records.run_tags(experiment, corpus, assignment))
    tracker.log_text(run, experiment.to_yaml(), "experiment.yaml")
    child = tracker.create_run(study, "never begun", parent=run)
    # What its driver knew it by while the server was away.
    local = tracker.find_run(run).data.tags[LOCAL_ID_TAG]
    records.require_unchanged(tracker, local, experiment, corpus)
    records.delete_unstarted(tracker, local, tmp_path / "nothing")
    assert child not in {each.info.run_id for each in tracker.child_runs(local)}


def test_a_run_is_gone_on_with_only_by_the_settings_and_the_corpus_it_was_started_with(tmp_path: Path) -> None:
    tracker, experiment = make_tracker(tmp_path), small_corpus.experiment()
    corpus = SpeechCorpus(small_corpus.write(tmp_path / "corpus"))
    assignment = apply_protocol(experiment.protocol, "demo", corpus.table)
    run = tracker.create_run(
        tracker.get_or_create_experiment("records"), "sweep", tags=records.run_tags(experiment, corpus, assignment)
    )
    tracker.log_text(run, experiment.to_yaml(), "experiment.yaml")
    records.require_unchanged(tracker, run, experiment, corpus)
    # Where it is trained does not matter, nor what is excepted.
    records.require_unchanged(tracker, run, small_corpus.experiment(scaling={"max_concurrent": 2}), corpus)
    longer = small_corpus.experiment(training={"epochs": 4})
    records.require_unchanged(tracker, run, longer, corpus, ignoring=("training.epochs",))
    with pytest.raises(UserError, match=r"training\.epochs \(3 then, 4 now\); resume it with the same"):
        records.require_unchanged(tracker, run, longer, corpus)
    changed = SpeechCorpus(small_corpus.write(tmp_path / "changed", seed=1))
    with pytest.raises(UserError, match=f"run {run} was started on another state of the corpus"):
        records.require_unchanged(tracker, run, experiment, changed)
