"""The `prepare` section of an experiment: how a corpus becomes frames, words and their spans."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from fgcme.experiment.section import Fraction, Positive, Settings

# Of a copy, and how finely they are told apart.
_SPEEDS = 0.1, 10.0
_SPEED_DIGITS = 3


class AlignmentSettings(Settings):
    """How words find their frames."""

    method: Literal["sphinx", "ctc", "whisper", "imported", "corpus", "uniform"] = Field(
        "sphinx", description="`corpus` takes the alignments that come with the corpus, and Sphinx where there is none"
    )
    checkpoint: str | None = Field(
        None, description="CTC model or Whisper, a folder or a hub name (method: ctc, whisper)"
    )
    language: str = Field(
        "en",
        description="of the words: as Whisper names it (method: whisper), or as eSpeak NG does, such as de, fr or cmn, "
        "whose words Sphinx takes in English sounds (method: sphinx, or where it stands in)",
    )
    folder: str | None = Field(
        None,
        description="folder of .TextGrid, .wdseg or .json files (WhisperX) by utterance id or name of the recording, "
        "of a .ctm or words.json with all of them, of an audformat database or of manifests of Lhotse; or one such "
        "file (method: imported)",
    )
    tier: str | None = Field(
        None,
        description="tier of a TextGrid with the words, column of an audformat database, or alignment of Lhotse's; by "
        "default the one called so (method: imported)",
    )

    @model_validator(mode="after")
    def _check_source(self) -> AlignmentSettings:
        if self.method in ("ctc", "whisper") and self.checkpoint is None:
            raise ValueError(f"method {self.method} needs `checkpoint`, a folder or a hub name")
        if self.method == "imported" and self.folder is None:
            raise ValueError("method imported needs `folder`")
        return self


Layers = Annotated[list[int], Field(min_length=1)] | Literal["all"]


class FeatureSettings(Settings):
    """What a frame holds: log-mel energies, 10 ms after the last frame's, or an encoder's layers at its own rate."""

    kind: Literal["log_mel", "speech_encoder"] = "log_mel"
    bins: Positive = Field(40, description="mel bins (kind: log_mel)")
    checkpoint: str | None = Field(None, description="speech encoder, a folder or a hub name (kind: speech_encoder)")
    layers: Layers = Field(
        [-1], description="hidden states to take; 0 enters the first layer, -1 is the last (kind: speech_encoder)"
    )
    padded: bool = Field(False, description="Whisper hears 30 s, padded, at ten times the cost (kind: speech_encoder)")

    @model_validator(mode="after")
    def _check_source(self) -> FeatureSettings:
        if self.kind == "speech_encoder" and self.checkpoint is None:
            raise ValueError("kind speech_encoder needs `checkpoint`, a folder or a hub name")
        return self


class CopySettings(Settings):
    """Copies of each recording: trained on where it is, and answered from beside it."""

    speed: list[float] = Field(
        [], description="how many times as fast, such as [0.9, 1.1]: tempo and pitch move together"
    )

    @field_validator("speed")
    @classmethod
    def _check_speeds(cls, speeds: list[float]) -> list[float]:
        lowest, highest = _SPEEDS
        for speed in speeds:
            if not lowest <= speed <= highest:
                raise ValueError(f"{speed:g} is no speed of a copy: give factors from {lowest:g} to {highest:g}")
            if round(speed, _SPEED_DIGITS) == 1:
                raise ValueError(f"{speed:g} is the recording's own speed: give those of the copies alone")
        if len({round(speed, _SPEED_DIGITS) for speed in speeds}) < len(speeds):
            raise ValueError(f"{speeds} has a speed twice")
        # In whatever order they are given, they are the same copies.
        return sorted(speeds)


class TextSettings(Settings):
    """What stands for a word besides the word itself: the layers of a pretrained text encoder, frozen."""

    checkpoint: str | None = Field(
        None,
        description="BERT, DistilBERT, ELECTRA or RoBERTa, a folder or a hub name; a word is the mean of its pieces",
    )
    layers: Layers = Field([-1], description="hidden states to take; 0 enters the first layer, -1 is the last")


class PrepareSettings(Settings):
    """How a corpus becomes a prepared corpus."""

    alignment: AlignmentSettings = AlignmentSettings()
    features: FeatureSettings = FeatureSettings()
    copies: CopySettings = CopySettings()
    text: TextSettings = TextSettings()
    max_rejected: Fraction = Field(0.05, description="above this share of rejected utterances preparing fails")
    folder: str | None = Field(None, description="the prepared corpus; by default a folder of storage.path")
