from collections import Counter
from collections.abc import Collection
from dataclasses import fields, replace
from importlib import resources
from itertools import product

import numpy as np
import pytest

from fgcme.data import Assignment, Selection, apply_protocol, assign_folds, resolve_protocol, split_fold
from fgcme.data.protocol import Protocol, UtteranceTable, named_protocols
from fgcme.errors import UserError
from fgcme.experiment import ProtocolSettings

EMOTIONS = ["neutral", "calm", "happy", "sad", "angry", "fearful", "disgust", "surprised"]


def ravdess_table(actors: range = range(1, 25)) -> UtteranceTable:
    rows = [
        (f"{actor:02}", emotion, take)
        for actor, emotion in product(actors, EMOTIONS)
        for take in range(4 if emotion == "neutral" else 8)
    ]
    return UtteranceTable(
        ids=[f"{emotion}-{take}-{speaker}" for speaker, emotion, take in rows],
        raw_labels=[emotion for _, emotion, _ in rows],
        speakers=[speaker for speaker, _, _ in rows],
        sessions=[None] * len(rows),
        acts=[None] * len(rows),
    )


def table_for(protocol: Protocol, without: Collection[str] = ()) -> UtteranceTable:
    """A table with the utterances that a protocol expects of each class and group, except some groups."""
    mapping = protocol.labels or {"whatever": "rated"}
    classes = protocol.classes or ["rated"]
    raw_labels = {name: [raw for raw, mapped in mapping.items() if mapped == name] for name in classes}
    expected = protocol.expected or dict.fromkeys(classes, 40)
    if protocol.labels is None and protocol.expected_by_group is not None:
        expected = {"rated": sum(protocol.expected_by_group.values())}
    labels = [raw_labels[name][take % len(raw_labels[name])] for name, size in expected.items() for take in range(size)]
    names = protocol.listed_groups or [f"voice{number}" for number in range(8)]
    if protocol.expected_by_group is None:
        groups = [names[number % len(names)] for number in range(len(labels))]
    else:
        groups = [name for name, size in protocol.expected_by_group.items() for _ in range(size)]
    labels = np.random.default_rng(0).permutation(labels).tolist()
    rows = [
        (label, f"{group}_{'FM'[number % 2]}" if protocol.group == "session" else group, group)
        for number, (label, group) in enumerate(zip(labels, groups, strict=True))
        if group not in without
    ]
    return UtteranceTable(
        ids=[f"{number}_script{number % 3:02d}" for number in range(len(rows))],
        # Of several raters, two who agree.
        raw_labels=[f"{label};{label}" if protocol.distribution else label for label, _, _ in rows],
        speakers=[speaker for _, speaker, _ in rows],
        sessions=[group if protocol.group == "session" else None for _, _, group in rows],
        acts=[protocol.act] * len(rows),
        ratings={name: np.linspace(*scale, len(rows)) for name, scale in protocol.dimensions.items()},
    )


def small(folds: int | list[list[str]] = 3, **columns: list[str | None]) -> tuple[Protocol, UtteranceTable]:
    protocol = Protocol(name="small", labels={"a": "A", "b": "B"}, folds=folds)
    speakers = columns.get("speakers", ["s1", "s1", "s2", "s2", "s3", "s3"])
    return protocol, UtteranceTable(
        ids=[str(index) for index in range(len(speakers))],
        raw_labels=[str(label) for label in columns.get("labels", ["a", "b"] * 3)],
        speakers=[str(speaker) for speaker in speakers],
        sessions=columns.get("sessions", [None] * len(speakers)),
        acts=columns.get("acts", [None] * len(speakers)),
    )


@pytest.mark.parametrize("name", named_protocols())
@pytest.mark.parametrize("selection", ["dev", "test"])
def test_parts_never_share_a_speaker_and_every_utterance_is_tested_once(name: str, selection: Selection) -> None:
    table = table_for(named_protocols()[name])
    assignment = assign_folds(named_protocols()[name], table)
    # Somebody else's parts may share speakers, and are one fold.
    groups = np.array(table.sessions if assignment.protocol.shared_speakers else table.speakers)
    tested = []
    for fold in range(assignment.fold_count):
        split = split_fold(assignment, fold, selection)
        train, dev, test = (set(groups[part]) for part in (split.train, split.dev, split.test))
        assert train and dev and test
        assert not train & test
        assert not train & dev
        assert (dev == test) if selection == "test" else not dev & test
        tested.append(split.test)
    everybody = np.flatnonzero(assignment.folds == 0) if assignment.protocol.parts else range(len(table.ids))
    assert sorted(np.concatenate(tested)) == list(everybody)


