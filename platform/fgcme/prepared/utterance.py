"""From one utterance of a corpus to a row of the prepared corpus: read, align, extract features."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from fgcme import audio
from fgcme.alignment.contract import Aligner
from fgcme.alignment.endpoints import detect_endpoints
from fgcme.audio import Samples
from fgcme.corpora.contract import Rejection, Utterance
from fgcme.errors import DataError

ExtractFeatures = Callable[[Samples], npt.NDArray[np.float32]]


class AnalysedSpeech(NamedTuple):
    """The words of an utterance, their spans, and the features of its frames.

    Attributes:
        words: [W] normalised words.
        begin, end: [W] int32, frames of each word, end exclusive.
        frames: [A, F] float32 features, one row every 10 ms.
        alignment: the method that really made the spans.
        alignment_score: see `fgcme.alignment.Alignment`.
        speech: first frame of the speech and the frame after its last, by its energy and not by the alignment; None
            where an older version prepared it.
    """

    words: list[str]
    begin: npt.NDArray[np.int32]
    end: npt.NDArray[np.int32]
    frames: npt.NDArray[np.float32]
    alignment: str
    alignment_score: float
    speech: tuple[int, int] | None


class FeatureError(DataError):
    """Features that no model can be trained on. Its reason is `not_finite`."""

    stage = "feature"


def analyse(
    samples: Samples, text: str, aligner: Aligner, extract_features: ExtractFeatures, utterance_id: str = ""
) -> AnalysedSpeech:
    """Align a text with its speech and extract the features of its frames.

    Args:
        samples: [samples] mono at 16 kHz.
        text: what is said.
        aligner: see `fgcme.alignment.build`.
        extract_features: see `fgcme.features.build_extractor`.
        utterance_id: for imported alignments, which are found by it.

    Raises:
        AudioError: the samples are empty, silent or too short.
        AlignmentError: the text has no words, or they cannot be aligned.
        FeatureError: some features are not finite.
    """
    audio.check(samples)
    alignment = aligner.align(utterance_id, samples, text)
    frames = extract_features(samples)
    if not np.isfinite(frames).all():
        raise FeatureError("not_finite", "the features hold values that are not numbers")
    return AnalysedSpeech(
        words=alignment.words,
        begin=np.asarray(alignment.begin, dtype=np.int32),
        end=np.asarray(alignment.end, dtype=np.int32),
        frames=frames,
        alignment=alignment.method,
        alignment_score=alignment.score,
        speech=detect_endpoints(samples),
    )


def prepare_utterance(
    utterance: Utterance, root: Path, aligner: Aligner, extract_features: ExtractFeatures, source_hash: str
) -> dict[str, object] | Rejection:
    """Prepare one utterance; whatever is wrong with its data becomes a rejection with the reason.

    Args:
        utterance: as the corpus lists it.
        root: folder that `utterance.audio` is relative to.
        aligner: see `fgcme.alignment.build`.
        extract_features: see `fgcme.features.build_extractor`.
        source_hash: of what the row is made from; stored in the row.

    Returns:
        A row of `fgcme.prepared.UTTERANCES`, its [A, F] frames flattened row by row, or the rejection.
    """
    path = root / utterance.audio
    try:
        samples = audio.read(path, utterance.start, utterance.end)
        digest = audio.sha256(path)
        speech = analyse(samples, utterance.text, aligner, extract_features, utterance.id)
    except DataError as error:
        return Rejection(utterance.id, utterance.audio, error.stage, error.reason, error.message)
    return {
        "id": utterance.id,
        "audio": utterance.audio,
        "audio_sha256": digest,
        "duration": samples.size / audio.SAMPLE_RATE,
        "speaker": utterance.speaker,
        "session": utterance.session,
        "dialog": utterance.dialog,
        "act": utterance.act,
        "raw_label": utterance.raw_label,
        "valence": utterance.valence,
        "arousal": utterance.arousal,
        "dominance": utterance.dominance,
        "text": utterance.text,
        "words": speech.words,
        "begin": speech.begin,
        "end": speech.end,
        **dict(zip(("speech_begin", "speech_end"), speech.speech or (None, None), strict=True)),
        "alignment": speech.alignment,
        "alignment_score": speech.alignment_score,
        "frames": speech.frames.ravel(),
        "frame_count": speech.frames.shape[0],
        "frame_size": speech.frames.shape[1],
        "source_hash": source_hash,
    }
