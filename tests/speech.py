"""Synthetic speech for tests: eSpeak NG speaks a text and reports when each word starts."""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import functools
import os
import pickle
import subprocess
import sys
import threading
from pathlib import Path

import espeakng_loader
import numpy as np
import numpy.typing as npt
from scipy.signal import resample_poly

# Constants of speak_lib.h: AUDIO_OUTPUT_SYNCHRONOUS, espeakCHARS_UTF8, POS_CHARACTER.
_SYNCHRONOUS, _UTF8, _CHARACTER = 2, 1, 1
# espeakEVENT_WORD, espeakEVENT_LIST_TERMINATED.
_WORD_EVENT, _END_OF_LIST = 1, 0
# espeakRATE, in words a minute.
_RATE = 1
# espeakVOLUME, espeakPITCH, espeakRANGE: their defaults.
_DEFAULTS = {2: 100, 3: 50, 4: 50}


class _Event(ctypes.Structure):
    """espeak_EVENT of speak_lib.h."""

    _fields_ = (
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", ctypes.c_char * 8),
    )


_Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event))


@functools.cache
def _library() -> tuple[ctypes.CDLL, int]:
    library = ctypes.CDLL(espeakng_loader.get_library_path())
    rate = library.espeak_Initialize(_SYNCHRONOUS, 0, espeakng_loader.get_data_path().encode(), 0)
    assert rate > 0, "eSpeak NG did not start"
    return library, rate


@functools.cache
def say(text: str, rate: int = 150, voice: str = "en-us") -> tuple[npt.NDArray[np.float32], list[tuple[str, float]]]:
    """Speak a text; it sounds the same whatever was spoken before.

    Args:
        text: to speak.
        rate: words a minute.
        voice: a voice of eSpeak NG, such as `en-us` or `en-us+f3`.

    Returns:
        [samples] float32 at 16 kHz, and each word with its onset in seconds.
    """
    with _TURN:
        server = _server()
        assert server.stdin is not None and server.stdout is not None
        pickle.dump((text, rate, voice), server.stdin)
        server.stdin.flush()
        spoken: tuple[npt.NDArray[np.float32], list[tuple[str, float]]] | None = pickle.load(server.stdout)
    assert spoken is not None, f"eSpeak NG did not speak {text!r} in the voice {voice}"
    return spoken


_TURN = threading.Lock()


@functools.cache
def _server() -> subprocess.Popen[bytes]:
    """A process that speaks the texts of this one; it ends when this one does."""
    command = [sys.executable, "-c", "from tests.speech import _serve; _serve()"]
    server = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=Path(__file__).parents[1])
    atexit.register(server.communicate)
    return server


def _serve() -> None:
    """Speak pickled texts from standard input, each in a process of its own, until there is none."""
    # eSpeak NG's output depends on what it spoke before, and Python and NumPy take a second to load.
    with contextlib.suppress(EOFError):
        while True:
            request = pickle.load(sys.stdin.buffer)
            child = os.fork()
            if not child:
                sys.stdout.buffer.write(pickle.dumps(_say(*request)))
                sys.stdout.flush()
                os._exit(0)
            if os.waitpid(child, 0)[1]:
                sys.stdout.buffer.write(pickle.dumps(None))
                sys.stdout.flush()


def _say(text: str, rate: int, voice: str) -> tuple[npt.NDArray[np.float32], list[tuple[str, float]]]:
    library, sample_rate = _library()
    chunks: list[npt.NDArray[np.int16]] = []
    onsets: list[tuple[str, float]] = []

    def collect(samples: ctypes._Pointer[ctypes.c_short], count: int, events: ctypes._Pointer[_Event]) -> int:
        if samples and count:
            chunks.append(np.ctypeslib.as_array(samples, shape=(count,)).astype(np.int16))
        index = 0
        while events[index].type != _END_OF_LIST:
            event = events[index]
            if event.type == _WORD_EVENT:
                start = event.text_position - 1
                onsets.append((text[start : start + event.length], event.audio_position / 1000))
            index += 1
        return 0

    callback = _Callback(collect)
    library.espeak_SetSynthCallback(callback)
    assert library.espeak_SetVoiceByName(voice.encode()) == 0, f"eSpeak NG has no voice {voice}"
    for parameter, value in {_RATE: rate, **_DEFAULTS}.items():
        library.espeak_SetParameter(parameter, value, 0)
    # eSpeak NG seeds the noise of breath by the clock.
    library.espeak_ng_SetRandSeed(ctypes.c_long(1))
    encoded = text.encode()
    library.espeak_Synth(encoded, len(encoded) + 1, 0, _CHARACTER, 0, _UTF8, None, None)
    library.espeak_Synchronize()
    spoken = np.concatenate(chunks).astype(np.float32) / 32_768
    return resample_poly(spoken, 320, sample_rate * 320 // 16_000).astype(np.float32), onsets
