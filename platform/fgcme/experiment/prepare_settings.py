"""The `prepare` section of an experiment: how a corpus becomes frames, words and their spans."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from fgcme.experiment.section import Fraction, Positive, Settings


class AlignmentSettings(Settings):
    """How words find their frames."""

    method: Literal["sphinx", "ctc", "imported", "corpus", "uniform"] = Field(
        "sphinx", description="`corpus` takes the alignments that come with the corpus, and Sphinx where there is none"
    )
    checkpoint: str | None = Field(None, description="CTC model, a folder or a hub name (method: ctc)")
    folder: str | None = Field(
        None, description="folder of .TextGrid or .wdseg files, by utterance id (method: imported)"
    )

    @model_validator(mode="after")
    def _check_source(self) -> AlignmentSettings:
        if self.method == "ctc" and self.checkpoint is None:
            raise ValueError("method ctc needs `checkpoint`, a folder or a hub name")
        if self.method == "imported" and self.folder is None:
            raise ValueError("method imported needs `folder`")
        return self


class FeatureSettings(Settings):
    """What a frame holds: log-mel energies, 10 ms after the last frame's, or an encoder's layers at its own rate."""

    kind: Literal["log_mel", "speech_encoder"] = "log_mel"
    bins: Positive = Field(40, description="mel bins (kind: log_mel)")
    checkpoint: str | None = Field(None, description="speech encoder, a folder or a hub name (kind: speech_encoder)")
    layers: Annotated[list[int], Field(min_length=1)] | Literal["all"] = Field(
        [-1], description="hidden states to take; 0 enters the first layer, -1 is the last (kind: speech_encoder)"
    )
    padded: bool = Field(False, description="Whisper hears 30 s, padded, at ten times the cost (kind: speech_encoder)")

    @model_validator(mode="after")
    def _check_source(self) -> FeatureSettings:
        if self.kind == "speech_encoder" and self.checkpoint is None:
            raise ValueError("kind speech_encoder needs `checkpoint`, a folder or a hub name")
        return self


class PrepareSettings(Settings):
    """How a corpus becomes a prepared corpus."""

    alignment: AlignmentSettings = AlignmentSettings()
    features: FeatureSettings = FeatureSettings()
    max_rejected: Fraction = Field(0.05, description="above this share of rejected utterances preparing fails")
    folder: str | None = Field(None, description="the prepared corpus; by default a folder of storage.path")
