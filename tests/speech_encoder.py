"""Small speech encoders of every family with random weights, and what `transformers` itself makes of speech."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers

WHISPER_BASE = Path(__file__).parents[2] / "shared" / "models" / "whisper-base"

SMALL: dict[str, Any] = {
    "hidden_size": 16,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "intermediate_size": 16,
    "conv_dim": (16,) * 7,
    "num_conv_pos_embedding_groups": 2,
}
# Convolutions of positions as wide as those of the real models, so that padding would reach far.
WIDE = {"num_conv_pos_embeddings": 32}
STABLE = {"do_stable_layer_norm": True, "feat_extract_norm": "layer"}
FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "wav2vec2": ("Wav2Vec2", WIDE),
    "wav2vec2 large": ("Wav2Vec2", WIDE | STABLE),
    "hubert": ("Hubert", WIDE),
    "wavlm": ("WavLM", WIDE),
    "wavlm large": ("WavLM", WIDE | STABLE),
    "data2vec": ("Data2VecAudio", {"num_conv_pos_embeddings": 3, "conv_pos_kernel_size": 9}),
}


def save_encoder(family: str, folder: Path) -> str:
    """Save a small encoder of a family; returns the folder."""
    torch.manual_seed(0)
    if family == "whisper":
        save_whisper(folder)
    else:
        name, options = FAMILIES[family]
        config = getattr(transformers, f"{name}Config")(**SMALL, **options)
        getattr(transformers, f"{name}Model")(config).save_pretrained(folder)
        transformers.Wav2Vec2FeatureExtractor(do_normalize=True).save_pretrained(folder)
    return str(folder)


def save_whisper(folder: Path) -> None:
    sizes: dict[str, Any] = {f"{side}_attention_heads": 2 for side in ("encoder", "decoder")}
    sizes |= {f"{side}_ffn_dim": 16 for side in ("encoder", "decoder")}
    config = transformers.WhisperConfig(
        d_model=16,
        encoder_layers=3,
        decoder_layers=1,
        num_mel_bins=8,
        vocab_size=16,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        decoder_start_token_id=1,
        **sizes,
    )
    # As the models of the hub are: with a decoder and a head.
    transformers.WhisperForConditionalGeneration(config).save_pretrained(folder)
    transformers.WhisperFeatureExtractor(feature_size=8).save_pretrained(folder)


@torch.inference_mode()
def hidden_states(folder: str, samples: np.ndarray) -> list[np.ndarray]:
    """All hidden states of a recording, as `transformers` itself computes them, [A, width] each.

    The last is what leaves the encoder: large models normalise it after their last layer.
    """
    extractors: Any = transformers.AutoFeatureExtractor
    model = transformers.AutoModel.from_pretrained(folder, dtype=torch.float32).eval()
    inputs = extractors.from_pretrained(folder)(samples, sampling_rate=16_000, return_tensors="pt")
    encoder = model.get_encoder() if model.config.is_encoder_decoder else model
    output = encoder(**inputs, output_hidden_states=True)
    return [state[0].numpy() for state in [*output.hidden_states[:-1], output.last_hidden_state]]


@torch.inference_mode()
def unpadded_states(folder: str, samples: np.ndarray) -> list[np.ndarray]:
    """The same of Whisper, as if its table of positions were of the recording's length, whole frames of 20 ms."""
    model = transformers.WhisperModel.from_pretrained(folder, dtype=torch.float32).eval().get_encoder()
    extractor = transformers.WhisperFeatureExtractor.from_pretrained(folder)
    mel = extractor(samples, sampling_rate=16_000, return_tensors="pt", padding=False)["input_features"]
    frames = mel.shape[2] // 2
    model.config.max_source_positions = frames
    model.embed_positions = torch.nn.Embedding.from_pretrained(model.embed_positions.weight[:frames])
    states = model(mel, output_hidden_states=True)
    return [state[0].numpy() for state in [*states.hidden_states[:-1], states.last_hidden_state]]
