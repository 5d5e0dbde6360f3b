"""Encoders of the two modalities."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import pytest
import torch
from torch import Tensor, nn

from fgcme.errors import UserError
from fgcme.model.encoders import AcousticEncoder, Activation, SemanticEncoder, reach, word_table


def layer_by_layer(encoder: AcousticEncoder, frames: Tensor, activation: nn.Module) -> Tensor:
    """The encoder's convolutions, one after the other."""
    signal = frames.t().unsqueeze(0)
    for depth, convolution in enumerate(encoder.convolutions):
        signal = convolution(activation(signal) if depth else signal)
    return signal.squeeze(0).t()


def encoder(activation: Activation = "none", dropout: float = 0.0) -> AcousticEncoder:
    torch.manual_seed(0)
    return AcousticEncoder(4, [6, 5, 3], [5, 2, 3], activation, dropout).double()


@pytest.mark.parametrize(("activation", "module"), [("none", nn.Identity()), ("relu", nn.ReLU()), ("gelu", nn.GELU())])
def test_the_encoder_is_its_convolutions_one_after_the_other(activation: Activation, module: nn.Module) -> None:
    model, frames = encoder(activation), torch.randn(30, 4, dtype=torch.float64)
    expected = layer_by_layer(model, frames, module)
    weight = torch.randn_like(expected)
    gradients = torch.autograd.grad((expected * weight).sum(), list(model.parameters()))
    outputs = model(frames)
    torch.testing.assert_close(outputs, expected)
    for ours, theirs in zip(
        torch.autograd.grad((outputs * weight).sum(), list(model.parameters())), gradients, strict=True
    ):
        torch.testing.assert_close(ours, theirs)


def test_an_output_sees_its_own_frame_and_the_reach_after_it() -> None:
    model = encoder()
    frames = torch.randn(30, 4, dtype=torch.float64)
    outputs = model(frames)
    assert model.reach == reach([5, 2, 3]) == 7
    assert outputs.shape == (30 - 7, 3)
    changed = frames.clone()
    changed[15] += 1
    moved = (model(changed) - outputs).abs().sum(1) > 1e-9
    assert moved.nonzero().flatten().tolist() == list(range(15 - 7, 16))


def test_dropout_acts_in_training_and_not_in_evaluation() -> None:
    model, frames = encoder(dropout=0.5), torch.randn(30, 4, dtype=torch.float64)
    assert not torch.equal(model(frames), model(frames))
    model.eval()
    torch.testing.assert_close(model(frames), layer_by_layer(model, frames, nn.Identity()))


def test_standardised_frames_are_what_the_convolutions_see() -> None:
    model, frames = encoder(), 7 + 3 * torch.randn(40, 4, dtype=torch.float64)
    expected = layer_by_layer(model, (frames - frames.mean(0)) / frames.std(0), nn.Identity())
    model.standardise_by(frames.mean(0), frames.std(0))
    torch.testing.assert_close(model(frames), expected)


def test_statistics_are_saved_with_the_weights_and_are_not_trained() -> None:
    model = encoder()
    model.standardise_by(torch.full((4,), 2.0), torch.full((4,), 3.0))
    other = encoder()
    other.load_state_dict(model.state_dict())
    assert other.mean.tolist() == [2.0] * 4 and other.deviation.tolist() == [3.0] * 4
    assert {"mean", "deviation"}.isdisjoint(name for name, _ in model.named_parameters())


def test_the_rows_of_padding_and_of_unknown_words_are_zero() -> None:
    table = word_table(6, 3)
    assert not table.weight[:2].any() and table.weight[2:].all()


def vectors(tmp_path: Path, text: str) -> str:
    path = tmp_path / "vectors.txt"
    path.write_text(text, encoding="utf-8")
    return str(path)


def rows(model: SemanticEncoder) -> list[list[float]]:
    return cast("list[list[float]]", model.table.weight.tolist())


def test_a_word_table_starts_from_a_file_of_vectors(tmp_path: Path) -> None:
    model = SemanticEncoder(5, embedding=2, size=3)
    before = rows(model)
    model.start_from(vectors(tmp_path, "dogs 0.5 -1\nelse 9 9\nkids 2 3e-1\n"), ["dogs", "door", "kids"])
    assert rows(model)[2] == [0.5, -1.0]
    assert rows(model)[3] == before[3], "a word that the file lacks keeps its random start"
    assert rows(model)[4] == pytest.approx([2.0, 0.3])
    assert rows(model)[:2] == before[:2]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("dogs 0.5 -1\nkids 2\n", "line 2 has 1 values where model.semantic.embedding is 2"),
        ("dogs 0.5 -1 4\n", "line 1 has 3 values where model.semantic.embedding is 2"),
        ("dogs 0.5 x\n", "cannot be read as word vectors"),
    ],
)
def test_a_bad_file_of_vectors_is_refused_by_name(tmp_path: Path, text: str, message: str) -> None:
    path = vectors(tmp_path, text)
    with pytest.raises(UserError, match=message) as error:
        SemanticEncoder(4, embedding=2, size=3).start_from(path, ["dogs", "kids"])
    assert path in str(error.value) and "\n" not in str(error.value)


def test_a_missing_or_binary_file_of_vectors_is_refused_by_name(tmp_path: Path) -> None:
    model = SemanticEncoder(4, embedding=2, size=3)
    binary = tmp_path / "vectors.bin"
    binary.write_bytes(b"\xff\xfe\x00")
    for path in (tmp_path / "nowhere.txt", binary):
        with pytest.raises(UserError, match="cannot be read as word vectors") as error:
            model.start_from(str(path), ["dogs"])
        assert str(path) in str(error.value)
