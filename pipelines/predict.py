"""Predict: the emotion of recordings, and what each of their words contributes to it."""

from __future__ import annotations

import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fgcme.corpora.contract import Rejection
from fgcme.errors import UserError
from pipelines.predicting.sources import Source, Sources, find_sources

if TYPE_CHECKING:
    from fgcme.recognition import Recogniser
    from fgcme.serving.classifier import Classifier
    from pipelines.predicting.outputs import Format

# Seconds of the shortest utterances that a recording may be cut into.
_SHORTEST = 1.0


def predict(
    model_uri: str,
    inputs: Sequence[Path],
    texts: Sequence[str] = (),
    output: Format = "table",
    destination: Path | None = None,
    tracking_uri: str | None = None,
    transcribe: str | None = None,
    language: str = "en",
    longest: float | None = None,
    workers: int | None = None,
) -> int:
    """Predict recordings and print the answers one by one; what cannot be is one line each on standard error.

    Args:
        model_uri: `models:/name@alias`, `models:/name/version`, `runs:/id/model` or a folder.
        inputs: sound files, folders, patterns or manifests, see `find_sources`.
        texts: the transcripts: one for all recordings, or one for each in order. They come before the text of a
            manifest, that before a file beside the recording, and that before `transcribe`.
        output: `table` for people, `json` with one object a line, `csv`, or Praat's `textgrid`.
        destination: a file `.parquet`; or a folder: with `textgrid` for those, else for the answers of many recordings,
            by as many processes as there is room for, which can be killed and run again.
        tracking_uri: where the model is registered, see `fgcme.tracking.resolve_uri`.
        transcribe: recogniser of what is said where no text is given, see `fgcme.recognition.build`; None for none.
        language: that the recogniser is told, where it knows several.
        longest: seconds; a longer recording is cut into utterances at its pauses. None for as long as the model hears.
        workers: processes that fill a folder; None for as many as there is room for.

    Returns:
        The program's exit status: 0, or 1 when a recording could not be predicted.

    Raises:
        UserError: there is no such model, recogniser or recording, a transcript is missing, or `destination` cannot be
            used.
    """
    if longest is not None and longest < _SHORTEST:
        raise UserError(f"--longest {longest:g}: an utterance has at least {_SHORTEST:g} s")
    sources = find_sources(inputs, texts)
    _check_destination(sources.found, output, destination)
    at_scale = destination is not None and output == "table" and destination.suffix != ".parquet"
    if workers is not None and not at_scale:
        raise UserError("--workers is for --output FOLDER, which several processes fill")
    # Importing torch takes seconds: check the arguments first.
    from fgcme import recognition
    from fgcme.serving.classifier import Classifier
    from fgcme.serving.registry import download_model

    with tempfile.TemporaryDirectory() as downloads:
        folder = download_model(model_uri, tracking_uri, Path(downloads))
        classifier = Classifier(folder)
        if transcribe is None:
            _require_texts(classifier, sources)
        for remark in [*_remarks(classifier), *_passed_over(sources)]:
            _complain(remark)
        recogniser = None if transcribe is None else recognition.build(transcribe, language)
        if destination is not None and at_scale:
            return _answer_at_scale(folder, sources, transcribe, language, longest, destination, workers)
        return _answer(classifier, sources, recogniser, output, destination, longest)


def _require_texts(classifier: Classifier, sources: Sources) -> None:
    """Refuse recordings of none of which it is known what is said, where the model needs that."""
    if classifier.needs.text and not any(source.has_text for source in sources.found):
        raise UserError(
            'the model reads words as well as sound: say what is said with --text "...", in a file .txt or .lab '
            "beside each recording, or have it recognised with --transcribe"
        )


def _answer(
    classifier: Classifier,
    sources: Sources,
    recogniser: Recogniser | None,
    output: Format,
    destination: Path | None,
    longest: float | None,
) -> int:
    from pipelines.predicting.answering import answer_recording
    from pipelines.predicting.outputs import open_output

    failed = bool(sources.rejections)
    for rejection in sources.rejections:
        _complain(rejection.message)
    with open_output(output, destination, classifier.spec.tasks) as write:
        for source in sources.found:
            answers = []
            for answer in answer_recording(classifier, source, recogniser, longest):
                if isinstance(answer, Rejection):
                    failed = True
                    _complain(answer.message)
                else:
                    answers.append(answer)
            if answers:
                write(source, answers)
    return int(failed)


def _answer_at_scale(
    model: Path,
    sources: Sources,
    transcribe: str | None,
    language: str,
    longest: float | None,
    destination: Path,
    workers: int | None,
) -> int:
    from pipelines.predicting.runner import AnswerTask, answer_on_ray
    from pipelines.runs.corpus import absolute_path

    task = AnswerTask(model, absolute_path(transcribe), language, longest)
    summary = answer_on_ray(sources, task, destination.resolve(), workers)
    rejected = summary.rejected.total()
    print(f"{summary.utterances} answers for {summary.seconds / 3600:.2f} hours of speech in {destination / 'answers'}")
    if rejected:
        reasons = ", ".join(f"{count} {reason}" for reason, count in summary.rejected.most_common())
        print(f"{rejected} not answered ({reasons}): {destination / 'rejected.csv'} says why")
    return int(rejected > 0)


def _complain(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _remarks(classifier: Classifier) -> list[str]:
    """What has to be said of all answers of a model."""
    from fgcme.data import reads_test_audio

    remarks = []
    if reads_test_audio(classifier.spec.model):
        remarks.append(
            "the model was trained on audio normalised by speaker; each recording is normalised by itself here"
        )
    if classifier.without_contributions:
        remarks.append(f"no contributions of words: {classifier.without_contributions}")
    return remarks


def _passed_over(sources: Sources) -> list[str]:
    if not sources.passed_over:
        return []
    kinds = ", ".join(f"{count} {kind}" for kind, count in sources.passed_over.most_common())
    return [f"passed over in folders, as no recordings: {kinds}"]


def _check_destination(found: Sequence[Source], output: Format, destination: Path | None) -> None:
    from pipelines.predicting.outputs import textgrid_path

    if destination is None:
        if output == "textgrid" and len(found) > 1:
            raise UserError(f"{len(found)} TextGrids need a folder: give --output FOLDER")
        return
    to_file = destination.suffix == ".parquet"
    if output not in ("table", "textgrid") or (to_file and output == "textgrid"):
        raise UserError(
            f"--output takes a folder or FILE.parquet, and no --format but textgrid; to save {output} output, redirect "
            "it with `>`"
        )
    folder = destination.parent if to_file else destination
    if output == "textgrid":
        path, count = Counter(textgrid_path(folder, source) for source in found).most_common(1)[0]
        if count > 1:
            raise UserError(f"{count} recordings would be written to {path}: predict them into different folders")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{folder}: cannot be made a folder ({error.strerror}); give another --output") from None
