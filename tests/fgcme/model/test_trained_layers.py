"""The layers of an encoder that a model holds, beside `transformers`' own hidden states of the whole encoder."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from fgcme import features
from fgcme.errors import UserError
from fgcme.model.trained_layers import TrainedLayers, describe_top, load_top
from tests.speech import say
from tests.speech_encoder import FAMILIES, WHISPER_BASE, hidden_states, unpadded_states

EVERY_FAMILY = (*FAMILIES, "whisper")
LAYERS = 3
NOISE = np.random.default_rng(0).normal(0, 0.1, 40_000).astype(np.float32)
RECORDINGS = (NOISE, NOISE[:16_000] * 2, NOISE[:39_680])


def prepared(folder: str, layers: tuple[int, ...], *recordings: np.ndarray) -> tuple[Tensor, Tensor]:
    """Frames of recordings as they are prepared and read, end to end, and how many each has."""
    extractor = features.build_extractor("speech_encoder", checkpoint=folder, layers=layers)
    values = [frames.values.astype(np.float32) for frames in extractor(recordings)]
    return torch.from_numpy(np.concatenate(values)), torch.tensor([len(each) for each in values])


def own_states(folder: str, family: str, states: list[int], recording: np.ndarray) -> np.ndarray:
    """The same hidden states by `transformers`, side by side."""
    every = unpadded_states(folder, recording) if family == "whisper" else hidden_states(folder, recording)
    return np.concatenate([every[state] for state in states], axis=1)


@torch.inference_mode()
def through(layers: TrainedLayers, frames: Tensor, counts: Tensor) -> np.ndarray:
    return layers.eval()(frames, counts).numpy()


@pytest.mark.parametrize("lora_rank", [0, 2])
@pytest.mark.parametrize("count", [1, LAYERS])
@pytest.mark.parametrize("family", EVERY_FAMILY)
def test_untrained_layers_give_the_encoder_s_own_hidden_states(
    checkpoint: Callable[[str], str], family: str, count: int, lora_rank: int
) -> None:
    """Of recordings of several lengths, alone and in a batch, from frames in half precision."""
    folder, entered = checkpoint(family), LAYERS - count
    layers = TrainedLayers(load_top(folder, [entered], count), lora_rank)
    states = list(range(entered, LAYERS + 1))
    expected = [own_states(folder, family, states, recording) for recording in RECORDINGS]
    frames, counts = prepared(folder, (entered,), *RECORDINGS)
    together = through(layers, frames, counts)
    np.testing.assert_allclose(together, np.concatenate(expected), rtol=2**-10, atol=1e-3)
    starts = np.cumsum([0, *counts])
    for number in range(len(RECORDINGS)):
        own = slice(starts[number], starts[number + 1])
        alone = through(layers, frames[own], counts[number : number + 1])
        np.testing.assert_allclose(alone, together[own], atol=1e-5)


def test_prepared_states_up_to_the_one_that_enters_are_kept_in_their_order(checkpoint: Callable[[str], str]) -> None:
    """Those above give way to the layers' own."""
    folder = checkpoint("wav2vec2 large")
    top = load_top(folder, (3, 1, 2, 0), 2)
    assert (top.entered, top.layers) == (1, 4)
    frames, counts = prepared(folder, (3, 1, 2, 0), NOISE)
    expected = own_states(folder, "wav2vec2 large", [1, 0, 2, 3], NOISE)
    np.testing.assert_allclose(through(TrainedLayers(top), frames, counts), expected, rtol=2**-10, atol=1e-3)


def test_recordings_without_frames_and_frames_after_the_last_change_nothing(checkpoint: Callable[[str], str]) -> None:
    """An utterance may lack its sound, and zeros fill a batch up."""
    layers = TrainedLayers(load_top(checkpoint("whisper"), [2], 1))
    frames, counts = prepared(checkpoint("whisper"), (2,), *RECORDINGS[:2])
    expected = through(layers, frames, counts)
    first, second = counts.tolist()
    found = through(layers, torch.cat([frames, torch.zeros(3, 16)]), torch.tensor([0, first, 0, second, 0]))
    np.testing.assert_allclose(found[: len(expected)], expected, atol=1e-6)
    assert not found[len(expected) :].any()
    # With nothing at all, every parameter has its gradient: other workers wait for it.
    nothing = layers(torch.zeros(2, 16), torch.tensor([0, 0]))
    assert nothing.shape == (2, 32)
    nothing.sum().backward()
    assert all(parameter.grad is not None for parameter in layers.parameters())


