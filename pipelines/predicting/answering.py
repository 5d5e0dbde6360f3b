"""The answers for one recording: of itself, or of the utterances that a long one is cut into."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from fgcme import audio
from fgcme.corpora.contract import Rejection
from fgcme.errors import DataError
from fgcme.recognition import Recogniser
from fgcme.report.predictions import Answer
from fgcme.serving.classifier import Classifier
from fgcme.serving.prediction import GIVEN
from fgcme.serving.recordings import Piece, pieces_of
from pipelines.predicting.sources import Source


def answer_recording(
    classifier: Classifier, source: Source, recogniser: Recogniser | None = None, longest: float | None = None
) -> Iterator[Answer | Rejection]:
    """Answer a recording, utterance by utterance; what is wrong with one is a rejection with the reason.

    Args:
        classifier: answers.
        source: the recording.
        recogniser: writes down what is said where nobody knows.
        longest: seconds; a recording that lasts longer is cut at its pauses. None for as long as the model hears.
    """
    try:
        source = source.read_text()
        limit = classifier.seconds if longest is None else longest
        pieces = pieces_of(source.audio, source.start, source.end, source.text, limit, classifier.align)
    except DataError as error:
        yield _rejection(source, None, error)
        return
    for piece in pieces:
        try:
            # The whole of a file has no times: its header may be wrong about its length.
            samples, oddities = audio.record(source.audio, piece.begin or None, piece.end)
            prediction = classifier.predict(samples, piece.text, recogniser)
        except DataError as error:
            yield _rejection(source, piece if len(pieces) > 1 else None, error)
            continue
        if prediction.words_from == GIVEN:
            prediction = replace(prediction, words_from=source.words_from)
        if said := tuple(oddity for oddity in oddities if oddity not in audio.ORDINARY):
            unheard = replace(prediction.unheard, remarks=(*prediction.unheard.remarks, *said))
            prediction = replace(prediction, unheard=unheard)
        end = round(piece.begin + len(samples) / audio.SAMPLE_RATE, 6)
        yield Answer(source.audio, piece.begin, end, prediction)


def _rejection(source: Source, piece: Piece | None, error: DataError) -> Rejection:
    where = "" if piece is None else f" from {piece.begin:.2f} s"
    # Some messages have the path already.
    said = f"{where.strip()}: " if where else ""
    name = "" if error.message.startswith(source.audio) else f"{source.audio}{where}: "
    message = f"{name}{error.message}" if name else f"{said}{error.message}"
    return Rejection(f"{source.name}{where}", source.audio, error.stage, error.reason, message)
