"""Hidden layers of a pretrained text encoder, a vector for each word: BERT, DistilBERT, ELECTRA or RoBERTa.

An encoder reads pieces of words. What it says of a word is the mean over the word's pieces, in each layer. A vector
depends on the words around its own. The encoder reads normalised words, as aligners do: without capitals, punctuation
and digits.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from fgcme.errors import UserError
from fgcme.features.contract import WordFeatures, to_half
from fgcme.features.pretrained import Layers, choose_layers, load_configuration, of_like_length, refusal
from fgcme.packages import hide_loading_bars

# A task of a preparation has one CPU.
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

# Number their positions from that of padding on.
_NUMBERED_FROM_PADDING = frozenset({"roberta"})
_FAMILIES = frozenset({"bert", "distilbert", "electra"}) | _NUMBERED_FROM_PADDING
_KNOWN = "text encoder that is known here: take a BERT, DistilBERT, ELECTRA or RoBERTa"
_SETTING = "prepare.text.checkpoint"
# Pieces of one pass on a GPU. On a CPU each utterance goes through alone, and so is rounded in one way.
_PASS_PIECES = {"cpu": 1, "cuda": 32_768}


def describe_words(checkpoint: str, layers: Layers) -> tuple[Any, list[int]]:
    """The configuration of a text encoder, and which hidden states lie side by side in a word's vector, from 0.

    Raises:
        UserError: there is none, it is of a family that is not known, or it has no such layer.
    """
    configuration = load_configuration(_SETTING, checkpoint, _FAMILIES, _KNOWN)
    last = configuration.num_hidden_layers
    return configuration, choose_layers("prepare.text.layers", checkpoint, layers, last)


class TextEncoder:
    """Hidden states of a frozen text encoder for each word, side by side, in half precision.

    Args:
        checkpoint: folder or hub name of the model and its tokenizer, in any precision.
        layers: hidden states; 0 enters the first layer, -1 is the last.

    Raises:
        UserError: the checkpoint cannot be loaded, is of a family that is not known, or has no such layer.
    """

    def __init__(self, checkpoint: str, layers: Layers = (-1,)) -> None:
        configuration, self._layers = describe_words(checkpoint, layers)
        try:
            encoder = _load_encoder(checkpoint, configuration)
            self._tokenizer = _load_tokenizer(checkpoint, configuration)
        except (OSError, ValueError) as error:
            raise refusal(_SETTING, checkpoint, error) from None
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self._encoder = encoder.eval().requires_grad_(False).to(self._device)
        self._padding = configuration.pad_token_id
        self._width = configuration.hidden_size * len(self._layers)

    def __call__(self, utterances: Sequence[Sequence[str]]) -> list[WordFeatures]:
        """What the encoder says of the words of each utterance, whatever the others; on a GPU but for rounding."""
        pieces = self._tokenizer.encode_batch([" ".join(words) for words in utterances])
        encoded: dict[int, WordFeatures] = {}
        for numbers in of_like_length([len(each.ids) for each in pieces], _PASS_PIECES[self._device.type]):
            states = self._through_layers([pieces[number].ids for number in numbers])
            for number, values in zip(numbers, states, strict=True):
                encoded[number] = _pool(utterances[number], pieces[number], values)
        return [encoded[number] for number in range(len(utterances))]

    @torch.inference_mode()
    def _through_layers(self, ids: Sequence[Sequence[int]]) -> Iterator[npt.NDArray[np.float32]]:
        """The wanted hidden states of the pieces of utterances side by side, [pieces, layers x width] of each."""
        lengths = [len(each) for each in ids]
        padded = torch.full((len(ids), max(lengths)), self._padding)
        for row, each in zip(padded, ids, strict=True):
            row[: len(each)] = torch.tensor(each)
        mask = torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]
        output = self._encoder(
            input_ids=padded.to(self._device), attention_mask=mask.long().to(self._device), output_hidden_states=True
        )
        states: Tensor = torch.cat([output.hidden_states[layer] for layer in self._layers], dim=2).cpu()
        for values, length in zip(states, lengths, strict=True):
            yield values[:length].numpy()


def _pool(words: Sequence[str], pieces: Any, states: npt.NDArray[np.float32]) -> WordFeatures:
    """The mean of each word's pieces.

    Args:
        words: of one utterance.
        pieces: the `tokenizers.Encoding` of the words with a space between them.
        states: [pieces, values].
    """
    starts = np.cumsum([0, *(len(word) + 1 for word in words)])
    ends = np.array([last for _, last in pieces.offsets])
    # A space before a word may be part of its first piece: the last character of a piece tells the word.
    read = np.flatnonzero((ends > [first for first, _ in pieces.offsets]) & (np.array(pieces.special_tokens_mask) == 0))
    of_word = np.searchsorted(starts, ends[read] - 1, side="right") - 1
    sums, counts = np.zeros((len(words), states.shape[1])), np.bincount(of_word, minlength=len(words))
    np.add.at(sums, of_word, states[read])
    half = to_half((sums / np.maximum(counts, 1)[:, None]).astype(np.float32))
    last = int(of_word.max(initial=-1)) if pieces.overflowing else len(words) - 1
    empty = int((counts[: last + 1] == 0).sum())
    return WordFeatures(half.values, empty, len(words) - 1 - last, half.clipped)


def _load_tokenizer(checkpoint: str, configuration: Any) -> Any:
    """The `tokenizers.Tokenizer` of a checkpoint, which cuts what its encoder cannot read.

    Raises:
        OSError: it cannot be loaded.
        UserError: it cannot say which characters a piece is made of.
    """
    from transformers import AutoTokenizer

    # Transformers does not type this class.
    tokenizers: Any = AutoTokenizer
    tokenizer = tokenizers.from_pretrained(checkpoint)
    if not tokenizer.is_fast:
        raise UserError(
            f"{_SETTING} {checkpoint}: its tokenizer is a slow one: take a checkpoint with a tokenizer.json"
        )
    positions = configuration.max_position_embeddings
    if configuration.model_type in _NUMBERED_FROM_PADDING:
        positions -= configuration.pad_token_id + 1
    backend = tokenizer.backend_tokenizer
    # Without its files, a tokenizer of special pieces alone is made.
    if not len(tokenizer.all_special_tokens) < backend.get_vocab_size() <= configuration.vocab_size:
        raise UserError(
            f"{_SETTING} {checkpoint}: its tokenizer has {backend.get_vocab_size()} pieces and its encoder "
            f"{configuration.vocab_size}: take a checkpoint with the files of its own tokenizer"
        )
    backend.no_padding()
    backend.enable_truncation(min(tokenizer.model_max_length, positions))
    return backend


def _load_encoder(checkpoint: str, configuration: Any) -> Any:
    """The encoder in float32, whatever its precision on disk.

    Raises:
        OSError: the weights cannot be loaded, or some are missing.
    """
    from transformers import AutoModel
    from transformers.utils import logging

    hide_loading_bars()
    verbosity = logging.get_verbosity()
    # Otherwise each weight of a head is reported as superfluous.
    logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    try:
        encoder, report = AutoModel.from_pretrained(
            checkpoint, config=configuration, dtype=torch.float32, output_loading_info=True
        )
    finally:
        logging.set_verbosity(verbosity)
    # The pooler makes one vector of an utterance, which nobody reads.
    if missing := sorted(name for name in report["missing_keys"] if not name.startswith("pooler.")):
        raise OSError(f"weights are missing, such as {missing[0]}")
    return encoder
