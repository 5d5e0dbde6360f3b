"""Settings of what is learnt from: the corpus and the protocol."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator

from fgcme.experiment.section import Natural, Positive, Settings

Dimension = Literal["valence", "arousal", "dominance"]
Scale = Annotated[list[float], Field(min_length=2, max_length=2)]

Column = Literal[
    "audio",
    "text",
    "label",
    "speaker",
    "id",
    "start",
    "end",
    "session",
    "dialog",
    "act",
    "valence",
    "arousal",
    "dominance",
    "words",
]
"""What a list says of an utterance."""


class CorpusSettings(Settings):
    """Where the speech comes from; `several` corpora are one, with their names before ids, labels and speakers."""

    kind: Literal[
        "demo",
        "ravdess",
        "emodb",
        "iemocap",
        "iemocap_raters",
        "cremad",
        "meld",
        "msp_podcast",
        "msp_podcast_raters",
        "savee",
        "tess",
        "emovo",
        "nemo",
        "esd_english",
        "esd_mandarin",
        "emotale_danish",
        "emotale_english",
        "manifest",
        "audformat",
        "lhotse",
        "several",
    ]
    corpora: list[str] = Field([], description="which corpora (kind: several)")
    root: str | None = Field(None, description="folder of the corpus, or of several, each by its name")
    manifest: str | None = Field(None, description="CSV, JSONL or Parquet file that lists the corpus (kind: manifest)")
    columns: dict[Column, str] = Field(
        {}, description="what a column is called there, such as {label: emotion} (kind: manifest, audformat, lhotse)"
    )
    tables: list[str] = Field([], description="which tables count; by default all (kind: audformat)")
    utterances: Positive = Field(480, description="how many utterances to synthesise (kind: demo)")
    seed: Natural = Field(0, description="random seed of the synthesised corpus (kind: demo)")


class PartsSettings(Settings):
    """The groups of one train, one dev and one test part."""

    train: Annotated[list[str], Field(min_length=1)]
    dev: Annotated[list[str], Field(min_length=1)]
    test: Annotated[list[str], Field(min_length=1)]


class ProtocolSettings(Settings):
    """What is learnt, folds and selection: a named protocol, or one declared here (`labels` and `folds`)."""

    name: str
    selection: Literal["dev", "test"] = Field(
        "dev", description="`test` chooses the epoch on the test part: optimistic"
    )
    allow_missing: bool = Field(False, description="proceed even if the counts differ from the protocol's")
    labels: dict[str, str] | None = Field(None, description="raw label -> class, for a protocol declared here")
    dimensions: dict[Dimension, Scale] | None = Field(
        None,
        description="ratings to learn and the ends of their scales, as in {valence: [1, 5]}: instead of `labels`, or "
        "beside them or those of a named protocol",
    )
    distribution: Literal["raters"] | None = Field(
        None,
        description="learn the share of raters who gave each class: a raw label holds a label of each, as in "
        "happy;happy;neutral, and its most frequent class is what answers are held against",
    )
    folds: int | list[list[str]] | None = Field(None, description="number of folds, or the groups of each fold")
    parts: PartsSettings | None = Field(
        None, description="instead of folds, the groups of one train, one dev and one test part"
    )
    shared_speakers: bool = Field(False, description="the parts share speakers, as somebody else made them")
    dev_groups: Positive | list[list[str]] | None = Field(
        None,
        description="groups of each fold's dev part, or how many of the next fold; by default the protocol's, or all",
    )
    group: Literal["speaker", "session"] = Field(
        "speaker", description="what no fold of a protocol declared here splits"
    )
    tuned_on: list[str] = Field([], description="speakers whose dev scores chose this configuration (written by tune)")

    @field_validator("dimensions")
    @classmethod
    def _check_scales(cls, dimensions: dict[Dimension, Scale] | None) -> dict[Dimension, Scale] | None:
        if dimensions is not None and not dimensions:
            raise ValueError("name at least one rating, as in {valence: [1, 5]}")
        for name, (low, high) in (dimensions or {}).items():
            if not low < high:
                raise ValueError(f"{name}: give its scale as [lowest, highest]")
        return dimensions
