"""The variant `published` computes what the published code does, from the waveform to the weights after some steps.

The double is a slow reading of it in float64: a mask of words x frames, averaged by the kernels, chooses which outputs
a word reads, and a product of words x outputs x channels is reduced.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional
from torchaudio.compliance import kaldi

from fgcme.data import Batch, scheme_of
from fgcme.data.hearing import front_end_of
from fgcme.experiment import Experiment, load_experiment
from fgcme.features.log_mel import log_mel
from fgcme.model import Network, build_model
from pipelines.bundled import experiment_file
from tests.fgcme.model.masked import Utterance, ragged_batch
from tests.fgcme.model.reference import bidirectional, linear, weights_of
from tests.speech import say

VOCABULARY, CLASSES, BINS = 12, 4, 40
KERNELS = (5, 2, 2)


@pytest.fixture(scope="module")
def experiment() -> Experiment:
    return load_experiment(experiment_file("ravdess"), ["model=published"])


def recording(text: str) -> np.ndarray:
    """Speech between digital silence and a hiss below the floor."""
    speech = say(text)[0].astype(np.float32)
    hiss = 1e-6 * np.random.default_rng(0).normal(size=4_000).astype(np.float32)
    return np.concatenate([np.zeros(4_000, np.float32), speech, hiss])


RECORDINGS = {text: recording(text) for text in ("dogs sit", "kids are talking by the door")}


def published_frames(samples: np.ndarray) -> Tensor:
    """[A, 40] log-mel energies of a waveform in [-1, 1], with Kaldi's own floor, in float64."""
    waveform = torch.from_numpy(samples).double().unsqueeze(0)
    return kaldi.fbank(waveform, num_mel_bins=BINS, dither=0.0, sample_frequency=16_000)


def published_logits(weights: Mapping[str, Tensor], frames: Tensor, utterance: Utterance) -> Tensor:
    """[K] logits of one utterance from its [A, 40] frames, in the order of the equations."""
    weights = dict(weights)
    hidden = frames.T.unsqueeze(0)
    mask = torch.zeros(len(utterance.words), len(frames), dtype=torch.float64)
    for word, (begin, end) in enumerate(zip(utterance.begin, utterance.end, strict=True)):
        mask[word, begin:end] = 1
    for depth, kernel in enumerate(KERNELS):
        layer = weights_of(weights, f"core.acoustic.encoder.convolutions.{depth}")
        hidden = functional.conv1d(hidden, layer["weight"], layer["bias"])
        mask = functional.avg_pool1d(mask, kernel, stride=1)
    reads = (mask > 0).double().unsqueeze(2)
    product = hidden.transpose(1, 2) * reads
    acoustic = torch.cat([product.sum(1) / reads.sum(1), (product - 1e6 * (1 - reads)).max(1).values], dim=1)
    words = utterance.words.tolist()
    project = weights_of(weights, "core.semantic.project")
    semantic = torch.stack([linear(weights["core.semantic.embedding.table.weight"][word], project) for word in words])
    driver = weights_of(weights, "core.excite_semantic.driver")
    from_acoustic = torch.sigmoid(torch.stack([linear(word, driver) for word in acoustic]))
    from_word = torch.sigmoid(weights["core.excite_acoustic.driver.weight"][words])
    fused = torch.cat([semantic + semantic * from_acoustic, acoustic + acoustic * from_word], dim=1)
    sequence = bidirectional(fused, weights_of(weights, "core.sequence.lstm"))
    return linear(sequence.max(0).values, weights_of(weights, "core.classify"))


def utterances_of(experiment: Experiment) -> list[Utterance]:
    """The recordings as the package prepares and reads them, their words side by side in what is no silence."""
    found = []
    for label, (text, samples) in enumerate(RECORDINGS.items()):
        frames = front_end_of(experiment.model.acoustic)(log_mel(samples, BINS))
        words = len(text.split())
        edges = np.linspace(25, len(frames) - 25, words + 1).astype(int)
        indices = 2 + np.arange(words) + label
        found.append(Utterance(frames, edges[:-1], edges[1:], indices, label))
    return found


def network_of(experiment: Experiment) -> Network:
    torch.manual_seed(0)
    return build_model(experiment.model, BINS, VOCABULARY, CLASSES).double()


def batch_of(experiment: Experiment) -> Batch:
    batch = ragged_batch(utterances_of(experiment), scheme_of(experiment.model))
    return Batch(**{**vars(batch), "frames": batch.frames.double()})


def test_frames_have_the_published_scale_and_floor(experiment: Experiment) -> None:
    for utterance, samples in zip(utterances_of(experiment), RECORDINGS.values(), strict=True):
        expected = published_frames(samples)
        floor = expected.min().item()
        assert floor == pytest.approx(-15.942, abs=1e-3)
        at_floor = expected == floor
        assert 0.1 < at_floor.double().mean() < 0.9
        np.testing.assert_allclose(utterance.frames, expected.numpy(), atol=5e-3)
        np.testing.assert_allclose(utterance.frames[at_floor.numpy()], floor, atol=5e-3)


def test_a_waveform_has_the_published_logits(experiment: Experiment) -> None:
    network = network_of(experiment)
    logits = network(batch_of(experiment)).logits
    for answer, samples, utterance in zip(logits, RECORDINGS.values(), utterances_of(experiment), strict=True):
        expected = published_logits(dict(network.named_parameters()), published_frames(samples), utterance)
        torch.testing.assert_close(answer, expected, rtol=0, atol=1e-4)


def test_the_published_training_takes_the_published_steps(experiment: Experiment) -> None:
    ours, theirs = network_of(experiment), network_of(experiment)
    start = copy.deepcopy(ours.state_dict())
    batch, utterances = batch_of(experiment), utterances_of(experiment)
    rate = experiment.training.learning_rate
    optimisers = [torch.optim.Adam(network.parameters(), lr=rate) for network in (ours, theirs)]
    for _ in range(3):
        weights = dict(theirs.named_parameters())
        frames = [torch.from_numpy(utterance.frames).double() for utterance in utterances]
        expected = torch.stack([published_logits(weights, *each) for each in zip(frames, utterances, strict=True)])
        logits = ours(batch).logits
        torch.testing.assert_close(logits, expected, rtol=0, atol=1e-9)
        for network, optimiser, found in zip((ours, theirs), optimisers, (logits, expected), strict=True):
            network.zero_grad()
            torch.autograd.backward(functional.cross_entropy(found, batch.labels))
            optimiser.step()
    for name, value in ours.state_dict().items():
        torch.testing.assert_close(value, theirs.state_dict()[name], rtol=0, atol=1e-8, msg=name)
    assert not torch.equal(ours.state_dict()["core.classify.weight"], start["core.classify.weight"])
