"""Protocols: classes, participants and folds.

A protocol maps a corpus's raw labels to classes, says which utterances take part, and divides the speakers into folds.
For each fold the dev part is taken from other folds, the next one or those of the speakers that the protocol lists, so
train, dev and test never share a speaker. Named protocols are the YAML files in `protocols/`; an experiment may declare
its own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Annotated, Literal, cast

import numpy as np
import yaml
from pydantic import BaseModel, ConfigDict, Field

from fgcme.data.columns import encode
from fgcme.errors import UserError
from fgcme.experiment import ProtocolSettings

Selection = Literal["dev", "test"]
# Train, dev and test need a fold each.
_MIN_FOLDS = 3


class Protocol(BaseModel):
    """A protocol, as its YAML file declares it.

    Attributes:
        name: `corpus/protocol`.
        corpus: the corpus it is for, or None for any.
        source: where the folds and the label map come from.
        act: only utterances of this act take part; all by default.
        labels: raw label -> class; utterances with another label do not take part. Classes are numbered in this order.
        group: folds keep each speaker, or each session, whole.
        folds: the groups of each fold, or how many folds to make.
        dev_groups: the groups of each fold's dev part; or how many of the next fold, its first, are a fold's dev part:
            all of them by default. Fewer leave more to train on.
        expected: utterances of each class, checked before training.
        expected_by_group: utterances of each group, checked before training.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    corpus: str | None = None
    source: str = ""
    act: str | None = None
    labels: Annotated[dict[str, str], Field(min_length=2)]
    group: Literal["speaker", "session"] = "speaker"
    folds: Annotated[int, Field(ge=_MIN_FOLDS)] | Annotated[list[list[str]], Field(min_length=_MIN_FOLDS)]
    dev_groups: Annotated[int, Field(ge=1)] | list[list[str]] | None = None
    expected: dict[str, int] | None = None
    expected_by_group: dict[str, int] | None = None

    @property
    def classes(self) -> list[str]:
        """Class names, in the order of their indices."""
        return list(dict.fromkeys(self.labels.values()))

    @property
    def listed_groups(self) -> list[str]:
        """The groups of all folds; none where the protocol gives only the number of folds."""
        return [] if isinstance(self.folds, int) else [group for groups in self.folds for group in groups]


class MismatchError(UserError):
    """A corpus has other counts than its protocol, or lacks groups, and `allow_missing` is not set."""


@dataclass(frozen=True)
class UtteranceTable:
    """What a protocol needs to know of a corpus, one entry an utterance; sessions and acts may be unknown."""

    ids: Sequence[str]
    raw_labels: Sequence[str]
    speakers: Sequence[str]
    sessions: Sequence[str | None]
    acts: Sequence[str | None]


@dataclass(frozen=True)
class Assignment:
    """A protocol applied to a corpus.

    Attributes:
        protocol: the protocol.
        labels: [B] class index of each utterance, -1 where it does not take part.
        folds: [B] fold whose test part the utterance is in, -1 where it does not take part.
        dev: for each fold, the indices of the utterances of its dev part, [B] each.
        fold_count: number of folds; fewer than the protocol's where groups are missing and that is allowed.
        left_out: reason -> number of utterances that do not take part.
        mismatches: one sentence for each way in which the corpus differs from the protocol's.
    """

    protocol: Protocol
    labels: np.ndarray
    folds: np.ndarray
    dev: list[np.ndarray]
    fold_count: int
    left_out: dict[str, int]
    mismatches: list[str]


@dataclass(frozen=True)
class Split:
    """Indices of the utterances of one fold's parts, [B] each."""

    train: np.ndarray
    dev: np.ndarray
    test: np.ndarray


@cache
def named_protocols() -> dict[str, Protocol]:
    """The protocols that come with the package, by name."""
    folder = resources.files("fgcme") / "protocols"
    files = sorted((file for file in folder.iterdir() if file.name.endswith(".yaml")), key=lambda file: file.name)
    protocols = [Protocol.model_validate(yaml.safe_load(file.read_text(encoding="utf-8"))) for file in files]
    return {protocol.name: protocol for protocol in protocols}


