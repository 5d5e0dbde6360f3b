from itertools import product

import numpy as np
import pytest

from fgcme.errors import UserError
from fgcme.experiment import ProtocolSettings
from fgcme.protocol import Members, Protocol, assign, named, resolve, split

EMOTIONS = ["neutral", "calm", "happy", "sad", "angry", "fearful", "disgust", "surprised"]


def ravdess(actors: range = range(1, 25)) -> Members:
    rows = [
        (f"{actor:02}", emotion, take)
        for actor, emotion in product(actors, EMOTIONS)
        for take in range(4 if emotion == "neutral" else 8)
    ]
    return Members(
        ids=[f"{emotion}-{take}-{speaker}" for speaker, emotion, take in rows],
        raw_labels=[emotion for _, emotion, _ in rows],
        speakers=[speaker for speaker, _, _ in rows],
        sessions=[None] * len(rows),
    )


def small(folds: int | list[list[str]] = 3, **members: list[str | None]) -> tuple[Protocol, Members]:
    protocol = Protocol(name="small", labels={"a": "A", "b": "B"}, folds=folds)
    speakers = members.get("speakers", ["s1", "s1", "s2", "s2", "s3", "s3"])
    return protocol, Members(
        ids=[str(index) for index in range(len(speakers))],
        raw_labels=[str(label) for label in members.get("labels", ["a", "b"] * 3)],
        speakers=[str(speaker) for speaker in speakers],
        sessions=members.get("sessions", [None] * len(speakers)),
    )


@pytest.mark.parametrize("name", [name for name in named() if name.startswith("ravdess/")])
@pytest.mark.parametrize("selection", ["dev", "test"])
def test_ravdess_parts_never_share_a_speaker_and_tests_cover_everyone_once(name: str, selection: str) -> None:
    members = ravdess()
    assignment = assign(named()[name], members)
    speakers = np.array(members.speakers)
    tested = []
    for fold in range(assignment.fold_count):
        parts = split(assignment, fold, selection)  # type: ignore[arg-type]
        train, dev, test = (set(speakers[part]) for part in (parts.train, parts.dev, parts.test))
        assert not train & test
        assert not train & dev
        assert (dev == test) if selection == "test" else not dev & test
        tested.append(parts.test)
    assert sorted(np.concatenate(tested)) == list(np.flatnonzero(assignment.labels >= 0))


def test_ravdess_six_folds_have_240_utterances_of_four_actors() -> None:
    assignment = assign(named()["ravdess/8class-6fold"], ravdess())
    assert [len(split(assignment, fold).test) for fold in range(6)] == [240] * 6
    assert [len(split(assignment, fold).dev) for fold in range(6)] == [120] * 6
    assert len(split(assignment, 0).train) == 1080


def test_the_dev_part_is_the_first_speakers_of_the_next_fold() -> None:
    members = ravdess()
    assignment = assign(named()["ravdess/8class-6fold"], members)
    assert set(np.array(members.speakers)[split(assignment, 2).dev]) == {"03", "24"}
    assert set(np.array(members.speakers)[split(assignment, 5).dev]) == {"01", "20"}


def test_without_a_number_of_dev_speakers_the_whole_next_fold_is_dev() -> None:
    protocol, members = small()
    assignment = assign(protocol, members)
    assert split(assignment, 0).dev.tolist() == split(assignment, 1).test.tolist()
    assert split(assignment, 0, "test").dev.tolist() == split(assignment, 0).test.tolist()


def test_ravdess_four_classes_leave_out_the_others_and_say_so() -> None:
    assignment = assign(named()["ravdess/4class-5fold"], ravdess())
    assert (assignment.labels >= 0).sum() == 672
    assert assignment.left_out == {f"label {name}": 192 for name in ("calm", "fearful", "disgust", "surprised")}


