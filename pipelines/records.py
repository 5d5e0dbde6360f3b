"""What a run of MLflow says of where its numbers come from, and whether they can be gone on with."""

from __future__ import annotations

from fgcme import experiment as experiments
from fgcme.dataset import SpeechCorpus
from fgcme.errors import UserError
from fgcme.experiment import Experiment
from fgcme.protocol import Assignment
from fgcme.tracking import Tracker, provenance

# How the work is spread over machines, and where the corpus lies, do not decide its result.
_IRRELEVANT = ("scaling.", "tracking.", "prepare.folder", "corpus.root")


def tags(experiment: Experiment, corpus: SpeechCorpus, assignment: Assignment) -> dict[str, str]:
    """Tags of a run: code, corpus, protocol, selection rule, and whatever makes its result optimistic."""
    made = provenance() | {
        "fgcme.corpus": corpus.description.corpus,
        "fgcme.corpus_hash": corpus.description.corpus_hash,
        "fgcme.protocol": assignment.protocol.name,
        "fgcme.selection": experiment.protocol.selection,
    }
    if experiment.protocol.tuned_on:
        made["fgcme.tuned_on"] = ", ".join(experiment.protocol.tuned_on)
    if assignment.mismatches:
        made["fgcme.allow_missing"] = "; ".join(assignment.mismatches)
    return made


def refuse_changes(tracker: Tracker, run: str, experiment: Experiment, corpus: SpeechCorpus) -> None:
    """Check that a run that is to be gone on with was started with these settings and this corpus.

    Raises:
        UserError: names each setting that differs.
    """
    recorded = experiments.parse(tracker.yaml(run, "experiment.yaml"), source=f"run {run}").flat()
    now = experiment.flat()
    changed = [
        f"{key} ({recorded.get(key)!r} then, {now.get(key)!r} now)"
        for key in sorted({*recorded, *now})
        if not key.startswith(_IRRELEVANT) and recorded.get(key) != now.get(key)
    ]
    if changed:
        raise UserError(
            f"run {run} was started with other settings: {', '.join(changed)}; resume it with the same ones"
        )
    if tracker.client.get_run(run).data.tags["fgcme.corpus_hash"] != corpus.description.corpus_hash:
        raise UserError(f"run {run} was started on another state of the corpus, which has changed since; start anew")


def rule(experiment: Experiment) -> str:
    """How epochs are chosen, for a reader."""
    optimistic = "TEST (optimistic: epochs are chosen on the test part)"
    return "dev (honest)" if experiment.protocol.selection == "dev" else optimistic
