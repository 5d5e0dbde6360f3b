"""Every baseline equals its float64 reference, whatever the batch."""

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

from fgcme.data import Mixture, has_words
from fgcme.experiment import ModelSettings
from fgcme.model import Network, Output, build_model
from fgcme.model.baselines import attend
from tests.fgcme.model.masked import Utterance
from tests.fgcme.model.reference import ReferenceOutput
from tests.fgcme.model.reference_baselines import batch_for, draw_utterance, in_float64, reference_output

FRAME_SIZE, VOCABULARY, CLASSES, POSITIONS = 3, 9, 4, 4

CASES: dict[str, dict[str, Any]] = {
    f"{kind}, stack {stack}": {"kind": kind, "baseline": {"stack": stack}}
    for kind in ("acoustic_lstm", "late_fusion", "multi_hop_attention", "learned_alignment", "ctc_alignment")
    for stack in (1, 3)
} | {
    "semantic_lstm": {"kind": "semantic_lstm"},
    "learned_alignment, mean readout": {"kind": "learned_alignment", "fusion": {"readout": "mean"}},
    "ctc_alignment, attention readout": {"kind": "ctc_alignment", "fusion": {"readout": "attention"}},
    "can": {"kind": "can", "acoustic": {"channels": [4, 5], "kernels": [3, 2]}},
    "can, even parts": {
        "kind": "can",
        "acoustic": {"channels": [4], "kernels": [2]},
        "pooling": {"segments": "even_speech", "kind": "mean"},
    },
    "framewise_text": {"kind": "framewise_text"},
    "framewise_text, stack 3": {"kind": "framewise_text", "baseline": {"stack": 3}},
    "linear_probe": {"kind": "linear_probe"},
    "pooled_statistics": {"kind": "pooled_statistics"},
    "pooled_statistics, acoustic": {"kind": "pooled_statistics", "modalities": "acoustic"},
    "pooled_statistics, semantic": {"kind": "pooled_statistics", "modalities": "semantic"},
}
each_case = pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
any_case = st.sampled_from(list(CASES.values()))

WITH_BLANK = ["learned_alignment", "ctc_alignment"]

# Frames and words of each utterance of a batch of edge cases.
EDGE_CASES = [
    (24, 2),  # the longest next to the shortest
    (1, 1),
    (7, 1),  # one word
    (1, 3),  # one frame, and more words than frames
    (5, 5),  # as many words as frames: more than steps of three frames
    (9, 4),  # whole steps of three frames
    (10, 7),  # more words than positions; a last step of one frame
]


def utterance(frame_count: int, word_count: int, seed: int = 0) -> Utterance:
    return draw_utterance(seed, frame_count, word_count, FRAME_SIZE, VOCABULARY, CLASSES)


UTTERANCES = [utterance(*counts) for counts in EDGE_CASES]
any_utterances = st.lists(st.builds(utterance, st.integers(1, 12), st.integers(1, 6)), min_size=1, max_size=4)


def settings_of(case: dict[str, Any]) -> ModelSettings:
    small = {"hidden": 3, "heads": 2, "positions": POSITIONS, **case.get("baseline", {})}
    fusion = {"hidden": 2, **case.get("fusion", {})}
    return ModelSettings.model_validate({"semantic": {"embedding": 4}, **case, "baseline": small, "fusion": fusion})


def network_of(settings: ModelSettings, blank: bool = False) -> Network:
    torch.manual_seed(0)
    network = build_model(settings, FRAME_SIZE, VOCABULARY, CLASSES, blank)
    # Random weights: initially queries and some rows of tables are zero.
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(0.5 * torch.randn_like(parameter))
    network.standardise.set_statistics(torch.tensor([0.5, -1.0, 0.1]), torch.tensor([2.0, 0.5, 1.5]))
    if settings.kind == "linear_probe":
        network.core.standardise.of_train.set_statistics(
            torch.linspace(-1, 1, 2 * FRAME_SIZE), torch.linspace(0.5, 2, 2 * FRAME_SIZE)
        )
    return network


