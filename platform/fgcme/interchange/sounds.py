"""The sound of an utterance as a file of its own: its file, or what is cut out of a longer one."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fgcme import audio
from fgcme.audio import HOP, SAMPLE_RATE
from fgcme.interchange.contract import PreparedUtterance, Told
from fgcme.sound import AudioError, duration_of

UNREAD = "utterances left out whose sound cannot be read"
CUT = "utterances cut out of longer files: FLAC at 16 kHz, with one channel and 16 bits"

_SAME = ("id", "text", "label", "speaker", "session", "dialog", "act", "valence", "arousal", "dominance")
_ALIGNMENT = ("alignment", "alignment_score")


def sound_of(utterance: PreparedUtterance, told: Told) -> Path | bytes | None:
    """The file of an utterance that is all of it, the bytes of a FLAC file else; None where it cannot be read.

    Args:
        utterance: its sound is looked at.
        told: counts what is cut, and what is left out.
    """
    path = Path(utterance.audio)
    try:
        seconds = duration_of(path)
        if utterance.start == 0 and seconds is not None and abs(seconds - utterance.duration) < HOP / SAMPLE_RATE:
            return path
        samples = audio.read(path, utterance.start, utterance.end)
    except AudioError:
        told.add(UNREAD, utterance.id)
        return None
    import soundfile

    file = io.BytesIO()
    soundfile.write(file, samples, SAMPLE_RATE, format="FLAC", subtype="PCM_16")
    told.add(CUT, utterance.id)
    return file.getvalue()


def name_of(number: int, utterance: PreparedUtterance, sound: Path | bytes) -> str:
    """The name of a file with the sound of an utterance: its number, for ids may be no names.

    Args:
        number: of the utterance.
        utterance: whose file keeps its suffix.
        sound: see `sound_of`.
    """
    return f"{number:06d}{Path(utterance.audio).suffix if isinstance(sound, Path) else '.flac'}"


def row_of(utterance: PreparedUtterance) -> Mapping[str, Any]:
    """What is said of an utterance, by the columns of a manifest; times of words are in seconds."""
    times = [{"word": word.text, "start": word.begin, "end": word.end} for word in utterance.words]
    return {name: getattr(utterance, name) for name in (*_SAME, *_ALIGNMENT)} | {"word_times": times}
