"""A protocol applied to a corpus: who takes part, in which fold, and the parts of each fold."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Literal, cast

import numpy as np

from fgcme.data.columns import encode
from fgcme.data.protocol import MIN_FOLDS, MismatchError, Protocol, UtteranceTable, resolve_protocol
from fgcme.data.targets import gather_ratings, gather_votes
from fgcme.errors import UserError
from fgcme.experiment import ProtocolSettings

Selection = Literal["dev", "test"]


@dataclass(frozen=True)
class Assignment:
    """A protocol applied to a corpus.

    Attributes:
        protocol: the protocol.
        labels: [B] class index of each utterance, 0 where no class is learnt, -1 where it does not take part.
        folds: [B] fold whose test part the utterance is in, -1 where it does not take part.
        dev: for each fold, the indices of the utterances of its dev part, [B] each.
        fold_count: number of folds; fewer than the protocol's where groups are missing and that is allowed.
        left_out: reason -> number of utterances that do not take part.
        mismatches: one sentence for each way in which the corpus differs from the protocol's.
        ratings: [B, D] of the dimensions that are learnt, from 0 to 1; NaN where nobody rated.
        votes: [B, K] how many raters gave each class; [B, 0] where their shares are not learnt.
        unmapped_votes: labels of raters that are of no class, of all utterances.
        excluded: for each fold, the utterances that are in none of its parts, [B] each; empty where all are in one.
    """

    protocol: Protocol
    labels: np.ndarray
    folds: np.ndarray
    dev: list[np.ndarray]
    fold_count: int
    left_out: dict[str, int]
    mismatches: list[str]
    ratings: np.ndarray
    votes: np.ndarray
    unmapped_votes: int = 0
    excluded: list[np.ndarray] = field(default_factory=list)

    @property
    def remarks(self) -> list[str]:
        """What has to be known of the ratings and the raters of those who take part, in sentences with counts."""
        taking_part = self.folds >= 0
        own, sentences = self.ratings[taking_part], []
        for name, values in zip(self.protocol.dimensions, own.T, strict=True):
            if missing := int(np.isnan(values).sum()):
                sentences.append(
                    f"without a rating of {name}: {missing}, which take no part in learning or measuring it"
                )
            if beyond := int(((values < 0) | (values > 1)).sum()):
                sentences.append(f"ratings of {name} beyond its scale, taken as they are: {beyond}")
        if self.protocol.distribution is None:
            return sentences
        votes = self.votes[taking_part]
        raters, ordered = votes.sum(1), np.sort(votes, axis=1)
        sentences.append(
            f"raters: {int(raters.sum())} labels of classes, {raters.mean():.1f} an utterance; {self.unmapped_votes} "
            "labels of no class, which do not count"
        )
        if ties := int((ordered[:, -1] == ordered[:, -2]).sum()):
            sentences.append(
                f"no class most frequent among raters: {ties}, held against the first of their most frequent"
            )
        if single := int((raters == 1).sum()):
            sentences.append(f"one rater's label of a class alone: {single}")
        return sentences


@dataclass(frozen=True)
class Split:
    """Indices of the utterances of one fold's parts, [B] each."""

    train: np.ndarray
    dev: np.ndarray
    test: np.ndarray


def apply_protocol(settings: ProtocolSettings, corpus: str, table: UtteranceTable) -> Assignment:
    """Apply the protocol that an experiment names or declares to its corpus.

    Args:
        settings: the `protocol` section of the experiment.
        corpus: name of the experiment's corpus.
        table: the corpus's utterances.

    Raises:
        UserError: see `resolve_protocol` and `assign_folds`.
    """
    return assign_folds(resolve_protocol(settings, corpus), table, settings.allow_missing)


