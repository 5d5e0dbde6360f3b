"""The last layers of a pretrained speech encoder, which a model holds and trains.

What is prepared is what enters them: the hidden state below, at which the rest of the encoder stays frozen. Frames of
a batch are whole recordings then, since the layers attend from each frame to all others. Here alone they are padded to
the longest recording; padding is masked, so it changes no result.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence

from fgcme.errors import UserError
from fgcme.features.pretrained import refusal
from fgcme.features.speech_encoder import describe_frames, layers_of, load_encoder

# WavLM's first layer makes a bias of positions for all layers; the first that is held takes its table along.
_POSITIONS = "attention.rel_attn_embed.weight"
# How much LoRA's product counts, by its rank: as the authors' code scales it for language models.
_LORA_SCALE = 2


@dataclass(frozen=True)
class EncoderTop:
    """The last layers of a speech encoder.

    Attributes:
        configuration: of the whole encoder, as `transformers` writes it.
        count: how many layers, N.
        states: the hidden states that lie side by side in a prepared frame, counted from 0.
        weights: of the layers, by their names in `TrainedLayers`; None where they are loaded later.
    """

    configuration: dict[str, Any]
    count: int
    states: Sequence[int]
    weights: Mapping[str, Tensor] | None = field(default=None, compare=False, repr=False)

    @property
    def description(self) -> dict[str, Any]:
        """All but the weights, ready for JSON."""
        return {"configuration": self.configuration, "count": self.count, "states": list(self.states)}

    @property
    def entered(self) -> int:
        """The hidden state that enters the layers."""
        return _depth(self.configuration) - self.count

    @property
    def kept(self) -> list[int]:
        """Places in a prepared frame of the hidden states that are not trained: those up to the one that enters."""
        return [place for place, state in enumerate(self.states) if state <= self.entered]

    @property
    def layers(self) -> int:
        """How many hidden states lie side by side in a frame afterwards: the kept ones, and one of each layer."""
        return len(self.kept) + self.count


def describe_top(checkpoint: str, layers: Sequence[int] | Literal["all"], count: int) -> EncoderTop:
    """The last layers of an encoder, without their weights.

    Args:
        checkpoint: folder or hub name.
        layers: the hidden states that are prepared.
        count: how many layers, at least one.

    Raises:
        UserError: the encoder is not known, or has fewer layers; or what enters these is not prepared.
    """
    return _describe(checkpoint, layers, count)[0]


def _describe(checkpoint: str, layers: Sequence[int] | Literal["all"], count: int) -> tuple[EncoderTop, Any]:
    """The last layers of an encoder without their weights, and the configuration of the whole."""
    configuration, _, states = describe_frames(checkpoint, layers)
    content = json.loads(configuration.to_json_string(use_diff=False))
    # Names that begin so say where the checkpoint lies.
    content = {name: value for name, value in content.items() if not name.startswith("_")}
    depth = _depth(content)
    if count > depth:
        raise UserError(f"model.acoustic.trained_layers {count}: {checkpoint} has {depth} layers")
    top = EncoderTop(content, count, states)
    if top.entered not in states:
        raise UserError(
            f"model.acoustic.trained_layers {count}: hidden state {top.entered} of {checkpoint} enters its last "
            f"{count} of {depth} layers, and prepare.features.layers {list(states)} lack it: set "
            f"prepare.features.layers=[{top.entered}], or add {top.entered} to them, and run `fgcme prepare`"
        )
    return top, configuration


def load_top(checkpoint: str, layers: Sequence[int] | Literal["all"], count: int) -> EncoderTop:
    """The last layers of an encoder with their pretrained weights.

    Args:
        checkpoint: folder or hub name.
        layers: the hidden states that are prepared.
        count: how many layers, at least one.

    Raises:
        UserError: see `describe_top`; or the checkpoint cannot be loaded.
    """
    top, configuration = _describe(checkpoint, layers, count)
    try:
        encoder = load_encoder(checkpoint, configuration)
    except (OSError, ValueError) as error:
        raise refusal("prepare.features.checkpoint", checkpoint, error) from None
    every = layers_of(encoder)
    weights = nn.ModuleDict({"layers": every[-count:], "normalise": _final_norm(encoder)}).state_dict()
    positions = every[0].state_dict().get(_POSITIONS)
    if positions is not None:
        weights[f"layers.0.{_POSITIONS}"] = positions
    return replace(top, weights=weights)


class TrainedLayers(nn.Module):
    """From prepared frames to the hidden states that are not trained and those that the held layers give.

    States above the one that enters the layers give way to the layers' own, where both were prepared. The last one is
    what leaves the encoder: some encoders normalise it. A recording that was heard in pieces, as Whisper hears one
    longer than 30 s, is attended to as a whole.

    With LoRA (Hu et al., "LoRA: low-rank adaptation of large language models", ICLR 2022) only a product of two thin
    matrices beside each linear map is trained (beside all of them: Dettmers et al., "QLoRA", NeurIPS 2023). In WavLM
    these are the maps of the feed-forward part: its attention takes the weights of its maps, and not their output.

    Args:
        top: the layers.
        lora_rank: values between the two matrices; 0 trains the layers whole.
    """

    def __init__(self, top: EncoderTop, lora_rank: int = 0) -> None:
        super().__init__()
        # Its weights are the module's own from now on.
        self.top = replace(top, weights=None)
        encoder = _untrained(top)
        self.layers, self.normalise = layers_of(encoder), _final_norm(encoder)
        if top.weights is not None:
            self.load_state_dict(dict(top.weights))
        if lora_rank:
            self._add_lora(lora_rank)

    def forward(self, frames: Tensor, counts: Tensor) -> Tensor:
        """Run the layers on whole recordings, [N, states x F] -> [N, top.layers x F].

        Args:
            frames: prepared frames of recordings, end to end, and perhaps others after them.
            counts: [B] frames of each recording, on the CPU.
        """
        states = frames.view(len(frames), len(self.top.states), -1)
        lengths, total = [count for count in counts.tolist() if count], int(counts.sum())
        entering = states[:total, self.top.states.index(self.top.entered)]
        # A worker whose utterances all lack their sound has gradients of zero: the others wait for them.
        rows = torch.split(entering, lengths) if lengths else [states.new_zeros(1, states.shape[2])]
        leaving = torch.cat(self._run(pad_sequence(list(rows), batch_first=True), [len(row) for row in rows]), dim=2)
        packed = torch.cat([row[:length] for row, length in zip(leaving, lengths or [0], strict=True)])
        own = functional.pad(packed.to(frames.dtype), (0, 0, 0, len(frames) - total))
        return torch.cat([states[:, self.top.kept].flatten(1), own], dim=1)

    def _run(self, signal: Tensor, lengths: Sequence[int]) -> list[Tensor]:
        """The hidden states after each layer, [B, longest, F]."""
        mask: Tensor | None = None
        if min(lengths) < max(lengths):
            ends = torch.tensor(lengths).to(signal.device, non_blocking=True)
            mask = torch.arange(max(lengths), device=signal.device) < ends[:, None]
        family = self.top.configuration["model_type"]
        given: dict[str, Any] = {}
        if mask is not None and family != "wavlm":
            mask = mask[:, None, None]
        states = []
        for layer in self.layers:
            state = layer(signal, attention_mask=mask, **given)
            if family == "wavlm":
                state, given["position_bias"] = state
            signal = state
            states.append(signal)
        return [*states[:-1], self.normalise(states[-1])]

    def _add_lora(self, rank: int) -> None:
        from peft import LoraConfig, inject_adapter_in_model

        reads_weights = "attention." if self.top.configuration["model_type"] == "wavlm" else None
        maps = [
            name
            for name, module in self.layers.named_modules()
            if isinstance(module, nn.Linear) and not (reads_weights and reads_weights in name)
        ]
        self.requires_grad_(False)
        inject_adapter_in_model(LoraConfig(r=rank, lora_alpha=_LORA_SCALE * rank, target_modules=maps), self.layers)


def _depth(configuration: Mapping[str, Any]) -> int:
    """How many layers an encoder has."""
    return int(configuration["encoder_layers" if configuration["model_type"] == "whisper" else "num_hidden_layers"])


def _untrained(top: EncoderTop) -> Any:
    """An encoder that has as many layers as are held, with random weights."""
    from transformers import AutoConfig, AutoModel
    from transformers.models.whisper.modeling_whisper import WhisperEncoder

    content = copy.deepcopy(top.configuration)
    is_whisper = content["model_type"] == "whisper"
    content["encoder_layers" if is_whisper else "num_hidden_layers"] = top.count
    configuration = AutoConfig.for_model(**content)
    families: Any = WhisperEncoder if is_whisper else AutoModel
    make = families._from_config if is_whisper else families.from_config
    return make(configuration, dtype=torch.float32)


def _final_norm(encoder: Any) -> nn.Module:
    """What normalises the last layer's state before it leaves the encoder."""
    if encoder.config.model_type == "whisper":
        norm: nn.Module = encoder.layer_norm
    elif getattr(encoder.config, "do_stable_layer_norm", False):
        norm = encoder.encoder.layer_norm
    else:
        norm = nn.Identity()
    return norm
