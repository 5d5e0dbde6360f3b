"""What happens to recordings on their way: noise, a telephone, MP3, a microphone that is too far or too close."""

from __future__ import annotations

import functools
import io
from collections.abc import Callable, Mapping

import numpy as np

from fgcme.audio import SAMPLE_RATE, Samples

Degradation = Callable[[Samples, np.random.Generator], Samples]

CLEAN = "as recorded"
# Hz.
_TELEPHONE_BAND, _TELEPHONE_RATE = (300, 3400), 8000
# As far as libsndfile compresses, from 0 to 1: 40 kbit/s at 16 kHz.
_MP3_COMPRESSION = 0.8


def add_noise(samples: Samples, generator: np.random.Generator, ratio: float) -> Samples:
    """Add white noise.

    Args:
        samples: [samples] mono at 16 kHz.
        generator: of the noise.
        ratio: of the recording's mean power to that of the noise, in dB.
    """
    power = float(np.mean(np.square(samples, dtype=np.float64)))
    noise = generator.standard_normal(len(samples)) * np.sqrt(power / 10 ** (ratio / 10))
    return np.asarray(samples + noise, np.float32)


def through_telephone(samples: Samples, generator: np.random.Generator) -> Samples:
    """Only 300 to 3,400 Hz, at 8 kHz on the way; as long as before."""
    from scipy import signal

    band = signal.butter(4, _TELEPHONE_BAND, "bandpass", fs=SAMPLE_RATE, output="sos")
    narrow = signal.resample_poly(signal.sosfilt(band, samples), _TELEPHONE_RATE, SAMPLE_RATE)
    return np.asarray(signal.resample_poly(narrow, SAMPLE_RATE, _TELEPHONE_RATE)[: len(samples)], np.float32)


def through_mp3(samples: Samples, generator: np.random.Generator) -> Samples:
    """Encoded as MP3 of 40 kbit/s, and decoded; as long as before."""
    import soundfile

    file = io.BytesIO()
    soundfile.write(
        file, samples, SAMPLE_RATE, format="MP3", bitrate_mode="CONSTANT", compression_level=_MP3_COMPRESSION
    )
    file.seek(0)
    return np.asarray(soundfile.read(file, len(samples), dtype="float32")[0], np.float32)


def with_gain(samples: Samples, generator: np.random.Generator, gain: float) -> Samples:
    """Louder or softer; what is beyond full scale is clipped.

    Args:
        samples: [samples] mono at 16 kHz.
        generator: not used.
        gain: in dB.
    """
    return np.asarray(np.clip(samples * 10 ** (gain / 20), -1, 1), np.float32)


DEGRADATIONS: Mapping[str, Degradation] = {
    **{f"white noise at {ratio} dB": functools.partial(add_noise, ratio=ratio) for ratio in (20, 10, 5)},
    "telephone, 300 to 3,400 Hz": through_telephone,
    "MP3 at 40 kbit/s": through_mp3,
    "12 dB softer": functools.partial(with_gain, gain=-12),
    "12 dB louder, clipped": functools.partial(with_gain, gain=12),
}
"""By name, as a table shows them."""
