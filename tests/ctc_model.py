"""Small CTC models of characters with random weights, of the families that `transformers` has."""

import json
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoConfig,
    AutoModelForCTC,
    SeamlessM4TFeatureExtractor,
    Wav2Vec2CTCTokenizer,
    Wav2Vec2FeatureExtractor,
)

VOCABULARY = {
    token: index for index, token in enumerate(["<pad>", "<s>", "</s>", "<unk>", "|", *"ABCDEFGHIKLNOPRSTUVWY"])
}


SMALL: dict[str, Any] = {
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 16,
    "conv_dim": (16,) * 7,
    "num_conv_pos_embeddings": 4,
    "num_conv_pos_embedding_groups": 2,
}
# What each family has of its own, and in which precision it is saved.
FAMILIES: dict[str, dict[str, Any]] = {
    "wav2vec2": {},
    "hubert": {},
    "wavlm": {},
    "unispeech": {},
    "unispeech-sat": {},
    "wav2vec2-conformer": {},
    "data2vec-audio": {"num_conv_pos_embeddings": 3, "conv_pos_kernel_size": 9},
    "sew": {"conv_dim": (16,) * 13, "squeeze_factor": 2},
    "wav2vec2-bert": {"feature_projection_input_dim": 160, "conv_depthwise_kernel_size": 5},
}


def save_ctc(folder: Path, family: str = "wav2vec2", half: bool = False) -> str:
    """Save the model, its tokeniser and its feature extractor; returns the folder."""
    folder.mkdir(exist_ok=True)
    torch.manual_seed(0)
    options = {"vocab_size": len(VOCABULARY), "pad_token_id": 0} | SMALL | FAMILIES[family]
    model = AutoModelForCTC.from_config(AutoConfig.for_model(family, **options))
    (model.half() if half else model).save_pretrained(folder)
    (folder / "vocab.json").write_text(json.dumps(VOCABULARY))
    Wav2Vec2CTCTokenizer(str(folder / "vocab.json"), word_delimiter_token="|").save_pretrained(folder)
    extractors: dict[str, Any] = {"wav2vec2-bert": SeamlessM4TFeatureExtractor()}
    extractors.get(family, Wav2Vec2FeatureExtractor(do_normalize=True)).save_pretrained(folder)
    return str(folder)