def resolve_protocol(settings: ProtocolSettings, corpus: str) -> Protocol:
    """Find the protocol that an experiment names or declares.

    Args:
        settings: the `protocol` section of the experiment.
        corpus: name of the experiment's corpus.

    Raises:
        UserError: no such protocol, one for another corpus, or an incomplete declaration.
    """
    declared = settings.labels is not None or settings.folds is not None
    known = named_protocols().get(settings.name)
    own = {} if settings.dev_groups is None else {"dev_groups": settings.dev_groups}
    if declared:
        if known is not None:
            raise UserError(
                f"protocol.name: {settings.name} comes with fgcme; give the protocol you declare another name"
            )
        if settings.labels is None or settings.folds is None:
            raise UserError("protocol: a protocol declared in the experiment needs both `labels` and `folds`")
        fold_count = settings.folds if isinstance(settings.folds, int) else len(settings.folds)
        if fold_count < _MIN_FOLDS:
            raise UserError(f"protocol.folds: at least {_MIN_FOLDS}, so that train, dev and test share no speaker")
        if len(set(settings.labels.values())) < 2:
            raise UserError("protocol.labels: at least two classes")
        return Protocol(name=settings.name, labels=settings.labels, group=settings.group, folds=settings.folds, **own)
    if known is None:
        raise UserError(
            f"protocol.name: {settings.name!r} is not known (known: {', '.join(named_protocols())}); "
            "or declare `labels` and `folds` beside it"
        )
    # A manifest may list any corpus: its labels, speakers and counts are checked later.
    if corpus != "manifest" and known.corpus not in (None, corpus):
        raise UserError(f"protocol.name: {settings.name} is for the corpus {known.corpus}, not {corpus}")
    return known.model_copy(update=own)


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
            in two folds; or the dev parts listed do not fit the folds.
    """
    labels, left_out = _label(protocol, table)
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
    if fold_count < _MIN_FOLDS:
        raise UserError(
            f"{protocol.name}: the corpus has utterances of {fold_count} of its folds; {_MIN_FOLDS} are needed, "
            "so that train, dev and test share no speaker"
        )
    _check_speakers(protocol, table.speakers, folds)
    dev = [
        np.flatnonzero((folds >= 0) & np.array([name in groups for name in [*names, ""]])[numbers])
        for groups in _dev_groups(protocol, fold_of_group, fold_count)
    ]
    return Assignment(protocol, labels, folds, dev, fold_count, left_out, mismatches)


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
    train = np.setdiff1d(labelled, np.union1d(test, dev))
    protocol = assignment.protocol
    if (untrained := np.setdiff1d(assignment.labels[test], assignment.labels[train])).size:
        raise UserError(
            f"{protocol.name}: fold {fold} tests {' and '.join(protocol.classes[label] for label in untrained)}, which "
            f"none of its {len(train)} training utterances is; list `folds` and `dev_groups` so that every fold trains "
            "all classes, or leave that class out of `labels`"
        )
    return Split(train, dev, test)


def _label(protocol: Protocol, table: UtteranceTable) -> tuple[np.ndarray, dict[str, int]]:
    """The class of each utterance [B], -1 for those of another act or label; and how many these are, by reason."""
    acts, act_names = encode(table.acts)
    raw_labels, raw_names = encode(table.raw_labels)
    other_act = np.zeros(len(acts), bool)
    if protocol.act is not None:
        other_act = np.array([name != protocol.act for name in [*act_names, None]])[acts]
    classes = {name: index for index, name in enumerate(protocol.classes)}
    class_of_label = np.array([classes.get(protocol.labels.get(name, ""), -1) for name in [*raw_names, ""]], np.int64)
    labels = np.where(other_act, -1, class_of_label[raw_labels])
    left_out = {f"act {act or None}": count for act, count in _count(acts[other_act], act_names).items()}
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
    if not isinstance(protocol.folds, int):
        if twice := [group for group, count in Counter(protocol.listed_groups).items() if count > 1]:
            raise UserError(f"{protocol.name}: {protocol.group} {twice[0]} is listed twice in its folds")
        present = [[group for group in groups if group in sizes] for groups in protocol.folds]
        filled = [groups for groups in present if groups]
        return {group: fold for fold, groups in enumerate(filled) for group in groups}, len(filled)
    named = {group: size for group, size in sizes.items() if group}
    if len(named) < protocol.folds:
        raise UserError(
            f"{protocol.name}: {protocol.folds} folds need as many {protocol.group}s; the corpus has {len(named)}"
        )
    # Largest group first, each into the smallest fold so far: folds of similar size, the same in every run.
    totals = [0] * protocol.folds
    fold_of_group = {}
    for group, size in sorted(named.items(), key=lambda item: (-item[1], item[0])):
        fold = totals.index(min(totals))
        fold_of_group[group] = fold
        totals[fold] += size
    return fold_of_group, protocol.folds


def _dev_groups(protocol: Protocol, fold_of_group: Mapping[str, int], fold_count: int) -> list[set[str]]:
    """The groups of each fold's dev part: those listed, or the first of the next fold, in the order listed or by name.

    Raises:
        UserError: the groups listed do not fit the folds.
    """
    if isinstance(protocol.dev_groups, list):
        return _listed_dev_groups(protocol, fold_of_group)
    ordered = list(fold_of_group) if not isinstance(protocol.folds, int) else sorted(fold_of_group)
    groups_of = [[group for group in ordered if fold_of_group[group] == fold] for fold in range(fold_count)]
    return [set(groups_of[(fold + 1) % fold_count][: protocol.dev_groups]) for fold in range(fold_count)]


def _listed_dev_groups(protocol: Protocol, fold_of_group: Mapping[str, int]) -> list[set[str]]:
    """The groups listed for the dev part of each fold that the corpus has, without those that it lacks."""
    dev_groups = cast("list[list[str]]", protocol.dev_groups)
    if isinstance(protocol.folds, int) or len(protocol.folds) != len(dev_groups):
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
        takes = f"the labels {', '.join(protocol.labels)}" + (f" of act {protocol.act}" if protocol.act else "")
        raise UserError(
            f"{protocol.name}: no utterance of the corpus takes part (left out: {reasons}); the protocol takes {takes}"
        )


def _mismatches(protocol: Protocol, labels: np.ndarray, sizes: Mapping[str, int]) -> list[str]:
    found = np.bincount(labels[labels >= 0], minlength=len(protocol.classes))
    counts = dict(zip(protocol.classes, found.tolist(), strict=True))
    sentences = []
    if missing := [group for group in protocol.listed_groups if group not in sizes]:
        sentences.append(f"no utterance of {protocol.group} {_abbreviate(missing)}")
    if protocol.expected is None:
        sentences += [f"no utterance of class {name}" for name, count in counts.items() if not count]
    sentences += _differences(protocol.expected, counts)
    # Groups without utterances are named above.
    return sentences + _differences(protocol.expected_by_group, sizes, f"{protocol.group} ")


def _differences(expected: Mapping[str, int] | None, found: Mapping[str, int], kind: str = "") -> list[str]:
    return [
        f"{found[name]} utterances of {kind}{name} where the protocol has {count}"
        for name, count in (expected or {}).items()
        if name in found and found[name] != count
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
