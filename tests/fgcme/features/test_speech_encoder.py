from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import (
    Wav2Vec2Config,
    Wav2Vec2FeatureExtractor,
    Wav2Vec2Model,
    WhisperConfig,
    WhisperFeatureExtractor,
    WhisperModel,
)

from fgcme import features
from fgcme.audio import frame_count
from fgcme.errors import UserError

NOISE = np.random.default_rng(0).normal(0, 0.1, 40_000).astype(np.float32)


@pytest.fixture(scope="module")
def wav2vec2(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("wav2vec2")
    torch.manual_seed(0)
    config = Wav2Vec2Config(
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=16,
        conv_dim=(16,) * 7,
        num_conv_pos_embeddings=4,
        num_conv_pos_embedding_groups=2,
    )
    Wav2Vec2Model(config).save_pretrained(folder)
    Wav2Vec2FeatureExtractor(do_normalize=True).save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def whisper(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("whisper")
    torch.manual_seed(0)
    config = WhisperConfig(
        d_model=8,
        encoder_layers=1,
        decoder_layers=1,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=8,
        decoder_ffn_dim=8,
        num_mel_bins=8,
        vocab_size=16,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        decoder_start_token_id=1,
    )
    WhisperModel(config).save_pretrained(folder)
    WhisperFeatureExtractor(feature_size=8).save_pretrained(folder)
    return str(folder)


@pytest.mark.parametrize("count", [400, 719, 720, 721, 16_000, 16_123])
def test_a_speech_encoder_has_one_frame_every_10_ms(wav2vec2: str, count: int) -> None:
    frames = features.build_extractor("speech_encoder", checkpoint=wav2vec2)(NOISE[:count])
    assert frames.shape == (frame_count(count), 16)
    assert frames.dtype == np.float32 and frames.flags.c_contiguous


@pytest.mark.parametrize("layer", [-1, 0, 1, 2])
def test_each_frame_of_the_chosen_layer_is_repeated_to_10_ms(wav2vec2: str, layer: int) -> None:
    frames = features.build_extractor("speech_encoder", checkpoint=wav2vec2, layer=layer)(NOISE)
    normalised = torch.from_numpy((NOISE - NOISE.mean()) / np.sqrt(NOISE.var() + 1e-7))[None]
    with torch.inference_mode():
        model = Wav2Vec2Model.from_pretrained(wav2vec2).eval()
        hidden = model(normalised, output_hidden_states=True).hidden_states[layer][0].numpy()
    assert len(hidden) == 124 and len(frames) == 248
    # The encoder makes a frame every 20 ms.
    np.testing.assert_allclose(frames[::2], hidden, atol=1e-5)
    np.testing.assert_allclose(frames[1::2], hidden, atol=1e-5)


def test_a_layer_the_encoder_lacks_is_an_error(wav2vec2: str) -> None:
    with pytest.raises(UserError, match=r"features\.layer 3: .* 0 to 2"):
        features.build_extractor("speech_encoder", checkpoint=wav2vec2, layer=3)


def test_whisper_encodes_speech_shorter_and_longer_than_30_seconds(whisper: str) -> None:
    encode = features.build_extractor("speech_encoder", checkpoint=whisper)
    short = encode(NOISE[:16_000])
    assert short.shape == (98, 8)
    long = np.resize(NOISE, 31 * 16_000)
    frames = encode(long)
    assert frames.shape == (frame_count(long.size), 8)
    # The second chunk starts after 30 s.
    np.testing.assert_allclose(frames[3_000:], encode(long[30 * 16_000 :])[: len(frames) - 3_000], atol=1e-4)


def test_the_error_names_a_checkpoint_that_does_not_load(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"features\.checkpoint .*nothing"):
        features.build_extractor("speech_encoder", checkpoint=str(tmp_path / "nothing"))
    with pytest.raises(ValueError, match="speech_encoder"):
        features.build_extractor("speech_encoder")
