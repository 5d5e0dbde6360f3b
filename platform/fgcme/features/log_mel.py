"""Log-mel filterbank, as Kaldi computes it."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from fgcme.audio import SAMPLE_RATE, Samples


def log_mel(samples: Samples, bins: int = 40) -> npt.NDArray[np.float32]:
    """Log-mel filterbank energies: Povey window of 25 ms every 10 ms, pre-emphasis 0.97, no dither.

    Samples are scaled to the 16-bit range first, as Kaldi reads them: its floor of the energies is made for that range,
    and the values match those of features extracted with Kaldi itself.

    Args:
        samples: [samples] mono at 16 kHz, full scale is 1, at least one window long.
        bins: mel bins between 20 Hz and 8 kHz.

    Returns:
        [frames, bins] float32, with `fgcme.audio.frame_count(samples)` frames.
    """
    import torch
    from torchaudio.compliance import kaldi

    # Torch takes no read-only array without a warning, and Ray hands arrays out read-only.
    waveform = torch.from_numpy(samples * np.float32(32_768)).unsqueeze(0)
    features = kaldi.fbank(waveform, num_mel_bins=bins, dither=0.0, sample_frequency=SAMPLE_RATE, snip_edges=True)
    return np.asarray(features.numpy(), dtype=np.float32)