def objective(outputs: Sequence[ReferenceOutput | Output]) -> Tensor:
    """A sum to differentiate that depends on every value of the outputs, however they are batched."""
    total = torch.zeros((), dtype=torch.float64)
    for name in ("logits", "word_logits", "modality_logits"):
        rows = [row for output in outputs for row in as_list(getattr(output, name))]
        values = torch.cat([row.reshape(-1, row.shape[-1]) for row in rows]) if rows else torch.zeros(0, 1)
        weights = torch.linspace(-1, 1, values.shape[1], dtype=torch.float64)
        total = total + (values * weights).sin().sum()
    for output in outputs:
        if output.auxiliary_loss is not None:
            total = total + 0.1 * output.auxiliary_loss.sum()
    return total


def as_list(value: Tensor | Sequence[Tensor] | None) -> Sequence[Tensor]:
    return [value] if isinstance(value, Tensor) else value or []


def gradients(network: Network, loss: Tensor) -> dict[str, Tensor]:
    network.zero_grad()
    torch.autograd.backward(loss)
    parameters = network.named_parameters()
    return {name: torch.zeros_like(value) if value.grad is None else value.grad.clone() for name, value in parameters}


def assert_equal_to_reference(settings: ModelSettings, utterances: list[Utterance], blank: bool = False) -> None:
    network = network_of(settings, blank).double()
    expected = [reference_output(network, settings, spoken) for spoken in utterances]
    expected_gradient = gradients(network, objective(expected))
    output = network(in_float64(batch_for(settings, utterances)))
    torch.testing.assert_close(output.logits, torch.stack([reference.logits for reference in expected]))
    for decision, column in zip(
        output.modality_logits, zip(*(reference.modality_logits for reference in expected), strict=True), strict=True
    ):
        torch.testing.assert_close(decision, torch.stack(column))
    if output.word_logits is not None:
        torch.testing.assert_close(
            output.word_logits, torch.cat([rows for reference in expected for rows in as_list(reference.word_logits)])
        )
    if output.auxiliary_loss is not None:
        torch.testing.assert_close(
            output.auxiliary_loss,
            torch.stack([loss for reference in expected for loss in as_list(reference.auxiliary_loss)]),
        )
    gradient = gradients(network, objective([output]))
    for name, value in gradient.items():
        torch.testing.assert_close(value, expected_gradient[name], msg=name)


@each_case
def test_a_baseline_and_its_gradient_equal_the_reference(case: dict[str, Any]) -> None:
    assert_equal_to_reference(settings_of(case), UTTERANCES)


@run(max_examples=40)
@given(any_case, any_utterances)
def test_a_baseline_equals_the_reference_on_any_batch(case: dict[str, Any], utterances: list[Utterance]) -> None:
    assert_equal_to_reference(settings_of(case), utterances)


@pytest.mark.parametrize("kind", WITH_BLANK)
def test_a_baseline_trained_by_ctc_equals_the_reference(kind: str) -> None:
    settings = settings_of({"kind": kind})
    output = network_of(settings, blank=True)(batch_for(settings, UTTERANCES))
    assert output.logits.shape == (len(UTTERANCES), CLASSES)
    assert output.word_logits is not None
    assert output.word_logits.shape == (sum(words for _, words in EDGE_CASES), CLASSES + 1)
    assert_equal_to_reference(settings, UTTERANCES, blank=True)


@run(max_examples=30)
@given(any_case, any_utterances, st.randoms(use_true_random=False))
def test_the_output_for_an_utterance_does_not_depend_on_its_batch(
    case: dict[str, Any], others: list[Utterance], random: Any
) -> None:
    settings = settings_of(case)
    network = network_of(settings)
    utterances = [*UTTERANCES, *others]
    random.shuffle(utterances)
    together = network(batch_for(settings, utterances))
    alone = [network(batch_for(settings, [spoken])) for spoken in utterances]
    for name in ("logits", "word_logits", "auxiliary_loss"):
        expected = [getattr(output, name) for output in alone]
        if expected[0] is not None:
            # The loss of a long alignment is a sum of many terms.
            torch.testing.assert_close(getattr(together, name), torch.cat(expected), rtol=1e-6, atol=1e-5)


def loss_of(output: Output, labels: Tensor) -> Tensor:
    """The loss of a training without class weights."""
    losses = [functional.cross_entropy(logits, labels) for logits in output.modality_logits or (output.logits,)]
    return torch.stack([*losses, *(loss.mean() for loss in as_list(output.auxiliary_loss))]).sum()


