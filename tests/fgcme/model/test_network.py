"""The whole model equals its equations and its masked form, and the other utterances of a batch change no output."""

from __future__ import annotations

import copy
import dataclasses
import itertools
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional

from fgcme.data import Batch, Mixture, scheme_of
from fgcme.experiment import ModelSettings, variants
from fgcme.model import FineGrainedExcitement, Network, Output, build_model
from fgcme.model.encoders import Standardise
from tests.fgcme.model.masked import MaskedExcitement, Utterance, padded_batch, ragged_batch
from tests.fgcme.model.reference import Reference, ReferenceOutput

FRAME_SIZE, VOCABULARY, CLASSES, LOOKAHEAD = 5, 12, 3, 6

Changes = dict[str, Any]

# Every named variant of FG-CME, and the other values of its settings.
VARIANTS: dict[str, Changes] = {
    **{
        # Without dropout, which the equations do not have.
        name: {
            section: value | {"dropout": 0.0} if "dropout" in value else value
            for section, value in sections["model"].items()
        }
        for name, sections in variants.all_variants().items()
        if sections["model"]["kind"] == "fgcme"
    },
    **{
        f"{form}, {side} side, driven by {driver}": {"excitement": sides | {"driver": driver}}
        for form, driver in itertools.product(("gate", "residual_gate", "additive"), ("features", "word"))
        for side, sides in {
            "both": {"semantic": form, "acoustic": form},
            "semantic": {"semantic": form, "acoustic": "none"},
            "acoustic": {"semantic": "none", "acoustic": form},
        }.items()
        # The semantic side is driven by the acoustic features alone.
        if (side, driver) != ("semantic", "word")
    },
    "bottleneck, driven by word": {"excitement": {"driver": "word", "reduction_ratio": 4}},
    **{f"readout {kind}": {"fusion": {"readout": kind}} for kind in ("max", "mean", "attention")},
    **{f"activation {kind}": {"acoustic": {"activation": kind}} for kind in ("relu", "gelu")},
    "layer normalisation": {"acoustic": {"layer_normalisation": True}},
    "layer normalisation, relu": {"acoustic": {"layer_normalisation": True, "activation": "relu"}},
    "no convolution": {"acoustic": {"channels": [], "kernels": []}},
    "pooled features standardised": {
        "acoustic": {"channels": [], "kernels": []},
        "pooling": {"normalisation": "train", "kind": "statistics"},
    },
    "word by word": {"fusion": {"sequence": "wordwise"}},
    "one convolution": {"acoustic": {"channels": [6], "kernels": [3]}},
    "kernels that see one frame": {"acoustic": {"channels": [4, 6], "kernels": [1, 1]}, "pooling": {"kind": "softmax"}},
    **{
        f"other kernels, {kind}": {"acoustic": {"kernels": [3, 4, 2]}, "pooling": {"kind": kind}}
        for kind in ("mean_max", "softmax")
    },
    **{f"margin, {kind}": {"pooling": {"margin": 3, "kind": kind}} for kind in ("mean_max", "softmax", "statistics")},
    **{f"width, {kind}": {"pooling": {"kind": kind, "width": "equal"}} for kind in ("max", "attention", "statistics")},
    **{
        f"overall {overall}, {segments}": {"pooling": {"segments": segments, "overall": overall, "margin": 1}}
        for segments in ("words", "speech")
        for overall in ("recording", "speech")
    },
    "overall, acoustic alone": {
        "acoustic": {"channels": [], "kernels": []},
        "pooling": {"overall": "recording", "normalisation": "train"},
        "modalities": "acoustic",
    },
    **{f"temperature {t}": {"pooling": {"kind": "lse", "temperature": t}} for t in (0.05, 20.0)},
    "acoustic alone, attention": {"modalities": "acoustic", "pooling": {"kind": "attention"}},
}
# Every reduction with every choice of segments.
SEGMENTS = ("words", "even", "even_speech", "random", "recording", "speech")
KINDS = ("mean_max", "mean", "max", "softmax", "lse", "attention", "statistics")
SEGMENTED = list(itertools.product(SEGMENTS, KINDS))
# Variants that the masked form of the published code covers.
MASKED = [
    name
    for name, changes in VARIANTS.items()
    if changes.get("pooling", {}).get("kind", "mean_max") in ("mean_max", "mean", "max", "softmax")
    and not {"segments", "width", "overall"} & set(changes.get("pooling", {}))
    and "margin" not in changes.get("pooling", {})
    and changes.get("acoustic", {}).get("kernels") != []
    and "sequence" not in changes.get("fusion", {})
    and changes.get("fusion", {}).get("readout", "max") == "max"
]


