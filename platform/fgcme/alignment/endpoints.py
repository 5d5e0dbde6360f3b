"""Endpoint detection: where in a recording the speech is, by its energy."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from fgcme.audio import HOP, WINDOW, Samples, frame_count

# Speech starts where the energy, in decibels, is this far from the background to the loudest frame.
_RISE = 0.3
# A click is in three windows; the median over this many frames removes it.
_CLICK = 9
# A pause is no louder than the background by so many decibels, and is long from so many frames on, of which so many are
# kept at either side.
_LOUDER, _LONG, _KEPT = 6.0, 300, 100
# Decibels by which rounding may change the energy of a steady sound.
_ROUNDING = 0.01
# Frames whose samples are squared at once, a minute: an hour's squares would be 0.5 GB, three times over.
_AT_ONCE = 6_000


def detect_endpoints(samples: Samples) -> tuple[int, int]:
    """First frame (of 10 ms) of the speech in an utterance, and the frame after its last.

    The whole utterance if nothing is louder than the background.

    Args:
        samples: [samples] mono at 16 kHz, at least one window long.

    >>> tone = np.sin(np.arange(16_000)).astype(np.float32)
    >>> detect_endpoints(np.concatenate([np.zeros(16_000, np.float32), tone, np.zeros(16_000, np.float32)]))
    (98, 200)
    """
    decibels = frame_decibels(samples)
    padded = np.pad(decibels, _CLICK // 2, mode="edge")
    smooth = np.median(np.lib.stride_tricks.sliding_window_view(padded, _CLICK), axis=1)
    background, loudest = np.percentile(smooth, 10), smooth.max()
    loud = np.flatnonzero(smooth >= background + _RISE * (loudest - background) - _ROUNDING)
    return int(loud[0]), int(loud[-1]) + 1


def frames_outside_long_pauses(samples: Samples) -> npt.NDArray[np.intp]:
    """The frames of a recording that are not in the middle of a pause of 3 s and more; a second is left at either side.

    Args:
        samples: [samples] mono at 16 kHz, at least one window long.
    """
    # Slow to import, and most recordings are short.
    from scipy.ndimage import median_filter

    smooth = median_filter(frame_decibels(samples), _CLICK, mode="nearest")
    is_quiet = smooth <= np.percentile(smooth, 10) + _LOUDER
    edges = np.flatnonzero(np.diff(is_quiet, prepend=False, append=False))
    is_left = np.ones(len(smooth), np.bool_)
    for begin, end in zip(edges[::2], edges[1::2], strict=True):
        if end - begin >= _LONG:
            is_left[begin + _KEPT : end - _KEPT] = False
    return np.flatnonzero(is_left)


def samples_of(samples: Samples, frames: npt.NDArray[np.intp]) -> Samples:
    """The samples that some frames are made of, without those between them; a view where there are none between them.

    Args:
        samples: [samples] mono at 16 kHz.
        frames: which frames, at least one, in order.

    >>> samples_of(np.arange(16_000, dtype=np.float32), np.array([2, 3, 90])).size
    720
    """
    jumps = np.flatnonzero(np.diff(frames) > 1)
    firsts, lasts = frames[np.append(0, jumps + 1)], frames[np.append(jumps, len(frames) - 1)]
    parts = [samples[first * HOP : (last + 1) * HOP] for first, last in zip(firsts, lasts, strict=True)]
    # The last window reaches beyond its hop.
    parts[-1] = samples[firsts[-1] * HOP : lasts[-1] * HOP + WINDOW]
    return np.concatenate(parts) if len(parts) > 1 else parts[0]


def frame_decibels(samples: Samples) -> npt.NDArray[np.float64]:
    """Energy of each frame of 10 ms, in decibels; full scale is 0, and nothing is below -100.

    Args:
        samples: [samples] mono at 16 kHz.
    """
    frames = frame_count(samples.size)
    energy = [
        _energy(samples[first * HOP : min(first + _AT_ONCE, frames) * HOP + WINDOW - HOP])
        for first in range(0, frames, _AT_ONCE)
    ]
    return np.asarray(10 * np.log10(np.concatenate([np.zeros(0), *energy]) + 1e-10))


def _energy(samples: Samples) -> npt.NDArray[np.float64]:
    """Mean square of each frame."""
    # Sums of squares up to each sample: a frame's energy is the difference of two of them.
    sums = np.concatenate([[0.0], np.cumsum(np.square(samples, dtype=np.float64))])
    starts = np.arange(frame_count(samples.size)) * HOP
    return np.asarray(np.maximum(sums[starts + WINDOW] - sums[starts], 0) / WINDOW)
