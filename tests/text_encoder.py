"""Tiny text encoders with random weights, saved as those of the hub are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

FAMILIES = ("Bert", "DistilBert", "Electra", "Roberta")
SENTENCES = ["kids are talking by the door", "dogs are sitting by the door", "red green blue white black grey"]
_LETTERS = "abcdefghijklmnopqrstuvwxyz"
_PIECES = ["kid", "##s", "are", "talk", "##ing", "by", "the", "do", "##or", "dog", "sitt"]
_SPECIAL = ["<pad>", "<s>", "</s>", "<unk>"]


def save_text_encoder(folder: Path, family: str = "Bert", width: int = 16, positions: int = 40) -> Path:
    """Save a tiny encoder and its tokenizer; returns the folder.

    Args:
        folder: to save into.
        family: one of `FAMILIES`.
        width: values of a hidden state.
        positions: pieces that it can read, its special ones included.
    """
    byte_level = family == "Roberta"
    tokenizer = _byte_level() if byte_level else _word_pieces()
    tokens = dict(zip(("pad_token", "bos_token", "eos_token", "unk_token"), _SPECIAL, strict=True))
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, cls_token="<s>", sep_token="</s>", model_max_length=512, **tokens
    ).save_pretrained(folder)
    sizes: dict[str, Any] = {
        "vocab_size": tokenizer.get_vocab_size(),
        "hidden_size": width,
        "num_hidden_layers": 3,
        "num_attention_heads": 2,
        "intermediate_size": 16,
        # RoBERTa numbers positions from that of padding on.
        "max_position_embeddings": positions + (2 if byte_level else 0),
        "pad_token_id": 1 if byte_level else 0,
    }
    if family == "DistilBert":
        names = {"hidden_size": "dim", "num_hidden_layers": "n_layers", "num_attention_heads": "n_heads"}
        sizes = {names.get(name, name): size for name, size in sizes.items()} | {"hidden_dim": 16}
    if family == "Electra":
        sizes["embedding_size"] = 8
    torch.manual_seed(0)
    config = getattr(transformers, f"{family}Config")(**sizes)
    # As the models of the hub are: with a head.
    getattr(transformers, f"{family}ForMaskedLM")(config).save_pretrained(folder)
    return folder


def _word_pieces() -> Tokenizer:
    vocabulary = [*_SPECIAL, *_PIECES, *_LETTERS, *(f"##{letter}" for letter in _LETTERS)]
    numbers = {piece: number for number, piece in enumerate(dict.fromkeys(vocabulary))}
    tokenizer = Tokenizer(models.WordPiece(numbers, unk_token="<unk>"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 1), ("</s>", 2)]
    )
    return tokenizer


def _byte_level() -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    # Padding is number 1, as RoBERTa's is.
    special = ["<s>", "<pad>", "</s>", "<unk>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator(
        SENTENCES, trainers.BpeTrainer(vocab_size=290, special_tokens=special, initial_alphabet=alphabet)
    )
    # A space belongs to the piece after it, in its offsets too.
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0), trim_offsets=False)
    return tokenizer
