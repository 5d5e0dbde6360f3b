"""The encoders follow their equations, and dropout acts in training only."""

from __future__ import annotations

import copy
import itertools
from dataclasses import replace
from typing import cast, get_args

import numpy as np
import pytest
import torch
from torch import Tensor

from fgcme.data import lookahead
from fgcme.data.batch import SegmentScheme
from fgcme.experiment import AcousticSettings
from fgcme.model import WordEmbedding
from fgcme.model.encoders import (
    AcousticEncoder,
    Activation,
    EncodedWords,
    LayerMix,
    SemanticEncoder,
    Standardise,
    WordTable,
)
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


def test_frames_are_encoded_to_the_last_bit_alike_whether_gradients_are_wanted_or_not() -> None:
    torch.manual_seed(0)
    model, frames = AcousticEncoder(6, [8, 8], [3, 2]).eval(), torch.randn(40, 6)
    expected = model(frames).detach()
    for without_gradients in (torch.no_grad, torch.inference_mode):
        with without_gradients():
            assert torch.equal(model(frames), expected)
            assert torch.equal(copy.deepcopy(model)(frames), expected)


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
    table = WordTable(6, 3)
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


def test_embeddings_start_from_the_vectors_that_they_are_given() -> None:
    model = WordEmbedding(5, size=2)
    before = model.table.weight.detach().clone()
    model.set_vectors(torch.tensor([[0.5, -1.0], [np.nan, np.nan], [2.0, 0.3]]))
    torch.testing.assert_close(model.table.weight[[2, 4]].detach(), torch.tensor([[0.5, -1.0], [2.0, 0.3]]))
    assert torch.equal(model.table.weight[3], before[3]), "a word without a vector keeps its random embedding"
    assert torch.equal(model.table.weight[:2], before[:2])


def test_words_without_a_row_have_the_vectors_that_they_are_given_and_nothing_trains_these() -> None:
    model = WordEmbedding(3, size=2, given=2)
    model.set_vectors(torch.tensor([[0.5, -1.0], [2.0, 3.0], [4.0, 5.0]]))
    words = torch.tensor([4, 2, 1, 3])
    expected = torch.tensor([[4.0, 5.0], [0.5, -1.0], [0.0, 0.0], [2.0, 3.0]])
    assert torch.equal(model(words), expected)
    optimiser = torch.optim.Adam(model.parameters(), lr=0.1, weight_decay=0.5)
    model(words).sum().backward()
    optimiser.step()
    assert torch.equal(model(words)[[0, 3]], expected[[0, 3]])
    assert not torch.equal(model(words)[1], expected[1])
    loaded = WordEmbedding(3, size=2, given=2)
    loaded.load_state_dict(model.state_dict())
    assert torch.equal(loaded(words), model(words))


def test_a_table_takes_a_word_beyond_it_for_an_unknown_one() -> None:
    table = WordTable(4, 2)
    with torch.no_grad():
        table.weight[1] = 7.0
    assert table(torch.tensor([5, 4, 1])).tolist() == [[7.0, 7.0]] * 3
    assert torch.equal(table(torch.tensor([3])), table.weight[3:])


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


def test_encoded_words_follow_their_equation_forward_and_backward() -> None:
    """The mix of a word's layers, mapped linearly; of a word that nobody knows, the unknown word's vector."""
    torch.manual_seed(0)
    model = SemanticEncoder(EncodedWords(size=3 * 4, layers=3), size=5).double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn_like(parameter))
    features = torch.randn(6, 12, dtype=torch.float64)
    features[[1, 4]] = 0
    nothing = np.zeros(6, np.int64)
    utterance = Utterance(np.zeros((4, 1), np.float32), nothing, nothing, np.arange(6))
    batch = replace(ragged_batch([utterance], SegmentScheme("none")), word_features=features)
    mix, unknown, project = model.embedding.mix, model.embedding.unknown, model.project
    shares = [weight.exp() for weight in mix.weights]
    expected = []
    for word in range(6):
        vector = unknown
        if word not in (1, 4):
            layers = [share / sum(shares) * features[word, 4 * n : 4 * n + 4] for n, share in enumerate(shares)]
            vector = mix.scale * sum(layers)
        expected.append(project.weight @ vector + project.bias)
    upstream = torch.randn(6, 5, dtype=torch.float64)
    computed = model(batch)
    torch.testing.assert_close(computed, torch.stack(expected), rtol=1e-12, atol=1e-12)
    parameters = list(model.parameters())
    gradients = torch.autograd.grad((computed * upstream).sum(), parameters)
    slow = torch.autograd.grad((torch.stack(expected) * upstream).sum(), parameters)
    for mine, theirs in zip(gradients, slow, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-10, atol=1e-12)


def test_one_layer_of_a_text_encoder_is_not_mixed_and_unknown_words_start_from_zero() -> None:
    model = EncodedWords(size=4, layers=1)
    features = torch.tensor([[1.0, 2, 3, 4], [0, 0, 0, 0]])
    assert torch.equal(model(features), features)
    assert [name for name, _ in model.named_parameters()] == ["unknown"]
