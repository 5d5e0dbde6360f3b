"""Alignment by Whisper's cross-attention: which frames its decoder looks at while it is told the text, in any language.

The method is that of word timestamps in OpenAI's `whisper/timing.py`: the attention of the heads that follow time, of
each frame over the tokens brought to mean 0 and deviation 1, median-filtered along time and averaged over the heads;
then the monotonic path through it with the largest sum (dynamic time warping).

Two things differ. Whisper hears the recording alone and not 30 s of mostly silence: its decoder's attention is as good
then (EMO-DB, 20 utterances: median error 39.2 against 39.0 ms, 59.7 against 59.5 % within 50 ms), at a twelfth of the
cost. And the path runs through the speech alone, found by its energy: the first word does not begin with the recording.
"""

from __future__ import annotations

from itertools import accumulate
from typing import Any

import numpy as np
import numpy.typing as npt

from fgcme.alignment.contract import Alignment, AlignmentError, clip_spans
from fgcme.alignment.endpoints import detect_endpoints
from fgcme.alignment.uniform import TOO_LONG, TOO_MUCH_TEXT, spoken_words, spread_words
from fgcme.audio import HOP, SAMPLE_RATE, Samples, frame_count
from fgcme.errors import UserError
from fgcme.kernels import keep_few_kernels
from fgcme.packages import hide_loading_bars

# Frames of attention that the median is taken over, as published.
_MEDIAN = 7
# Frames of 10 ms that the attention to a word's first token comes before the word, and by which speech begins before
# and ends after it is loud: chosen on five speakers of EMO-DB, measured on the others (`benchmarks/alignment.py`).
_LEAD, _MARGIN = 3, 2

Weights = npt.NDArray[np.floating[Any]]


