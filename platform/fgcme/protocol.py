"""Protocols: who is compared with what.

A protocol maps a corpus's raw labels to classes, says which utterances take part, and divides the speakers into folds.
For each fold the dev part is taken from the next fold, so train, dev and test never share a speaker. Named protocols
are the YAML files in `protocols/`; an experiment may declare its own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Annotated, Literal

import numpy as np
import yaml
from pydantic import BaseModel, ConfigDict, Field

from fgcme.errors import UserError
from fgcme.experiment import ProtocolSettings

Selection = Literal["dev", "test"]


class Protocol(BaseModel):
    """A protocol.

    Attributes:
        name: `corpus/protocol`.
        corpus: the corpus it is for, or None for any.
        source: where the folds and the label map come from.
        labels: raw label -> class; utterances with another label do not take part. Classes are numbered in this order.
        group: what folds keep whole.
        folds: the groups of each fold, or how many folds to make.
        dev_groups: how many groups of the next fold, its first, are a fold's dev part; all of them by default. Fewer
            leave more to train on.
        expected: utterances of each class, checked before anything is trained.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    corpus: str | None = None
    source: str = ""
    labels: Annotated[dict[str, str], Field(min_length=2)]
    group: Literal["speaker", "session"] = "speaker"
    folds: Annotated[int, Field(ge=3)] | Annotated[list[list[str]], Field(min_length=3)]
    dev_groups: Annotated[int, Field(ge=1)] | None = None
    expected: dict[str, int] | None = None

    @property
    def classes(self) -> list[str]:
        """Class names, in the order of their indices."""
        return list(dict.fromkeys(self.labels.values()))


@dataclass(frozen=True)
class Members:
    """What a protocol needs to know of a corpus, one entry an utterance."""

    ids: Sequence[str]
    raw_labels: Sequence[str]
    speakers: Sequence[str]
    sessions: Sequence[str | None]


@dataclass(frozen=True)
class Assignment:
    """A protocol applied to a corpus.

    Attributes:
        protocol: the protocol.
        labels: [U] class index of each utterance, -1 where it does not take part.
        folds: [U] fold whose test part the utterance is in, -1 where it does not take part.
        dev: [U] whether the utterance is in the dev part of the fold before its own.
        fold_count: number of folds.
        left_out: reason -> number of utterances that do not take part.
        mismatches: one sentence for each count that differs from the protocol's.
    """

    protocol: Protocol
    labels: np.ndarray
    folds: np.ndarray
    dev: np.ndarray
    fold_count: int
    left_out: dict[str, int]
    mismatches: list[str]


@dataclass(frozen=True)
class Split:
    """Utterance indices of one fold's parts."""

    train: np.ndarray
    dev: np.ndarray
    test: np.ndarray


@cache
def named() -> dict[str, Protocol]:
    """The protocols that come with the package, by name."""
    folder = resources.files("fgcme") / "protocols"
    files = sorted((file for file in folder.iterdir() if file.name.endswith(".yaml")), key=lambda file: file.name)
    protocols = [Protocol.model_validate(yaml.safe_load(file.read_text(encoding="utf-8"))) for file in files]
    return {protocol.name: protocol for protocol in protocols}


def resolve(settings: ProtocolSettings, corpus: str) -> Protocol:
    """The protocol that an experiment names or declares.

    Raises:
        UserError: no such protocol, one for another corpus, or an incomplete declaration.
    """
    declared = settings.labels is not None or settings.folds is not None
    known = named().get(settings.name)
    if declared:
        if known is not None:
            raise UserError(
                f"protocol.name: {settings.name} comes with fgcme; give the protocol you declare another name"
            )
        if settings.labels is None or settings.folds is None:
            raise UserError("protocol: a protocol declared in the experiment needs both `labels` and `folds`")
        fold_count = settings.folds if isinstance(settings.folds, int) else len(settings.folds)
        if fold_count < 3:
            raise UserError("protocol.folds: at least 3, so that train, dev and test share no speaker")
        if len(set(settings.labels.values())) < 2:
            raise UserError("protocol.labels: at least two classes")
        return Protocol(name=settings.name, labels=settings.labels, group=settings.group, folds=settings.folds)
    if known is None:
        raise UserError(
            f"protocol.name: {settings.name!r} is not known (known: {', '.join(named())}); "
            "or declare `labels` and `folds` beside it"
        )
    if known.corpus not in (None, corpus):
        raise UserError(f"protocol.name: {settings.name} is for the corpus {known.corpus}, not {corpus}")
    return known


def apply(settings: ProtocolSettings, corpus: str, members: Members) -> Assignment:
    """The protocol that an experiment names or declares, applied to its corpus.

    Raises:
        UserError: see `resolve` and `assign`.
    """
    return assign(resolve(settings, corpus), members, settings.allow_missing)