def settings_of(changes: Changes) -> ModelSettings:
    """Settings of a variant, small enough to be quick."""
    small: Changes = {
        "acoustic": {"channels": [4, 6, 6]},
        "semantic": {"embedding": 7},
        "fusion": {"hidden": 8},
    }
    variants.merge(small, changes)
    return ModelSettings.model_validate(small)


def network_of(changes: Changes, blank: bool = False, frame_size: int = FRAME_SIZE, layers: int = 1) -> Network:
    torch.manual_seed(0)
    network = build_model(settings_of(changes), frame_size, VOCABULARY, CLASSES, blank, layers)
    # Random weights: initially some rows of tables and the queries are zero.
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(0.4 * torch.randn_like(parameter))
    for module in network.modules():
        if isinstance(module, Standardise):
            size = len(module.mean)
            module.set_statistics(0.3 * torch.randn(size), 0.8 + torch.rand(size))
    return network


def batch_of(utterances: list[Utterance], changes: Changes) -> Batch:
    return ragged_batch(utterances, scheme_of(settings_of(changes)))


def double(batch: Batch) -> Batch:
    return dataclasses.replace(batch, frames=batch.frames.double())


def utterance(seed: int, frame_count: int, spans: list[tuple[int, int]]) -> Utterance:
    generator = np.random.default_rng(seed)
    begin, end = np.array(spans, np.int32).T
    return Utterance(
        frames=generator.normal(size=(frame_count, FRAME_SIZE)).astype(np.float32),
        begin=begin,
        end=end,
        words=generator.integers(1, VOCABULARY, len(spans)),
        label=seed % CLASSES,
        speech=(frame_count // 5, max(frame_count - frame_count // 8, 1)),
    )


UTTERANCES = [
    utterance(0, 80, [(20, 28), (28, 41), (41, 52)]),
    utterance(1, 40, [(5, 30)]),  # one word
    utterance(2, 60, [(10, 20), (20, 20), (20, 21), (50, 60)]),  # an empty span, one frame, up to the end
    utterance(3, 30, [(0, 9), (9, 30)]),  # both ends
    utterance(4, 50, [(10, 25), (18, 30), (2, 14)]),  # overlapping, out of order
    utterance(5, 4, [(0, 2), (2, 4)]),  # shorter than a receptive field
    # Truncated within a word, before another, and before what counted as speech.
    dataclasses.replace(utterance(6, 30, [(3, 8), (28, 45), (60, 70)]), speech=(50, 75)),
    utterance(8, 7, [(0, 1), (1, 2), (2, 4)]),  # a single output
]
EMPTY = [utterance(7, 40, [(9, 9)]), utterance(8, 5, [(0, 5)])]

every_variant = pytest.mark.parametrize("changes", VARIANTS.values(), ids=VARIANTS.keys())


@st.composite
def any_utterances(draw: st.DrawFn) -> list[Utterance]:
    """Up to four utterances of any length, whose spans overlap, are empty, or lie past the end."""
    drawn = []
    for seed in range(draw(st.integers(1, 4))):
        spans = draw(st.lists(st.tuples(st.integers(0, 40), st.integers(0, 15)), min_size=1, max_size=5))
        bounds = [(begin, begin + length) for begin, length in spans]
        drawn.append(utterance(seed, draw(st.integers(1, 40)), bounds))
    return drawn


def loss_of(output: Output, batch: Batch) -> Tensor:
    """A loss that depends on all logits."""
    of_words = 0.0 if output.word_logits is None else output.word_logits.square().mean()
    return functional.cross_entropy(output.logits, batch.labels) + of_words


def gradients(network: nn.Module, loss: Tensor) -> dict[str, Tensor]:
    network.zero_grad()
    torch.autograd.backward(loss)
    parameters = network.named_parameters()
    return {name: torch.zeros_like(value) if value.grad is None else value.grad.clone() for name, value in parameters}


def assert_equal_to_reference(changes: Changes, blank: bool, utterances: list[Utterance], layers: int = 1) -> None:
    network = network_of(changes, blank, layers=layers).double()
    batch = double(batch_of(utterances, changes))
    output = network(batch)
    classify = Reference(network, settings_of(changes), blank, layers)
    references: list[ReferenceOutput] = [classify(spoken) for spoken in utterances]
    expected = Output(
        logits=torch.stack([reference.logits for reference in references]),
        word_logits=torch.cat([reference.word_logits for reference in references]) if blank else None,
    )
    torch.testing.assert_close(output.logits, expected.logits, rtol=0, atol=1e-11)
    if blank:
        torch.testing.assert_close(output.word_logits, expected.word_logits, rtol=0, atol=1e-11)
    gradient = gradients(network, loss_of(output, batch))
    expected_gradient = gradients(network, loss_of(expected, batch))
    for name, value in gradient.items():
        torch.testing.assert_close(value, expected_gradient[name], rtol=0, atol=1e-11, msg=name)


@every_variant
def test_the_model_and_its_gradient_follow_the_equations(changes: Changes) -> None:
    assert_equal_to_reference(changes, blank=False, utterances=UTTERANCES)


@pytest.mark.parametrize(("segments", "kind"), SEGMENTED)
def test_each_choice_of_segments_goes_with_each_reduction(segments: str, kind: str) -> None:
    changes: Changes = {"pooling": {"segments": segments, "kind": kind, "margin": 2 if kind == "softmax" else 0}}
    assert_equal_to_reference(changes, blank=False, utterances=UTTERANCES[:3] + UTTERANCES[5:7])


@pytest.mark.parametrize("kind", ["mean_max", "mean", "statistics"])
def test_an_encoder_s_layers_are_mixed_after_each_is_standardised(kind: str) -> None:
    changes: Changes = {
        "acoustic": {"channels": [], "kernels": []},
        "pooling": {"kind": kind, "normalisation": "train", "overall": "recording"},
    }
    assert_equal_to_reference(changes, blank=False, utterances=UTTERANCES, layers=FRAME_SIZE)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"modalities": "semantic"},
        {"fusion": {"readout": "attention"}},
        {"pooling": {"overall": "recording"}},
    ],
)
def test_a_model_with_a_blank_follows_the_equations(changes: Changes) -> None:
    assert_equal_to_reference(changes, blank=True, utterances=UTTERANCES)