def assign_folds(protocol: Protocol, table: UtteranceTable, allow_missing: bool = False) -> Assignment:
    """Apply a protocol to a corpus.

    Args:
        protocol: the protocol.
        table: the corpus's utterances.
        allow_missing: accept other counts and missing groups; folds without utterances are left out, and later folds
            move up.

    Raises:
        MismatchError: counts differ from the protocol's or groups are missing, and `allow_missing` is not set.
        UserError: no utterance takes part; there are fewer groups than folds, or fewer than three folds; a speaker is
            in two folds; the dev parts listed do not fit the folds; or ratings or raters are missing, see
            `gather_ratings` and `gather_votes`.
    """
    ratings = gather_ratings(protocol.tasks, table.ratings, table.ids, protocol.name, table.corpus)
    votes, unmapped = np.zeros((len(ratings), 0), np.int64), 0
    if protocol.distribution is not None and protocol.labels is not None:
        votes, unmapped = gather_votes(protocol.labels, protocol.classes, table.raw_labels, protocol.name, table.corpus)
    labels, left_out = _label(protocol, table, ratings, votes)
    _require_participants(protocol, labels, left_out)
    numbers, names = encode(table.speakers if protocol.group == "speaker" else table.sessions)
    sizes = _count(numbers[labels >= 0], names)
    fold_of_group, fold_count = _fold_of_each_group(protocol, sizes)
    # The last entry is for None, whose number is -1.
    fold_of_number = np.array([fold_of_group.get(name, -1) for name in [*names, ""]], np.int64)
    folds = np.where(labels >= 0, fold_of_number[numbers], -1)
    in_no_fold = (labels >= 0) & (folds < 0)
    for group, count in _count(numbers[in_no_fold], names).items():
        left_out[f"{protocol.group} {group or None} in no fold"] = count
    labels[in_no_fold] = -1
    _require_participants(protocol, labels, left_out)
    mismatches = _mismatches(protocol, labels, sizes)
    if mismatches and not allow_missing:
        raise MismatchError(
            f"{protocol.name}: {'; '.join(mismatches)}; complete the corpus, or set protocol.allow_missing=true"
        )
    if protocol.parts is None and fold_count < MIN_FOLDS:
        raise UserError(
            f"{protocol.name}: the corpus has utterances of {fold_count} of its folds; {MIN_FOLDS} are needed, "
            "so that train, dev and test share no speaker"
        )
    if not protocol.shared_speakers:
        _check_speakers(protocol, table.speakers, folds)
    dev = [
        np.flatnonzero((folds >= 0) & np.array([name in groups for name in [*names, ""]])[numbers])
        for groups in _dev_groups(protocol, fold_of_group, fold_count)
    ]
    assignment = Assignment(protocol, labels, folds, dev, fold_count, left_out, mismatches, ratings, votes, unmapped)
    return assignment if protocol.texts is None else _keep_texts_apart(assignment, table.ids)


def _keep_texts_apart(assignment: Assignment, ids: Sequence[str]) -> Assignment:
    """Divide each fold by what is spoken: a new fold tests one text, chooses on the next, and trains on the others.

    Raises:
        UserError: fewer than three texts.
    """
    protocol = assignment.protocol
    pattern = re.compile(cast("str", protocol.texts))
    texts, names = encode([match[1] if (match := pattern.search(each)) else None for each in ids])
    order = np.argsort(np.argsort(names))
    texts = np.where(texts < 0, -1, order[texts])
    if len(names) < MIN_FOLDS:
        raise UserError(
            f"{protocol.name}: the corpus has {len(names)} texts; {MIN_FOLDS} are needed, so that train, dev and test "
            "share none"
        )
    taking = (assignment.folds >= 0) & (texts >= 0)
    folds, dev, excluded = np.full(len(texts), -1), [], []
    for group, chooses in enumerate(assignment.dev):
        choosing = np.zeros(len(texts), bool)
        choosing[chooses] = True
        for text in range(len(names)):
            following = (text + 1) % len(names)
            folds[taking & (assignment.folds == group) & (texts == text)] = group * len(names) + text
            dev.append(np.flatnonzero(taking & choosing & (texts == following)))
            heard = choosing | (assignment.folds == group) | (texts == text) | (texts == following)
            excluded.append(np.flatnonzero(taking & heard))
    count = int(((assignment.folds >= 0) & (texts < 0)).sum())
    left_out = assignment.left_out | ({"no text in its id": count} if count else {})
    labels = np.where(taking, assignment.labels, -1)
    return replace(
        assignment, labels=labels, folds=folds, dev=dev, fold_count=len(dev), left_out=left_out, excluded=excluded
    )


def split_fold(assignment: Assignment, fold: int | None, selection: Selection = "dev") -> Split:
    """Split the corpus into the parts of one fold.

    Args:
        assignment: the protocol applied to the corpus.
        fold: counted from 0; None trains on everybody, and leaves nobody for dev and test.
        selection: `dev` takes the fold's dev part. `test` takes the test part itself as dev and trains on the former
            dev part, as the published code does; its results are optimistic.

    Raises:
        UserError: there is no such fold, or it tests a class that it does not train.
    """
    labelled = np.flatnonzero(assignment.folds >= 0)
    if fold is None:
        return Split(labelled, labelled[:0], labelled[:0])
    if not 0 <= fold < assignment.fold_count:
        raise UserError(f"fold {fold} does not exist; this protocol has folds 0 to {assignment.fold_count - 1}")
    test = np.flatnonzero(assignment.folds == fold)
    dev = test if selection == "test" else assignment.dev[fold]
    train = np.setdiff1d(labelled, np.concatenate([test, dev, *assignment.excluded[fold : fold + 1]]))
    protocol = assignment.protocol
    if (untrained := np.setdiff1d(assignment.labels[test], assignment.labels[train])).size:
        raise UserError(
            f"{protocol.name}: fold {fold} tests {' and '.join(protocol.classes[label] for label in untrained)}, which "
            f"none of its {len(train)} training utterances is; list `folds` and `dev_groups` so that every fold trains "
            "all classes, or leave that class out of `labels`"
        )
    return Split(train, dev, test)


