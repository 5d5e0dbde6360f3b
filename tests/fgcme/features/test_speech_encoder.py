"""Hidden layers of pretrained encoders, beside what `transformers` itself makes of the same recordings."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from fgcme import features
from fgcme.errors import UserError
from fgcme.features import speech_encoder
from tests.speech import say
from tests.speech_encoder import WHISPER_BASE, hidden_states, unpadded_states

NOISE = np.random.default_rng(0).normal(0, 0.1, 40_000).astype(np.float32)
WAVEFORM = ("wav2vec2", "wav2vec2 large", "hubert", "wavlm", "data2vec")


def extract(folder: str, *recordings: np.ndarray, **options: Any) -> list[np.ndarray]:
    extractor = features.build_extractor("speech_encoder", checkpoint=folder, **options)
    return [frames.values for frames in extractor(recordings)]


def assert_close(frames: np.ndarray, expected: np.ndarray, tolerance: float = 1e-3) -> None:
    """Equal but for rounding to half precision."""
    assert frames.dtype == np.float16 and frames.shape == expected.shape
    np.testing.assert_allclose(frames.astype(np.float32), expected, rtol=2**-10, atol=tolerance)


@pytest.mark.parametrize("family", WAVEFORM)
@pytest.mark.parametrize("layers", [(-1,), (0,), (1, 2), (3, 0), "all"])
def test_frames_are_the_hidden_states_side_by_side(
    checkpoint: Callable[[str], str], family: str, layers: tuple[int, ...] | str
) -> None:
    states = hidden_states(checkpoint(family), NOISE)
    chosen = states if layers == "all" else [states[layer] for layer in layers]  # type: ignore[index]
    assert_close(extract(checkpoint(family), NOISE, layers=layers)[0], np.concatenate(chosen, axis=1))


@pytest.mark.parametrize("layers", [(-1,), (0,), (1, 2), (3, 0), "all"])
def test_frames_of_whisper_padded_are_the_hidden_states_of_the_recording_s_part(
    checkpoint: Callable[[str], str], layers: tuple[int, ...] | str
) -> None:
    states = hidden_states(checkpoint("whisper"), NOISE)
    chosen = states if layers == "all" else [states[layer] for layer in layers]  # type: ignore[index]
    frames = extract(checkpoint("whisper"), NOISE, layers=layers, padded=True)[0]
    assert_close(frames, np.concatenate(chosen, axis=1)[:125])


def test_whisper_without_padding_hears_the_recording_alone(checkpoint: Callable[[str], str]) -> None:
    """As `transformers` would, if its table of positions were of the recording's length."""
    folder = checkpoint("whisper")
    expected = np.concatenate(unpadded_states(folder, NOISE), axis=1)
    frames = extract(folder, NOISE, layers="all")[0]
    assert_close(frames, expected)
    # The silence is heard in the padded form.
    padded = extract(folder, NOISE, layers="all", padded=True)[0]
    assert padded.shape == frames.shape and not np.allclose(padded, frames, atol=1e-2)


