"""Forced alignment with a pretrained CTC model of characters, such as a wav2vec 2.0 fine-tuned to recognise speech."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from fgcme.alignment.contract import Alignment, AlignmentError, clip_spans
from fgcme.alignment.uniform import TOO_MUCH_TEXT, spoken_words, spread_words
from fgcme.audio import HOP, SAMPLE_RATE, Samples, frame_count
from fgcme.errors import UserError
from fgcme.kernels import keep_few_kernels
from fgcme.packages import hide_loading_bars


class CtcAligner:
    """Aligns the characters of the words with the model's emissions; a text longer than those is spread uniformly.

    The alignment is the likeliest path through the CTC lattice (torchaudio's `forced_align`).

    The score is the mean log-probability, in nats, of the characters where they were aligned: 0 is certain.

    Args:
        checkpoint: folder or hub name of the model, its tokeniser and its feature extractor.

    Raises:
        UserError: they cannot be loaded.
    """

    def __init__(self, checkpoint: str) -> None:
        import torch
        from transformers import AutoFeatureExtractor, AutoModelForCTC, AutoTokenizer

        hide_loading_bars()
        keep_few_kernels(1)
        # Transformers leaves this class without types.
        extractors: Any = AutoFeatureExtractor
        try:
            self._extract = extractors.from_pretrained(checkpoint)
            tokeniser = AutoTokenizer.from_pretrained(checkpoint)
            self._model = AutoModelForCTC.from_pretrained(checkpoint, dtype=torch.float32).eval()
        except (OSError, ValueError) as error:
            reason = str(error).strip().splitlines()[0]
            raise UserError(
                f"prepare.alignment.checkpoint {checkpoint}: no CTC model can be loaded from there ({reason})"
            ) from None
        self._model.to("cuda" if torch.cuda.is_available() else "cpu")
        self._checkpoint = checkpoint
        self._vocabulary: dict[str, int] = tokeniser.get_vocab()
        self._delimiter = self._vocabulary.get(getattr(tokeniser, "word_delimiter_token", None) or "|")
        self._blank: int = self._model.config.pad_token_id

    def align(self, utterance_id: str, samples: Samples, text: str) -> Alignment:
        """Align a text by its characters; see `Aligner.align`.

        Args:
            utterance_id: not used.
            samples: [samples] mono at 16 kHz.
            text: what is said.

        Raises:
            AlignmentError: `no_words`, or `oov` for a character that the model does not know.
        """
        import torch
        from torchaudio.functional import forced_align, merge_tokens

        words = spoken_words(text)
        targets, owners = self._targets(words)
        inputs = self._extract(samples, sampling_rate=SAMPLE_RATE, return_tensors="pt").to(self._model.device)
        with torch.inference_mode():
            emissions = self._model(**inputs).logits.float().log_softmax(-1).cpu()
        repeats = sum(first == second for first, second in pairwise(targets))
        if emissions.shape[1] < len(targets) + repeats:
            return spread_words(words, samples, TOO_MUCH_TEXT)
        path, scores = forced_align(emissions, torch.tensor([targets], dtype=torch.int32), blank=self._blank)
        spans = merge_tokens(path[0], scores[0], blank=self._blank)
        # Frames of 10 ms per emission.
        hop = getattr(self._model.config, "inputs_to_logits_ratio", samples.size / emissions.shape[1]) / HOP
        begin, end, probabilities = [-1] * len(words), [0] * len(words), []
        for span, owner in zip(spans, owners, strict=True):
            if owner is None:
                continue
            if begin[owner] < 0:
                begin[owner] = round(span.start * hop)
            end[owner] = round(span.end * hop)
            probabilities.append(span.score)
        begin, end = clip_spans(begin, end, frame_count(samples.size))
        return Alignment(words, begin, end, method="ctc", score=sum(probabilities) / len(probabilities))

    def _targets(self, words: list[str]) -> tuple[list[int], list[int | None]]:
        """Token of each character, and the index of its word; None for a delimiter between words."""
        targets: list[int] = []
        owners: list[int | None] = []
        for index, word in enumerate(words):
            tokens = [self._token(character, word) for character in word if self._is_written(character)]
            if not tokens:
                raise self._oov(word)
            if index and self._delimiter is not None:
                targets.append(self._delimiter)
                owners.append(None)
            targets += tokens
            owners += [index] * len(tokens)
        return targets, owners

    def _is_written(self, character: str) -> bool:
        # An apostrophe has no sound, and many models do not write it.
        return character != "'" or character in self._vocabulary

    def _token(self, character: str, word: str) -> int:
        for form in (character, character.upper()):
            if form in self._vocabulary:
                return self._vocabulary[form]
        raise self._oov(word)

    def _oov(self, word: str) -> AlignmentError:
        return AlignmentError("oov", f"the word {word!r} has a character that {self._checkpoint} does not know")
