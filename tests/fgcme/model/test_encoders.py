"""The encoders follow their equations, and dropout acts in training only."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import cast, get_args

import numpy as np
import pytest
import torch
from torch import Tensor

from fgcme.data import lookahead
from fgcme.data.batch import SegmentScheme
from fgcme.errors import UserError
from fgcme.experiment import AcousticSettings
from fgcme.model import WordEmbedding
from fgcme.model.encoders import AcousticEncoder, Activation, LayerMix, SemanticEncoder, Standardise, word_table
from tests.fgcme.model.masked import Utterance, ragged_batch
from tests.fgcme.model.reference import encode_frames

OPTIONS = list(itertools.product(get_args(Activation), [False, True]))


def encoder(activation: Activation = "none", dropout: float = 0.0, normalised: bool = False) -> AcousticEncoder:
    torch.manual_seed(0)
    model = AcousticEncoder(4, [6, 5, 3], [5, 2, 3], activation, dropout, normalised).double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn_like(parameter))
    return model


def by_equation(model: AcousticEncoder, frames: Tensor, activation: Activation, normalised: bool) -> Tensor:
    settings = AcousticSettings(
        channels=[6, 5, 3], kernels=[5, 2, 3], activation=activation, layer_normalisation=normalised
    )
    return encode_frames(frames, settings, dict(model.named_parameters()))


@pytest.mark.parametrize(("activation", "normalised"), OPTIONS)
@pytest.mark.parametrize("frame_count", [8, 30])
def test_the_encoder_and_its_gradient_follow_the_equations(
    activation: Activation, normalised: bool, frame_count: int
) -> None:
    model, frames = encoder(activation, normalised=normalised), torch.randn(frame_count, 4, dtype=torch.float64)
    outputs, expected = model(frames), by_equation(model, frames, activation, normalised)
    assert outputs.shape == (frame_count - model.lookahead, 3)
    weight = torch.randn_like(expected)
    torch.testing.assert_close(outputs, expected)
    for gradient, expected_gradient in zip(
        torch.autograd.grad((outputs * weight).sum(), list(model.parameters())),
        torch.autograd.grad((expected * weight).sum(), list(model.parameters())),
        strict=True,
    ):
        torch.testing.assert_close(gradient, expected_gradient)


@pytest.mark.parametrize(("activation", "normalised"), OPTIONS)
def test_a_single_convolution_has_no_normalisation_activation_or_dropout(
    activation: Activation, normalised: bool
) -> None:
    model = AcousticEncoder(4, [3], [2], activation, 0.5, normalised)
    frames = torch.randn(9, 4)
    expected = model.convolutions[0](frames.t().unsqueeze(0)).squeeze(0).t()
    torch.testing.assert_close(model(frames), expected)


@pytest.mark.parametrize(("activation", "normalised"), OPTIONS)
def test_an_output_sees_its_own_frame_and_the_lookahead_after_it(activation: Activation, normalised: bool) -> None:
    model = encoder(activation, normalised=normalised)
    frames = torch.randn(30, 4, dtype=torch.float64)
    outputs = model(frames)
    assert model.lookahead == lookahead([5, 2, 3]) == 7
    changed = frames.clone()
    changed[15] += 1
    moved = (model(changed) - outputs).abs().sum(1) > 1e-9
    assert moved.nonzero().flatten().tolist() == list(range(15 - 7, 16))


@pytest.mark.parametrize(("activation", "normalised"), OPTIONS)
def test_dropout_acts_in_training_only(activation: Activation, normalised: bool) -> None:
    model, frames = encoder(activation, 0.5, normalised), torch.randn(30, 4, dtype=torch.float64)
    assert not torch.equal(model(frames), model(frames))
    model.eval()
    torch.testing.assert_close(model(frames), by_equation(model, frames, activation, normalised))


def test_half_precision_rounds_the_product_but_not_the_composed_kernel() -> None:
    torch.manual_seed(0)
    model, frames = AcousticEncoder(40, [64, 128, 128], [5, 2, 2]), torch.randn(400, 40)
    expected = model(frames)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        outputs = model(frames)
    assert outputs.dtype == torch.bfloat16
    # Rounding frames, kernel and result to 8 bits costs 0.73 of the last bit; composing in 8 bits would cost 1.25.
    assert (outputs - expected).norm() < 0.9 * 2**-8 * expected.norm()


def test_frames_are_standardised_by_the_statistics_that_are_set() -> None:
    frames = 7 + 3 * torch.randn(40, 4, dtype=torch.float64)
    standardise = Standardise(4).double()
    assert torch.equal(standardise(frames), frames)
    standardise.set_statistics(frames.mean(0), frames.std(0))
    torch.testing.assert_close(standardise(frames).mean(0), torch.zeros(4).double())
    torch.testing.assert_close(standardise(frames).std(0), torch.ones(4).double())


def test_statistics_are_saved_with_the_weights_and_are_not_trained() -> None:
    standardise, other = Standardise(4), Standardise(4)
    standardise.set_statistics(torch.full((4,), 2.0), torch.full((4,), 3.0))
    other.load_state_dict(standardise.state_dict())
    assert other.mean.tolist() == [2.0] * 4 and other.deviation.tolist() == [3.0] * 4
    assert not list(standardise.parameters())


def test_the_rows_of_padding_and_of_unknown_words_are_zero() -> None:
    table = word_table(6, 3)
    assert not table.weight[:2].any() and table.weight[2:].all()


def test_semantic_features_are_a_linear_map_of_the_embeddings() -> None:
    torch.manual_seed(0)
    model = SemanticEncoder(WordEmbedding(6, size=2), size=3)
    words = np.array([2, 5, 2])
    nothing = np.zeros(3, np.int64)
    features = model(
        ragged_batch([Utterance(np.zeros((4, 1), np.float32), nothing, nothing, words)], SegmentScheme("none"))
    )
    table, project = model.embedding.table.weight, model.project
    torch.testing.assert_close(features, table[words] @ project.weight.T + project.bias)
    assert model.size == 3


def test_dropout_of_the_embedding_acts_in_training_only() -> None:
    model, words = WordEmbedding(50, size=8, dropout=0.5), torch.arange(2, 50)
    assert 0.3 < float((model(words) == 0).float().mean()) < 0.7
    model.eval()
    assert torch.equal(model(words), model.table.weight[2:])


def write_vectors(tmp_path: Path, text: str) -> str:
    path = tmp_path / "vectors.txt"
    path.write_text(text, encoding="utf-8")
    return str(path)


def rows(model: WordEmbedding) -> list[list[float]]:
    return cast("list[list[float]]", model.table.weight.tolist())


def test_embeddings_are_loaded_from_a_glove_file(tmp_path: Path) -> None:
    model = WordEmbedding(5, size=2)
    before = rows(model)
    model.load_vectors(write_vectors(tmp_path, "dogs 0.5 -1\nelse 9 9\nkids 2 3e-1\n"), ["dogs", "door", "kids"])
    assert rows(model)[2] == [0.5, -1.0]
    assert rows(model)[3] == before[3], "a word not in the file keeps its random embedding"
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
def test_an_error_names_the_malformed_glove_file_and_its_line(tmp_path: Path, text: str, message: str) -> None:
    path = write_vectors(tmp_path, text)
    with pytest.raises(UserError, match=message) as error:
        WordEmbedding(4, size=2).load_vectors(path, ["dogs", "kids"])
    assert path in str(error.value) and "\n" not in str(error.value)


def test_an_error_names_the_missing_or_binary_glove_file(tmp_path: Path) -> None:
    model = WordEmbedding(4, size=2)
    binary = tmp_path / "vectors.bin"
    binary.write_bytes(b"\xff\xfe\x00")
    for path in (tmp_path / "missing.txt", binary):
        with pytest.raises(UserError, match="cannot be read as word vectors") as error:
            model.load_vectors(str(path), ["dogs"])
        assert str(path) in str(error.value)


def test_the_mix_of_layers_follows_the_equation() -> None:
    """Peters et al. (2018), equation 1: one scale, and a softmax over layers; here of values and of their deltas."""
    torch.manual_seed(0)
    mix = LayerMix(layers=3, blocks=2).double()
    frames = torch.randn(7, 2 * 3 * 5, dtype=torch.float64)
    with torch.no_grad():
        mix.weights.copy_(torch.randn(3))
        mix.scale.fill_(1.7)
    shares = [float(weight) for weight in mix.weights.detach().exp()]
    expected = torch.zeros(7, 10, dtype=torch.float64)
    for block in range(2):
        for layer in range(3):
            values = frames[:, (3 * block + layer) * 5 : (3 * block + layer + 1) * 5]
            expected[:, 5 * block : 5 * (block + 1)] += 1.7 * shares[layer] / sum(shares) * values
    torch.testing.assert_close(mix(frames), expected)

    def mixed(weights: Tensor, scale: Tensor) -> Tensor:
        parameters = {"weights": weights, "scale": scale}
        return cast("Tensor", torch.func.functional_call(mix, parameters, (frames,)))

    assert torch.autograd.gradcheck(mixed, (mix.weights, mix.scale))


def test_an_untrained_mix_is_the_mean_of_the_layers() -> None:
    frames = torch.randn(4, 12)
    torch.testing.assert_close(LayerMix(3)(frames), frames.view(4, 3, 4).mean(1))