@pytest.mark.parametrize("name", named_protocols())
def test_a_named_protocol_is_consistent_and_gives_its_source(name: str) -> None:
    protocol = named_protocols()[name]
    assert protocol.source
    assert protocol.corpus == name.partition("/")[0]
    assert (resources.files("fgcme") / "protocols" / f"{name.replace('/', '-')}.yaml").is_file()
    if protocol.expected is not None:
        assert set(protocol.expected) == set(protocol.classes)
    if protocol.expected_by_group is not None:
        assert set(protocol.expected_by_group) == set(protocol.listed_groups)
        if protocol.labels is not None:
            assert protocol.expected is not None
            assert sum(protocol.expected_by_group.values()) == sum(protocol.expected.values())


@pytest.mark.parametrize(
    ("name", "size", "folds"),
    [
        ("iemocap/4class-session", 5531, 5),
        ("iemocap/4class-speaker", 5531, 10),
        ("iemocap/4class-impro", 2943, 5),
        ("iemocap/4class-script", 5531 - 2943, 5),
        ("iemocap/6class-session", 7380, 5),
        ("ravdess/8class-6fold", 1440, 6),
        ("ravdess/8class-5fold", 1440, 5),
        ("ravdess/6class-5fold", 1056, 5),
        ("ravdess/4class-5fold", 672, 5),
        ("cremad/6class-5fold", 7442, 5),
        ("emodb/7class-speaker", 535, 10),
    ],
)
def test_a_named_protocol_expects_the_usual_number_of_utterances(name: str, size: int, folds: int) -> None:
    protocol = named_protocols()[name]
    assert protocol.expected is not None and not isinstance(protocol.folds, int)
    assert (sum(protocol.expected.values()), len(protocol.folds)) == (size, folds)


def test_iemocap_s_usual_set_is_checked_by_class_and_by_session() -> None:
    protocol = named_protocols()["iemocap/4class-session"]
    table = table_for(protocol)
    assignment = assign_folds(protocol, table)
    assert protocol.labels is not None
    assert protocol.labels["exc"] == protocol.labels["hap"] == "happy"
    assert [len(split_fold(assignment, fold).test) for fold in range(5)] == [1085, 1023, 1151, 1031, 1241]
    moved = replace(table, sessions=["Session2", *table.sessions[1:]], speakers=["Session2_F", *table.speakers[1:]])
    with pytest.raises(UserError) as caught:
        assign_folds(protocol, moved)
    assert "1084 utterances of session Session1 where the protocol has 1085" in str(caught.value)
    assert "1024 utterances of session Session2 where the protocol has 1023" in str(caught.value)


def test_iemocap_s_ratings_are_those_of_all_turns() -> None:
    protocol = named_protocols()["iemocap/dimensions-session"]
    assignment = assign_folds(protocol, table_for(protocol))
    assert (assignment.folds >= 0).sum() == 10_039
    assert [len(split_fold(assignment, fold).test) for fold in range(5)] == [1819, 1811, 2136, 2103, 2170]


def test_a_protocol_takes_utterances_of_its_act_and_counts_the_others() -> None:
    impro, script = named_protocols()["iemocap/4class-impro"], named_protocols()["iemocap/4class-script"]
    both = [table_for(protocol) for protocol in (impro, script)]
    table = UtteranceTable(
        *([value for table in both for value in getattr(table, field.name)] for field in fields(UtteranceTable)[:5])
    )
    assignment = assign_folds(impro, table)
    assert (assignment.labels >= 0).sum() == 2943
    assert {table.acts[index] for index in np.flatnonzero(assignment.labels >= 0)} == {"impro"}
    assert assignment.left_out == {"act script": 2588}
    with pytest.raises(UserError, match=r"2588 x act script\); the protocol takes the labels ang, .* of act impro"):
        assign_folds(impro, both[1])


def test_a_missing_session_is_refused_by_name_and_its_fold_left_out_with_allow_missing() -> None:
    protocol = named_protocols()["iemocap/4class-session"]
    table = table_for(protocol, without=["Session3"])
    with pytest.raises(UserError, match=r"no utterance of session Session3; .*protocol\.allow_missing=true"):
        assign_folds(protocol, table)
    assignment = assign_folds(protocol, table, allow_missing=True)
    assert assignment.mismatches[0] == "no utterance of session Session3"
    assert assignment.fold_count == 4
    sessions = np.array(table.sessions)
    assert [set(sessions[split_fold(assignment, fold).test]) for fold in range(4)] == [
        {"Session1"},
        {"Session2"},
        {"Session4"},
        {"Session5"},
    ]
    assert set(sessions[split_fold(assignment, 1).dev]) == {"Session4"}