@pytest.mark.parametrize("family", [*WAVEFORM, "whisper"])
def test_frames_of_a_recording_do_not_depend_on_those_in_its_batch(
    checkpoint: Callable[[str], str], family: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of like length, of the same length, and far longer or shorter ones."""
    lengths = [40_000, 39_999, 36_500, 36_500, 33_000, 16_000, 400, 401, 720]
    recordings = [NOISE[:length] * np.float32(1 + number) for number, length in enumerate(lengths)]
    alone = [extract(checkpoint(family), recording, layers="all")[0] for recording in recordings]
    for mine, theirs in zip(extract(checkpoint(family), *recordings, layers="all"), alone, strict=True):
        np.testing.assert_array_equal(mine, theirs)
    # As on a GPU, where several go through at once.
    monkeypatch.setitem(speech_encoder._PASS_FRAMES, "cpu", 1_500)
    for mine, theirs in zip(extract(checkpoint(family), *recordings, layers="all"), alone, strict=True):
        assert_close(mine, theirs.astype(np.float32), tolerance=1e-4)


@pytest.mark.parametrize("count", [400, 719, 720, 721, 16_000, 16_123])
@pytest.mark.parametrize("family", ["wav2vec2", "whisper"])
def test_frames_come_at_the_encoder_s_own_rate(checkpoint: Callable[[str], str], family: str, count: int) -> None:
    folder = checkpoint(family)
    expected = (count - 400) // 320 + 1 if family == "wav2vec2" else -(-(count // 160) // 2)
    for padded in (False, True):
        (frames,) = extract(folder, NOISE[:count], layers=(0, 1), padded=padded)
        assert frames.shape == (expected, 32)


@pytest.mark.parametrize("family", ["wav2vec2", "whisper"])
def test_the_format_is_known_without_the_weights(checkpoint: Callable[[str], str], family: str, tmp_path: Path) -> None:
    shutil.copy(Path(checkpoint(family)) / "config.json", tmp_path)
    described = features.frame_format("speech_encoder", checkpoint=str(tmp_path), layers="all")
    assert (described.frame_step, described.layers) == (320, 4)
    extractor = features.build_extractor("speech_encoder", checkpoint=checkpoint(family), layers="all")
    assert extractor.format == described
    assert features.frame_format("log_mel") == features.FrameFormat(160, 1)


def test_whisper_hears_a_long_recording_in_equal_pieces(checkpoint: Callable[[str], str]) -> None:
    long = np.resize(NOISE, 31 * 16_000)
    (frames,) = extract(checkpoint("whisper"), long)
    first, second = extract(checkpoint("whisper"), long[: 31 * 8_000], long[31 * 8_000 :])
    assert len(frames) == 1550
    np.testing.assert_allclose(frames, np.concatenate([first, second]), atol=1e-3)
    # Not one that is too short to be heard.
    assert len(extract(checkpoint("whisper"), np.resize(NOISE, 30 * 16_000 + 1))[0]) == 1500


@pytest.mark.parametrize("precision", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("family", ["wav2vec2", "whisper"])
def test_weights_in_half_precision_compute_in_single(
    checkpoint: Callable[[str], str], tmp_path: Path, family: str, precision: torch.dtype
) -> None:
    half = tmp_path / "half"
    shutil.copytree(checkpoint(family), half)
    weights = {name: tensor.to(precision) for name, tensor in load_file(half / "model.safetensors").items()}
    save_file(weights, half / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((half / "config.json").read_text())
    (half / "config.json").write_text(json.dumps({**config, "dtype": str(precision).removeprefix("torch.")}))
    (frames,) = extract(str(half), NOISE, padded=True)
    assert_close(frames, hidden_states(str(half), NOISE)[-1][: len(frames)])


def test_values_beyond_half_precision_are_counted(checkpoint: Callable[[str], str], tmp_path: Path) -> None:
    loud = tmp_path / "loud"
    shutil.copytree(checkpoint("wav2vec2"), loud)
    weights = load_file(loud / "model.safetensors")
    weights["encoder.layer_norm.weight"] *= 1e6
    save_file(weights, loud / "model.safetensors", metadata={"format": "pt"})
    (frames,) = features.build_extractor("speech_encoder", checkpoint=str(loud), layers=(0, 1))([NOISE])
    # What enters the first layer is huge; what leaves it is normalised.
    assert np.isfinite(frames.values).all()
    assert frames.clipped == np.count_nonzero(np.abs(frames.values[:, :16]) == 65504) > 0


@pytest.mark.parametrize("layers", [(4,), (-5,), (0, 4)])
def test_a_layer_the_encoder_lacks_is_refused(checkpoint: Callable[[str], str], layers: tuple[int, ...]) -> None:
    for build in (features.build_extractor, features.frame_format):
        with pytest.raises(UserError, match=r"features\.layers (4|-5): .* 0 to 3"):
            build("speech_encoder", checkpoint=checkpoint("wav2vec2"), layers=layers)
    with pytest.raises(UserError, match=r"layers \[3, -1\]: one is there twice"):
        features.build_extractor("speech_encoder", checkpoint=checkpoint("wav2vec2"), layers=(3, -1))


def test_an_encoder_that_lacks_weights_is_refused(checkpoint: Callable[[str], str], tmp_path: Path) -> None:
    """They would be random."""
    for family, name in (
        ("wav2vec2", "encoder.layers.0.attention.k_proj.weight"),
        ("whisper", "model.encoder.conv1.bias"),
    ):
        cut = tmp_path / family
        shutil.copytree(checkpoint(family), cut)
        weights = load_file(cut / "model.safetensors")
        del weights[name]
        save_file(weights, cut / "model.safetensors", metadata={"format": "pt"})
        with pytest.raises(UserError, match=f"weights are missing, such as .*{name.rpartition('encoder.')[2]}"):
            features.build_extractor("speech_encoder", checkpoint=str(cut))


def test_a_checkpoint_that_is_no_speech_encoder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"features\.checkpoint .*nothing"):
        features.build_extractor("speech_encoder", checkpoint=str(tmp_path / "nothing"))
    with pytest.raises(ValueError, match="speech_encoder"):
        features.build_extractor("speech_encoder")
    transformers.BertConfig().save_pretrained(tmp_path / "bert")
    with pytest.raises(UserError, match=r"bert, is no speech encoder that is known here: take a wav2vec 2\.0"):
        features.build_extractor("speech_encoder", checkpoint=str(tmp_path / "bert"))


@pytest.mark.skipif(not WHISPER_BASE.is_dir(), reason="the weights of Whisper base are not here")
class TestWhisperBase:
    """The real weights, on speech."""

    SPEECH = say("Kids are talking by the door.")[0]

    def test_the_padded_form_is_transformers_own(self) -> None:
        states = hidden_states(str(WHISPER_BASE), self.SPEECH)
        (frames,) = extract(str(WHISPER_BASE), self.SPEECH, layers=(0, 3, 6), padded=True)
        expected = np.concatenate([states[layer][: len(frames)] for layer in (0, 3, 6)], axis=1)
        assert_close(frames, expected)

    @pytest.mark.parametrize("padded", [False, True])
    def test_an_utterance_has_the_same_frames_alone_and_in_a_batch(
        self, padded: bool, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        recordings = self.SPEECH, self.SPEECH[: int(0.9 * self.SPEECH.size)]
        alone = [extract(str(WHISPER_BASE), each, layers=(3, 6), padded=padded)[0] for each in recordings]
        monkeypatch.setitem(speech_encoder._PASS_FRAMES, "cpu", 1_500)
        together = extract(str(WHISPER_BASE), *recordings, layers=(3, 6), padded=padded)
        for mine, theirs in zip(together, alone, strict=True):
            assert_close(mine, theirs.astype(np.float32), tolerance=1e-4)