@each_case
def test_outputs_and_gradients_are_finite_on_extreme_batches(case: dict[str, Any]) -> None:
    settings = settings_of(case)
    extreme = [replace(spoken, frames=1e4 * spoken.frames) for spoken in UTTERANCES]
    for blank in (False, True) if settings.kind in WITH_BLANK else (False,):
        network = network_of(settings, blank)
        for utterances in (UTTERANCES, extreme, [utterance(1, 1)], [utterance(1, 3)]):
            batch = batch_for(settings, utterances)
            with torch.autograd.set_detect_anomaly(True):
                output = network(batch)
                gradient = gradients(network, loss_of(output, batch.labels))
            values = [output.logits, *as_list(output.word_logits), *as_list(output.auxiliary_loss), *gradient.values()]
            assert all(value.isfinite().all() for value in values)


@each_case
def test_every_parameter_has_a_gradient(case: dict[str, Any]) -> None:
    settings = settings_of(case)
    network = network_of(settings)
    batch = batch_for(settings, UTTERANCES)
    output = replace(network(batch), auxiliary_loss=None)
    gradient = gradients(network, loss_of(output, batch.labels))
    assert {name for name, value in gradient.items() if value.any()} == {name for name, _ in network.named_parameters()}


@each_case
def test_dropout_before_the_classifier_acts_in_training_only(case: dict[str, Any]) -> None:
    settings = settings_of({**case, "fusion": {**case.get("fusion", {}), "dropout": 0.5}})
    network = network_of(settings)
    batch = batch_for(settings, UTTERANCES)
    assert not torch.equal(network(batch).logits, network(batch).logits)
    network.eval()
    assert torch.equal(network(batch).logits, network(batch).logits)
    torch.testing.assert_close(network(batch).logits, network_of(settings_of(case))(batch).logits)


@each_case
def test_mixup_mixes_the_input_of_each_classifier(case: dict[str, Any]) -> None:
    settings = settings_of(case)
    network = network_of(settings)
    batch = batch_for(settings, UTTERANCES)
    partner = torch.arange(len(batch)).roll(2)
    weight = torch.linspace(0, 1, len(batch))
    plain, mixed = network(batch), network(replace(batch, mixture=Mixture(partner, weight)))
    # A linear classifier turns mixed features into mixed logits.
    for before, after in zip(
        plain.modality_logits or [plain.logits], mixed.modality_logits or [mixed.logits], strict=True
    ):
        share = weight.unsqueeze(1)
        torch.testing.assert_close(after, share * before + (1 - share) * before[partner])


@each_case
def test_a_baseline_ignores_the_modality_it_leaves_out_and_most_the_alignment(case: dict[str, Any]) -> None:
    settings = settings_of(case)
    network = network_of(settings)
    ignores_frames = settings.kind == "semantic_lstm" or settings.modalities == "semantic"
    ignores_words = not has_words(settings)
    spoken = UTTERANCES[0]
    other_frames = replace(spoken, frames=spoken.frames + 1)
    other_words = replace(spoken, words=1 + spoken.words % (VOCABULARY - 1))
    # Few baselines use the alignment.
    aligned = settings.kind == "framewise_text" or (settings.kind == "can" and settings.pooling.segments == "words")
    other_spans = replace(spoken, begin=spoken.begin * 0, end=spoken.end * 0 + 1)
    before, frames, words, spans = (
        network(batch_for(settings, [variation])).logits
        for variation in (spoken, other_frames, other_words, other_spans)
    )
    assert torch.equal(before, frames) == ignores_frames
    assert torch.equal(before, words) == ignores_words
    assert torch.equal(before, spans) != aligned


@pytest.mark.parametrize("stack", [1, 3])
def test_each_modality_of_late_fusion_has_the_gradient_it_has_alone(stack: int) -> None:
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


def test_late_fusion_averages_the_probabilities() -> None:
    settings = settings_of({"kind": "late_fusion"})
    output = network_of(settings)(batch_for(settings, UTTERANCES))
    acoustic, semantic = (logits.softmax(1) for logits in output.modality_logits)
    torch.testing.assert_close(output.logits.exp(), (acoustic + semantic) / 2)
    torch.testing.assert_close(output.logits.softmax(1), (acoustic + semantic) / 2)


