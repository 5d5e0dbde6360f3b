"""Protocols: classes, participants and folds, as they are declared; `assignment.py` applies them to a corpus.

A protocol maps a corpus's raw labels to classes, says which utterances take part, and divides the speakers into folds.
For each fold the dev part is taken from other folds, the next one or those of the speakers that the protocol lists, so
train, dev and test never share a speaker. Or it names three parts, such as those that a corpus's makers made. Named
protocols are the YAML files in `protocols/`; an experiment may declare its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from typing import Annotated, Any, Literal

import numpy as np
import yaml
from pydantic import BaseModel, ConfigDict, Field, model_validator

from fgcme.data.targets import Tasks
from fgcme.errors import UserError
from fgcme.experiment import PartsSettings, ProtocolSettings, Scale

# Train, dev and test need a fold each.
MIN_FOLDS = 3


class Protocol(BaseModel):
    """A protocol, as its YAML file declares it.

    Attributes:
        name: `corpus/protocol`.
        corpus: the corpus it is for, or None for any.
        source: where the folds and the label map come from.
        act: only utterances of this act take part; all by default.
        labels: raw label -> class; utterances with another label do not take part. Classes are numbered in this order.
            None where ratings alone are learnt.
        dimensions: ratings that are learnt -> their scales. Utterances without any do not take part where there are no
            labels.
        distribution: whether a raw label holds the labels of several raters, whose shares are learnt.
        group: folds keep each speaker, or each session, whole.
        folds: the groups of each fold, or how many folds to make.
        parts: instead of folds, the groups of one train, one dev and one test part.
        shared_speakers: the parts are somebody else's and share speakers; `fgcme check` says how many.
        texts: finds in an utterance's id which text is spoken, by its one group; an utterance without takes no part.
            Then a fold is the one text of one fold's groups, and neither its dev nor its train part has that text.
        dev_groups: the groups of each fold's dev part; or how many of the next fold, its first, are a fold's dev part:
            all of them by default. Fewer leave more to train on.
        expected: utterances of each class, checked before training.
        may_lack: how many utterances of a class a copy may lack, since some of its recordings are known to be broken.
        expected_by_group: utterances of each group, checked before training.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    corpus: str | None = None
    source: str = ""
    act: str | None = None
    labels: Annotated[dict[str, str], Field(min_length=2)] | None = None
    dimensions: dict[str, Scale] = {}
    distribution: Literal["raters"] | None = None
    group: Literal["speaker", "session"] = "speaker"
    folds: Annotated[int, Field(ge=MIN_FOLDS)] | Annotated[list[list[str]], Field(min_length=MIN_FOLDS)] | None = None
    parts: PartsSettings | None = None
    shared_speakers: bool = False
    texts: str | None = None
    dev_groups: Annotated[int, Field(ge=1)] | list[list[str]] | None = None
    expected: dict[str, int] | None = None
    may_lack: dict[str, int] = {}
    expected_by_group: dict[str, int] | None = None

    @property
    def classes(self) -> list[str]:
        """Class names, in the order of their indices."""
        return list(dict.fromkeys((self.labels or {}).values()))

    @property
    def tasks(self) -> Tasks:
        """What is learnt from an utterance."""
        return Tasks(self.classes, self.dimensions)

    @property
    def listed_groups(self) -> list[str]:
        """The groups of all folds or parts; none where the protocol gives only the number of folds."""
        if self.parts is not None:
            return [*self.parts.train, *self.parts.dev, *self.parts.test]
        return [group for groups in self.folds for group in groups] if isinstance(self.folds, list) else []

    @model_validator(mode="after")
    def _divides_in_one_way(self) -> Protocol:
        if (self.folds is None) == (self.parts is None):
            raise ValueError("a protocol has either folds or parts")
        if self.labels is None and not self.dimensions:
            raise ValueError("a protocol has labels, dimensions or both")
        if self.distribution is not None and self.labels is None:
            raise ValueError("a distribution is one of classes: give labels as well")
        if self.parts is not None and (self.dev_groups is not None or self.texts is not None):
            raise ValueError("parts need no dev_groups and know no texts")
        return self


class MismatchError(UserError):
    """A corpus has other counts than its protocol, or lacks groups, and `allow_missing` is not set."""


@dataclass(frozen=True)
class UtteranceTable:
    """What a protocol needs to know of a corpus, one entry an utterance; sessions and acts may be unknown.

    Attributes:
        ratings: name -> [B] ratings on the corpus's own scale, NaN where nobody rated.
        corpus: its name, for messages.
    """

    ids: Sequence[str]
    raw_labels: Sequence[str]
    speakers: Sequence[str]
    sessions: Sequence[str | None]
    acts: Sequence[str | None]
    ratings: Mapping[str, np.ndarray] = field(default_factory=dict)
    corpus: str = ""


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
    declared = settings.labels is not None or settings.folds is not None or settings.parts is not None
    known = named_protocols().get(settings.name)
    given = {
        "dev_groups": settings.dev_groups,
        "dimensions": settings.dimensions,
        "distribution": settings.distribution,
    }
    own = {name: value for name, value in given.items() if value is not None}
    if declared:
        if known is not None:
            raise UserError(
                f"protocol.name: {settings.name} comes with fgcme; give the protocol you declare another name"
            )
        return _declare(settings, own)
    if known is None:
        raise UserError(
            f"protocol.name: {settings.name!r} is not known (known: {', '.join(named_protocols())}); "
            "or declare `labels` and `folds` beside it"
        )
    # A manifest may list any corpus: its labels, speakers and counts are checked later.
    if corpus != "manifest" and known.corpus not in (None, corpus):
        raise UserError(f"protocol.name: {settings.name} is for the corpus {known.corpus}, not {corpus}")
    return known.model_copy(update=own)


def _declare(settings: ProtocolSettings, own: dict[str, Any]) -> Protocol:
    """The protocol that an experiment declares."""
    nothing = settings.labels is None and settings.dimensions is None
    if nothing or (settings.folds is None) == (settings.parts is None):
        raise UserError(
            "protocol: a protocol declared in the experiment needs `labels` or `dimensions`, and either `folds` or "
            "`parts`"
        )
    if settings.distribution is not None and settings.labels is None:
        raise UserError("protocol.distribution: one of classes: give protocol.labels as well")
    if settings.folds is not None:
        count = settings.folds if isinstance(settings.folds, int) else len(settings.folds)
        if count < MIN_FOLDS:
            raise UserError(f"protocol.folds: at least {MIN_FOLDS}, so that train, dev and test share no speaker")
    elif settings.dev_groups is not None:
        raise UserError("protocol.dev_groups: protocol.parts names the dev part already; give one of the two")
    if settings.labels is not None and len(set(settings.labels.values())) < 2:
        raise UserError("protocol.labels: at least two classes")
    if settings.shared_speakers and settings.parts is None:
        raise UserError("protocol.shared_speakers: only parts may share speakers, never folds")
    return Protocol(
        name=settings.name,
        labels=settings.labels,
        group=settings.group,
        folds=settings.folds,
        parts=settings.parts,
        shared_speakers=settings.shared_speakers,
        **own,
    )
