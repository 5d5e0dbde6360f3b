"""What a report says of where a run's numbers come from."""

from __future__ import annotations

from typing import Any

import pytest

from fgcme.report.content import Provenance
from fgcme.tracking import Tracker
from pipelines.runs.provenance import provenance_of
from tests import small_corpus

CLEAN, OTHER, THIRD = "a" * 40, "b" * 40, "c" * 40


def record(tracker: Tracker, name: str = "mine train", **tags: str) -> Any:
    """A run with these `fgcme.` tags, where `_` stands for `.`."""
    named = {f"fgcme.{key.replace('_', '.')}": value for key, value in tags.items()}
    run = tracker.create_run(
        tracker.get_or_create_experiment("mine"), name, tags={"fgcme.kind": "cross_validation", **named}
    )
    return tracker.find_run(run)


def of(run: Any, *trainings: Any) -> Provenance:
    return provenance_of(run, small_corpus.experiment(), ["fgcme train mine.yaml"], trainings)


def test_a_run_is_named_by_what_was_run_with_its_corpus_versions_and_dates(tracker: Tracker) -> None:
    run = record(tracker, commit=CLEAN, corpus="ravdess", version_torch="2.11.0")
    found = of(run)
    assert (found.run, found.title, found.kind) == (run.info.run_id, "mine", "cross_validation")
    assert (found.corpus, found.corpus_hash) == ("ravdess", "unknown")
    assert found.versions == {"torch": "2.11.0"}
    assert found.ended == "not yet (running)"
    tracker.end_run(run.info.run_id, "FINISHED")
    assert of(tracker.find_run(run.info.run_id)).ended.endswith(" UTC")


@pytest.mark.parametrize(
    ("commit", "checkout"), [(CLEAN, [f"git checkout {CLEAN}"]), (f"{CLEAN}-dirty", []), ("unknown", [])]
)
def test_a_run_is_repeated_from_its_commit_only_if_that_is_known_and_clean(
    tracker: Tracker, commit: str, checkout: list[str]
) -> None:
    assert of(record(tracker, commit=commit)).commands == [*checkout, "fgcme train mine.yaml"]


def test_a_run_trained_by_several_commits_names_all_and_checks_out_none(tracker: Tracker) -> None:
    run, same, untagged = record(tracker, commit=CLEAN), record(tracker, commit=CLEAN), record(tracker)
    assert of(run, same, untagged).commit == CLEAN
    other, resumed = record(tracker, commit=OTHER), record(tracker, commit=CLEAN, commit_resumed=THIRD)
    found = of(run, same, other, resumed)
    assert found.commit == f"{CLEAN}, {OTHER}, {THIRD}"
    assert found.commands == ["fgcme train mine.yaml"]
