"""Log-mel filterbank energies as Kaldi computes them (Povey et al., ASRU 2011)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from fgcme.audio import SAMPLE_RATE, Samples

LOWEST_HERTZ, HIGHEST_HERTZ = 20.0, SAMPLE_RATE / 2
"""Range of the mel bins."""
PRE_EMPHASIS = 0.97
LOG_ENERGY_FLOOR = float(np.log(np.finfo(np.float32).eps))
"""Log energy of silence: Kaldi clips energies from below at float32's epsilon."""


def log_mel(samples: Samples, bins: int = 40) -> npt.NDArray[np.float32]:
    """Log-mel filterbank energies: Povey window of 25 ms every 10 ms, pre-emphasis, no dither.

    Samples are scaled to the 16-bit range first, as Kaldi reads them, so values and floor equal Kaldi's own. The
    published code of Li et al. (2021) scales to [-1, 1]: its values are
    ln(32768^2) = 20.794 lower, then floored (`fgcme.data.front_end.published_scale`).

    Args:
        samples: [samples] mono at 16 kHz, full scale 1, at least one window long.
        bins: mel bins between `LOWEST_HERTZ` and `HIGHEST_HERTZ`.

    Returns:
        [A, bins] float32, with A = `fgcme.audio.frame_count(samples)`.
    """
    import torch
    from torchaudio.compliance import kaldi

    # The product is a copy: Ray hands out read-only arrays, about which torch warns.
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

    >>> hertz_to_mel([0, 1000]).round().tolist()
    [0.0, 1000.0]
    """
    return np.asarray(1127 * np.log1p(np.asarray(hertz, np.float64) / 700))


def mel_bin_centres(bins: int) -> npt.NDArray[np.float64]:
    """[bins] centre of each triangular bin in mel; the triangle ends at its neighbours' centres."""
    return np.linspace(hertz_to_mel(LOWEST_HERTZ), hertz_to_mel(HIGHEST_HERTZ), bins + 2)[1:-1]
