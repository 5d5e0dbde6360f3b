"""Lhotse's manifests: recordings, and supervisions with the words' alignment.

Source: https://lhotse.readthedocs.io. `CutSet.from_manifests` makes cuts of the two. Lhotse's times are those of the
recording, for words too.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fgcme.interchange.contract import About, PreparedUtterance, Told
from fgcme.packages import require
from fgcme.sound import AudioError, duration_of

if TYPE_CHECKING:
    import lhotse

UNREAD = "utterances left out whose files cannot be opened, or do not say how long they last"
CUSTOM = {
    "emotion": "label",
    "session": "session",
    "dialog": "dialog",
    "act": "act",
    "valence": "valence",
    "arousal": "arousal",
    "dominance": "dominance",
    "alignment_method": "alignment",
    "alignment_score": "alignment_score",
}
"""What a supervision has no place of its own for -> attribute of an utterance."""
# Lhotse compares times at this many digits.
_DIGITS = 8


def write(utterances: Iterable[PreparedUtterance], folder: Path, about: About, told: Told) -> None:
    """Write `recordings.jsonl.gz` and `supervisions.jsonl.gz`; see `fgcme.interchange.contract.Write`.

    Args:
        utterances: of the corpus.
        folder: to write into.
        about: the corpus.
        told: counts what is left out.

    Raises:
        UserError: Lhotse is not installed.
    """
    lhotse = require("lhotse")
    # By the path of each file; None where it cannot be opened.
    known: dict[str, tuple[float, int] | None] = {}
    with (
        lhotse.RecordingSet.open_writer(folder / "recordings.jsonl.gz") as recordings,
        lhotse.SupervisionSet.open_writer(folder / "supervisions.jsonl.gz") as supervisions,
    ):
        for utterance in utterances:
            if utterance.audio not in known:
                recording = _recording(utterance.audio)
                known[utterance.audio] = None if recording is None else (recording.duration, recording.num_channels)
                if recording is not None:
                    recordings.write(recording)
            if (of_file := known[utterance.audio]) is None:
                told.add(UNREAD, utterance.id)
            else:
                supervisions.write(_supervision(utterance, about.language, *of_file))


def recording_id(audio: str) -> str:
    """The id of a file: its path, for names alone may be there twice."""
    return audio.lstrip("/")


def _recording(audio: str) -> lhotse.Recording | None:
    import soundfile
    from lhotse import AudioSource, Recording

    try:
        seconds = duration_of(audio)
        about = soundfile.info(audio)
    except (AudioError, soundfile.SoundFileError):
        return None
    if seconds is None:
        return None
    channels = list(range(about.channels))
    return Recording(
        id=recording_id(audio),
        sources=[AudioSource(type="file", channels=channels, source=audio)],
        sampling_rate=about.samplerate,
        num_samples=round(seconds * about.samplerate),
        duration=seconds,
    )


def _supervision(
    utterance: PreparedUtterance, language: str, seconds: float, channels: int
) -> lhotse.SupervisionSegment:
    """An utterance as a part of its file, which lasts so many seconds."""
    from lhotse import SupervisionSegment
    from lhotse.supervision import AlignmentItem

    def of_file(time: float) -> float:
        return round(utterance.start + time, _DIGITS)

    words = [
        AlignmentItem(word.text, of_file(word.begin), round(word.end - word.begin, _DIGITS)) for word in utterance.words
    ]
    custom: dict[str, Any] = {name: getattr(utterance, attribute) for name, attribute in CUSTOM.items()}
    return SupervisionSegment(
        id=utterance.id,
        recording_id=recording_id(utterance.audio),
        start=utterance.start,
        # By rounding to another rate an utterance may last a sample longer than its file.
        duration=round(min(utterance.duration, seconds - utterance.start), _DIGITS),
        channel=0 if channels == 1 else list(range(channels)),
        text=utterance.text,
        language=language,
        speaker=utterance.speaker,
        gender=utterance.sex,
        custom={name: value for name, value in custom.items() if value is not None},
        alignment={"word": words} if words else None,
    )
