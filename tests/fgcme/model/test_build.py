"""From settings to a model."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from fgcme.experiment import ModelSettings
from fgcme.model import FineGrainedExcitement, build


def built(seed: int = 0, **settings: object) -> FineGrainedExcitement:
    torch.manual_seed(seed)
    return build(ModelSettings.model_validate(settings), frame_size=40, vocabulary_size=20, classes=4)


def test_the_same_seed_builds_the_same_model_and_another_seed_another() -> None:
    one, same, other = built(1).state_dict(), built(1).state_dict(), built(2).state_dict()
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not all(torch.equal(one[name], other[name]) for name in one)


def test_the_default_model_has_the_paper_s_sizes() -> None:
    model = built()
    assert model.acoustic is not None and model.semantic is not None
    shapes = [tuple(layer.weight.shape) for layer in model.acoustic.convolutions if isinstance(layer, nn.Conv1d)]
    assert shapes == [(64, 40, 5), (128, 64, 2), (128, 128, 2)]
    assert model.acoustic.reach == 6
    assert model.semantic.table.weight.shape == (20, 300)
    assert model.semantic.project.out_features == 256
    lstm = model.sequence.lstm
    assert (lstm.input_size, lstm.hidden_size, lstm.bidirectional) == (512, 256, True)
    assert (model.classify.in_features, model.classify.out_features) == (512, 4)


@pytest.mark.parametrize(("kind", "size"), [("mean_max", 256), ("mean", 128), ("max", 128)])
def test_both_sides_take_the_size_that_pooling_gives(kind: str, size: int) -> None:
    model = built(pooling={"kind": kind})
    assert model.semantic is not None and model.semantic.project.out_features == size
    assert model.sequence.lstm.input_size == 2 * size


def test_the_acoustic_side_is_driven_by_features_or_by_a_table_of_words() -> None:
    assert isinstance(built().excite_acoustic.driver, nn.Linear)
    assert isinstance(built(excitement={"driver": "word"}).excite_acoustic.driver, nn.Embedding)


def test_one_modality_alone_has_no_parameter_of_the_other_and_no_excitement() -> None:
    for modality, other in (("acoustic", "semantic"), ("semantic", "acoustic")):
        model = built(modalities=modality)
        assert getattr(model, other) is None
        assert not any(name.startswith((other, "excite")) for name, _ in model.named_parameters())
        assert model.sequence.lstm.input_size == 256
