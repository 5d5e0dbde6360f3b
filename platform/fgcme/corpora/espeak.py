"""Speech synthesis with libespeak-ng, each word with its own prosody and its true onset.

The library comes with the package `espeakng-loader`: nothing to install on the system. It is one engine for a whole
process, not safe in threads, and its speech depends on what it said before (its random generator and its flutter keep
their state). So `speak` runs it in its own process: the same utterances always give the same samples.
"""

from __future__ import annotations

import ctypes
import os
import pickle
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fgcme.errors import UserError

if TYPE_CHECKING:
    import numpy.typing as npt

SAMPLE_RATE = 22_050  # Hz, of every voice of libespeak-ng

# Constants of the C interface, from its header `speak_lib.h`.
_SYNCHRONOUS = 2
_DO_NOT_EXIT = 0x8000
_UTF8_SSML = 0x01 | 0x10
_WORD_EVENT = 1
_RATE, _VOLUME, _PITCH, _RANGE = 1, 2, 3, 4


@dataclass(frozen=True)
class Voice:
    """A voice of the synthesiser.

    Attributes:
        name: language and variant, such as `en-us+f2`.
        pitch, range: base and span of the intonation, 0 to 100; 50 is the variant's own.
        rate: words a minute, 80 to 450.
        volume: 0 to 200; below 100 leaves room for louder words.
    """

    name: str
    pitch: int = 50
    range: int = 50
    rate: int = 160
    volume: int = 60


@dataclass(frozen=True)
class Word:
    """One word and its prosody: factors on the voice's pitch, volume and rate."""

    text: str
    pitch: float = 1.0
    volume: float = 1.0
    rate: float = 1.0


@dataclass(frozen=True)
class SynthesisedSpeech:
    """One utterance.

    Attributes:
        samples: [samples] int16 at `SAMPLE_RATE`.
        onsets: [W] seconds at which each word starts.
    """

    samples: npt.NDArray[np.int16]
    onsets: tuple[float, ...]


def speak(utterances: Sequence[tuple[Voice, Sequence[Word]]]) -> list[SynthesisedSpeech]:
    """Synthesise utterances in a fresh process, so that the result depends only on them and their order.

    Raises:
        UserError: the engine cannot be started, does not know a voice, or runs two words together, so that one has no
            onset (as in `with the`, `there was`, `for the` and a few others).
    """
    # `python -P` leaves out the working directory, where the parent may have found this package.
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    child = subprocess.run(
        [sys.executable, "-P", "-c", "from fgcme.corpora.espeak import _serve; _serve()"],
        input=pickle.dumps([(voice, tuple(words)) for voice, words in utterances]),
        capture_output=True,
        env=environment,
        check=False,
    )
    if child.returncode != 0:
        lines = child.stderr.decode(errors="replace").strip().splitlines()
        raise UserError(f"libespeak-ng: {lines[-1] if lines else f'ended with status {child.returncode}'}")
    speeches: list[SynthesisedSpeech] = pickle.loads(child.stdout)
    return speeches


def _serve() -> None:
    """Read pickled utterances from standard input and write pickled speeches to standard output."""
    utterances = pickle.load(sys.stdin.buffer)
    try:
        engine = _Engine()
        speeches = [engine.say(voice, words) for voice, words in utterances]
    except UserError as error:
        sys.exit(str(error))
    sys.stdout.buffer.write(pickle.dumps(speeches))


def load_library() -> ctypes.CDLL:
    """This process's libespeak-ng, started.

    Raises:
        UserError: its voices cannot be read.
    """
    import espeakng_loader

    library = ctypes.CDLL(espeakng_loader.get_library_path())
    data = Path(espeakng_loader.get_data_path())
    if library.espeak_Initialize(_SYNCHRONOUS, 0, os.fsencode(data.parent), _DO_NOT_EXIT) != SAMPLE_RATE:
        raise UserError(f"{data}: the voices cannot be read; install the package espeakng-loader again")
    return library


class _Identity(ctypes.Union):
    _fields_ = (("number", ctypes.c_int), ("name", ctypes.c_char_p), ("string", ctypes.c_char * 8))


class _Event(ctypes.Structure):
    _fields_ = (
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", _Identity),
    )


_Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event))


class _Engine:
    """The process's one libespeak-ng."""

    def __init__(self) -> None:
        self._library = load_library()
        # espeak_Initialize seeds the noise of breath by the clock.
        self._library.espeak_ng_SetRandSeed(ctypes.c_long(1))
        self._blocks: list[npt.NDArray[np.int16]] = []
        self._onsets: list[float] = []
        self._callback = _Callback(self._receive)  # The library keeps only its address.
        self._library.espeak_SetSynthCallback(self._callback)

    def _receive(self, samples: Any, count: int, events: Any) -> int:
        if samples and count:
            self._blocks.append(np.ctypeslib.as_array(samples, (count,)).copy())
        position = 0
        while events[position].type:
            if events[position].type == _WORD_EVENT:
                self._onsets.append(events[position].sample / SAMPLE_RATE)
            position += 1
        return 0

    def say(self, voice: Voice, words: Sequence[Word]) -> SynthesisedSpeech:
        self._blocks.clear()
        self._onsets.clear()
        if self._library.espeak_SetVoiceByName(voice.name.encode()) != 0:
            raise UserError(f"voice {voice.name!r} is unknown; write a language and a variant, such as en-us+f2")
        for parameter, value in ((_PITCH, voice.pitch), (_RANGE, voice.range), (_RATE, voice.rate)):
            self._library.espeak_SetParameter(parameter, value, 0)
        self._library.espeak_SetParameter(_VOLUME, voice.volume, 0)
        markup = _markup(words).encode()
        self._library.espeak_Synth(markup, ctypes.c_size_t(len(markup) + 1), 0, 1, 0, _UTF8_SSML, None, None)
        if len(self._onsets) != len(words):
            text = " ".join(word.text for word in words)
            raise UserError(f"{text!r}: {len(words)} words were spoken as {len(self._onsets)}; change the wording")
        return SynthesisedSpeech(np.concatenate(self._blocks), tuple(self._onsets))


def _markup(words: Sequence[Word]) -> str:
    """The words in the Speech Synthesis Markup Language.

    >>> _markup([Word("the"), Word("garden", pitch=1.4, rate=0.9)])
    '<speak>the <prosody pitch="+40%" rate="90%">garden</prosody></speak>'
    """
    return f"<speak>{' '.join(_element(word) for word in words)}</speak>"


def _element(word: Word) -> str:
    pitch, volume, rate = (round(100 * factor) for factor in (word.pitch, word.volume, word.rate))
    attributes = ""
    if pitch != 100:
        attributes += f' pitch="{pitch - 100:+d}%"'
    if volume != 100:
        attributes += f' volume="{volume - 100:+d}%"'
    if rate != 100:
        attributes += f' rate="{rate}%"'
    return f"<prosody{attributes}>{word.text}</prosody>" if attributes else word.text
