"""What words contribute: it adds up to the answer, and equals its definition, for every model that goes by words."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from fgcme.experiment import ModelSettings, variants
from fgcme.model import FusedWords, Network, build_model, contribution, contributions, why_none
from fgcme.model.contribution import log_odds
from tests.fgcme.model.reference_baselines import batch_for, draw_utterance, in_float64
from tests.fgcme.model.reference_contribution import (
    Readings,
    answer,
    integrated_gradients,
    log_odds_by_definition,
    shares,
)

FRAME_SIZE, VOCABULARY, CLASSES = 3, 9, 4
SMALL: dict[str, Any] = {
    "acoustic": {"channels": [4, 5], "kernels": [3, 2]},
    "semantic": {"embedding": 4},
    "fusion": {"hidden": 4},
    "baseline": {"hidden": 3, "heads": 2, "positions": 6},
}
BY_WORDS = ("fgcme", "learned_alignment", "ctc_alignment", "can")


def settings_of(changes: dict[str, Any]) -> ModelSettings:
    """Small settings of a variant; its convolutions and sizes stay where it has none."""
    small: dict[str, Any] = {name: dict(section) for name, section in SMALL.items()}
    variants.merge(small, changes)
    small["fusion"]["hidden"] = 4
    return ModelSettings.model_validate(small)


def network_of(settings: ModelSettings, seed: int = 0, blank: bool = False, scale: float = 0.6) -> Network:
    """A network with random weights, in float64, and a random average word."""
    torch.manual_seed(seed)
    network = build_model(settings, FRAME_SIZE, VOCABULARY, CLASSES, blank).double().eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(scale * torch.randn_like(parameter))
        if network.goes_by_words:
            size = fuse(network, settings, words=1).features.shape[1]
            network.average_word = 0.3 * torch.randn(size, dtype=torch.float64)
    return network


def fuse(network: Network, settings: ModelSettings, words: int = 5, recordings: int = 1) -> FusedWords:
    """The fused words of recordings of one utterance."""
    drawn = [draw_utterance(0, 30 + copy, words, FRAME_SIZE, VOCABULARY, CLASSES) for copy in range(recordings)]
    spoken = [replace(each, words=drawn[0].words) for each in drawn]
    with torch.no_grad():
        return network.fuse(in_float64(batch_for(settings, spoken)))


def log_odds_of(readings: Readings, label: int) -> float:
    with torch.no_grad():
        return float(answer(readings, [fused.features for _, fused in readings], label))


@pytest.mark.parametrize("name", variants.all_variants())
def test_base_and_contributions_add_up_to_the_log_odds_for_every_variant_that_goes_by_words(name: str) -> None:
    settings = settings_of(variants.find_variant(name)["model"])
    for blank in (False, True) if settings.kind in BY_WORDS[:3] else (False,):
        network = network_of(settings, blank=blank)
        assert network.goes_by_words == (settings.kind in BY_WORDS)
        if not network.goes_by_words:
            assert why_none([network]) == "the model does not go by words"
            continue
        readings = [(network, fuse(network, settings))]
        for label in range(CLASSES):
            base, of_words = contributions(readings, label)
            assert base + float(of_words.sum()) == pytest.approx(log_odds_of(readings, label), abs=0.05)


@pytest.mark.parametrize("name", ["fgcme", "recommended", "can"])
def test_contributions_equal_their_definition(name: str) -> None:
    settings = settings_of(variants.find_variant(name)["model"])
    network = network_of(settings)
    readings = [(network, fuse(network, settings, words=4))]
    base, of_words = contributions(readings, 2)
    expected = integrated_gradients(readings, 2, steps=250)
    assert base == pytest.approx(expected[0])
    np.testing.assert_allclose(of_words, expected[1], atol=0.02)


@pytest.mark.parametrize("readout", ["max", "mean", "attention"])
@pytest.mark.parametrize("sequence", ["lstm", "wordwise"])
@pytest.mark.parametrize("overall", ["none", "recording"])
def test_contributions_agree_with_the_exact_shares_of_the_readout(readout: str, sequence: str, overall: str) -> None:
    changes = {"fusion": {"readout": readout, "sequence": sequence}, "pooling": {"overall": overall}}
    settings = settings_of(changes)
    together: list[tuple[float, float]] = []
    for seed in range(6):
        network = network_of(settings, seed)
        fused = fuse(network, settings)
        with torch.no_grad():
            base, of_words = contributions([(network, fused)], seed % CLASSES)
        exact_base, exact = shares(network, fused, seed % CLASSES)
        assert exact_base + sum(exact) == pytest.approx(log_odds_of([(network, fused)], seed % CLASSES), abs=1e-5)
        assert base == pytest.approx(exact_base, abs=1e-6)
        together += zip(of_words.tolist(), exact, strict=True)
    # An LSTM lets a word speak through its neighbours' outputs, whose share that then is.
    if sequence == "wordwise":
        assert np.corrcoef(np.array(together).T)[0, 1] > 0.8


def test_several_models_and_recordings_answer_by_their_mean_logits() -> None:
    changes = [{"fusion": {"readout": "mean"}}, {"pooling": {"overall": "recording"}, "modalities": "acoustic"}]
    readings = []
    for seed, settings in enumerate(map(settings_of, changes)):
        network = network_of(settings, seed)
        readings.append((network, fuse(network, settings, words=3, recordings=2 + seed)))
    base, of_words = contributions(readings, 1)
    expected = integrated_gradients(readings, 1, steps=100)
    assert base == pytest.approx(expected[0])
    np.testing.assert_allclose(of_words, expected[1], atol=0.03)
    assert base + float(of_words.sum()) == pytest.approx(log_odds_of(readings, 1), abs=0.05)


@pytest.mark.parametrize("sequence", ["lstm", "wordwise"])
def test_an_average_word_contributes_nothing_and_average_words_leave_the_base(sequence: str) -> None:
    settings = settings_of({"fusion": {"sequence": sequence, "readout": "mean"}, "pooling": {"overall": "recording"}})
    network = network_of(settings)
    fused = fuse(network, settings)
    assert network.average_word is not None
    features = fused.features.clone()
    features[3] = network.average_word
    _, of_words = contributions([(network, replace(fused, features=features))], 0)
    assert of_words[3] == 0 and (of_words[[0, 1, 2, 4]] != 0).all()
    features[:] = network.average_word
    alone = [(network, replace(fused, features=features))]
    base, of_words = contributions(alone, 0)
    assert not of_words.any()
    assert base == pytest.approx(log_odds_of(alone, 0))
    # The recording beside the words belongs to no word.
    assert fused.overall is not None
    louder = contributions([(network, replace(fused, features=features, overall=fused.overall + 1))], 0)
    assert louder.base != pytest.approx(base) and not louder.words.any()


def test_words_in_another_order_take_their_contributions_along_where_there_is_no_order() -> None:
    settings = settings_of({"fusion": {"sequence": "wordwise", "readout": "mean"}})
    network = network_of(settings)
    fused, order = fuse(network, settings), [3, 0, 4, 1, 2]
    _, of_words = contributions([(network, fused)], 1)
    _, permuted = contributions([(network, replace(fused, features=fused.features[order]))], 1)
    torch.testing.assert_close(permuted, of_words[order])


def test_steep_answers_add_up_too() -> None:
    """Log-odds of tens, and a maximum over many channels that bends them everywhere."""
    settings = settings_of({"fusion": {"readout": "max", "sequence": "lstm"}})
    for seed in range(4):
        network = network_of(settings, seed, scale=1.5)
        readings = [(network, fuse(network, settings, words=12))]
        base, of_words = contributions(readings, 0)
        assert base + float(of_words.sum()) == pytest.approx(log_odds_of(readings, 0), abs=0.05)


def test_long_utterances_are_computed_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = settings_of({})
    network = network_of(settings)
    readings = [(network, fuse(network, settings))]
    at_once = contributions(readings, 0)
    monkeypatch.setattr(contribution, "_ROWS", 7)
    in_parts = contributions(readings, 0)
    assert in_parts.base == pytest.approx(at_once.base)
    torch.testing.assert_close(in_parts.words, at_once.words)


def test_a_network_that_computes_no_numbers_has_no_contributions_but_an_end() -> None:
    settings = settings_of({})
    network = network_of(settings)
    fused = fuse(network, settings)
    with torch.no_grad():
        network.core.classify.bias.fill_(torch.nan)
    assert contributions([(network, fused)], 0).words.isnan().all()


def test_log_odds_are_those_of_the_class_against_all_others_however_sure_the_answer() -> None:
    logits = torch.tensor([[0.3, -1.0, 2.0], [1.0, 0.0, 0.5]], dtype=torch.float64)
    for label in range(3):
        expected = torch.stack([log_odds_by_definition(row, label) for row in logits])
        torch.testing.assert_close(log_odds(logits, label), expected)
    assert float(log_odds(torch.tensor([200.0, 0.0, 0.0]), 0)) == pytest.approx(200 - np.log(2))


def test_models_without_an_average_word_say_so() -> None:
    network = network_of(settings_of({}))
    assert why_none([network]) == ""
    network.average_word = None
    assert why_none([network]) == "the model was fitted by a version that did not keep the average word"