def test_two_sessions_are_too_few_even_with_allow_missing() -> None:
    protocol = named_protocols()["iemocap/4class-session"]
    table = table_for(protocol, without=["Session1", "Session3", "Session5"])
    with pytest.raises(UserError, match="utterances of 2 of its folds; 3 are needed"):
        assign_folds(protocol, table, allow_missing=True)


@pytest.mark.parametrize("name", ["cremad/6class-5fold", "emodb/7class-speaker", "ravdess/8class-6fold"])
def test_a_manifest_may_list_the_corpus_of_any_named_protocol(name: str) -> None:
    assert resolve_protocol(ProtocolSettings(name=name), "manifest") == named_protocols()[name]


@pytest.mark.parametrize("allow_missing", [False, True])
def test_a_manifest_of_another_corpus_is_refused_in_one_line_with_its_labels_or_speakers(allow_missing: bool) -> None:
    with pytest.raises(UserError, match=r"takes part \(left out: 192 x label calm, .*the labels ANG, DIS") as caught:
        assign_folds(
            named_protocols()["cremad/6class-5fold"],
            replace(ravdess_table(), raw_labels=["calm"] * 192 + ["joy"] * 1248),
            allow_missing,
        )
    assert "\n" not in str(caught.value)
    strangers = replace(ravdess_table(), raw_labels=["ANG"] * 1440)
    with pytest.raises(UserError, match=r"60 x speaker 01 in no fold, .* and 19 more") as caught:
        assign_folds(named_protocols()["cremad/6class-5fold"], strangers, allow_missing)
    assert len(str(caught.value)) < 400


def test_ravdess_six_folds_have_240_utterances_each() -> None:
    assignment = assign_folds(named_protocols()["ravdess/8class-6fold"], ravdess_table())
    assert [len(split_fold(assignment, fold).test) for fold in range(6)] == [240] * 6
    assert [len(split_fold(assignment, fold).dev) for fold in range(6)] == [240] * 6
    assert len(split_fold(assignment, 0).train) == 960


EMODB_MEN = {"03", "10", "11", "12", "15"}


@pytest.mark.parametrize(("name", "of_each_sex"), [("8class-6fold", 2), ("8class-5fold", 2), ("7class-speaker", 1)])
def test_dev_parts_of_acted_corpora_have_as_many_men_as_women_and_each_speaker_as_often(
    name: str, of_each_sex: int
) -> None:
    emodb = name == "7class-speaker"
    protocol = named_protocols()[f"{'emodb' if emodb else 'ravdess'}/{name}"]
    table = table_for(protocol) if emodb else ravdess_table()
    assignment = assign_folds(protocol, table)
    parts = [set(np.array(table.speakers)[split_fold(assignment, n).dev]) for n in range(assignment.fold_count)]
    men = EMODB_MEN if emodb else {f"{actor:02}" for actor in range(1, 25, 2)}
    assert {(len(part & men), len(part - men)) for part in parts} == {(of_each_sex, of_each_sex)}
    if isinstance(protocol.dev_groups, list):
        times = Counter(speaker for part in parts for speaker in part)
        assert set(times) == set(table.speakers) and len(set(times.values())) == 1


def test_a_number_of_dev_speakers_takes_the_first_of_the_next_fold() -> None:
    table = ravdess_table()
    settings = ProtocolSettings(name="ravdess/8class-6fold", dev_groups=2)
    assignment = apply_protocol(settings, "ravdess", table)
    assert set(np.array(table.speakers)[split_fold(assignment, 2).dev]) == {"03", "24"}
    assert set(np.array(table.speakers)[split_fold(assignment, 5).dev]) == {"01", "20"}


def declared(table: UtteranceTable, dev_groups: int | list[list[str]]) -> Assignment:
    settings = ProtocolSettings(
        name="mine", labels={"a": "A", "b": "B"}, folds=[["s1"], ["s2"], ["s3"], ["s4"]], dev_groups=dev_groups
    )
    return apply_protocol(settings, "manifest", table)


FOUR = [f"s{number}" for number in (1, 2, 3, 4) for _ in "ab"]


