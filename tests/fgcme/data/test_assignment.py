"""A protocol applied to a corpus: parts that somebody else made, texts kept apart, and copies that lack something."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import numpy as np
import pytest

from fgcme.data import assign_folds, resolve_protocol, split_fold
from fgcme.data.protocol import MismatchError, Protocol, UtteranceTable
from fgcme.errors import UserError
from fgcme.experiment import ProtocolSettings


def table(rows: list[tuple[str, str, str]]) -> UtteranceTable:
    """Utterances as label, speaker and session; an id says which of three scripts is spoken."""
    return UtteranceTable(
        ids=[f"{number}_script{number % 3:02d}" for number in range(len(rows))],
        raw_labels=[label for label, _, _ in rows],
        speakers=[speaker for _, speaker, _ in rows],
        sessions=[session for _, _, session in rows],
        acts=[None] * len(rows),
    )


PARTS = {"train": ["one", "two"], "dev": ["three"], "test": ["four"]}
ROWS = [(label, session[:2], session) for session, label in product(("one", "two", "three", "four"), "ab")]


def declared(**settings: object) -> Protocol:
    given = {"name": "mine", "labels": {"a": "A", "b": "B"}, "group": "session", "parts": PARTS} | settings
    return resolve_protocol(ProtocolSettings.model_validate(given), "manifest")


def sessions_of(protocol: Protocol, utterances: UtteranceTable) -> tuple[set[str | None], ...]:
    assignment = assign_folds(protocol, utterances)
    assert assignment.fold_count == 1
    split = split_fold(assignment, 0)
    return tuple({utterances.sessions[index] for index in part} for part in (split.train, split.dev, split.test))


def test_parts_are_one_fold_with_the_groups_that_they_name() -> None:
    assert sessions_of(declared(), table(ROWS)) == ({"one", "two"}, {"three"}, {"four"})


def test_a_group_in_no_part_takes_no_part_and_a_final_training_takes_all_parts() -> None:
    assignment = assign_folds(declared(), table([*ROWS, ("a", "fi", "five")]))
    assert assignment.left_out == {"session five in no fold": 1}
    assert split_fold(assignment, None).train.tolist() == list(range(8))


@pytest.mark.parametrize("session", ["one", "three"])
def test_parts_that_share_a_speaker_are_refused_unless_they_are_called_so(session: str) -> None:
    shared = table([*ROWS, ("a", "fo", session)])
    with pytest.raises(UserError, match="mine: speaker fo is in folds"):
        assign_folds(declared(), shared)
    assert assign_folds(declared(shared_speakers=True), shared).fold_count == 1


@pytest.mark.parametrize(("lacks", "part"), [("four", "test"), ("three", "dev")])
def test_a_copy_without_one_of_the_parts_is_refused_by_its_name(lacks: str, part: str) -> None:
    rows = [row for row in ROWS if row[2] != lacks]
    with pytest.raises(UserError, match=f"the corpus has no utterance of its {part} part"):
        assign_folds(declared(), table(rows), allow_missing=True)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"folds": 3}, "either `folds` or `parts`"),
        ({"dev_groups": 1}, "protocol.parts names the dev part already"),
        ({"parts": None, "folds": 3, "shared_speakers": True}, "only parts may share speakers"),
    ],
)
def test_a_declaration_that_says_two_things_is_refused(settings: dict[str, object], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        declared(**settings)


def test_a_copy_may_lack_as_many_as_are_known_to_be_broken_and_never_has_more() -> None:
    rows = [(label, session, session) for session in ("one", "two", "three") for label in "aab"]
    protocol = Protocol(
        name="small",
        labels={"a": "A", "b": "B"},
        folds=[["one"], ["two"], ["three"]],
        expected={"A": 6, "B": 3},
        may_lack={"A": 1},
    )
    assert assign_folds(protocol, table(rows)).mismatches == []
    assert assign_folds(protocol, table(rows[1:])).mismatches == []
    with pytest.raises(MismatchError, match="4 utterances of A where the protocol has 6"):
        assign_folds(protocol, table(rows[2:]))
    with pytest.raises(MismatchError, match="7 utterances of A where the protocol has 6"):
        assign_folds(protocol, table([*rows, ("a", "one", "one")]))
    with pytest.raises(MismatchError, match="2 utterances of B"):
        assign_folds(protocol, table(rows[:-1]))


# Each of four sessions of two speakers says each of three scripts four times.
PLAYS = [
    (label, f"{session}{speaker}", session) for session, label, speaker, _ in product("1234", "ab", "FM", range(3))
]
APART = Protocol(
    name="apart",
    labels={"a": "A", "b": "B"},
    group="session",
    folds=[["1"], ["2"], ["3"], ["4"]],
    texts=r"_(script\d\d)",
)


def test_folds_of_texts_keep_speakers_and_texts_apart_and_test_every_utterance_once() -> None:
    utterances = table(PLAYS)
    assignment = assign_folds(APART, utterances)
    texts, sessions = np.array([each[-2:] for each in utterances.ids]), np.array(utterances.sessions)
    assert assignment.fold_count == 12
    tested = []
    for fold in range(12):
        split = split_fold(assignment, fold)
        for one, other in ((split.train, split.dev), (split.train, split.test), (split.dev, split.test)):
            assert not {*texts[one]} & {*texts[other]}
            assert not {*sessions[one]} & {*sessions[other]}
        # Of two sessions and one script: what is left.
        assert (len(split.train), len(split.dev), len(split.test)) == (8, 4, 4)
        tested += split.test.tolist()
    assert sorted(tested) == list(range(len(PLAYS)))


def test_an_utterance_whose_id_names_no_text_takes_no_part_and_is_counted() -> None:
    utterances = table(PLAYS)
    assignment = assign_folds(APART, replace(utterances, ids=["impro", *utterances.ids[1:]]))
    assert assignment.left_out == {"no text in its id": 1}
    assert (assignment.labels[0], assignment.folds[0]) == (-1, -1)
    assert 0 not in np.concatenate([split_fold(assignment, fold).train for fold in range(12)])


def test_two_texts_are_too_few() -> None:
    utterances = table(PLAYS)
    with pytest.raises(UserError, match="apart: the corpus has 2 texts; 3 are needed"):
        assign_folds(APART, replace(utterances, ids=[each.replace("script02", "script01") for each in utterances.ids]))
