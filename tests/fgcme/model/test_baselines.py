"""Every baseline is what its reference says, for any utterance in any company."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import settings as run
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from fgcme.data import Mixture
from fgcme.experiment import ModelSettings
from fgcme.model import Network, Output, build_model
from fgcme.model.baselines import attend
from tests.fgcme.model.reference_baselines import Answer, Utterance, answer, batch_for, draw_utterance, in_float64

FRAME_SIZE, VOCABULARY, CLASSES, POSITIONS = 3, 9, 4, 4

CASES: dict[str, dict[str, Any]] = {
    f"{kind}, stack {stack}": {"kind": kind, "baseline": {"stack": stack}}
    for kind in ("acoustic_lstm", "late_fusion", "multi_hop_attention", "learned_alignment", "ctc_alignment")
    for stack in (1, 3)
} | {
    "semantic_lstm": {"kind": "semantic_lstm"},
    "learned_alignment, mean readout": {"kind": "learned_alignment", "fusion": {"readout": "mean"}},
    "ctc_alignment, attention readout": {"kind": "ctc_alignment", "fusion": {"readout": "attention"}},
    "pooled_statistics": {"kind": "pooled_statistics"},
    "pooled_statistics, acoustic": {"kind": "pooled_statistics", "modalities": "acoustic"},
    "pooled_statistics, semantic": {"kind": "pooled_statistics", "modalities": "semantic"},
}
each_case = pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
any_case = st.sampled_from(list(CASES.values()))

WITH_BLANK = ["learned_alignment", "ctc_alignment"]

# Frames and words of each utterance of a batch.
HARD = [
    (24, 2),  # the longest next to the shortest
    (1, 1),
    (7, 1),  # one word
    (1, 3),  # one frame, and more words than frames
    (5, 5),  # as many words as frames: more than steps of three frames
    (9, 4),  # steps of three frames without a rest
    (10, 7),  # more words than positions; a last step of one frame
]


def utterance(frame_count: int, word_count: int, seed: int = 0) -> Utterance:
    return draw_utterance(seed, frame_count, word_count, FRAME_SIZE, VOCABULARY, CLASSES)


UTTERANCES = [utterance(*counts) for counts in HARD]
any_utterances = st.lists(st.builds(utterance, st.integers(1, 12), st.integers(1, 6)), min_size=1, max_size=4)


def settings_of(case: dict[str, Any]) -> ModelSettings:
    small = {"hidden": 3, "heads": 2, "positions": POSITIONS, **case.get("baseline", {})}
    fusion = {"hidden": 2, **case.get("fusion", {})}
    return ModelSettings.model_validate({"semantic": {"embedding": 4}, **case, "baseline": small, "fusion": fusion})


def network_of(settings: ModelSettings, blank: bool = False) -> Network:
    torch.manual_seed(0)
    network = build_model(settings, FRAME_SIZE, VOCABULARY, CLASSES, blank)
    # Away from the start, so that no query and no row of a table is zero.
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(0.5 * torch.randn_like(parameter))
    network.standardise.set_statistics(torch.tensor([0.5, -1.0, 0.1]), torch.tensor([2.0, 0.5, 1.5]))
    return network


def objective(said: Sequence[Answer | Output]) -> Tensor:
    """A sum that depends on everything that is said, differently on each part; the same in one batch as in many."""
    total = torch.zeros((), dtype=torch.float64)
    for name in ("logits", "word_logits", "modality_logits"):
        rows = [row for answered in said for row in parts(getattr(answered, name))]
        values = torch.cat([row.reshape(-1, row.shape[-1]) for row in rows]) if rows else torch.zeros(0, 1)
        weights = torch.linspace(-1, 1, values.shape[1], dtype=torch.float64)
        total = total + (values * weights).sin().sum()
    for answered in said:
        if answered.auxiliary_loss is not None:
            total = total + 0.1 * answered.auxiliary_loss.sum()
    return total


def parts(value: Tensor | Sequence[Tensor] | None) -> Sequence[Tensor]:
    return [value] if isinstance(value, Tensor) else value or []


def gradients(network: Network, loss: Tensor) -> dict[str, Tensor]:
    network.zero_grad()
    torch.autograd.backward(loss)
    return {name: value.grad.clone() for name, value in network.named_parameters() if value.grad is not None}


def assert_is_its_reference(settings: ModelSettings, utterances: list[Utterance], blank: bool = False) -> None:
    network = network_of(settings, blank).double()
    expected = [answer(network, settings, one) for one in utterances]
    expected_gradient = gradients(network, objective(expected))
    output = network(in_float64(batch_for(settings, utterances)))
    torch.testing.assert_close(output.logits, torch.stack([one.logits for one in expected]))
    for decision, column in zip(
        output.modality_logits, zip(*(one.modality_logits for one in expected), strict=True), strict=True
    ):
        torch.testing.assert_close(decision, torch.stack(column))
    if output.word_logits is not None:
        torch.testing.assert_close(
            output.word_logits, torch.stack([row for one in expected for row in one.word_logits])
        )
    if output.auxiliary_loss is not None:
        torch.testing.assert_close(
            output.auxiliary_loss, torch.stack([loss for one in expected for loss in parts(one.auxiliary_loss)])
        )
    gradient = gradients(network, objective([output]))
    assert gradient.keys() == expected_gradient.keys()
    for name, value in gradient.items():
        torch.testing.assert_close(value, expected_gradient[name], msg=name)


@each_case
def test_a_baseline_is_its_reference_forward_and_backward(case: dict[str, Any]) -> None:
    assert_is_its_reference(settings_of(case), UTTERANCES)


@run(deadline=None, max_examples=40)
@given(any_case, any_utterances)
def test_a_baseline_is_its_reference_on_any_batch(case: dict[str, Any], utterances: list[Utterance]) -> None:
    assert_is_its_reference(settings_of(case), utterances)


@pytest.mark.parametrize("kind", WITH_BLANK)
def test_a_baseline_trained_by_ctc_is_its_reference(kind: str) -> None:
    settings = settings_of({"kind": kind})
    output = network_of(settings, blank=True)(batch_for(settings, UTTERANCES))
    assert output.logits.shape == (len(UTTERANCES), CLASSES)
    assert output.word_logits is not None
    assert output.word_logits.shape == (sum(words for _, words in HARD), CLASSES + 1)
    assert_is_its_reference(settings, UTTERANCES, blank=True)


@run(deadline=None, max_examples=30)
@given(any_case, any_utterances, st.randoms(use_true_random=False))
def test_an_utterance_answers_alike_alone_and_in_any_company(
    case: dict[str, Any], others: list[Utterance], random: Any
) -> None:
    settings = settings_of(case)
    network = network_of(settings)
    company = [*UTTERANCES, *others]
    random.shuffle(company)
    together = network(batch_for(settings, company))
    alone = [network(batch_for(settings, [one])) for one in company]
    for name in ("logits", "word_logits", "auxiliary_loss"):
        expected = [getattr(output, name) for output in alone]
        if expected[0] is not None:
            # The loss of a long alignment is a sum of many terms.
            torch.testing.assert_close(getattr(together, name), torch.cat(expected), rtol=1e-6, atol=1e-5)


def loss_of(output: Output, labels: Tensor) -> Tensor:
    """What a training would add up, every utterance the same."""
    losses = [functional.cross_entropy(logits, labels) for logits in output.modality_logits or (output.logits,)]
    return torch.stack([*losses, *(own.mean() for own in parts(output.auxiliary_loss))]).sum()


@each_case
def test_no_batch_gives_a_value_that_is_not_a_number(case: dict[str, Any]) -> None:
    settings = settings_of(case)
    extreme = [replace(one, frames=1e4 * one.frames) for one in UTTERANCES]
    for blank in (False, True) if settings.kind in WITH_BLANK else (False,):
        network = network_of(settings, blank)
        for utterances in (UTTERANCES, extreme, [utterance(1, 1)], [utterance(1, 3)]):
            batch = batch_for(settings, utterances)
            with torch.autograd.set_detect_anomaly(True):
                output = network(batch)
                gradient = gradients(network, loss_of(output, batch.labels))
            said = [output.logits, *parts(output.word_logits), *parts(output.auxiliary_loss), *gradient.values()]
            assert all(value.isfinite().all() for value in said)


@each_case
def test_every_parameter_has_a_gradient(case: dict[str, Any]) -> None:
    settings = settings_of(case)
    network = network_of(settings)
    batch = batch_for(settings, UTTERANCES)
    output = replace(network(batch), auxiliary_loss=None)
    gradient = gradients(network, loss_of(output, batch.labels))
    assert {name for name, value in gradient.items() if value.any()} == {name for name, _ in network.named_parameters()}


@each_case
def test_dropout_before_the_classifier_acts_in_training_alone(case: dict[str, Any]) -> None:
    settings = settings_of({**case, "fusion": {**case.get("fusion", {}), "dropout": 0.5}})
    network = network_of(settings)
    batch = batch_for(settings, UTTERANCES)
    assert not torch.equal(network(batch).logits, network(batch).logits)
    network.eval()
    assert torch.equal(network(batch).logits, network(batch).logits)
    torch.testing.assert_close(network(batch).logits, network_of(settings_of(case))(batch).logits)


@each_case
def test_utterances_are_mixed_on_the_way_into_each_classifier(case: dict[str, Any]) -> None:
    settings = settings_of(case)
    network = network_of(settings)
    batch = batch_for(settings, UTTERANCES)
    partner = torch.arange(len(batch)).roll(2)
    weight = torch.linspace(0, 1, len(batch))
    plain, mixed = network(batch), network(replace(batch, mixture=Mixture(partner, weight)))
    # A linear classifier makes of a mixture the mixture of what it makes of the parts.
    for before, after in zip(
        plain.modality_logits or [plain.logits], mixed.modality_logits or [mixed.logits], strict=True
    ):
        share = weight.unsqueeze(1)
        torch.testing.assert_close(after, share * before + (1 - share) * before[partner])


@each_case
def test_what_a_baseline_leaves_out_plays_no_part(case: dict[str, Any]) -> None:
    settings = settings_of(case)
    network = network_of(settings)
    deaf = settings.kind == "semantic_lstm" or settings.modalities == "semantic"
    wordless = settings.kind == "acoustic_lstm" or settings.modalities == "acoustic"
    one = UTTERANCES[0]
    other_frames = replace(one, frames=one.frames + 1)
    other_words = replace(one, words=1 + one.words % (VOCABULARY - 1))
    # No baseline is told the alignment.
    other_spans = replace(one, begin=one.begin * 0, end=one.end * 0 + 1)
    before, frames, words, spans = (
        network(batch_for(settings, [each])).logits for each in (one, other_frames, other_words, other_spans)
    )
    assert torch.equal(before, frames) == deaf
    assert torch.equal(before, words) == wordless
    assert torch.equal(before, spans)


@pytest.mark.parametrize("stack", [1, 3])
def test_late_fusion_gives_each_modality_exactly_the_gradient_that_it_has_alone(stack: int) -> None:
    def gradient_of(kind: str) -> dict[str, Tensor]:
        settings = settings_of({"kind": kind, "baseline": {"stack": stack}})
        torch.manual_seed(0)
        network = build_model(settings, FRAME_SIZE, VOCABULARY, CLASSES)
        batch = batch_for(settings, UTTERANCES)
        return gradients(network, loss_of(network(batch), batch.labels))

    both = gradient_of("late_fusion")
    alone = {
        name.replace("core.", f"core.{modality}."): value
        for modality in ("acoustic", "semantic")
        for name, value in gradient_of(f"{modality}_lstm").items()
    }
    assert both.keys() == alone.keys()
    assert all(torch.equal(both[name], alone[name]) for name in both)


def test_late_fusion_predicts_by_the_mean_of_the_probabilities() -> None:
    settings = settings_of({"kind": "late_fusion"})
    output = network_of(settings)(batch_for(settings, UTTERANCES))
    acoustic, semantic = (logits.softmax(1) for logits in output.modality_logits)
    torch.testing.assert_close(output.logits.exp(), (acoustic + semantic) / 2)
    torch.testing.assert_close(output.logits.softmax(1), (acoustic + semantic) / 2)


def test_pooled_statistics_are_those_of_numpy() -> None:
    settings = settings_of({"kind": "pooled_statistics"})
    network = network_of(settings)
    seen: list[Tensor] = []
    network.core.classify.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    network(batch_for(settings, UTTERANCES))
    table = network.core.words.table.weight.detach().numpy()
    mean, deviation = network.standardise.mean.numpy(), network.standardise.deviation.numpy()
    for features, one in zip(seen[0].detach().numpy(), UTTERANCES, strict=True):
        frames = (one.frames - mean) / deviation
        expected = [frames.mean(0), frames.std(0), table[one.words].mean(0)]
        np.testing.assert_allclose(features, np.concatenate(expected), rtol=0, atol=2e-4)


def test_attention_prefers_the_row_that_its_query_points_to() -> None:
    rows = torch.tensor([[9.0, 0.0], [0.0, 9.0], [9.0, 0.0], [5.0, 5.0]])
    queries = torch.tensor([[0.0, 9.0], [9.0, 0.0]])
    found = attend(queries, rows, torch.tensor([2, 2]))
    torch.testing.assert_close(found, torch.tensor([[0.0, 9.0], [9.0, 0.0]]))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
@each_case
def test_a_gpu_answers_as_the_cpu_does(case: dict[str, Any]) -> None:
    settings = settings_of(case)
    network = network_of(settings)
    batch = batch_for(settings, UTTERANCES)
    here = network(batch)
    gradient = gradients(network, functional.cross_entropy(here.logits, batch.labels))
    network.to("cuda")
    there = network(batch.to("cuda"))
    torch.testing.assert_close(there.logits.cpu(), here.logits, rtol=1e-3, atol=1e-4)
    if here.auxiliary_loss is not None and there.auxiliary_loss is not None:
        torch.testing.assert_close(there.auxiliary_loss.cpu(), here.auxiliary_loss, rtol=1e-3, atol=1e-3)
    loss = functional.cross_entropy(there.logits, batch.labels.to("cuda"))
    for name, value in gradients(network, loss).items():
        torch.testing.assert_close(value.cpu(), gradient[name], rtol=1e-2, atol=1e-4, msg=name)