def test_a_declared_protocol_may_list_its_dev_parts() -> None:
    _, table = small(speakers=FOUR, labels=["a", "b"] * 4)
    assignment = declared(table, [["s3"], ["s1", "s4"], ["s4"], ["s2"]])
    splits = [split_fold(assignment, fold) for fold in range(4)]
    speakers = np.array(table.speakers)
    assert [sorted(set(speakers[split.dev])) for split in splits] == [["s3"], ["s1", "s4"], ["s4"], ["s2"]]
    assert [sorted(set(speakers[split.train])) for split in splits] == [
        ["s2", "s4"],
        ["s3"],
        ["s1", "s2"],
        ["s1", "s3"],
    ]
    # Where the test part chooses the epoch, the dev part is trained on.
    assert sorted(set(speakers[split_fold(assignment, 1, "test").train])) == ["s1", "s3", "s4"]


@pytest.mark.parametrize(
    ("dev_groups", "sentence"),
    [
        ([["s2"], ["s3"]], "`dev_groups` lists the groups of each dev part: list as many `folds`"),
        ([["s2"], ["s9"], ["s4"], ["s1"]], "dev group s9 is in none of the `folds`"),
        ([["s2"], ["s3"], ["s4", "s3"], ["s1"]], "fold 2 has speaker s3 in both its test part and its dev part"),
        ([["s2"], ["s3"], [], ["s1"]], "the corpus has no utterance of the dev part of fold 2"),
    ],
)
def test_dev_parts_that_do_not_fit_the_folds_are_refused(dev_groups: list[list[str]], sentence: str) -> None:
    _, table = small(speakers=FOUR, labels=["a", "b"] * 4)
    with pytest.raises(UserError, match=sentence):
        declared(table, dev_groups)


def test_the_listed_dev_parts_stay_with_their_folds_where_another_fold_is_missing() -> None:
    protocol = named_protocols()["emodb/7class-speaker"]
    table = table_for(protocol, without=["08"])
    assignment = assign_folds(protocol, table, allow_missing=True)
    speakers = np.array(table.speakers)
    found = [
        (set(speakers[split.test]), set(speakers[split.dev]))
        for split in (split_fold(assignment, fold) for fold in range(assignment.fold_count))
    ]
    assert found[:2] == [({"03"}, {"10"}), ({"09"}, {"11", "13"})]
    assert len(found) == 9


@pytest.mark.parametrize(("selection", "untrained"), [("dev", "B"), ("test", "C")])
def test_a_fold_that_tests_a_class_which_it_does_not_train_is_refused(selection: Selection, untrained: str) -> None:
    # Fold 0 tests B, which only its dev part has besides; only s1 says c.
    protocol = Protocol(name="own", labels={"a": "A", "b": "B", "c": "C"}, folds=[["s1"], ["s2"], ["s3"]])
    _, table = small(labels=["b", "a" if selection == "dev" else "c", "b", "a", "a", "a"])
    with pytest.raises(UserError) as raised:
        split_fold(assign_folds(protocol, table, allow_missing=True), 0, selection)
    count = 2 if selection == "dev" else 4
    assert str(raised.value) == (
        f"own: fold 0 tests {untrained}, which none of its {count} training utterances is; list `folds` and "
        "`dev_groups` so that every fold trains all classes, or leave that class out of `labels`"
    )


def test_without_a_number_of_dev_speakers_the_whole_next_fold_is_dev() -> None:
    protocol, table = small()
    assignment = assign_folds(protocol, table)
    assert split_fold(assignment, 0).dev.tolist() == split_fold(assignment, 1).test.tolist()
    assert split_fold(assignment, 0, "test").dev.tolist() == split_fold(assignment, 0).test.tolist()


def test_ravdess_four_classes_leave_out_the_others_and_count_them() -> None:
    assignment = assign_folds(named_protocols()["ravdess/4class-5fold"], ravdess_table())
    assert (assignment.labels >= 0).sum() == 672
    assert assignment.left_out == {f"label {name}": 192 for name in ("calm", "fearful", "disgust", "surprised")}


def test_missing_recordings_are_refused_with_both_counts() -> None:
    with pytest.raises(UserError, match=r"92 utterances of neutral where the protocol has 96.*allow_missing"):
        assign_folds(named_protocols()["ravdess/8class-6fold"], ravdess_table(range(1, 24)))