@settings(max_examples=25)
@given(any_utterances(), st.sampled_from(list(VARIANTS)))
def test_the_model_follows_the_equations_on_any_utterances(utterances: list[Utterance], name: str) -> None:
    assert_equal_to_reference(VARIANTS[name], blank=False, utterances=utterances)


@pytest.mark.parametrize("name", MASKED)
def test_the_ragged_model_equals_the_masked_model(name: str) -> None:
    network = network_of(VARIANTS[name])
    utterances = [*UTTERANCES, *EMPTY]
    batch = batch_of(utterances, VARIANTS[name])
    masked_batch = padded_batch(utterances, scheme_of(settings_of(VARIANTS[name])).lookahead)
    logits, masked_logits = network(batch).logits, MaskedExcitement(network)(masked_batch)
    torch.testing.assert_close(logits, masked_logits, rtol=1e-5, atol=1e-5)
    gradient = gradients(network, functional.cross_entropy(logits, batch.labels))
    masked_gradient = gradients(network, functional.cross_entropy(masked_logits, masked_batch.labels))
    for key, value in gradient.items():
        torch.testing.assert_close(value, masked_gradient[key], rtol=1e-4, atol=1e-5, msg=key)


def test_the_default_model_at_full_size_equals_the_masked_model() -> None:
    torch.manual_seed(0)
    network = build_model(ModelSettings(), FRAME_SIZE, VOCABULARY, CLASSES)
    logits = network(ragged_batch(UTTERANCES, scheme_of(ModelSettings()))).logits
    torch.testing.assert_close(
        logits, MaskedExcitement(network)(padded_batch(UTTERANCES, LOOKAHEAD)), rtol=1e-5, atol=1e-5
    )


@every_variant
def test_every_parameter_has_a_gradient(changes: Changes) -> None:
    for blank in (False, True):
        network, batch = network_of(changes, blank), batch_of(UTTERANCES, changes)
        gradient = gradients(network, functional.cross_entropy(network(batch).logits, batch.labels))
        trained = {name for name, value in gradient.items() if value.any()}
        assert trained == {name for name, _ in network.named_parameters()}


@every_variant
def test_the_output_for_an_utterance_does_not_depend_on_its_batch(changes: Changes) -> None:
    network, utterances = network_of(changes), [*UTTERANCES, *EMPTY]
    alone = torch.cat([network(batch_of([spoken], changes)).logits for spoken in utterances])
    for order in (range(10), range(9, -1, -1), [3, 9, 0, 6, 2, 8, 5, 1, 7, 4]):
        together = network(batch_of([utterances[index] for index in order], changes)).logits
        torch.testing.assert_close(together, alone[list(order)], rtol=0, atol=1e-5)


