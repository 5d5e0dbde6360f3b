import subprocess
import sys

import numpy as np
import pytest

from fgcme import features
from fgcme.audio import frame_count


def tone(hertz: float, count: int = 16_000) -> np.ndarray:
    return 0.3 * np.sin(2 * np.pi * hertz * np.arange(count) / 16_000).astype(np.float32)


@pytest.mark.parametrize("count", [400, 559, 560, 561, 16_000, 16_123])
@pytest.mark.parametrize("bins", [23, 40])
def test_log_mel_has_one_frame_every_10_ms(count: int, bins: int) -> None:
    frames = features.build_extractor("log_mel", bins=bins)([tone(440, count)])[0].values
    assert frames.shape == (frame_count(count), bins)
    assert frames.dtype == np.float32 and frames.flags.c_contiguous


def test_the_loudest_bin_holds_the_frequency_of_a_tone() -> None:
    mel = [1127 * np.log(1 + hertz / 700) for hertz in (20, 8_000)]
    for hertz in (300, 1_000, 3_000, 6_000):
        # 40 triangles are evenly spaced in mel between 20 Hz and 8 kHz.
        expected = (1127 * np.log(1 + hertz / 700) - mel[0]) / (mel[1] - mel[0]) * 41 - 1
        loudest = features.build_extractor("log_mel")([tone(hertz)])[0].values[50].argmax()
        assert abs(loudest - expected) <= 1


def test_values_are_kaldi_s_of_16_bit_samples() -> None:
    # Kaldi's definition for one frame.
    samples = np.random.default_rng(0).normal(0, 0.1, 400).astype(np.float32)
    frame = samples.astype(np.float64) * 32_768
    frame -= frame.mean()
    frame -= 0.97 * np.concatenate([frame[:1], frame[:-1]])
    frame *= (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(400) / 399)) ** 0.85
    power = np.abs(np.fft.rfft(frame, 512)) ** 2
    mel = 1127 * np.log(1 + np.arange(256) * 16_000 / 512 / 700)
    low, high = (1127 * np.log(1 + hertz / 700) for hertz in (20, 8_000))
    edges = np.linspace(low, high, 42)
    expected = [
        np.log(power[:256] @ np.clip(np.minimum((mel - a) / (b - a), (c - mel) / (c - b)), 0, None))
        for a, b, c in zip(edges, edges[1:], edges[2:], strict=False)
    ]
    np.testing.assert_allclose(features.build_extractor("log_mel")([samples])[0].values[0], expected, atol=0.01)


def test_read_only_samples_give_the_same_features() -> None:
    samples = tone(440)
    first = features.build_extractor("log_mel")([samples])[0].values
    samples.setflags(write=False)
    np.testing.assert_array_equal(first, features.build_extractor("log_mel")([samples])[0].values)


def test_an_extractor_is_cached_and_an_unknown_kind_is_an_error() -> None:
    assert features.build_extractor("log_mel", bins=23) is features.build_extractor("log_mel", bins=23)
    with pytest.raises(ValueError, match="spectra"):
        features.build_extractor("spectra")


def test_importing_features_imports_neither_torch_nor_transformers() -> None:
    script = (
        "import fgcme.features, fgcme.prepared.utterance, sys\n"
        "print({'torch', 'transformers', 'scipy'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
