"""The graph of a model computes what the model computes, whatever an utterance's size."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from fgcme.errors import UserError
from fgcme.experiment import variants
from fgcme.export.graph import Graph
from fgcme.export.random_utterances import random_utterances
from fgcme.model import Network
from fgcme.serving.fitted import ModelSpec
from tests.fgcme.export.fitted_variants import fitted_variant


@torch.no_grad()
def difference(members: list[tuple[Network, ModelSpec]], count: int = 30) -> float:
    """The largest difference of a logit between graph and models, over random utterances."""
    graph = Graph(members)
    differences = []
    for utterance in random_utterances(graph, count):
        logits = [network(batch).logits for (network, _), batch in zip(members, utterance.batches, strict=True)]
        computed, probabilities = graph(*utterance.given.values())
        assert torch.equal(probabilities, computed.softmax(0))
        differences.append(float((computed - torch.cat(logits).mean(0)).abs().max()))
    # Of differences of which one is not a number, the maximum is none either.
    return float(np.max(differences))


@pytest.mark.parametrize("name", variants.all_variants())
def test_every_variant_is_computed_alike(name: str) -> None:
    assert difference([fitted_variant(name)]) < 1e-5


@pytest.mark.parametrize(
    ("changes", "blank"),
    [
        ({"acoustic": {"activation": "relu"}}, False),
        ({"pooling": {"margin": 3, "overall": "speech"}}, False),
        ({"pooling": {"kind": "mean", "width": "equal"}}, False),
        ({"fusion": {"readout": "attention"}}, False),
        ({"pooling": {"overall": "recording"}}, True),
    ],
    ids=["activations", "margin and speech", "equal width", "attention over words", "trained by CTC"],
)
def test_so_are_settings_beside_the_variants(changes: dict[str, Any], blank: bool) -> None:
    assert difference([fitted_variant("fgcme", blank=blank, **changes)]) < 1e-5


def test_an_ensemble_answers_by_its_mean_though_each_member_numbers_words_differently() -> None:
    assert difference([fitted_variant("fgcme", seed) for seed in range(3)]) < 1e-5


def test_a_graph_takes_only_what_its_model_reads() -> None:
    def inputs(name: str) -> tuple[str, ...]:
        return Graph([fitted_variant(name)]).inputs

    assert inputs("fgcme") == ("frames", "begin", "end", "words")
    assert inputs("semantic_alone") == ("words",)
    assert inputs("acoustic_alone") == ("frames", "begin", "end")
    assert inputs("acoustic_lstm") == inputs("linear_probe") == ("frames",)
    assert inputs("even_speech") == ("frames", "speech", "words")


def test_layers_of_an_encoder_and_members_that_hear_differently_are_refused() -> None:
    network, spec = fitted_variant("fgcme")
    with pytest.raises(UserError, match=r"trained_layers.*not exported to ONNX; export the folder"):
        Graph([(network, replace(spec, encoder=object()))])  # type: ignore[arg-type]
    with pytest.raises(UserError, match="different settings"):
        Graph([fitted_variant("fgcme"), fitted_variant("max")])
