"""Recognition with a pretrained model of `transformers`: one that generates text, or one of characters by CTC."""

from __future__ import annotations

import copy
import logging
import threading
from pathlib import Path
from typing import Any

import torch

from fgcme.audio import SAMPLE_RATE, Samples
from fgcme.errors import UserError
from fgcme.kernels import keep_few_kernels
from fgcme.packages import hide_loading_bars
from fgcme.recognition.contract import Recogniser

# Pieces of text that nobody says in a second, and a few more: a model that repeats itself is stopped there.
_MOST_PER_SECOND, _MORE = 12, 16
# Whisper hears so much at once; a longer recording goes through it from one pause that it hears to the next.
_WHISPER_SECONDS = 30


def load_pretrained(checkpoint: str, language: str) -> Recogniser:
    """A recogniser from a folder or the hub.

    Args:
        checkpoint: folder or hub name of the model, its tokeniser and its feature extractor.
        language: that Whisper is told.

    Raises:
        UserError: they cannot be loaded, are of a model that recognises no speech, or it does not know the language.
    """
    from transformers import AutoConfig, AutoModelForCTC, AutoModelForSpeechSeq2Seq, AutoProcessor
    from transformers.models.auto import modeling_auto

    hide_loading_bars()
    keep_few_kernels(1)
    # Remarks on how the model's own settings are passed say nothing of the answers.
    logging.getLogger("transformers.generation.utils").setLevel(logging.ERROR)
    # Transformers leaves these classes without types.
    processors: Any = AutoProcessor
    try:
        family = AutoConfig.from_pretrained(checkpoint).model_type
        generates = family in modeling_auto.MODEL_FOR_SPEECH_SEQ_2_SEQ_MAPPING_NAMES
        if not generates and family not in modeling_auto.MODEL_FOR_CTC_MAPPING_NAMES:
            raise ValueError(f"its family, {family}, recognises no speech")
        loader: Any = AutoModelForSpeechSeq2Seq if generates else AutoModelForCTC
        model, report = loader.from_pretrained(checkpoint, dtype=torch.float32, output_loading_info=True)
        if report["missing_keys"]:
            raise ValueError(f"weights are missing, such as {min(report['missing_keys'])}")
        processor = processors.from_pretrained(checkpoint)
    except (OSError, ValueError, TypeError) as error:
        reason = str(error).strip().splitlines()[0]
        raise UserError(f"--transcribe {checkpoint}: no speech recogniser loads from there ({reason})") from None
    # A path of this machine says nothing to those who read an answer.
    name = Path(checkpoint).resolve().name if Path(checkpoint).is_dir() else checkpoint
    model.eval().requires_grad_(False).to("cuda" if torch.cuda.is_available() else "cpu")
    if not generates:
        return CtcRecogniser(name, model, processor)
    return GeneratingRecogniser(name, model, processor, _prompt(checkpoint, model, language))


def _prompt(checkpoint: str, model: Any, language: str) -> dict[str, str]:
    """What a Whisper of many languages is told: without it, it guesses the language, and may repeat itself.

    Raises:
        UserError: it does not know the language.
    """
    settings = model.generation_config
    if model.config.model_type != "whisper" or not getattr(settings, "is_multilingual", False):
        return {}
    if f"<|{language}|>" not in settings.lang_to_id:
        known = ", ".join(sorted(name.strip("<|>") for name in settings.lang_to_id))
        raise UserError(f"--language {language}: {checkpoint} does not know it; it knows {known}")
    return {"language": language, "task": "transcribe"}


class GeneratingRecogniser:
    """Takes the likeliest piece of text, one after the other, with no chance in it.

    Args:
        name: see `Recogniser`.
        model: generates text from speech.
        processor: of the model.
        prompt: what its `generate` is told besides.
    """

    def __init__(self, name: str, model: Any, processor: Any, prompt: dict[str, str]) -> None:
        self.name = name
        self._model, self._processor, self._prompt = model, processor, prompt
        self._settings = copy.deepcopy(model.generation_config)
        self._settings.update(do_sample=False, num_beams=1, max_length=None)
        self._lock = threading.Lock()

    @torch.inference_mode()
    def recognise(self, samples: Samples) -> str:
        """See `Recogniser.recognise`."""
        seconds = samples.size / SAMPLE_RATE
        is_whisper = self._model.config.model_type == "whisper"
        options: dict[str, Any] = {"return_attention_mask": True, "return_tensors": "pt"}
        told: dict[str, Any] = dict(self._prompt)
        if is_whisper and seconds > _WHISPER_SECONDS:
            options |= {"truncation": False, "padding": "longest"}
            told["return_timestamps"] = True
            seconds = _WHISPER_SECONDS
        heard = self._processor(samples, sampling_rate=SAMPLE_RATE, **options).to(self._model.device)
        told["max_new_tokens"] = int(_MORE + _MOST_PER_SECOND * seconds)
        # What generates keeps its state in the model.
        with self._lock:
            pieces = self._model.generate(**heard, generation_config=copy.deepcopy(self._settings), **told)
        return str(self._processor.batch_decode(pieces, skip_special_tokens=True)[0]).strip()


class CtcRecogniser:
    """Takes the likeliest character of each frame.

    Args:
        name: see `Recogniser`.
        model: gives the characters of each frame.
        processor: of the model.
    """

    def __init__(self, name: str, model: Any, processor: Any) -> None:
        self.name = name
        self._model, self._processor = model, processor

    @torch.inference_mode()
    def recognise(self, samples: Samples) -> str:
        """See `Recogniser.recognise`."""
        heard = self._processor(samples, sampling_rate=SAMPLE_RATE, return_tensors="pt").to(self._model.device)
        characters = self._model(**heard).logits.argmax(-1)
        return str(self._processor.batch_decode(characters)[0]).strip()
