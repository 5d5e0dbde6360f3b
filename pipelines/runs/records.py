"""What a run in MLflow says about the origin of its numbers, and whether it can be resumed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fgcme.data import Assignment, Selection, SpeechCorpus, Tasks, reads_test_audio
from fgcme.errors import UserError
from fgcme.experiment import Experiment, parse_stored
from fgcme.tracking import LOCAL_ID_TAG, Tracker, code_version_tags, prepare_store, resolve_uri

if TYPE_CHECKING:
    from mlflow.entities import Run

# A subfolder of the storage folder, which all nodes share.
OUTBOX_FOLDER = "outbox"
# Tags: the commit that started a run, and the one that last resumed it.
COMMIT_TAG, RESUMED_COMMIT_TAG = "fgcme.commit", "fgcme.commit.resumed"
UNTUNED_NOTE = "  optimistic: this configuration was chosen on speakers that are test speakers here; without them:"
# The result does not depend on machines, nor on where the corpus is.
_IRRELEVANT = ("scaling.", "tracking.", "prepare.folder", "corpus.root")


def open_store(experiment: Experiment, storage: Path) -> Tracker:
    """The tracker of an experiment's runs, in a store that is ready for many writers.

    Pending writes in the storage folder's outbox are sent first, so that runs are read complete.

    Args:
        experiment: its `tracking.uri` says where runs are recorded.
        storage: the storage folder, for artifacts and the outbox.

    Raises:
        UserError: the store cannot be used.
    """
    uri = resolve_uri(experiment.tracking.uri)
    prepare_store(uri)
    tracker = Tracker(uri, artifacts=storage / "artifacts", outbox=storage / OUTBOX_FOLDER)
    tracker.flush_outbox()
    return tracker


def describe_participants(
    experiment: Experiment, corpus: SpeechCorpus, assignment: Assignment, plan: str
) -> Iterator[str]:
    """Lines for the user before a training: its protocol, data and plan, then what is left out and what is missing.

    Args:
        experiment: what is trained.
        corpus: the prepared corpus.
        assignment: its protocol applied to the corpus.
        plan: what will be trained, such as the number of folds.
    """
    speeds = f"each at {len(corpus.speeds)} speeds, " if len(corpus.speeds) > 1 else ""
    yield (
        f"{protocol_label(experiment)}: {int((assignment.folds >= 0).sum())} of {len(corpus)} utterances, {speeds}"
        f"{_tasks(assignment.protocol.tasks)}; {plan}"
    )
    path = experiment.model.semantic.vectors
    # What comes through a pipe can be read once, by the training.
    if path is not None and not Path(path).is_fifo():
        found = len(corpus.word_vectors(Path(path), experiment.model.semantic.embedding))
        yield f"  words: {found} of {len(corpus.distinct_words)} have a vector in {path}"
    for reason, count in assignment.left_out.items():
        yield f"  left out: {count} x {reason}"
    for remark in assignment.remarks:
        yield f"  {remark}"
    for mismatch in assignment.mismatches:
        yield f"  allowed: {mismatch}"


def _tasks(tasks: Tasks) -> str:
    """What is learnt, for reading."""
    said = [f"{len(tasks.classes)} classes"] if tasks.classes else []
    said += [f"{name} {low:g} to {high:g}" for name, (low, high) in tasks.dimensions.items()]
    return ", ".join(said)


def run_tags(experiment: Experiment, corpus: SpeechCorpus, assignment: Assignment) -> dict[str, str]:
    """Tags of a run: code, corpus, protocol, selection rule, and what makes its result optimistic.

    Args:
        experiment: what is run.
        corpus: the prepared corpus.
        assignment: its protocol applied to the corpus.
    """
    tags = {
        **code_version_tags(),
        "fgcme.corpus": corpus.description.corpus,
        "fgcme.corpus_hash": corpus.description.corpus_hash,
        "fgcme.protocol": protocol_label(experiment),
        "fgcme.selection": experiment.protocol.selection,
    }
    if experiment.protocol.tuned_on:
        tags["fgcme.tuned_on"] = ", ".join(experiment.protocol.tuned_on)
    if assignment.mismatches:
        tags["fgcme.allow_missing"] = "; ".join(assignment.mismatches)
    return tags


def require_unchanged(
    tracker: Tracker, run: str, experiment: Experiment, corpus: SpeechCorpus, ignoring: tuple[str, ...] = ()
) -> None:
    """Check that a resumed run has the same corpus and settings, except those in `ignoring`.

    Args:
        tracker: where the run is recorded.
        run: its id.
        experiment: the settings now.
        corpus: the prepared corpus now.
        ignoring: prefixes of settings that may differ.

    Raises:
        UserError: the corpus or settings differ; names each setting.
    """
    if changed := changed_settings(tracker, run, experiment, ignoring):
        raise UserError(
            f"run {run} was started with other settings: {', '.join(changed)}; resume it with the same ones"
        )
    if tracker.find_run(run).data.tags["fgcme.corpus_hash"] != corpus.description.corpus_hash:
        raise UserError(f"run {run}: the corpus has changed since its start; start a new run without --resume")


def changed_settings(tracker: Tracker, run: str, experiment: Experiment, ignoring: tuple[str, ...] = ()) -> list[str]:
    """The settings in which an experiment differs from a recorded run, each with both values.

    Args:
        tracker: where the run is recorded.
        run: its id.
        experiment: the settings now.
        ignoring: prefixes of settings that may differ.
    """
    recorded = parse_stored(tracker.load_yaml(run, "experiment.yaml"), source=f"run {run}").flat()
    now = experiment.flat()
    return [
        f"{key} ({recorded.get(key)!r} then, {now.get(key)!r} now)"
        for key in sorted({*recorded, *now})
        if not key.startswith((*_IRRELEVANT, *ignoring)) and recorded.get(key) != now.get(key)
    ]


def delete_unstarted(tracker: Tracker, parent: str, folder: Path) -> None:
    """Delete child runs that were created but never started because the driver was killed.

    Args:
        tracker: where they are recorded.
        parent: id of the resumed run.
        folder: of the resumed run; below it, a file `run` holds the id of each child run that was started.
    """
    started = {path.read_text(encoding="utf-8") for path in folder.rglob("run") if path.is_file()}
    for child in tracker.child_runs(parent):
        if child.info.status == "RUNNING" and not started & {child.info.run_id, child.data.tags.get(LOCAL_ID_TAG)}:
            tracker.delete_run(child.info.run_id)


def protocol_label(experiment: Experiment) -> str:
    """The protocol's name as shown beside a result, with a warning if the model reads unlabelled test audio.

    Normalisation by speaker uses all audio of a test speaker, without labels; a model that classifies one utterance at
    a time, as all others do, does not have it.
    """
    name, dimensions = experiment.protocol.name, experiment.protocol.dimensions
    own = experiment.protocol.folds is not None or experiment.protocol.parts is not None
    # To a named protocol this experiment adds them.
    name += f" with {', '.join(dimensions)}" if dimensions is not None and not own else ""
    name += ", distribution of raters" if experiment.protocol.distribution is not None else ""
    return f"{name}, speaker-normalised (uses unlabelled test audio)" if reads_test_audio(experiment.model) else name


def is_complete(run: Run) -> bool:
    """Whether all folds of a cross-validation were trained: it gets the metrics of its tasks only then."""
    return bool({"test/ua", "test/ccc"} & {*run.data.metrics})


def rule_tag(selections: Sequence[Selection]) -> str:
    """The tag of a run whose trainings select epochs by these rules.

    >>> rule_tag(["dev"]), rule_tag(["test"]), rule_tag(["dev", "test"])
    ('dev', 'test (optimistic)', 'both (test: optimistic)')
    """
    if len(selections) > 1:
        return "both (test: optimistic)"
    return "dev" if selections[0] == "dev" else "test (optimistic)"


def metric_prefix(selection: Selection) -> str:
    """The first part of the names of an ablation's test metrics: `<prefix>/<variant>/ua`."""
    return "test" if selection == "dev" else "test_selected_on_test"


def rule_text(selection: Selection) -> str:
    """How epochs are selected, as shown to the user."""
    optimistic = "TEST (optimistic: epochs are chosen on the test part)"
    return "dev (honest)" if selection == "dev" else optimistic
