"""What a run of MLflow says of where its numbers come from, and whether they can be gone on with."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from fgcme.data import Assignment, Selection, SpeechCorpus, reads_test_audio
from fgcme.errors import UserError
from fgcme.experiment import Experiment, parse_experiment
from fgcme.tracking import LOCAL_ID_TAG, Tracker, code_version_tags, prepare_store, resolve_uri

# In the storage folder, which all nodes share.
OUTBOX_FOLDER = "outbox"
# Tags: the code that a run was begun with, and that it was last gone on with.
COMMIT_TAG, RESUMED_COMMIT_TAG = "fgcme.commit", "fgcme.commit.resumed"
UNTUNED_NOTE = "  optimistic: this configuration was chosen on speakers that are test speakers here; without them:"
# How the work is spread over machines, and where the corpus lies, do not decide its result.
_IRRELEVANT = ("scaling.", "tracking.", "prepare.folder", "corpus.root")


def open_store(experiment: Experiment, storage: Path) -> Tracker:
    """Where an experiment's runs are recorded, ready for many writers; artifacts go to the storage folder.

    What waits in the storage folder's outbox is sent first, so that what is read of a run is all there is.
    """
    uri = resolve_uri(experiment.tracking.uri)
    prepare_store(uri)
    tracker = Tracker(uri, artifacts=storage / "artifacts", outbox=storage / OUTBOX_FOLDER)
    tracker.flush_outbox()
    return tracker


def describe_participants(
    experiment: Experiment, corpus: SpeechCorpus, assignment: Assignment, plan: str
) -> Iterator[str]:
    """What is trained on, before it is: a line with the `plan` of it, and one for all that is left out or allowed."""
    yield (
        f"{protocol_label(experiment)}: {int((assignment.folds >= 0).sum())} of {len(corpus)} utterances, "
        f"{len(assignment.protocol.classes)} classes; {plan}"
    )
    for reason, count in assignment.left_out.items():
        yield f"  left out: {count} x {reason}"
    for mismatch in assignment.mismatches:
        yield f"  allowed: {mismatch}"


def run_tags(experiment: Experiment, corpus: SpeechCorpus, assignment: Assignment) -> dict[str, str]:
    """Tags of a run: code, corpus, protocol, selection rule, and whatever makes its result optimistic."""
    made = {
        **code_version_tags(),
        "fgcme.corpus": corpus.description.corpus,
        "fgcme.corpus_hash": corpus.description.corpus_hash,
        "fgcme.protocol": protocol_label(experiment),
        "fgcme.selection": experiment.protocol.selection,
    }
    if experiment.protocol.tuned_on:
        made["fgcme.tuned_on"] = ", ".join(experiment.protocol.tuned_on)
    if assignment.mismatches:
        made["fgcme.allow_missing"] = "; ".join(assignment.mismatches)
    return made


def require_unchanged(
    tracker: Tracker, run: str, experiment: Experiment, corpus: SpeechCorpus, ignoring: tuple[str, ...] = ()
) -> None:
    """Check that a run that is to be gone on with was started with these settings, `but` some, and this corpus.

    Raises:
        UserError: names each setting that differs.
    """
    recorded = parse_experiment(tracker.load_yaml(run, "experiment.yaml"), source=f"run {run}").flat()
    now = experiment.flat()
    changed = [
        f"{key} ({recorded.get(key)!r} then, {now.get(key)!r} now)"
        for key in sorted({*recorded, *now})
        if not key.startswith((*_IRRELEVANT, *ignoring)) and recorded.get(key) != now.get(key)
    ]
    if changed:
        raise UserError(
            f"run {run} was started with other settings: {', '.join(changed)}; resume it with the same ones"
        )
    if tracker.find_run(run).data.tags["fgcme.corpus_hash"] != corpus.description.corpus_hash:
        raise UserError(f"run {run} was started on another state of the corpus, which has changed since; start anew")


def delete_unstarted(tracker: Tracker, parent: str, folder: Path) -> None:
    """Delete what was never begun of the runs below a run that is gone on with: the driver was killed as it made them.

    Args:
        tracker: where they are recorded.
        parent: the run.
        folder: what is kept of it; a file `run` in each part's folder holds the id of its run.
    """
    known = {path.read_text(encoding="utf-8") for path in folder.rglob("run") if path.is_file()}
    for child in tracker.child_runs(parent):
        if child.info.status == "RUNNING" and not known & {child.info.run_id, child.data.tags.get(LOCAL_ID_TAG)}:
            tracker.delete_run(child.info.run_id)


def protocol_label(experiment: Experiment) -> str:
    """The protocol, wherever it is shown beside a result: its name, and what a result owes to more than it allows.

    Statistics of a speaker of the test part are of audio that is to be classified. Its labels play no part, but a model
    that hears one utterance at a time, as all others do, could not have them.
    """
    name = experiment.protocol.name
    return f"{name}, speaker-normalised (uses unlabelled test audio)" if reads_test_audio(experiment.model) else name


def rule_tag(selections: Sequence[Selection]) -> str:
    """The tag of a run that has trainings by these rules.

    >>> rule_tag(["dev"]), rule_tag(["test"]), rule_tag(["dev", "test"])
    ('dev', 'test (optimistic)', 'both (test: optimistic)')
    """
    if len(selections) > 1:
        return "both (test: optimistic)"
    return "dev" if selections[0] == "dev" else "test (optimistic)"


def metric_prefix(selection: Selection) -> str:
    """What the names of an ablation's test metrics begin with: `<this>/<variant>/ua`."""
    return "test" if selection == "dev" else "test_selected_on_test"


def rule_text(selection: Selection) -> str:
    """How epochs are chosen, for a reader."""
    optimistic = "TEST (optimistic: epochs are chosen on the test part)"
    return "dev (honest)" if selection == "dev" else optimistic
