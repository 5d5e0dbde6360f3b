"""Predictions written out: JSON, CSV, Praat's TextGrid, or a table to read."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from fgcme.alignment.text_grid import Tier, to_text_grid
from fgcme.data import Tasks
from fgcme.report.formatting import signed
from fgcme.serving.prediction import Prediction
from fgcme.serving.record import to_record

_COLUMNS = [
    "audio",
    "unit",
    "text",
    "begin",
    "end",
    "label",
    "words_from",
    "alignment",
    "notes",
    "base",
    "contribution",
]


@dataclass(frozen=True)
class Answer:
    """What a model says of one utterance.

    Attributes:
        audio: the file, as the user named it.
        begin, end: of the utterance in the file, in seconds.
        prediction: the model's; its times are from the utterance's begin.
    """

    audio: str
    begin: float
    end: float
    prediction: Prediction


def to_record_of_file(answer: Answer) -> dict[str, Any]:
    """The file, the utterance's times, and the columns of `fgcme.serving.record.to_record`.

    All times, those of words too, are seconds from the beginning of the file.
    """
    record = to_record(answer.prediction)
    for word in record["words"]:
        word["begin"], word["end"] = answer.begin + word["begin"], answer.begin + word["end"]
    return {"audio": answer.audio, "begin": answer.begin, "end": answer.end, **record}


def to_json(answer: Answer) -> str:
    """One line of JSON, see `to_record_of_file`."""
    return json.dumps(to_record_of_file(answer), ensure_ascii=False)


def csv_header(tasks: Tasks) -> str:
    """The first line of the CSV that `to_csv` continues: of a model with ratings a column for each after the classes'.

    >>> csv_header(Tasks(["calm", "happy"]))
    'audio,unit,text,begin,end,label,words_from,alignment,notes,base,contribution,calm,happy'
    """
    return ",".join([*_COLUMNS, *map(_quoted, [*tasks.classes, *tasks.dimensions])])


def to_csv(answer: Answer) -> str:
    """Lines of CSV: one with `unit` = `utterance`, then one with `unit` = `word` for each word; times in seconds.

    An utterance has its label, its probabilities, its ratings and its base, and where its words come from; a word its
    contribution.
    """
    prediction = answer.prediction
    utterance = {
        "text": prediction.text,
        "begin": f"{answer.begin:.2f}",
        "end": f"{answer.end:.2f}",
        "label": prediction.label,
        "words_from": prediction.words_from,
        "notes": "; ".join(prediction.unheard.notes),
        "base": "" if prediction.base is None else f"{prediction.base:.4f}",
    }
    rows = [{"unit": "utterance", **utterance}]
    for word, begin, end, contribution in _words(answer):
        number = "" if contribution is None else f"{contribution:.4f}"
        times = {"begin": f"{begin:.2f}", "end": f"{end:.2f}"}
        rows.append({"unit": "word", "text": word, **times, "contribution": number})
    values = [f"{probability:.6f}" for probability in prediction.probabilities.values()]
    values += [f"{value:.4f}" for value in prediction.ratings.values()]
    lines = io.StringIO()
    writer = csv.writer(lines, lineterminator="\n")
    for row in rows:
        own = {"audio": answer.audio, "alignment": prediction.alignment} | row
        own_values = values if row["unit"] == "utterance" else [""] * len(values)
        # Not as columns of a dictionary: a class may be called `text`.
        writer.writerow([*(own.get(column, "") for column in _COLUMNS), *own_values])
    return lines.getvalue().rstrip("\n")


def to_textgrid(answers: Sequence[Answer], duration: float) -> str:
    """A TextGrid of one recording: tiers of words, what each contributes if known, emotions, ratings, notes if any.

    Args:
        answers: for its utterances, in order.
        duration: of the recording, in seconds.
    """
    words = [each for answer in answers for each in _words(answer)]
    tiers = [Tier("words", [(begin, end, word) for word, begin, end, _ in words])]
    if any(answer.prediction.base is not None for answer in answers):
        # With a plain minus, for programs that read the numbers.
        numbers = [(begin, end, "" if number is None else f"{number:+.2f}") for _, begin, end, number in words]
        tiers.append(Tier("contribution", numbers))
    if any(answer.prediction.label for answer in answers):
        tiers.append(Tier("emotion", [(answer.begin, answer.end, answer.prediction.label) for answer in answers]))
    for name in answers[0].prediction.ratings if answers else ():
        values = [(answer.begin, answer.end, f"{answer.prediction.ratings[name]:.2f}") for answer in answers]
        tiers.append(Tier(name, values))
    notes = ["; ".join(answer.prediction.unheard.notes) for answer in answers]
    if any(notes):
        told = [(answer.begin, answer.end, note) for answer, note in zip(answers, notes, strict=True)]
        tiers.append(Tier("notes", told))
    return to_text_grid(tiers, duration)


def to_table(answer: Answer) -> str:
    """Lines to read: emotions of the utterance, likeliest first, and ratings; each word, its time, its contribution."""
    prediction = answer.prediction
    where = f"  {answer.begin:.2f} - {answer.end:.2f} s" if answer.begin else ""
    ranked = sorted(prediction.probabilities.items(), key=lambda item: -item[1])
    rated = "  ".join(f"{name} {value:.1f}" for name, value in prediction.ratings.items())
    lines = [f"{answer.audio}{where}  {prediction.label or rated}"]
    if ranked:
        lines.append("  " + "  ".join(f"{name} {100 * probability:.0f}%" for name, probability in ranked))
        lines += [f"  {rated}"] if rated else []
    lines += [
        f"  words {prediction.words_from}, aligned by {prediction.alignment}:" if prediction.words else "  no words",
    ]
    width = max((len(word) for word in prediction.words), default=0)
    for word, begin, end, contribution in _words(answer):
        said = "" if contribution is None else f"{signed(contribution):>5}"
        lines.append(f"    {begin:6.2f} - {end:5.2f} s  {word:<{width}}  {said}".rstrip())
    if summary := summarise_log_odds(prediction):
        lines.append(f"  {summary}")
    return "\n".join([*lines, *(f"  note: {note}" for note in prediction.unheard.notes)])


def summarise_log_odds(prediction: Prediction) -> str:
    """From the base to the log-odds of the answer, in words; empty where contributions are not known."""
    if prediction.base is None or prediction.log_odds is None:
        return ""
    percentage = f"{100 * prediction.probabilities[prediction.label]:.0f} %"
    return f"from {signed(prediction.base)} to {signed(prediction.log_odds)} = {prediction.label} {percentage}"


def _words(answer: Answer) -> Iterator[tuple[str, float, float, float | None]]:
    """Each word, its begin and end in the file, and what it contributes if that is known."""
    prediction = answer.prediction
    contributions: Sequence[float | None] = prediction.contributions or [None] * len(prediction.words)
    times = ([answer.begin + time for time in edge] for edge in (prediction.begin, prediction.end))
    return zip(prediction.words, *times, contributions, strict=True)


def _quoted(text: str) -> str:
    line = io.StringIO()
    csv.writer(line, lineterminator="").writerow([text])
    return line.getvalue()
