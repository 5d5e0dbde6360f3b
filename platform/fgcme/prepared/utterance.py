"""From the utterances of a corpus to rows of the prepared corpus: read, align, extract features."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from fgcme import audio
from fgcme.alignment.contract import Aligner, Alignment
from fgcme.alignment.endpoints import detect_endpoints
from fgcme.alignment.quality import duration_deviation, signal_to_noise
from fgcme.audio import HOP, Samples
from fgcme.corpora.contract import Rejection, Utterance
from fgcme.errors import DataError
from fgcme.features.contract import FrameArray, FrameExtractor, Frames, WordEncoder, WordFeatures

Features = TypeVar("Features", Frames, WordFeatures)

TOO_MANY_WORDS = "with more words than frames, so that some words have none"

# Samples of the recordings whose features are extracted together, about two minutes.
_AT_ONCE = 120 * audio.SAMPLE_RATE


class Copy(NamedTuple):
    """A recording at another speed, see `fgcme.audio.at_speed`: how many times as fast, and its frames, [A, F]."""

    speed: float
    frames: FrameArray


class AnalysedSpeech(NamedTuple):
    """The words of an utterance, their spans, and the features of its frames.

    Attributes:
        words: [W] normalised words; none while it is not known what is said.
        begin, end: [W] int32, frames of 10 ms of each word, end exclusive.
        frames: [A, F] features as they are stored, float32 or float16.
        alignment: the method that really made the spans; `none` without words.
        alignment_score: see `fgcme.alignment.Alignment`.
        speech: first frame of 10 ms of the speech and the frame after its last, by its energy and not by the alignment;
            None where an older version prepared it.
        frame_step: samples from one of `frames` to the next.
        copies: the utterance at other speeds; its spans are not theirs, see `fgcme.audio.spans_at`.
        word_features: [W, D] what a text encoder says of each word, as it is stored; None without one.
    """

    words: list[str]
    begin: npt.NDArray[np.int32]
    end: npt.NDArray[np.int32]
    frames: FrameArray
    alignment: str
    alignment_score: float
    speech: tuple[int, int] | None
    frame_step: int = HOP
    copies: tuple[Copy, ...] = ()
    word_features: FrameArray | None = None


class FeatureError(DataError):
    """Features that no model can be trained on. Its reason is `not_finite`."""

    stage = "feature"


class _Aligned(NamedTuple):
    """An utterance whose features are still to be extracted."""

    utterance: Utterance
    source_hash: str
    digest: str
    recordings: list[Samples]
    oddities: tuple[str, ...]
    alignment: Alignment
    speech: tuple[int, int] | None


def hear(samples: Samples, extractor: FrameExtractor, speeds: Sequence[float] = ()) -> AnalysedSpeech:
    """Extract the features of a recording's frames, and find its speech; what is said in it is not known yet.

    Args:
        samples: [samples] mono at 16 kHz.
        extractor: see `fgcme.features.build_extractor`.
        speeds: of the copies.

    Raises:
        AudioError: the samples, or those of a copy, are empty, silent or too short.
        FeatureError: some features are not finite.
    """
    audio.check(samples)
    frames, *others = map(_require_finite, extractor(_recordings(samples, speeds)))
    nowhere = np.zeros(0, np.int32)
    return AnalysedSpeech(
        words=[],
        begin=nowhere,
        end=nowhere,
        frames=frames.values,
        alignment="none",
        alignment_score=math.nan,
        speech=detect_endpoints(samples),
        frame_step=extractor.format.frame_step,
        copies=tuple(Copy(speed, other.values) for speed, other in zip(speeds, others, strict=True)),
    )


def place_words(
    heard: AnalysedSpeech, samples: Samples, text: str, aligner: Aligner, word_encoder: WordEncoder | None = None
) -> AnalysedSpeech:
    """Align a text with its speech, and extract the features of its words.

    Args:
        heard: what `hear` makes of the samples; one may ask of several texts what they would be in the same recording.
        samples: [samples] mono at 16 kHz.
        text: what is said.
        aligner: see `fgcme.alignment.build`.
        word_encoder: see `fgcme.features.build_word_encoder`.

    Raises:
        AlignmentError: the text has no words, or they cannot be aligned.
        FeatureError: some features are not finite.
    """
    alignment = aligner.align("", samples, text)
    return heard._replace(
        words=alignment.words,
        begin=np.asarray(alignment.begin, dtype=np.int32),
        end=np.asarray(alignment.end, dtype=np.int32),
        alignment=alignment.method,
        alignment_score=alignment.score,
        word_features=word_features(alignment.words, word_encoder),
    )


def word_features(words: list[str], word_encoder: WordEncoder | None) -> FrameArray | None:
    """What a text encoder says of the words of one utterance, [W, D]; None without one.

    Raises:
        FeatureError: some values are not finite.
    """
    return None if word_encoder is None else _require_finite(word_encoder([words])[0]).values


def prepare_utterances(
    utterances: Iterable[tuple[Utterance, str]],
    root: Path,
    aligner: Aligner,
    extractor: FrameExtractor,
    speeds: Sequence[float] = (),
    word_encoder: WordEncoder | None = None,
) -> Iterator[dict[str, Any] | Rejection]:
    """Prepare utterances; whatever is wrong with the data of one becomes a rejection with the reason.

    Args:
        utterances: as the corpus lists them, each with the hash of what its row is made from, which the row gets.
        root: folder that `utterance.audio` is relative to.
        aligner: see `fgcme.alignment.build`.
        extractor: see `fgcme.features.build_extractor`.
        speeds: of the copies that each has. An utterance is prepared with all of them or not at all.
        word_encoder: see `fgcme.features.build_word_encoder`.

    Returns:
        For each, in their order, a row of the prepared corpus, its [A, F] frames flattened row by row, or the
        rejection.
    """
    waiting: list[_Aligned | Rejection] = []
    samples = 0
    for utterance, source_hash in utterances:
        aligned = _align(utterance, source_hash, root, aligner, speeds)
        waiting.append(aligned)
        samples += 0 if isinstance(aligned, Rejection) else sum(each.size for each in aligned.recordings)
        if samples >= _AT_ONCE:
            yield from _extract(waiting, extractor, word_encoder)
            waiting, samples = [], 0
    yield from _extract(waiting, extractor, word_encoder)


def _align(
    utterance: Utterance, source_hash: str, root: Path, aligner: Aligner, speeds: Sequence[float]
) -> _Aligned | Rejection:
    path = root / utterance.audio
    try:
        samples, oddities = audio.record(path, utterance.start, utterance.end)
        digest = audio.sha256(path)
        alignment = aligner.align(utterance.id, samples, utterance.text)
        if len(alignment.words) > audio.frame_count(samples.size):
            oddities = (*oddities, TOO_MANY_WORDS)
        return _Aligned(
            utterance,
            source_hash,
            digest,
            _recordings(samples, speeds),
            oddities,
            alignment,
            detect_endpoints(samples),
        )
    except DataError as error:
        return _rejection(utterance, error)


def _extract(
    waiting: list[_Aligned | Rejection], extractor: FrameExtractor, word_encoder: WordEncoder | None
) -> Iterator[dict[str, Any] | Rejection]:
    """Rows of aligned utterances, whose features are extracted together; rejections stay."""
    aligned = [each for each in waiting if not isinstance(each, Rejection)]
    frames = iter(extractor([samples for each in aligned for samples in each.recordings]))
    words = iter(word_encoder([each.alignment.words for each in aligned]) if word_encoder is not None else ())
    for each in waiting:
        if isinstance(each, Rejection):
            yield each
            continue
        own, of_words = [next(frames) for _ in each.recordings], next(words, None)
        try:
            yield _row(each, own) if of_words is None else _row(each, own) | _word_columns(own, of_words)
        except DataError as error:
            yield _rejection(each.utterance, error)


def _recordings(samples: Samples, speeds: Sequence[float]) -> list[Samples]:
    """A recording, then its copies."""
    return [samples, *(audio.at_speed(samples, speed) for speed in speeds)]


def _require_finite(features: Features) -> Features:
    if not np.isfinite(features.values).all():
        raise FeatureError("not_finite", "the features hold values that are not numbers")
    return features


def _rejection(utterance: Utterance, error: DataError) -> Rejection:
    return Rejection(utterance.id, utterance.audio, error.stage, error.reason, error.message)


def _row(aligned: _Aligned, extracted: Sequence[Frames]) -> dict[str, Any]:
    """The row of an utterance, from the frames of its recording and of its copies.

    Raises:
        FeatureError: some of them are not finite.
    """
    utterance, alignment = aligned.utterance, aligned.alignment
    frames, *copies = (_require_finite(each).values for each in extracted)
    row = {
        "id": utterance.id,
        "audio": utterance.audio,
        "audio_sha256": aligned.digest,
        "duration": aligned.recordings[0].size / audio.SAMPLE_RATE,
        "start": utterance.start or 0.0,
        "speaker": utterance.speaker,
        "session": utterance.session,
        "dialog": utterance.dialog,
        "act": utterance.act,
        "raw_label": utterance.raw_label,
        "valence": utterance.valence,
        "arousal": utterance.arousal,
        "dominance": utterance.dominance,
        "text": utterance.text,
        "words": alignment.words,
        "begin": np.asarray(alignment.begin, dtype=np.int32),
        "end": np.asarray(alignment.end, dtype=np.int32),
        **dict(zip(("speech_begin", "speech_end"), aligned.speech or (None, None), strict=True)),
        "alignment": alignment.method,
        "alignment_score": alignment.score,
        "duration_deviation": duration_deviation(alignment.words, alignment.begin, alignment.end),
        "signal_to_noise": signal_to_noise(aligned.recordings[0], alignment.begin, alignment.end),
        "frames": frames.ravel(),
        "frame_count": frames.shape[0],
        "frame_size": frames.shape[1],
        "clipped": sum(each.clipped for each in extracted),
        "oddities": [*aligned.oddities, *alignment.oddities],
        "source_hash": aligned.source_hash,
    }
    if copies:
        row["copy_frames"] = np.concatenate([copy.ravel() for copy in copies])
        row["copy_frame_counts"] = np.array([len(copy) for copy in copies], np.int32)
    return row


def _word_columns(extracted: Sequence[Frames], words: WordFeatures) -> dict[str, Any]:
    """The columns of a row that a text encoder fills or adds to.

    Raises:
        FeatureError: some values are not finite.
    """
    return {
        "clipped": sum(each.clipped for each in extracted) + words.clipped,
        "word_features": _require_finite(words).values.ravel(),
        "word_feature_size": words.values.shape[1],
        "empty_words": words.empty,
        "cut_words": words.cut,
    }