def test_missing_recordings_are_an_error_that_gives_both_counts() -> None:
    with pytest.raises(UserError, match=r"92 utterances of neutral where the protocol has 96.*allow_missing"):
        assign(named()["ravdess/8class-6fold"], ravdess(range(1, 24)))


def test_missing_recordings_can_be_allowed_and_are_remembered() -> None:
    assignment = assign(named()["ravdess/8class-6fold"], ravdess(range(1, 24)), allow_missing=True)
    assert len(assignment.mismatches) == 8


def test_a_number_of_folds_is_made_from_whole_speakers_of_about_equal_size() -> None:
    protocol, members = small(speakers=["big"] * 4 + ["s1", "s1", "s2", "s2", "s3", "s3"], labels=["a", "b"] * 5)
    folds = assign(protocol, members).folds
    sizes = [int((folds == fold).sum()) for fold in range(3)]
    assert sorted(sizes) == [2, 4, 4]
    assert len(set(folds[:4].tolist())) == 1


def test_speakers_in_no_fold_are_left_out_by_name() -> None:
    protocol, members = small(
        folds=[["s1"], ["s2"], ["s3"]],
        speakers=["s1", "s1", "s2", "s2", "s3", "s3", "s9"],
        labels=["a", "b"] * 3 + ["a"],
    )
    assignment = assign(protocol, members)
    assert assignment.left_out == {"speaker s9 in no fold": 1}
    assert assignment.labels[-1] == -1


def test_a_speaker_in_two_sessions_cannot_be_split_over_session_folds() -> None:
    protocol, members = small(speakers=["x", "x", "x", "y", "z", "z"], sessions=["1", "1", "2", "2", "3", "3"])
    with pytest.raises(UserError, match="speaker x is in folds"):
        assign(protocol.model_copy(update={"group": "session"}), members)


@pytest.mark.parametrize(
    ("folds", "sentence"),
    [
        (4, "4 folds need as many speakers; the corpus has 3"),
        ([["s1"], ["s2", "s3"], ["s8"]], "fold 2 has no utterances"),
    ],
)
def test_folds_that_the_corpus_cannot_fill_are_refused(folds: int | list[list[str]], sentence: str) -> None:
    protocol, members = small(folds=folds)
    with pytest.raises(UserError, match=sentence):
        assign(protocol, members)


def test_a_class_without_utterances_is_a_mismatch() -> None:
    protocol, members = small(labels=["a"] * 6)
    with pytest.raises(UserError, match="no utterance of class B"):
        assign(protocol, members)


def test_a_fold_that_does_not_exist_is_refused() -> None:
    with pytest.raises(UserError, match="folds 0 to 5"):
        split(assign(named()["ravdess/8class-6fold"], ravdess()), 6)


@pytest.mark.parametrize(
    ("settings", "corpus", "sentence"),
    [
        ({"name": "ravdess/9class"}, "ravdess", "not known"),
        ({"name": "ravdess/8class-6fold"}, "demo", "for the corpus ravdess"),
        ({"name": "mine", "labels": {"a": "A", "b": "B"}}, "manifest", "both `labels` and `folds`"),
        ({"name": "mine", "labels": {"a": "A", "b": "B"}, "folds": 2}, "manifest", "at least 3"),
        ({"name": "mine", "labels": {"a": "A", "b": "A"}, "folds": 3}, "manifest", "two classes"),
        ({"name": "demo/4class", "labels": {"a": "A", "b": "B"}, "folds": 3}, "manifest", "another name"),
    ],
)
def test_a_protocol_that_cannot_be_resolved_is_refused(settings: dict, corpus: str, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        resolve(ProtocolSettings.model_validate(settings), corpus)


def test_a_declared_protocol_numbers_its_classes_in_the_order_given() -> None:
    settings = ProtocolSettings(name="mine", labels={"ang": "angry", "exc": "happy", "hap": "happy"}, folds=3)
    assert resolve(settings, "manifest").classes == ["angry", "happy"]
