"""The whole model: equal to its masked form, and the same for an utterance in whatever company."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from fgcme.experiment import ModelSettings
from fgcme.model import FineGrainedExcitement, build
from fgcme.model.network import WordSequence, time_major
from tests.fgcme.model.masked import MaskedExcitement, Utterance, padded, ragged

FRAME_SIZE, VOCABULARY, CLASSES, REACH = 5, 12, 3, 6


def model(**settings: Any) -> FineGrainedExcitement:
    torch.manual_seed(0)
    small: dict[str, Any] = {
        "acoustic": {"channels": [4, 6, 6], **settings.pop("acoustic", {})},
        "semantic": {"embedding": 7},
        "fusion": {"hidden": 8},
    }
    built = build(ModelSettings.model_validate(small | settings), FRAME_SIZE, VOCABULARY, CLASSES)
    # Away from the start, so that no row of a table is zero.
    with torch.no_grad():
        for parameter in built.parameters():
            parameter.copy_(0.4 * torch.randn_like(parameter))
    return built


def utterance(seed: int, frame_count: int, spans: list[tuple[int, int]]) -> Utterance:
    generator = np.random.default_rng(seed)
    begin, end = np.array(spans, np.int32).T
    return Utterance(
        frames=generator.normal(size=(frame_count, FRAME_SIZE)).astype(np.float32),
        begin=begin,
        end=end,
        words=generator.integers(1, VOCABULARY, len(spans)),
        label=seed % CLASSES,
    )


UTTERANCES = [
    utterance(0, 80, [(20, 28), (28, 41), (41, 52)]),
    utterance(1, 40, [(5, 30)]),  # one word
    utterance(2, 60, [(10, 20), (20, 20), (20, 21), (50, 60)]),  # an empty span, one frame, the last frame
    utterance(3, 30, [(0, 9), (9, 30)]),  # both ends
    utterance(4, 50, [(10, 25), (18, 30), (2, 14)]),  # overlapping, out of order
    utterance(5, 4, [(0, 2), (2, 4)]),  # shorter than what an output sees
    utterance(6, 30, [(3, 8), (28, 45), (60, 70)]),  # cut in a word, and before one
]
EMPTY = [utterance(7, 40, [(9, 9)]), utterance(8, 5, [(0, 5)])]

VARIANTS: dict[str, dict[str, Any]] = (
    {f"pooling {kind}": {"pooling": {"kind": kind}} for kind in ("mean_max", "mean", "max")}
    | {
        f"{form}, {side} side, driven by {driver}": {"excitement": sides | {"driver": driver}}
        for form in ("gate", "residual_gate", "additive")
        for side, sides in {
            "both": {"semantic": form, "acoustic": form},
            "semantic": {"semantic": form, "acoustic": "none"},
            "acoustic": {"semantic": "none", "acoustic": form},
        }.items()
        for driver in ("features", "word")
    }
    | {
        "no excitement": {"excitement": {"semantic": "none", "acoustic": "none"}},
        "mixed": {"excitement": {"semantic": "additive", "acoustic": "gate"}},
        "acoustic alone": {"modalities": "acoustic"},
        "semantic alone": {"modalities": "semantic"},
        "activation": {"acoustic": {"activation": "relu"}},
        "other kernels": {"acoustic": {"kernels": [3, 4, 2]}},
    }
)


def gradients(network: nn.Module, loss: Tensor) -> dict[str, Tensor]:
    network.zero_grad()
    torch.autograd.backward(loss)
    return {name: value.grad.clone() for name, value in network.named_parameters() if value.grad is not None}


@pytest.mark.parametrize("settings", VARIANTS.values(), ids=VARIANTS.keys())
def test_the_ragged_model_is_the_masked_model(settings: dict[str, Any]) -> None:
    network = model(**settings)
    reach = network.acoustic.reach if network.acoustic is not None else 0
    batch, masked_batch = ragged(UTTERANCES, reach), padded(UTTERANCES, reach)
    ours, theirs = network(batch).logits, MaskedExcitement(network)(masked_batch)
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)
    gradient = gradients(network, functional.cross_entropy(ours, batch.labels))
    masked_gradient = gradients(network, functional.cross_entropy(theirs, masked_batch.labels))
    assert gradient.keys() == masked_gradient.keys()
    for name, value in gradient.items():
        torch.testing.assert_close(value, masked_gradient[name], rtol=1e-4, atol=1e-5, msg=name)


@pytest.mark.parametrize("settings", VARIANTS.values(), ids=VARIANTS.keys())
def test_every_parameter_has_a_gradient(settings: dict[str, Any]) -> None:
    network = model(**settings)
    batch = ragged(UTTERANCES, network.acoustic.reach if network.acoustic is not None else 0)
    gradient = gradients(network, functional.cross_entropy(network(batch).logits, batch.labels))
    assert {name for name, value in gradient.items() if value.any()} == {name for name, _ in network.named_parameters()}


def test_the_default_model_at_its_own_size_is_the_masked_model() -> None:
    torch.manual_seed(0)
    network = build(ModelSettings(), FRAME_SIZE, VOCABULARY, CLASSES)
    logits = network(ragged(UTTERANCES, REACH)).logits
    torch.testing.assert_close(logits, MaskedExcitement(network)(padded(UTTERANCES, REACH)), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("settings", VARIANTS.values(), ids=VARIANTS.keys())
def test_an_utterance_answers_alike_alone_and_in_any_company(settings: dict[str, Any]) -> None:
    network = model(**settings)
    reach = network.acoustic.reach if network.acoustic is not None else 0
    alone = torch.cat([network(ragged([one], reach)).logits for one in UTTERANCES])
    for order in ([0, 1, 2, 3, 4, 5, 6], [6, 5, 4, 3, 2, 1, 0], [3, 0, 6, 2, 5, 1, 4]):
        together = network(ragged([UTTERANCES[index] for index in order], reach)).logits
        torch.testing.assert_close(together, alone[order], rtol=0, atol=1e-5)


def test_words_answer_in_their_utterance_s_order_in_any_company() -> None:
    network = model()
    together = network(ragged(UTTERANCES, REACH)).word_logits
    alone = torch.cat([network(ragged([one], REACH)).word_logits for one in UTTERANCES])
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-5)


def test_frames_that_no_word_reads_are_not_convolved_and_change_nothing() -> None:
    one = utterance(0, 200, [(60, 70), (120, 130)])
    # A word of 10 frames reads 16 outputs, which see 22 frames.
    assert len(ragged([one], REACH).frames) == 2 * 22
    read = [*range(54, 76), *range(114, 136)]
    frames = np.full_like(one.frames, 1e4)
    frames[read] = one.frames[read]
    elsewhere = Utterance(frames, one.begin, one.end, one.words, one.label)
    network = model()
    assert torch.equal(network(ragged([one], REACH)).logits, network(ragged([elsewhere], REACH)).logits)


def test_every_frame_that_a_word_reads_matters() -> None:
    network = model(pooling={"kind": "mean"})
    one = utterance(0, 60, [(20, 24)])
    before = network(ragged([one], REACH)).logits
    for frame in range(14, 30):
        frames = one.frames.copy()
        frames[frame] += 1
        after = network(ragged([Utterance(frames, one.begin, one.end, one.words)], REACH)).logits
        assert not torch.allclose(before, after, rtol=0, atol=1e-6), frame


@pytest.mark.parametrize("settings", VARIANTS.values(), ids=VARIANTS.keys())
@pytest.mark.parametrize("company", [EMPTY, [*EMPTY, *UTTERANCES]], ids=["nothing is read", "something is read"])
def test_words_that_read_nothing_are_finite_forward_and_backward(
    settings: dict[str, Any], company: list[Utterance]
) -> None:
    network = model(**settings)
    reach = network.acoustic.reach if network.acoustic is not None else 0
    batch = ragged(company, reach)
    output = network(batch)
    assert output.logits.isfinite().all() and output.word_logits.isfinite().all()
    gradient = gradients(network, functional.cross_entropy(output.logits, batch.labels))
    assert all(value.isfinite().all() for value in gradient.values())


def test_one_modality_alone_ignores_the_other() -> None:
    one = UTTERANCES[0]
    other_words = Utterance(one.frames, one.begin, one.end, (one.words + 1) % VOCABULARY)
    other_frames = Utterance(one.frames + 1, one.begin, one.end, one.words)

    def answer(network: FineGrainedExcitement, spoken: Utterance) -> Tensor:
        logits: Tensor = network(ragged([spoken], REACH)).logits
        return logits

    acoustic, semantic = model(modalities="acoustic"), model(modalities="semantic")
    assert torch.equal(answer(acoustic, one), answer(acoustic, other_words))
    assert not torch.equal(answer(acoustic, one), answer(acoustic, other_frames))
    assert torch.equal(answer(semantic, one), answer(semantic, other_frames))
    assert not torch.equal(answer(semantic, one), answer(semantic, other_words))


def test_gates_are_reported_for_each_word_where_a_form_has_one() -> None:
    batch = ragged(UTTERANCES, REACH)
    output = model(excitement={"semantic": "gate", "acoustic": "additive"})(batch)
    assert output.acoustic_gate is None
    assert output.semantic_gate is not None and output.semantic_gate.shape == (len(batch.words), 12)
    assert ((output.semantic_gate > 0) & (output.semantic_gate < 1)).all()


def test_the_readout_is_the_maximum_over_the_words_of_an_utterance() -> None:
    network = model()
    batch = ragged(UTTERANCES[:1], REACH)
    words: list[Tensor] = []
    network.sequence.register_forward_hook(lambda module, inputs, output: words.append(output))
    logits = network(batch).logits
    torch.testing.assert_close(logits[0], network.classify(words[0].max(0).values))


def test_a_packed_sequence_reads_first_rows_first_longest_utterance_ahead() -> None:
    order, sizes = time_major(torch.tensor([2, 4, 1, 4]))
    #            rows of the utterances:  0 1 | 2 3 4 5 | 6 | 7 8 9 10
    assert order.tolist() == [2, 7, 0, 6, 3, 8, 1, 4, 9, 5, 10]
    assert sizes.tolist() == [4, 3, 2, 2]


def test_a_word_sequence_is_an_lstm_over_each_utterance_by_itself() -> None:
    torch.manual_seed(0)
    sequence = WordSequence(3, 4)
    counts = torch.tensor([2, 5, 1, 3])
    words = torch.randn(int(counts.sum()), 3)
    expected = torch.cat([sequence.lstm(utterance)[0] for utterance in torch.split(words, counts.tolist())])
    torch.testing.assert_close(sequence(words, counts), expected)


def test_dropout_before_the_classifier_acts_in_training_alone() -> None:
    network = model(fusion={"hidden": 8, "dropout": 0.5})
    batch = ragged(UTTERANCES, REACH)
    assert not torch.equal(network(batch).logits, network(batch).logits)
    network.eval()
    assert torch.equal(network(batch).logits, network(batch).logits)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
@pytest.mark.parametrize("settings", VARIANTS.values(), ids=VARIANTS.keys())
def test_a_gpu_answers_as_the_cpu_does(settings: dict[str, Any]) -> None:
    network = model(**settings)
    reach = network.acoustic.reach if network.acoustic is not None else 0
    batch = ragged([*EMPTY, *UTTERANCES], reach)
    logits = network(batch).logits
    gradient = gradients(network, functional.cross_entropy(logits, batch.labels))
    there = batch.to("cuda")
    network.to("cuda")
    logits_there = network(there).logits
    torch.testing.assert_close(logits_there.cpu(), logits, rtol=1e-3, atol=1e-4)
    gradient_there = gradients(network, functional.cross_entropy(logits_there, there.labels))
    for name, value in gradient.items():
        torch.testing.assert_close(gradient_there[name].cpu(), value, rtol=1e-2, atol=1e-4, msg=name)