def _label(
    protocol: Protocol, table: UtteranceTable, ratings: np.ndarray, votes: np.ndarray
) -> tuple[np.ndarray, dict[str, int]]:
    """The class of each utterance [B], -1 for those that take no part; and how many these are, by reason.

    Args:
        protocol: says who takes part.
        table: the utterances.
        ratings: [B, D] of them; where no class is learnt, who has one takes part, as class 0.
        votes: [B, K] of their raters, whose most frequent class counts; [B, 0] where a raw label is one label.
    """
    acts, act_names = encode(table.acts)
    raw_labels, raw_names = encode(table.raw_labels)
    other_act = np.zeros(len(acts), bool)
    if protocol.act is not None:
        other_act = np.array([name != protocol.act for name in [*act_names, None]])[acts]
    left_out = {f"act {act or None}": count for act, count in _count(acts[other_act], act_names).items()}
    if protocol.labels is None:
        unrated = np.isnan(ratings).all(1) & ~other_act
        left_out |= {"without a rating": int(unrated.sum())} if unrated.any() else {}
        return np.where(other_act | unrated, -1, 0), left_out
    if votes.shape[1]:
        unheard = (votes.sum(1) == 0) & ~other_act
        left_out |= {"no rater's label of a class": int(unheard.sum())} if unheard.any() else {}
        return np.where(other_act | unheard, -1, votes.argmax(1)), left_out
    classes = {name: index for index, name in enumerate(protocol.classes)}
    class_of_label = np.array([classes.get(protocol.labels.get(name, ""), -1) for name in [*raw_names, ""]], np.int64)
    labels = np.where(other_act, -1, class_of_label[raw_labels])
    other_label = ~other_act & (labels < 0)
    left_out |= {f"label {label}": count for label, count in _count(raw_labels[other_label], raw_names).items()}
    return labels, left_out


def _count(numbers: np.ndarray, names: Sequence[str]) -> Counter[str]:
    """How often each name occurs, in the order in which they first do; None, whose number is -1, as an empty name.

    Args:
        numbers: [B] as `encode` gives them.
        names: the distinct names.
    """
    found, first, counts = np.unique(numbers, return_index=True, return_counts=True)
    order = np.argsort(first)
    sizes: Counter[str] = Counter()
    for number, count in zip(found[order].tolist(), counts[order].tolist(), strict=True):
        sizes[names[number] if number >= 0 else ""] += count
    return sizes


def _fold_of_each_group(protocol: Protocol, sizes: Mapping[str, int]) -> tuple[dict[str, int], int]:
    """The fold of each group that the corpus has, in the order listed or made, and the number of folds.

    Args:
        protocol: lists the groups of its folds, or gives the number of folds to make.
        sizes: number of utterances of each group that could take part.
    """
    if twice := [group for group, count in Counter(protocol.listed_groups).items() if count > 1]:
        raise UserError(f"{protocol.name}: {protocol.group} {twice[0]} is listed twice in its folds or parts")
    if protocol.parts is not None:
        parts = (protocol.parts.test, protocol.parts.dev, protocol.parts.train)
        for name, groups in zip(("test", "dev", "train"), parts, strict=True):
            if not any(group in sizes for group in groups):
                raise UserError(f"{protocol.name}: the corpus has no utterance of its {name} part")
        return {group: part for part, groups in enumerate(parts) for group in groups if group in sizes}, 1
    if isinstance(protocol.folds, list):
        present = [[group for group in groups if group in sizes] for groups in protocol.folds]
        filled = [groups for groups in present if groups]
        return {group: fold for fold, groups in enumerate(filled) for group in groups}, len(filled)
    count = cast("int", protocol.folds)
    named = {group: size for group, size in sizes.items() if group}
    if len(named) < count:
        raise UserError(f"{protocol.name}: {count} folds need as many {protocol.group}s; the corpus has {len(named)}")
    # Largest group first, each into the smallest fold so far: folds of similar size, the same in every run.
    totals = [0] * count
    fold_of_group = {}
    for group, size in sorted(named.items(), key=lambda item: (-item[1], item[0])):
        fold = totals.index(min(totals))
        fold_of_group[group] = fold
        totals[fold] += size
    return fold_of_group, count