def test_pooled_statistics_agree_with_numpy() -> None:
    settings = settings_of({"kind": "pooled_statistics"})
    network = network_of(settings)
    inputs: list[Tensor] = []
    network.core.classify.register_forward_pre_hook(lambda module, args: inputs.append(args[0]))
    network(batch_for(settings, UTTERANCES))
    table = network.core.words.table.weight.detach().numpy()
    mean, deviation = network.standardise.mean.numpy(), network.standardise.deviation.numpy()
    for features, spoken in zip(inputs[0].detach().numpy(), UTTERANCES, strict=True):
        frames = (spoken.frames - mean) / deviation
        expected = [frames.mean(0), frames.std(0), table[spoken.words].mean(0)]
        np.testing.assert_allclose(features, np.concatenate(expected), rtol=0, atol=2e-4)


def test_a_probe_standardises_by_the_utterances_that_it_watches_and_by_their_speakers() -> None:
    settings = settings_of({"kind": "linear_probe"})
    network = network_of(settings)
    mean, deviation = network.standardise.mean.numpy(), network.standardise.deviation.numpy()
    frames = [(spoken.frames - mean) / deviation for spoken in UTTERANCES]
    pooled = np.array([np.concatenate([own.mean(0), np.sqrt(own.var(0) + 1e-8)]) for own in frames])
    speakers = torch.tensor([2, 0, 2, 0, 2, 2, 0])
    batches = [
        replace(batch_for(settings, UTTERANCES[part]), speakers=speakers[part]) for part in (slice(0, 2), slice(2, 7))
    ]

    def run() -> None:
        for batch in batches:
            network(batch)

    inputs: list[Tensor] = []
    network.core.classify.register_forward_pre_hook(lambda module, args: inputs.append(args[0]))
    standardise = network.core.standardise
    with standardise.watch():
        run()
    inputs.clear()
    run()
    of_train = (pooled - pooled.mean(0)) / pooled.std(0)
    np.testing.assert_allclose(torch.cat(inputs).detach(), of_train, rtol=0, atol=1e-4)
    with standardise.watch(speakers=3):
        run()
    inputs.clear()
    run()
    for speaker in (0, 2):
        own = pooled[speakers == speaker]
        found = torch.cat(inputs)[speakers == speaker].detach()
        np.testing.assert_allclose(found, (own - own.mean(0)) / own.std(0), rtol=0, atol=1e-3)
    # A speaker whom it has not met has the moments of the training part.
    inputs.clear()
    network(batch_for(settings, UTTERANCES))
    np.testing.assert_allclose(inputs[0].detach(), of_train, rtol=0, atol=1e-4)


def test_attention_weighs_the_row_most_similar_to_the_query_most() -> None:
    rows = torch.tensor([[9.0, 0.0], [0.0, 9.0], [9.0, 0.0], [5.0, 5.0]])
    queries = torch.tensor([[0.0, 9.0], [9.0, 0.0]])
    attended = attend(queries, rows, torch.tensor([2, 2]))
    torch.testing.assert_close(attended, torch.tensor([[0.0, 9.0], [9.0, 0.0]]))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
@each_case
def test_a_gpu_computes_what_the_cpu_does(case: dict[str, Any]) -> None:
    settings = settings_of(case)
    network = network_of(settings)
    batch = batch_for(settings, UTTERANCES)
    on_cpu = network(batch)
    gradient = gradients(network, functional.cross_entropy(on_cpu.logits, batch.labels))
    network.to("cuda")
    on_gpu = network(batch.to("cuda"))
    torch.testing.assert_close(on_gpu.logits.cpu(), on_cpu.logits, rtol=1e-3, atol=1e-4)
    if on_cpu.auxiliary_loss is not None and on_gpu.auxiliary_loss is not None:
        torch.testing.assert_close(on_gpu.auxiliary_loss.cpu(), on_cpu.auxiliary_loss, rtol=1e-3, atol=1e-3)
    loss = functional.cross_entropy(on_gpu.logits, batch.labels.to("cuda"))
    for name, value in gradients(network, loss).items():
        torch.testing.assert_close(value.cpu(), gradient[name], rtol=1e-2, atol=1e-4, msg=name)
