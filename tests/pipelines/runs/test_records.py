from pathlib import Path

import pytest

from fgcme.data import SpeechCorpus, apply_protocol
from fgcme.errors import UserError
from fgcme.tracking import LOCAL_TAG
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
    assignment = apply_protocol(experiment.protocol, "demo", corpus.members)
    # A model that hears nothing owes nothing to what it could have heard.
    owes = normalisation == "speaker" and modalities == "both"
    expected = "demo/4class, speaker-normalised (uses unlabelled test audio)" if owes else "demo/4class"
    assert records.protocol_label(experiment) == expected
    assert records.tags(experiment, corpus, assignment)["fgcme.protocol"] == expected


def test_a_run_that_was_made_but_never_begun_is_dropped_and_no_other(tmp_path: Path) -> None:
    tracker = make_tracker(tmp_path)
    study = tracker.experiment("records")
    parent = tracker.start(study, "sweep")
    known, orphan, elsewhere = (tracker.start(study, name, parent=parent) for name in ("known", "orphan", "elsewhere"))
    tracker.finish(elsewhere, "FINISHED")
    (tmp_path / "kept" / "0").mkdir(parents=True)
    (tmp_path / "kept" / "0" / "run").write_text(known)
    records.delete_unstarted(tracker, parent, tmp_path / "kept")
    left = {child.info.run_id for child in tracker.children(parent)}
    assert left == {tracker.find(run).info.run_id for run in (known, elsewhere)} and orphan not in left


def test_a_run_that_goes_by_a_local_id_is_gone_on_with_as_any_other(tmp_path: Path) -> None:
    tracker, experiment = make_tracker(tmp_path), small_corpus.experiment()
    corpus = SpeechCorpus(small_corpus.write(tmp_path / "corpus"))
    assignment = apply_protocol(experiment.protocol, "demo", corpus.members)
    study = tracker.experiment("records")
    run = tracker.start(study, "begun", tags=records.tags(experiment, corpus, assignment))
    tracker.text(run, experiment.to_yaml(), "experiment.yaml")
    child = tracker.start(study, "never begun", parent=run)
    # What its driver knew it by while the server was away.
    local = tracker.find(run).data.tags[LOCAL_TAG]
    records.refuse_changes(tracker, local, experiment, corpus)
    records.delete_unstarted(tracker, local, tmp_path / "nothing")
    assert child not in {each.info.run_id for each in tracker.children(local)}


def test_a_run_is_gone_on_with_only_by_the_settings_and_the_corpus_it_was_started_with(tmp_path: Path) -> None:
    tracker, experiment = make_tracker(tmp_path), small_corpus.experiment()
    corpus = SpeechCorpus(small_corpus.write(tmp_path / "corpus"))
    assignment = apply_protocol(experiment.protocol, "demo", corpus.members)
    run = tracker.start(tracker.experiment("records"), "sweep", tags=records.tags(experiment, corpus, assignment))
    tracker.text(run, experiment.to_yaml(), "experiment.yaml")
    records.refuse_changes(tracker, run, experiment, corpus)
    # Where it is trained does not matter, nor what is excepted.
    records.refuse_changes(tracker, run, small_corpus.experiment(scaling={"max_concurrent": 2}), corpus)
    longer = small_corpus.experiment(training={"epochs": 4})
    records.refuse_changes(tracker, run, longer, corpus, ignoring=("training.epochs",))
    with pytest.raises(UserError, match=r"training\.epochs \(3 then, 4 now\); resume it with the same"):
        records.refuse_changes(tracker, run, longer, corpus)
    changed = SpeechCorpus(small_corpus.write(tmp_path / "changed", seed=1))
    with pytest.raises(UserError, match=f"run {run} was started on another state of the corpus"):
        records.refuse_changes(tracker, run, experiment, changed)