def test_missing_recordings_can_be_allowed_and_are_listed_as_mismatches() -> None:
    assignment = assign_folds(
        named_protocols()["ravdess/8class-6fold"], ravdess_table(range(1, 24)), allow_missing=True
    )
    assert assignment.mismatches[0] == "no utterance of speaker 24"
    assert len(assignment.mismatches) == 1 + 8
    assert assignment.fold_count == 6


def test_folds_made_by_number_hold_whole_speakers_and_have_similar_sizes() -> None:
    protocol, table = small(speakers=["big"] * 4 + ["s1", "s1", "s2", "s2", "s3", "s3"], labels=["a", "b"] * 5)
    folds = assign_folds(protocol, table).folds
    sizes = [int((folds == fold).sum()) for fold in range(3)]
    assert sorted(sizes) == [2, 4, 4]
    assert len(set(folds[:4].tolist())) == 1


def test_speakers_in_no_fold_are_left_out_by_name() -> None:
    protocol, table = small(
        folds=[["s1"], ["s2"], ["s3"]],
        speakers=["s1", "s1", "s2", "s2", "s3", "s3", "s9"],
        labels=["a", "b"] * 3 + ["a"],
    )
    assignment = assign_folds(protocol, table)
    assert assignment.left_out == {"speaker s9 in no fold": 1}
    assert assignment.labels[-1] == -1


def test_a_speaker_in_two_sessions_cannot_be_split_over_session_folds() -> None:
    protocol, table = small(speakers=["x", "x", "x", "y", "z", "z"], sessions=["1", "1", "2", "2", "3", "3"])
    with pytest.raises(UserError, match="speaker x is in folds"):
        assign_folds(protocol.model_copy(update={"group": "session"}), table)


@pytest.mark.parametrize(
    ("folds", "sentence"),
    [
        (4, "4 folds need as many speakers; the corpus has 3"),
        ([["s1"], ["s2", "s3"], ["s8"]], "no utterance of speaker s8; .*allow_missing"),
        ([["s1"], ["s2", "s3"], ["s3"]], "speaker s3 is listed twice"),
    ],
)
def test_folds_that_the_corpus_cannot_fill_are_refused(folds: int | list[list[str]], sentence: str) -> None:
    protocol, table = small(folds=folds)
    with pytest.raises(UserError, match=sentence):
        assign_folds(protocol, table)


def test_a_class_without_utterances_is_a_mismatch() -> None:
    protocol, table = small(labels=["a"] * 6)
    with pytest.raises(UserError, match="no utterance of class B"):
        assign_folds(protocol, table)


def test_a_fold_that_does_not_exist_is_refused() -> None:
    with pytest.raises(UserError, match="folds 0 to 5"):
        split_fold(assign_folds(named_protocols()["ravdess/8class-6fold"], ravdess_table()), 6)


@pytest.mark.parametrize(
    ("settings", "corpus", "sentence"),
    [
        ({"name": "ravdess/9class"}, "ravdess", "not known"),
        ({"name": "ravdess/8class-6fold"}, "demo", "for the corpus ravdess"),
        ({"name": "mine", "labels": {"a": "A", "b": "B"}}, "manifest", "either `folds` or `parts`"),
        ({"name": "mine", "labels": {"a": "A", "b": "B"}, "folds": 2}, "manifest", "at least 3"),
        ({"name": "mine", "labels": {"a": "A", "b": "A"}, "folds": 3}, "manifest", "two classes"),
        ({"name": "demo/4class", "labels": {"a": "A", "b": "B"}, "folds": 3}, "manifest", "another name"),
    ],
)
def test_a_protocol_that_cannot_be_resolved_is_refused(settings: dict, corpus: str, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        resolve_protocol(ProtocolSettings.model_validate(settings), corpus)


def test_a_declared_protocol_numbers_its_classes_in_the_order_given() -> None:
    settings = ProtocolSettings(name="mine", labels={"ang": "angry", "exc": "happy", "hap": "happy"}, folds=3)
    assert resolve_protocol(settings, "manifest").classes == ["angry", "happy"]


def test_classes_are_numbered_in_the_order_of_the_labels_whatever_their_names() -> None:
    protocol = Protocol(name="x", labels={"sad": "low", "happy": "high", "bored": "low", "angry": "fierce"}, folds=3)
    assert protocol.classes == ["low", "high", "fierce"]
    speakers = ["a", "b", "c", "d"]
    table = UtteranceTable(speakers, ["angry", "bored", "happy", "sad"], speakers, [None] * 4, [None] * 4)
    assert assign_folds(protocol, table).labels.tolist() == [2, 0, 1, 0]