@settings(max_examples=100)
@given(any_utterances(), st.sampled_from(list(VARIANTS)), st.booleans())
def test_the_output_for_any_utterance_does_not_depend_on_its_batch(
    utterances: list[Utterance], name: str, blank: bool
) -> None:
    network = network_of(VARIANTS[name], blank)
    alone = [network(batch_of([spoken], VARIANTS[name])) for spoken in utterances]
    together = network(batch_of(utterances, VARIANTS[name]))
    for part in ("logits", "word_logits") if blank else ("logits",):
        expected = torch.cat([getattr(output, part) for output in alone])
        torch.testing.assert_close(getattr(together, part), expected, rtol=0, atol=1e-5)


@every_variant
def test_noise_before_and_after_the_words_changes_nothing(changes: Changes) -> None:
    network, spoken = network_of(changes), utterance(3, 60, [(20, 28), (28, 33), (33, 45)])
    scheme = scheme_of(settings_of(changes))
    if scheme.segments == "even" or scheme.reads_recording:
        pytest.skip("reads the whole recording")
    noise = np.random.default_rng(1).normal(size=(30, FRAME_SIZE)).astype(np.float32)
    assert spoken.speech is not None
    later = Utterance(
        frames=np.concatenate([noise, spoken.frames, noise]),
        begin=spoken.begin + 30,
        end=spoken.end + 30,
        words=spoken.words,
        speech=(spoken.speech[0] + 30, spoken.speech[1] + 30),
    )
    torch.testing.assert_close(
        network(batch_of([later], changes)).logits, network(batch_of([spoken], changes)).logits, rtol=0, atol=1e-6
    )


def test_frames_that_no_word_reads_are_left_out_and_change_nothing() -> None:
    spoken = utterance(0, 200, [(60, 70), (120, 130)])
    # A word of 10 frames reads 16 outputs, which see 22 frames.
    assert len(batch_of([spoken], {}).frames) == 2 * 22
    read = [*range(54, 76), *range(114, 136)]
    frames = np.full_like(spoken.frames, 1e4)
    frames[read] = spoken.frames[read]
    elsewhere = dataclasses.replace(spoken, frames=frames)
    network = network_of({})
    assert torch.equal(network(batch_of([spoken], {})).logits, network(batch_of([elsewhere], {})).logits)


def test_every_frame_that_a_word_reads_changes_its_logits() -> None:
    changes = {"pooling": {"kind": "mean"}}
    network, spoken = network_of(changes), utterance(0, 60, [(20, 24)])
    before = network(batch_of([spoken], changes)).logits
    for frame in range(14, 30):
        frames = spoken.frames.copy()
        frames[frame] += 1
        after = network(batch_of([dataclasses.replace(spoken, frames=frames)], changes)).logits
        assert not torch.allclose(before, after, rtol=0, atol=1e-6), frame


@pytest.mark.filterwarnings("ignore:Anomaly Detection")
@every_variant
def test_every_variant_is_finite_forward_and_backward(changes: Changes) -> None:
    network = network_of(changes)
    for utterances, scale in ((EMPTY, 1.0), ([*EMPTY, *UTTERANCES], 1e4)):
        batch = batch_of(utterances, changes)
        batch = dataclasses.replace(batch, frames=scale * batch.frames)
        with torch.autograd.detect_anomaly(check_nan=True):
            output = network(batch)
            gradient = gradients(network, loss_of(output, batch))
        assert output.logits.isfinite().all()
        assert all(value.isfinite().all() for value in gradient.values())


@every_variant
def test_half_precision_is_finite_and_close_to_single_precision(changes: Changes) -> None:
    network, batch = network_of(changes), batch_of([*EMPTY, *UTTERANCES], changes)
    expected = network(batch).logits
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = network(batch)
    gradient = gradients(network, functional.cross_entropy(output.logits.float(), batch.labels))
    assert all(value.isfinite().all() for value in gradient.values())
    torch.testing.assert_close(output.logits.float(), expected, rtol=0.1, atol=0.15)


