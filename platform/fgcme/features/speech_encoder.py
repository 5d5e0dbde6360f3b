"""Hidden layers of a pretrained speech encoder: wav2vec 2.0, HuBERT, WavLM, data2vec, or the encoder of Whisper.

Frames come at the encoder's own rate. On a GPU recordings of like length go through it together. What a recording's
frames are does not depend on the others: whatever sees beyond a recording's end runs on each alone, the rest is masked.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence

from fgcme.audio import HOP, SAMPLE_RATE, Samples
from fgcme.features.contract import FrameFormat, Frames, to_half
from fgcme.features.pretrained import Layers, choose_layers, load_configuration, of_like_length, refusal
from fgcme.kernels import keep_few_kernels
from fgcme.packages import hide_loading_bars

# Encoders of waveforms, all built like wav2vec 2.0.
_WAVEFORM = frozenset({"wav2vec2", "hubert", "wavlm", "data2vec-audio"})
# Whose stacked convolutions of positions carry what lies beyond a recording's end into it, whatever is masked.
_UNMASKABLE = frozenset({"data2vec-audio"})
_KNOWN = "speech encoder that is known here: take a wav2vec 2.0, HuBERT, WavLM, data2vec-audio or Whisper"
_SETTING = "prepare.features.checkpoint"
_WHISPER_SECONDS = 30
# Frames of one pass on a GPU: more would take memory and no less time. On a CPU each piece goes through alone, which
# takes no longer and rounds its frames in one way, whatever it is prepared with.
_PASS_FRAMES = {"cpu": 1, "cuda": 30_000}


def describe_frames(checkpoint: str, layers: Layers) -> tuple[Any, FrameFormat, list[int]]:
    """The configuration of an encoder, what its frames are like, and which hidden states lie side by side, from 0.

    Args:
        checkpoint: folder or hub name.
        layers: hidden states; 0 enters the first layer, -1 is the last.

    Raises:
        UserError: there is none, it is of a family that is not known, or it has no such layer.
    """
    configuration = load_configuration(_SETTING, checkpoint, _WAVEFORM | {"whisper"}, _KNOWN)
    if configuration.model_type == "whisper":
        last, step = configuration.encoder_layers, _WHISPER_SECONDS * SAMPLE_RATE // configuration.max_source_positions
    else:
        last, step = configuration.num_hidden_layers, int(np.prod(configuration.conv_stride))
    chosen = choose_layers("prepare.features.layers", checkpoint, layers, last)
    return configuration, FrameFormat(step, len(chosen)), chosen


class SpeechEncoder:
    """Hidden states of a frozen encoder, side by side in each frame, in half precision.

    Whisper was trained on 30 s, filled up with silence. Without `padded` it hears the recording alone, and its table of
    positions is cut to that: a tenth of the cost for an utterance of 3.5 s. The two forms differ, because silence is
    heard too. A recording longer than 30 s is heard in pieces of equal length.

    Args:
        checkpoint: folder or hub name of the model and its feature extractor, in any precision.
        layers: hidden states; 0 enters the first layer, -1 is the last.
        padded: whether Whisper hears 30 s.

    Raises:
        UserError: the checkpoint cannot be loaded, is of a family that is not known, or has no such layer.
    """

    def __init__(self, checkpoint: str, layers: Layers = (-1,), padded: bool = False) -> None:
        from transformers import AutoFeatureExtractor

        keep_few_kernels(1)
        configuration, self.format, self._layers = describe_frames(checkpoint, layers)
        # Transformers does not type this class.
        extractors: Any = AutoFeatureExtractor
        try:
            self._extract = extractors.from_pretrained(checkpoint)
            encoder = load_encoder(checkpoint, configuration)
        except (OSError, ValueError) as error:
            raise refusal(_SETTING, checkpoint, error) from None
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self._is_whisper = configuration.model_type == "whisper"
        self._can_mask = configuration.model_type not in _UNMASKABLE
        self._padded = padded and self._is_whisper
        self._encoder = encoder.eval().requires_grad_(False).to(self._device)
        self._has_last = max(self._layers) == len(layers_of(self._encoder))
        self._states: list[Tensor] = []
        self._drop_upper_layers()

    def __call__(self, recordings: Sequence[Samples]) -> list[Frames]:
        """Encode recordings, see `fgcme.features.FrameExtractor`."""
        pieces = [self._pieces(samples) for samples in recordings]
        with torch.inference_mode():
            encoded = self._encode([piece for some in pieces for piece in some])
        waiting = iter(encoded)
        frames = []
        for some in pieces:
            own = [next(waiting) for _ in some]
            values = np.concatenate([each.values for each in own]) if len(own) > 1 else own[0].values
            frames.append(Frames(values, sum(each.clipped for each in own)))
        return frames

    def _pieces(self, samples: Samples) -> list[Samples]:
        """The recording, or for Whisper the equal parts of it that are no longer than 30 s."""
        if not self._is_whisper:
            return [samples]
        step = self.format.frame_step
        count = -(-samples.size // (_WHISPER_SECONDS * SAMPLE_RATE))
        size = -(-samples.size // (count * step)) * step
        return [samples[first : first + size] for first in range(0, samples.size, size)]

    def _encode(self, pieces: Sequence[Samples]) -> list[Frames]:
        """Encode pieces, those that one pass takes together."""
        encoded: dict[int, Frames] = {}
        budget = _PASS_FRAMES[self._device.type]
        for numbers in of_like_length([piece.size for piece in pieces], budget * self.format.frame_step):
            # What sees beyond a recording's end runs on each alone: padding would reach into it.
            embedded = [self._embed(pieces[number]) for number in numbers]
            for chosen in [numbers] if self._can_mask else _of_equal_length(numbers, embedded):
                own = [embedded[numbers.index(number)] for number in chosen]
                for number, values in zip(chosen, self._through_layers(own), strict=True):
                    count = self._frame_count(pieces[number]) if self._is_whisper else len(values)
                    encoded[number] = to_half(values[:count].cpu().numpy())
        return [encoded[number] for number in range(len(pieces))]

    def _frame_count(self, samples: Samples) -> int:
        """Frames of a piece that Whisper hears, with or without the silence after it."""
        return -(-(samples.size // HOP) * HOP // self.format.frame_step)

    def _embed(self, samples: Samples) -> Tensor:
        """What enters the layers, of one piece: [A, width]."""
        if self._is_whisper:
            fill = {"padding": "max_length"} if self._padded else {"padding": False, "truncation": False}
            heard = self._extract(samples, sampling_rate=SAMPLE_RATE, return_tensors="pt", **fill)["input_features"]
            signal = functional.gelu(self._encoder.conv1(heard.to(self._device)))
            signal = functional.gelu(self._encoder.conv2(signal))[0].t()
            positions: Tensor = self._encoder.embed_positions.weight[: len(signal)]
            return signal + positions
        heard = self._extract(samples, sampling_rate=SAMPLE_RATE, return_tensors="pt")["input_values"]
        convolved = self._encoder.feature_extractor(heard.to(self._device)).transpose(1, 2)
        projected = self._encoder.feature_projection(convolved)
        # HuBERT's has no second output.
        signals: Tensor = projected[0] if isinstance(projected, tuple) else projected
        return signals[0]

    def _through_layers(self, embedded: Sequence[Tensor]) -> Iterator[Tensor]:
        """The wanted hidden states of pieces side by side, [A, layers x width] of each."""
        lengths = [len(each) for each in embedded]
        signal = pad_sequence(list(embedded), batch_first=True)
        mask: Tensor | None = None
        if min(lengths) < max(lengths):
            ends = torch.tensor(lengths, device=self._device)
            mask = torch.arange(max(lengths), device=self._device) < ends[:, None]
        self._states = []
        if self._is_whisper:
            for layer in self._encoder.layers:
                signal = layer(signal, None if mask is None else mask[:, None, None])
            last = self._encoder.layer_norm(signal)
        else:
            last = self._encoder.encoder(signal, attention_mask=mask).last_hidden_state
        # The last hidden state is what leaves the encoder, not its last layer: some normalise it.
        states = [*self._states[:-1], last] if self._has_last else self._states
        self._states = []
        chosen = torch.cat([states[layer] for layer in self._layers], dim=2)
        yield from (values[:length] for values, length in zip(chosen, lengths, strict=True))

    def _drop_upper_layers(self) -> None:
        """Drop the layers above the highest that is wanted, and have the others leave their hidden states."""
        layers = layers_of(self._encoder)
        del layers[max(1, *self._layers) :]

        def keep(state: Any) -> None:
            # WavLM's layers also give the next one their bias of positions.
            self._states.append(state[0] if isinstance(state, tuple) else state)

        layers[0].register_forward_pre_hook(lambda layer, inputs: keep(inputs[0]))
        for layer in layers:
            layer.register_forward_hook(lambda layer, inputs, state: keep(state))


def load_encoder(checkpoint: str, configuration: Any) -> Any:
    """The encoder in float32, whatever its precision on disk, without a decoder's weights.

    Raises:
        OSError: the weights cannot be loaded, or some are missing.
    """
    from transformers import AutoModel
    from transformers.models.whisper import modeling_whisper

    hide_loading_bars()
    options: dict[str, Any] = {"config": configuration, "dtype": torch.float32, "output_loading_info": True}
    family: Any = AutoModel
    if configuration.model_type == "whisper":
        options["key_mapping"] = {r"^(model\.)?encoder\.": ""}
        # Otherwise each weight of the decoder is reported as superfluous.
        ignored = {"_keys_to_ignore_on_load_unexpected": [r"decoder\.", r"^proj_out\."]}
        family = type("EncoderAlone", (modeling_whisper.WhisperEncoder,), ignored)
    encoder, report = family.from_pretrained(checkpoint, **options)
    # Used in training only.
    if missing := sorted(set(report["missing_keys"]) - {"masked_spec_embed"}):
        raise OSError(f"weights are missing, such as {missing[0]}")
    return encoder


def layers_of(encoder: Any) -> nn.ModuleList:
    """The transformer layers of an encoder, lowest first."""
    layers: nn.ModuleList = encoder.layers if hasattr(encoder, "layers") else encoder.encoder.layers
    return layers


def _of_equal_length(numbers: Sequence[int], embedded: Sequence[Tensor]) -> list[list[int]]:
    """The same numbers, only those of equally many frames together."""
    groups: dict[int, list[int]] = {}
    for number, each in zip(numbers, embedded, strict=True):
        groups.setdefault(len(each), []).append(number)
    return list(groups.values())
