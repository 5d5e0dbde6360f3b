"""Predict: the emotion of recordings, and what each of their words contributes to it."""

from __future__ import annotations

import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from fgcme.errors import UserError

if TYPE_CHECKING:
    from fgcme.report.predictions import Answer
    from fgcme.serving.classifier import Classifier

Format = Literal["table", "json", "csv", "textgrid"]


def predict(
    model_uri: str,
    audio: Sequence[Path],
    texts: Sequence[str],
    output: Format = "table",
    folder: Path | None = None,
    tracking_uri: str | None = None,
) -> int:
    """Predict each file and print the answers one by one; a file with an error is one line on standard error.

    Args:
        model_uri: `models:/name@alias`, `models:/name/version`, `runs:/id/model` or a folder.
        audio: sound files, one utterance each.
        texts: the transcripts: one for all files, or one for each in order; none for a model with modality dropout.
        output: `table` for people, `json` with one object a line, `csv`, or Praat's `textgrid`.
        folder: for `textgrid`, gets `<audio stem>.TextGrid`; a single file may be printed instead.
        tracking_uri: where the model is registered, see `fgcme.tracking.resolve_uri`.

    Returns:
        The program's exit status: 0, or 1 when a file could not be predicted.

    Raises:
        UserError: there is no such model, a transcript is missing, or `folder` cannot be used.
    """
    transcripts = _match_texts(audio, texts)
    _check_folder(audio, output, folder)
    # Importing torch takes seconds: check the arguments first.
    from fgcme.data import reads_test_audio
    from fgcme.serving.classifier import Classifier
    from fgcme.serving.registry import download_model

    with tempfile.TemporaryDirectory() as downloads:
        classifier = Classifier(download_model(model_uri, tracking_uri, Path(downloads)))
        if not texts and not classifier.spec.modality_dropout:
            raise UserError('the model reads words as well as sound: say what is said with --text "..."')
        if reads_test_audio(classifier.spec.model):
            print(
                "the model was trained on audio normalised by speaker; each recording is normalised by itself here",
                file=sys.stderr,
                flush=True,
            )
        if classifier.without_contributions:
            print(f"no contributions of words: {classifier.without_contributions}", file=sys.stderr, flush=True)
        failed = 0
        for number, (path, text) in enumerate(zip(audio, transcripts, strict=True)):
            answer = _predict_file(classifier, path, text)
            if answer is None:
                failed += 1
            else:
                _print_answer(answer, output, folder, first=number == failed)
    return 1 if failed else 0


def _predict_file(classifier: Classifier, path: Path, text: str | None) -> Answer | None:
    """The answer for one file, or None after a line on standard error."""
    from fgcme import audio
    from fgcme.errors import DataError
    from fgcme.report.predictions import Answer

    try:
        samples, oddities = audio.record(path)
        prediction = classifier.predict(samples, text)
    except DataError as error:
        # The message of an AudioError has the path.
        name = "" if isinstance(error, audio.AudioError) else f"{path}: "
        print(f"{name}{error.message}", file=sys.stderr, flush=True)
    else:
        if said := [oddity for oddity in oddities if oddity not in audio.ORDINARY]:
            print(f"{path}: {'; '.join(said)}", file=sys.stderr, flush=True)
        return Answer(str(path), text or "", len(samples) / audio.SAMPLE_RATE, prediction)
    return None


def _print_answer(answer: Answer, output: Format, folder: Path | None, first: bool) -> None:
    from fgcme.report.predictions import csv_header, to_csv, to_json, to_table, to_textgrid

    if output == "json":
        print(to_json(answer), flush=True)
    elif output == "csv":
        if first:
            print(csv_header(list(answer.prediction.probabilities)))
        print(to_csv(answer), flush=True)
    elif output == "table":
        print(to_table(answer), flush=True)
    elif folder is None:
        print(to_textgrid(answer))
    else:
        path = folder / f"{Path(answer.audio).stem}.TextGrid"
        path.write_text(to_textgrid(answer) + "\n", encoding="utf-8")
        print(path, flush=True)


def _match_texts(audio: Sequence[Path], texts: Sequence[str]) -> Sequence[str | None]:
    """One transcript for each file, None for each if none is given."""
    if not audio:
        raise UserError('no audio is given: fgcme predict MODEL some.wav --text "what is said"')
    if not texts:
        return [None] * len(audio)
    if len(texts) not in (1, len(audio)):
        raise UserError(f"{len(texts)} texts for {len(audio)} files: give one --text for all, or one for each in order")
    for path, text in zip(audio, texts, strict=False):
        if not text.strip():
            raise UserError(f'{path}: its text is empty; say what is said with --text "..."')
    return list(texts) if len(texts) == len(audio) else list(texts) * len(audio)


def _check_folder(audio: Sequence[Path], output: Format, folder: Path | None) -> None:
    if output != "textgrid":
        if folder is not None:
            raise UserError(f"--output is for --format textgrid only; to save {output} output, redirect it with `>`")
        return
    if folder is None:
        if len(audio) > 1:
            raise UserError(f"{len(audio)} TextGrids need a folder: give --output FOLDER")
        return
    stem, count = Counter(path.stem for path in audio).most_common(1)[0]
    if count > 1:
        raise UserError(
            f"{count} files would be written to {folder / stem}.TextGrid: predict them into different folders"
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"{folder}: cannot be made a folder for TextGrids ({error.strerror}); give another one with --output"
        ) from None