def assign(protocol: Protocol, members: Members, allow_missing: bool = False) -> Assignment:
    """Apply a protocol to a corpus.

    Raises:
        UserError: the counts differ from the protocol's and `allow_missing` is not set; there are fewer groups than
            folds; a fold is empty; or a speaker would be in two folds.
    """
    classes = {name: index for index, name in enumerate(protocol.classes)}
    labels = np.array([classes.get(protocol.labels.get(raw, ""), -1) for raw in members.raw_labels], np.int64)
    left_out = Counter(f"label {raw}" for raw, label in zip(members.raw_labels, labels, strict=True) if label < 0)
    groups = members.speakers if protocol.group == "speaker" else members.sessions
    fold_of_group = _folds(protocol, [group for group, label in zip(groups, labels, strict=True) if label >= 0])
    fold_count = protocol.folds if isinstance(protocol.folds, int) else len(protocol.folds)
    folds = np.array(
        [fold_of_group.get(group or "", -1) if label >= 0 else -1 for group, label in zip(groups, labels, strict=True)],
        np.int64,
    )
    for group, label, fold in zip(groups, labels, folds, strict=True):
        if label >= 0 and fold < 0:
            left_out[f"{protocol.group} {group} in no fold"] += 1
    labels = np.where(folds < 0, -1, labels)
    mismatches = _mismatches(protocol, labels)
    if mismatches and not allow_missing:
        raise UserError(
            f"{protocol.name}: {'; '.join(mismatches)}; complete the corpus, or set protocol.allow_missing=true"
        )
    for fold in range(fold_count):
        if not (folds == fold).any():
            raise UserError(f"{protocol.name}: fold {fold} has no utterances in this corpus")
    _check_speakers(protocol, members.speakers, folds)
    dev_groups = _dev_groups(protocol, fold_of_group, fold_count, set(groups))
    dev = np.array([fold >= 0 and group in dev_groups for group, fold in zip(groups, folds, strict=True)])
    return Assignment(protocol, labels, folds, dev, fold_count, dict(left_out), mismatches)


def split(assignment: Assignment, fold: int, selection: Selection = "dev") -> Split:
    """The parts of one fold. Dev comes from the next fold; with `selection="test"` dev is the test part itself
    (optimistic) and what would have been dev is trained on, as in the published code.

    Raises:
        UserError: there is no such fold.
    """
    if not 0 <= fold < assignment.fold_count:
        raise UserError(f"fold {fold} does not exist; this protocol has folds 0 to {assignment.fold_count - 1}")
    test = assignment.folds == fold
    dev = test if selection == "test" else (assignment.folds == (fold + 1) % assignment.fold_count) & assignment.dev
    train = (assignment.folds >= 0) & ~test & ~dev
    return Split(*(np.flatnonzero(part) for part in (train, dev, test)))


def _folds(protocol: Protocol, groups: list[str | None]) -> dict[str, int]:
    if not isinstance(protocol.folds, int):
        listed = Counter(group for members in protocol.folds for group in members)
        if twice := [group for group, count in listed.items() if count > 1]:
            raise UserError(f"{protocol.name}: {protocol.group} {twice[0]} is listed twice in its folds")
        return {group: fold for fold, members in enumerate(protocol.folds) for group in members}
    sizes = Counter(group for group in groups if group)
    if len(sizes) < protocol.folds:
        raise UserError(
            f"{protocol.name}: {protocol.folds} folds need as many {protocol.group}s; the corpus has {len(sizes)}"
        )
    # Largest group first, each into the smallest fold so far: folds of about one size, the same for every run.
    totals = [0] * protocol.folds
    fold_of_group = {}
    for group, size in sorted(sizes.items(), key=lambda item: (-item[1], item[0])):
        fold = totals.index(min(totals))
        fold_of_group[group] = fold
        totals[fold] += size
    return fold_of_group


def _dev_groups(
    protocol: Protocol, fold_of_group: dict[str, int], fold_count: int, present: set[str | None]
) -> set[str]:
    """The first groups of each fold, of those that the corpus has: in the order listed, or of their names."""
    listed = list(fold_of_group) if not isinstance(protocol.folds, int) else sorted(fold_of_group)
    ordered = [group for group in listed if group in present]
    return {
        group
        for fold in range(fold_count)
        for group in [group for group in ordered if fold_of_group[group] == fold][: protocol.dev_groups]
    }


def _mismatches(protocol: Protocol, labels: np.ndarray) -> list[str]:
    found = np.bincount(labels[labels >= 0], minlength=len(protocol.classes))
    counts = dict(zip(protocol.classes, found.tolist(), strict=True))
    if protocol.expected is None:
        return [f"no utterance of class {name}" for name, count in counts.items() if not count]
    return [
        f"{counts[name]} utterances of {name} where the protocol has {expected}"
        for name, expected in protocol.expected.items()
        if counts[name] != expected
    ]


def _check_speakers(protocol: Protocol, speakers: Sequence[str], folds: np.ndarray) -> None:
    fold_of_speaker: dict[str, int] = {}
    for speaker, fold in zip(speakers, folds.tolist(), strict=True):
        if fold >= 0 and fold_of_speaker.setdefault(speaker, fold) != fold:
            raise UserError(f"{protocol.name}: speaker {speaker} is in folds {fold_of_speaker[speaker]} and {fold}")
