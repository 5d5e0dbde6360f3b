"""Log-mel filterbank, as Kaldi computes it."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from fgcme.audio import SAMPLE_RATE, Samples

LOWEST_HERTZ, HIGHEST_HERTZ = 20.0, SAMPLE_RATE / 2
"""Hertz between which the mel bins lie."""
PRE_EMPHASIS = 0.97
LOG_ENERGY_FLOOR = float(np.log(np.finfo(np.float32).eps))
"""Log energy of silence: Kaldi lets no energy be lower."""


def log_mel(samples: Samples, bins: int = 40) -> npt.NDArray[np.float32]:
    """Log-mel filterbank energies: Povey window of 25 ms every 10 ms, pre-emphasis, no dither.

    Samples are scaled to the 16-bit range first, as Kaldi reads them: its floor of the energies is made for that range,
    and the values match those of features extracted with Kaldi itself.

    Args:
        samples: [samples] mono at 16 kHz, full scale is 1, at least one window long.
        bins: mel bins between `LOWEST_HERTZ` and `HIGHEST_HERTZ`.

    Returns:
        [frames, bins] float32, with `fgcme.audio.frame_count(samples)` frames.
    """
    import torch
    from torchaudio.compliance import kaldi

    # Torch takes no read-only array without a warning, and Ray hands arrays out read-only.
    waveform = torch.from_numpy(samples * np.float32(32_768)).unsqueeze(0)
    features = kaldi.fbank(
        waveform,
        num_mel_bins=bins,
        low_freq=LOWEST_HERTZ,
        high_freq=HIGHEST_HERTZ,
        preemphasis_coefficient=PRE_EMPHASIS,
        dither=0.0,
        sample_frequency=SAMPLE_RATE,
        snip_edges=True,
    )
    return np.asarray(features.numpy(), dtype=np.float32)


def hertz_to_mel(hertz: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Kaldi's mel scale.

    >>> mel([0, 1000]).round().tolist()
    [0.0, 1000.0]
    """
    return np.asarray(1127 * np.log1p(np.asarray(hertz, np.float64) / 700))


def mel_bin_centres(bins: int) -> npt.NDArray[np.float64]:
    """[bins] mel at which each bin's triangle has its top; its feet are the tops of its neighbours."""
    return np.linspace(hertz_to_mel(LOWEST_HERTZ), hertz_to_mel(HIGHEST_HERTZ), bins + 2)[1:-1]
