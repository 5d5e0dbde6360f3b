"""Hidden layers of a pretrained speech encoder, such as wav2vec 2.0, HuBERT, WavLM or the encoder of Whisper."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from fgcme.audio import HOP, SAMPLE_RATE, Samples, frame_count
from fgcme.errors import UserError


class SpeechEncoder:
    """One hidden layer of a frozen encoder, its frames repeated to one every 10 ms.

    Args:
        checkpoint: folder or hub name of the model and its feature extractor.
        layer: hidden state; 0 is the input of the first layer, -1 the output of the last.

    Raises:
        UserError: the checkpoint cannot be loaded, or has no such layer.
    """

    def __init__(self, checkpoint: str, layer: int = -1) -> None:
        import torch
        from transformers import AutoFeatureExtractor, AutoModel

        # Transformers does not type this class.
        extractors: Any = AutoFeatureExtractor
        try:
            self._extract = extractors.from_pretrained(checkpoint)
            model = AutoModel.from_pretrained(checkpoint)
        except (OSError, ValueError) as error:
            reason = str(error).strip().splitlines()[0]
            raise UserError(f"prepare.features.checkpoint {checkpoint}: no encoder loads ({reason})") from None
        layers = model.config.num_hidden_layers
        if not -layers - 1 <= layer <= layers:
            raise UserError(f"prepare.features.layer {layer}: {checkpoint} has 0 to {layers}, or -1 for the last")
        encoder: Any = model.get_encoder() if model.config.is_encoder_decoder else model
        self._encoder = encoder.eval().to("cuda" if torch.cuda.is_available() else "cpu")
        self._layer = layer
        # Whisper takes chunks of exactly 30 s, padded with silence; the others take the utterance as it is.
        self._chunk: int | None = getattr(self._extract, "n_samples", None)
        self._stride: float | None = getattr(self._encoder.config, "inputs_to_logits_ratio", None)
        if self._chunk:
            self._stride = self._chunk / self._encoder.config.max_source_positions

    def __call__(self, samples: Samples) -> npt.NDArray[np.float32]:
        """Encode samples ([samples] mono at 16 kHz, at least one window long) into features, [A, F] float32."""
        chunk = self._chunk or samples.size
        encoded = np.concatenate([self._encode(samples[at : at + chunk]) for at in range(0, samples.size, chunk)])
        stride = self._stride or samples.size / len(encoded)
        # Frame i starts at sample HOP * i: take the encoder's frame that holds this sample.
        source = (np.arange(frame_count(samples.size)) * HOP / stride).astype(int)
        return np.ascontiguousarray(encoded[np.minimum(source, len(encoded) - 1)], dtype=np.float32)

    def _encode(self, samples: Samples) -> npt.NDArray[np.float32]:
        import torch

        inputs = self._extract(samples, sampling_rate=SAMPLE_RATE, return_tensors="pt").to(self._encoder.device)
        with torch.inference_mode():
            hidden = self._encoder(**inputs, output_hidden_states=True).hidden_states[self._layer][0]
        if self._chunk and self._stride:
            hidden = hidden[: math.ceil(samples.size / self._stride)]
        return np.asarray(hidden.float().cpu().numpy())