@pytest.mark.parametrize("lora_rank", [0, 2])
@pytest.mark.parametrize("family", EVERY_FAMILY)
def test_gradients_reach_the_layers_whole_or_lora_s_matrices_alone(
    checkpoint: Callable[[str], str], family: str, lora_rank: int
) -> None:
    layers = TrainedLayers(load_top(checkpoint(family), [1], 2), lora_rank).eval()
    frames, counts = prepared(checkpoint(family), (1,), *RECORDINGS)
    # LoRA's product is zero at first, and with it the gradients of one of its factors.
    with torch.no_grad():
        for name, parameter in layers.named_parameters():
            if "lora_B" in name:
                parameter.add_(0.1)
    weights = torch.linspace(-1, 1, 48)
    (layers(frames, counts) @ weights).square().mean().backward()
    trained = {name for name, parameter in layers.named_parameters() if parameter.requires_grad}
    assert trained == {name for name, _ in layers.named_parameters() if "lora_" in name or not lora_rank}
    reached = {name for name, own in layers.named_parameters() if own.grad is not None and own.grad.abs().max() > 0}
    # The softmax of the attention does not feel what is the same for all keys.
    assert {name for name in trained - reached if not name.endswith("k_proj.bias")} == set()
    maps = {name.split(".lora_")[0].rpartition(".")[2] for name in trained if "lora_" in name}
    attention = set() if family.startswith("wavlm") else {"q_proj", "k_proj", "v_proj", "out_proj"}
    forward = {"fc1", "fc2"} if family == "whisper" else {"intermediate_dense", "output_dense"}
    assert maps == (attention | forward if lora_rank else set())


def test_gradients_are_those_of_finite_differences_in_float64(checkpoint: Callable[[str], str]) -> None:
    for family in ("whisper", "wavlm"):
        layers = TrainedLayers(load_top(checkpoint(family), [2], 1)).double().eval()
        frames = torch.randn(5, 16, generator=torch.Generator().manual_seed(0), dtype=torch.float64, requires_grad=True)

        def mean(frames: Tensor, layers: TrainedLayers = layers) -> Tensor:
            weights = torch.linspace(-1, 1, 32, dtype=torch.float64)
            return (layers(frames, torch.tensor([3, 0, 2])) @ weights).square().mean()

        assert torch.autograd.gradcheck(mean, (frames,))


@pytest.mark.parametrize("family", ["whisper", "wavlm large"])
def test_layers_are_made_again_of_their_description_and_weights(
    checkpoint: Callable[[str], str], family: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the encoder's folder, and without a trace of where it lay."""
    top = load_top(checkpoint(family), [1], 2)
    trained = TrainedLayers(top, lora_rank=2)
    frames, counts = prepared(checkpoint(family), (1,), *RECORDINGS)
    assert checkpoint(family) not in str(top.description)
    monkeypatch.setattr("transformers.PreTrainedModel.from_pretrained", None)
    again = TrainedLayers(type(top)(**top.description), lora_rank=2)
    again.load_state_dict(trained.state_dict())
    np.testing.assert_array_equal(through(again, frames, counts), through(trained, frames, counts))


@pytest.mark.parametrize(
    ("layers", "count", "reason"),
    [
        (
            (3,),
            1,
            r"hidden state 2 of .* enters its last 1 of 3 layers, and prepare\.features\.layers \[3\] lack it: "
            r"set prepare\.features\.layers=\[2\], or add 2 to them, and run `fgcme prepare`",
        ),
        ((-1, 0), 2, r"\[3, 0\] lack it: set prepare\.features\.layers=\[1\]"),
        ((0,), 4, r"trained_layers 4: .* has 3 layers"),
        ((5,), 1, r"prepare\.features\.layers 5"),
    ],
)
def test_layers_that_do_not_fit_what_is_prepared_are_refused_with_the_way_out(
    checkpoint: Callable[[str], str], layers: tuple[int, ...], count: int, reason: str
) -> None:
    for find in (describe_top, load_top):
        with pytest.raises(UserError, match=reason):
            find(checkpoint("hubert"), layers, count)


@pytest.mark.skipif(not WHISPER_BASE.is_dir(), reason="the weights of Whisper base are not here")
def test_the_real_whisper_base_gives_its_own_last_states() -> None:
    speech: Any = say("Kids are talking by the door.")[0]
    recordings = [speech[: 320 * frames] for frames in (speech.size // 320, 40)]
    layers = TrainedLayers(load_top(str(WHISPER_BASE), [4], 2), lora_rank=8)
    expected, entering = (
        np.concatenate([own_states(str(WHISPER_BASE), "whisper", states, recording) for recording in recordings])
        for states in ([5, 6], [4])
    )
    frames, counts = prepared(str(WHISPER_BASE), (4,), *recordings)
    exact = through(layers, torch.from_numpy(entering), counts)[:, 512:]
    np.testing.assert_allclose(exact, expected, rtol=1e-4, atol=1e-4)
    # What enters has values of some hundreds, which half precision rounds more coarsely than the states that leave.
    np.testing.assert_allclose(through(layers, frames, counts)[:, 512:], expected, rtol=2**-10, atol=4e-3)