def _dev_groups(protocol: Protocol, fold_of_group: Mapping[str, int], fold_count: int) -> list[set[str]]:
    """The groups of each fold's dev part: those listed, or the first of the next fold, in the order listed or by name.

    Raises:
        UserError: the groups listed do not fit the folds.
    """
    if protocol.parts is not None:
        return [set(protocol.parts.dev)]
    if isinstance(protocol.dev_groups, list):
        return _listed_dev_groups(protocol, fold_of_group)
    ordered = list(fold_of_group) if isinstance(protocol.folds, list) else sorted(fold_of_group)
    groups_of = [[group for group in ordered if fold_of_group[group] == fold] for fold in range(fold_count)]
    return [set(groups_of[(fold + 1) % fold_count][: protocol.dev_groups]) for fold in range(fold_count)]


def _listed_dev_groups(protocol: Protocol, fold_of_group: Mapping[str, int]) -> list[set[str]]:
    """The groups listed for the dev part of each fold that the corpus has, without those that it lacks."""
    dev_groups = cast("list[list[str]]", protocol.dev_groups)
    if not isinstance(protocol.folds, list) or len(protocol.folds) != len(dev_groups):
        raise UserError(f"{protocol.name}: `dev_groups` lists the groups of each dev part: list as many `folds`")
    if strangers := {group for groups in dev_groups for group in groups} - set(protocol.listed_groups):
        raise UserError(f"{protocol.name}: dev group {min(strangers)} is in none of the `folds`")
    parts = []
    for fold, (tested, groups) in enumerate(zip(protocol.folds, dev_groups, strict=True)):
        if both := set(tested) & set(groups):
            raise UserError(
                f"{protocol.name}: fold {fold} has {protocol.group} {min(both)} in both its test part and its dev part"
            )
        # A fold of which the corpus has no group is left out.
        if fold_of_group.keys() & set(tested):
            parts.append(fold_of_group.keys() & set(groups))
            if not parts[-1]:
                raise UserError(f"{protocol.name}: the corpus has no utterance of the dev part of fold {fold}")
    return parts


def _require_participants(protocol: Protocol, labels: np.ndarray, left_out: Mapping[str, int]) -> None:
    if (labels < 0).all():
        reasons = _abbreviate([f"{count} x {reason}" for reason, count in left_out.items()])
        takes = f"the labels {', '.join(protocol.labels)}" if protocol.labels else "whoever is rated"
        takes += f" of act {protocol.act}" if protocol.act else ""
        raise UserError(
            f"{protocol.name}: no utterance of the corpus takes part (left out: {reasons}); the protocol takes {takes}"
        )


def _mismatches(protocol: Protocol, labels: np.ndarray, sizes: Mapping[str, int]) -> list[str]:
    counts = {name: int((labels == index).sum()) for index, name in enumerate(protocol.classes)}
    sentences = []
    if missing := [group for group in protocol.listed_groups if group not in sizes]:
        sentences.append(f"no utterance of {protocol.group} {_abbreviate(missing)}")
    if protocol.expected is None:
        sentences += [f"no utterance of class {name}" for name, count in counts.items() if not count]
    sentences += _differences(protocol.expected, counts, may_lack=protocol.may_lack)
    # Groups without utterances are named above.
    return sentences + _differences(protocol.expected_by_group, sizes, f"{protocol.group} ")


def _differences(
    expected: Mapping[str, int] | None,
    found: Mapping[str, int],
    kind: str = "",
    may_lack: Mapping[str, int] = MappingProxyType({}),
) -> list[str]:
    return [
        f"{found[name]} utterances of {kind}{name} where the protocol has {count}"
        for name, count in (expected or {}).items()
        if name in found and not 0 <= count - found[name] <= may_lack.get(name, 0)
    ]


def _abbreviate(names: Sequence[str], shown: int = 5) -> str:
    """The first names of a list, and the number of the others.

    >>> _abbreviate(["01", "02", "03"], shown=2)
    '01, 02 and 1 more'
    """
    return ", ".join(names[:shown]) + (f" and {len(names) - shown} more" if len(names) > shown else "")


def _check_speakers(protocol: Protocol, speakers: Sequence[str | None], folds: np.ndarray) -> None:
    numbers, names = encode(speakers)
    numbers, folds = numbers[folds >= 0], folds[folds >= 0]
    _, first, which = np.unique(numbers, return_index=True, return_inverse=True)
    first_folds = folds[first][which]
    if (elsewhere := np.flatnonzero(first_folds != folds)).size:
        index = elsewhere[0]
        name = names[numbers[index]] if numbers[index] >= 0 else None
        raise UserError(f"{protocol.name}: speaker {name} is in folds {first_folds[index]} and {folds[index]}")