def test_one_modality_alone_ignores_the_other() -> None:
    spoken = UTTERANCES[0]
    other_words = dataclasses.replace(spoken, words=(spoken.words + 1) % VOCABULARY)
    other_frames = dataclasses.replace(spoken, frames=spoken.frames + 1)

    def logits_of(changes: Changes, spoken: Utterance) -> Tensor:
        logits: Tensor = network_of(changes)(batch_of([spoken], changes)).logits
        return logits

    acoustic, semantic = {"modalities": "acoustic"}, {"modalities": "semantic"}
    assert torch.equal(logits_of(acoustic, spoken), logits_of(acoustic, other_words))
    assert not torch.equal(logits_of(acoustic, spoken), logits_of(acoustic, other_frames))
    assert torch.equal(logits_of(semantic, spoken), logits_of(semantic, other_frames))
    assert not torch.equal(logits_of(semantic, spoken), logits_of(semantic, other_words))


def test_models_without_the_alignment_ignore_spans() -> None:
    spoken = UTTERANCES[0]
    elsewhere = dataclasses.replace(spoken, begin=spoken.begin + 5, end=spoken.end + 9)
    for segments in SEGMENTS:
        changes = {"pooling": {"segments": segments}}
        network = network_of(changes)
        is_equal = torch.equal(
            network(batch_of([spoken], changes)).logits, network(batch_of([elsewhere], changes)).logits
        )
        assert is_equal == (segments != "words"), segments


@every_variant
def test_what_is_concluded_from_fused_words_is_the_answer(changes: Changes) -> None:
    network, batch = network_of(changes), batch_of(UTTERANCES, changes)
    fused = network.fuse(batch)
    assert network.goes_by_words and len(fused.features) == len(batch.words)
    assert torch.equal(network.conclude(fused).logits, network(batch).logits)


def test_with_a_blank_the_logits_of_an_utterance_are_the_mean_of_its_words() -> None:
    output = network_of({}, blank=True)(batch_of(UTTERANCES[:1], {}))
    assert output.word_logits is not None and output.word_logits.shape == (3, CLASSES + 1)
    torch.testing.assert_close(output.logits[0], output.word_logits.mean(0)[:CLASSES])


def test_dropout_before_the_classifier_acts_in_training_only() -> None:
    changes = {"fusion": {"dropout": 0.5}}
    for blank in (False, True):
        network, batch = network_of(changes, blank), batch_of(UTTERANCES, changes)
        assert not torch.equal(network(batch).logits, network(batch).logits)
        network.eval()
        assert torch.equal(network(batch).logits, network(batch).logits)


def test_mixup_mixes_the_features_of_utterances_before_the_classifier() -> None:
    network, batch = network_of({}), batch_of(UTTERANCES[:3], {})
    logits = network(batch).logits
    mixture = Mixture(torch.tensor([1, 2, 2]), torch.tensor([0.25, 1.0, 0.7]))
    mixed = network(dataclasses.replace(batch, mixture=mixture))
    # The classifier is linear.
    expected = torch.stack([0.25 * logits[0] + 0.75 * logits[1], logits[1], logits[2]])
    torch.testing.assert_close(mixed.logits, expected)


def test_a_state_dict_holds_all_weights_and_the_statistics_of_frames() -> None:
    network = network_of({"pooling": {"kind": "softmax"}})
    other = build_model(settings_of({"pooling": {"kind": "softmax"}}), FRAME_SIZE, VOCABULARY, CLASSES)
    other.load_state_dict(copy.deepcopy(network.state_dict()))
    batch = batch_of(UTTERANCES, {"pooling": {"kind": "softmax"}})
    assert isinstance(other.core, FineGrainedExcitement)
    assert torch.equal(network(batch).logits, other(batch).logits)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
@every_variant
def test_a_gpu_computes_what_the_cpu_does(changes: Changes) -> None:
    for utterances in (EMPTY, [*EMPTY, *UTTERANCES]):
        network, batch = network_of(changes), batch_of(utterances, changes)
        logits = network(batch).logits
        gradient = gradients(network, functional.cross_entropy(logits, batch.labels))
        batch_on_gpu = batch.to("cuda")
        network.to("cuda")
        logits_on_gpu = network(batch_on_gpu).logits
        torch.testing.assert_close(logits_on_gpu.cpu(), logits, rtol=1e-3, atol=1e-4)
        gradient_on_gpu = gradients(network, functional.cross_entropy(logits_on_gpu, batch_on_gpu.labels))
        for name, value in gradient.items():
            torch.testing.assert_close(gradient_on_gpu[name].cpu(), value, rtol=1e-2, atol=1e-4, msg=name)