class WhisperAligner:
    """Aligns the tokens of the words; a text or recording that the decoder cannot take is spread uniformly.

    The score is the mean log-probability, in nats, of the tokens of the words after those before them: 0 is certain.

    Args:
        checkpoint: folder or hub name of the model, its tokeniser and its feature extractor.
        language: of the texts, as Whisper names it, such as `de`; without meaning for a model of English alone.

    Raises:
        UserError: they cannot be loaded, or the model does not know the language.
    """

    def __init__(self, checkpoint: str, language: str = "en") -> None:
        import torch
        from transformers import AutoFeatureExtractor, AutoTokenizer, WhisperForConditionalGeneration

        hide_loading_bars()
        keep_few_kernels(1)
        # Transformers leaves these classes without types.
        extractors: Any = AutoFeatureExtractor
        models: Any = WhisperForConditionalGeneration
        try:
            self._extract = extractors.from_pretrained(checkpoint)
            self._tokenise = AutoTokenizer.from_pretrained(checkpoint)
            # Other implementations of attention do not give its weights.
            model = models.from_pretrained(checkpoint, dtype=torch.float32, attn_implementation="eager")
        except (OSError, ValueError) as error:
            reason = str(error).strip().splitlines()[0]
            raise UserError(
                f"prepare.alignment.checkpoint {checkpoint}: no Whisper can be loaded from there ({reason})"
            ) from None
        self._model = model.eval().requires_grad_(False).to("cuda" if torch.cuda.is_available() else "cpu")
        self._prompt = _prompt(self._model.generation_config, checkpoint, language)
        self._heads = alignment_heads(self._model.generation_config, self._model.config)
        # Samples from one frame of the encoder to the next.
        self._step = self._extract.n_samples // self._model.config.max_source_positions

    def align(self, utterance_id: str, samples: Samples, text: str) -> Alignment:
        """Align a text by Whisper's attention; see `Aligner.align`.

        Args:
            utterance_id: not used.
            samples: [samples] mono at 16 kHz; longer than 30 s, the words are spread.
            text: what is said.

        Raises:
            AlignmentError: `no_words`, or `oov` for a word without a token.
        """
        words = spoken_words(text)
        tokens = [self._tokenise(f" {word}", add_special_tokens=False).input_ids for word in words]
        if wordless := [word for word, own in zip(words, tokens, strict=True) if not own]:
            raise AlignmentError("oov", f"the word {wordless[0]!r} has no token of this Whisper")
        counts = [len(own) for own in tokens]
        # The start of the prompt, the tokens, and the end of the text.
        length = len(self._prompt) + sum(counts) + 1
        if samples.size > self._extract.n_samples:
            return spread_words(words, samples, TOO_LONG)
        if length > self._model.config.max_target_positions:
            return spread_words(words, samples, TOO_MUCH_TEXT)
        first, last = detect_endpoints(samples)
        first, last = max(0, first - _MARGIN), min(frame_count(samples.size), last + _MARGIN)
        attention, score = self._attend(samples, [token for own in tokens for token in own])
        ratio = self._step // HOP
        spoken = attention[:, first // ratio : -(-last // ratio)]
        if spoken.shape[1] < len(spoken):
            return spread_words(words, samples, TOO_MUCH_TEXT)
        starts = first // ratio + first_frames(spoken)
        of_words = [int(starts[token]) * ratio + _LEAD for token in accumulate(counts[:-1], initial=0)]
        edges = [first, *(min(max(edge, first), last) for edge in of_words[1:]), last]
        begin, end = clip_spans(edges[:-1], edges[1:], frame_count(samples.size))
        return Alignment(words, begin, end, method="whisper", score=score)

    def _attend(self, samples: Samples, tokens: list[int]) -> tuple[Weights, float]:
        """Mean attention of the aligning heads while each token is awaited, [tokens, frames], and the tokens' score."""
        import torch

        sequence = torch.tensor([[*self._prompt, *tokens]], device=self._model.device)
        with torch.inference_mode():
            output = self._model(
                encoder_outputs=(self._encode(samples),),
                decoder_input_ids=sequence,
                output_attentions=True,
                use_cache=False,
            )
            # The decoder awaits a token at the position before it.
            awaited = slice(len(self._prompt) - 1, -1)
            predicted = output.logits[0, awaited].log_softmax(-1)
            score = predicted.gather(1, sequence[0, len(self._prompt) :, None]).mean().item()
            heads = torch.stack([output.cross_attentions[layer][0, head] for layer, head in self._heads]).cpu().numpy()
        deviation, mean = heads.std(axis=1, keepdims=True), heads.mean(axis=1, keepdims=True)
        return median_filtered((heads - mean) / np.maximum(deviation, 1e-9)).mean(axis=0)[awaited], score

    def _encode(self, samples: Samples) -> Any:
        """What the encoder makes of the recording alone, [1, frames, width]; its table of positions is cut to that."""
        from torch.nn import functional

        encoder = self._model.model.encoder
        heard = self._extract(samples, sampling_rate=SAMPLE_RATE, return_tensors="pt", padding=False, truncation=False)[
            "input_features"
        ]
        signal = functional.gelu(encoder.conv1(heard.to(self._model.device)))
        signal = functional.gelu(encoder.conv2(signal)).transpose(1, 2)
        signal = signal + encoder.embed_positions.weight[: signal.shape[1]]
        for layer in encoder.layers:
            signal = layer(signal, None)
        return encoder.layer_norm(signal)


def alignment_heads(generation: Any, config: Any) -> list[tuple[int, int]]:
    """The heads of a Whisper's cross-attention that follow time, as layer and head.

    Args:
        generation: the model's generation configuration, which may name them.
        config: the model's configuration. Where none are named, all heads of the upper half of the decoder's layers
            count, as in OpenAI's code.
    """
    named = getattr(generation, "alignment_heads", None)
    if named:
        return [(layer, head) for layer, head in named]
    layers, heads = config.decoder_layers, config.decoder_attention_heads
    return [(layer, head) for layer in range(layers // 2, layers) for head in range(heads)]


def median_filtered(weights: Weights, width: int = _MEDIAN) -> Weights:
    """The running median along the last axis, mirrored at its ends; as it is where it is no longer than half the width.

    >>> median_filtered(np.array([[0.0, 0.0, 9.0, 0.0, 1.0, 1.0, 1.0]]), width=3)
    array([[0., 0., 0., 1., 1., 1., 1.]])
    """
    reach = width // 2
    if weights.shape[-1] <= reach:
        return weights
    padded = np.pad(weights, [(0, 0)] * (weights.ndim - 1) + [(reach, reach)], mode="reflect")
    return np.asarray(np.median(np.lib.stride_tricks.sliding_window_view(padded, width, axis=-1), axis=-1))


def first_frames(weights: Weights) -> npt.NDArray[np.int64]:
    """The first frame of each token on the path with the largest sum, from the first token and frame to the last ones.

    Each step goes to the next frame, of the same token or the next one.

    Args:
        weights: [tokens, frames], at least as many frames as tokens.

    >>> first_frames(np.array([[5, 4, 0, 0], [0, 0, 0, 0], [0, 0, 1, 7]])).tolist()
    [0, 2, 3]
    """
    tokens, frames = weights.shape
    best = np.full(tokens, -np.inf)
    best[0] = weights[0, 0]
    advanced = np.zeros((frames, tokens), np.bool_)
    for frame in range(1, frames):
        before = np.concatenate([[-np.inf], best[:-1]])
        advanced[frame] = before > best
        best = np.maximum(before, best) + weights[:, frame]
    starts = np.zeros(tokens, np.int64)
    token = tokens - 1
    for frame in range(frames - 1, 0, -1):
        if advanced[frame, token]:
            starts[token] = frame
            token -= 1
    return starts


def _prompt(generation: Any, checkpoint: str, language: str) -> list[int]:
    """The tokens that tell Whisper to transcribe a language, without times.

    Raises:
        UserError: the model does not know the language, or does not say how it is told of times.
    """
    start, end = (getattr(generation, f"{name}_token_id", None) for name in ("decoder_start", "no_timestamps"))
    if start is None or end is None:
        raise UserError(
            f"prepare.alignment.checkpoint {checkpoint}: its generation_config.json names no no_timestamps_token_id"
        )
    languages = getattr(generation, "lang_to_id", None)
    if not languages:
        return [start, end]
    if f"<|{language}|>" not in languages:
        known = ", ".join(sorted(name.strip("<|>") for name in languages))
        raise UserError(f"prepare.alignment.language {language}: {checkpoint} knows {known}")
    return [start, languages[f"<|{language}|>"], generation.task_to_id["transcribe"], end]
