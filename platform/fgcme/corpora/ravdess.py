"""RAVDESS: two sentences acted in eight emotions by 24 actors, North American English.

Source: S. R. Livingstone and F. A. Russo, PLoS ONE 13(5): e0196391, 2018; https://zenodo.org/records/1188976.

The name of a file says everything about it: `modality-channel-emotion-intensity-statement-repetition-actor`, two digits
each. Audio-only speech has modality 03 and channel 01; the corpus also holds video and song, which are not listed here.

In the contract's fields: `speaker` is the actor, `dialog` the statement (`statement-01`), `act` the intensity
(`normal`, `strong`); there are no sessions. Actors with odd numbers are male, with even numbers female.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from fgcme.corpora.contract import Corpus, Counts, Download, Listing, Sex, Utterance
from fgcme.corpora.named_files import list_by_name
from fgcme.errors import UserError

EMOTIONS = ("neutral", "calm", "happy", "sad", "angry", "fearful", "disgust", "surprised")
INTENSITIES: tuple[Literal["normal"], Literal["strong"]] = ("normal", "strong")
STATEMENTS = ("Kids are talking by the door", "Dogs are sitting by the door")
ACTORS = 24

_MODALITIES = {"01": "audio and video", "02": "video without sound", "03": "audio"}
_CHANNELS = {"01": "speech", "02": "song"}
_NAME = re.compile(r"\d{2}(-\d{2}){6}")


@dataclass(frozen=True)
class Recording:
    """What the name of a speech file says.

    Attributes:
        emotion: one of `EMOTIONS`.
        intensity: `normal` or `strong`; neutral is always normal.
        statement: which of `STATEMENTS` is spoken, from 1.
        repetition: 1 or 2.
        actor: 1 to 24.
    """

    emotion: str
    intensity: Literal["normal", "strong"]
    statement: int
    repetition: int
    actor: int

    @property
    def text(self) -> str:
        """The words of the statement."""
        return STATEMENTS[self.statement - 1]


def parse_name(stem: str) -> Recording:
    """Read a file name, without its extension, as that of an audio-only speech recording.

    Raises:
        ValueError: it is not one; says why.

    >>> parse_name("03-01-06-01-02-01-12")
    Recording(emotion='fearful', intensity='normal', statement=2, repetition=1, actor=12)
    >>> parse_name("03-02-06-01-02-01-12")
    Traceback (most recent call last):
    ValueError: channel 02 (song) is not speech
    """
    if not _NAME.fullmatch(stem):
        raise ValueError("the name is not seven two-digit numbers, as in 03-01-06-01-02-01-12")
    modality, channel, *rest = stem.split("-")
    if modality != "03":
        raise ValueError(f"modality {modality} ({_MODALITIES.get(modality, 'unknown')}) is not audio-only")
    if channel != "01":
        raise ValueError(f"channel {channel} ({_CHANNELS.get(channel, 'unknown')}) is not speech")
    limits = (("emotion", 8), ("intensity", 2), ("statement", 2), ("repetition", 2), ("actor", ACTORS))
    emotion, intensity, statement, repetition, actor = numbers = [int(part) for part in rest]
    for (field, highest), number in zip(limits, numbers, strict=True):
        if not 1 <= number <= highest:
            raise ValueError(f"{field} {number:02d} is not one of 01 to {highest:02d}")
    if emotion == 1 and intensity == 2:
        raise ValueError("neutral has no strong intensity in this corpus")
    return Recording(EMOTIONS[emotion - 1], INTENSITIES[intensity - 1], statement, repetition, actor)


def find(root: Path) -> Listing:
    """List the speech recordings below `root`, see `list_by_name`.

    Raises:
        UserError: `root` is missing, holds no speech recording, or a folder in it cannot be read.
    """
    if not root.is_dir():
        raise UserError(f"{root}: no such folder; {_WAY_OUT}")
    listing = list_by_name(root, _describe)
    if not listing.utterances:
        raise UserError(f"{root}: holds no RAVDESS speech (names such as 03-01-06-01-02-01-12.wav); {_WAY_OUT}")
    return listing


def sex_of(speaker: str) -> Sex:
    """Of an actor, by number: odd ones are male, even ones female.

    >>> sex_of("01"), sex_of("12")
    ('male', 'female')
    """
    return "male" if int(speaker) % 2 else "female"


def _describe(name: str, audio: str) -> Utterance:
    recording = parse_name(name)
    return Utterance(
        id=name,
        audio=audio,
        text=recording.text,
        raw_label=recording.emotion,
        speaker=f"{recording.actor:02d}",
        dialog=f"statement-{recording.statement:02d}",
        act=recording.intensity,
    )


_OBTAIN = "download Audio_Speech_Actors_01-24.zip from https://zenodo.org/records/1188976 and unpack it"
_WAY_OUT = f"{_OBTAIN}, then pass its folder with --root or in RAVDESS_ROOT"

CORPUS = Corpus(
    name="ravdess",
    title="Ryerson Audio-Visual Database of Emotional Speech and Song, audio-only speech",
    language="English",
    licence="CC BY-NC-SA 4.0",
    citation="S. R. Livingstone and F. A. Russo, PLoS ONE 13(5): e0196391, 2018",
    size="1,440 utterances, 24 speakers, 8 emotions, 1.5 hours, 215 MB as 48 kHz WAV",
    obtain=f"{_OBTAIN}; pass its folder with --root or in RAVDESS_ROOT",
    find=find,
    licence_id="cc-by-nc-sa-4.0",
    sex_of=sex_of,
    expected=Counts(utterances=1440, speakers=24),
    downloads=(
        Download(
            url="https://zenodo.org/records/1188976/files/Audio_Speech_Actors_01-24.zip?download=1",
            name="Audio_Speech_Actors_01-24.zip",
            size=208_468_073,
            md5="bc696df654c87fed845eb13823edef8a",
        ),
    ),
)
