"""Predictions written out: JSON, CSV, Praat's TextGrid, or a table to read."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from fgcme.report.formatting import signed
from fgcme.serving.classifier import to_record
from fgcme.serving.prediction import Prediction


@dataclass(frozen=True)
class Answer:
    """What a model says of one file.

    Attributes:
        audio: the file, as the user named it.
        text: what is said in it; empty if that is not known.
        duration: in seconds.
        prediction: the model's.
    """

    audio: str
    text: str
    duration: float
    prediction: Prediction


def to_json(answer: Answer) -> str:
    """One line of JSON: audio, text and duration, and the columns of `fgcme.serving.classifier.to_record`."""
    named = {"audio": answer.audio, "text": answer.text, "duration": answer.duration}
    return json.dumps(named | to_record(answer.prediction), ensure_ascii=False)


def csv_header(classes: Sequence[str]) -> str:
    """The first line of the CSV that `to_csv` continues.

    >>> csv_header(["calm", "happy"])
    'audio,unit,text,begin,end,label,alignment,base,contribution,calm,happy'
    """
    columns = ["audio", "unit", "text", "begin", "end", "label", "alignment", "base", "contribution"]
    return ",".join([*columns, *map(_quoted, classes)])


def to_csv(answer: Answer) -> str:
    """Lines of CSV: one with `unit` = `utterance`, then one with `unit` = `word` for each word; times in seconds.

    An utterance has its label, its probabilities and its base, a word its contribution.
    """
    prediction = answer.prediction
    base = "" if prediction.base is None else f"{prediction.base:.4f}"
    probabilities = [f"{probability:.6f}" for probability in prediction.probabilities.values()]
    rows = [("utterance", answer.text, 0.0, answer.duration, prediction.label, base, "", probabilities)]
    nothing = [""] * len(probabilities)
    for word, begin, end, contribution in _words(prediction):
        number = "" if contribution is None else f"{contribution:.4f}"
        rows.append(("word", word, begin, end, "", "", number, nothing))
    lines = io.StringIO()
    writer = csv.writer(lines, lineterminator="\n")
    for unit, text, begin, end, label, own_base, number, of_classes in rows:
        times = f"{begin:.2f}", f"{end:.2f}"
        writer.writerow([answer.audio, unit, text, *times, label, prediction.alignment, own_base, number, *of_classes])
    return lines.getvalue().rstrip("\n")


def to_textgrid(answer: Answer) -> str:
    """A TextGrid with tiers of intervals: words, what each contributes if that is known, the utterance's emotion."""
    prediction = answer.prediction
    spans = list(zip(prediction.begin, prediction.end, strict=True))
    tiers = [("words", _tier(spans, prediction.words, answer.duration))]
    if prediction.base is not None:
        # With a plain minus, for programs that read the numbers.
        numbers = [f"{contribution:+.2f}" for contribution in prediction.contributions]
        tiers.append(("contribution", _tier(spans, numbers, answer.duration)))
    tiers.append(("emotion", [(0.0, answer.duration, prediction.label)]))
    lines = [
        'File type = "ooTextFile"',
        'Object class = "TextGrid"',
        "",
        "xmin = 0",
        f"xmax = {answer.duration:.6f}",
        "tiers? <exists>",
        f"size = {len(tiers)}",
        "item []:",
    ]
    for number, (name, intervals) in enumerate(tiers, start=1):
        lines += [
            f"    item [{number}]:",
            '        class = "IntervalTier"',
            f'        name = "{name}"',
            "        xmin = 0",
            f"        xmax = {answer.duration:.6f}",
            f"        intervals: size = {len(intervals)}",
        ]
        for position, (begin, end, text) in enumerate(intervals, start=1):
            escaped = text.replace('"', '""')
            lines += [
                f"        intervals [{position}]:",
                f"            xmin = {begin:.6f}",
                f"            xmax = {end:.6f}",
                f'            text = "{escaped}"',
            ]
    return "\n".join(lines)


def to_table(answer: Answer) -> str:
    """Lines to read: the emotions of the utterance, likeliest first; each word, its time and what it contributes."""
    prediction = answer.prediction
    ranked = sorted(prediction.probabilities.items(), key=lambda item: -item[1])
    lines = [
        f"{answer.audio}  {prediction.label}",
        "  " + "  ".join(f"{name} {100 * probability:.0f}%" for name, probability in ranked),
        f"  words aligned by {prediction.alignment}:",
    ]
    width = max((len(word) for word in prediction.words), default=0)
    for word, begin, end, contribution in _words(prediction):
        said = "" if contribution is None else f"{signed(contribution):>5}"
        lines.append(f"    {begin:6.2f} - {end:5.2f} s  {word:<{width}}  {said}".rstrip())
    if summary := summarise_log_odds(prediction):
        lines.append(f"  {summary}")
    return "\n".join(lines)


def summarise_log_odds(prediction: Prediction) -> str:
    """From the base to the log-odds of the answer, in words; empty where contributions are not known."""
    if prediction.base is None or prediction.log_odds is None:
        return ""
    percentage = f"{100 * prediction.probabilities[prediction.label]:.0f} %"
    return f"from {signed(prediction.base)} to {signed(prediction.log_odds)} = {prediction.label} {percentage}"


def _words(prediction: Prediction) -> Iterator[tuple[str, float, float, float | None]]:
    """Each word, its begin and end, and what it contributes if that is known."""
    contributions: Sequence[float | None] = prediction.contributions or [None] * len(prediction.words)
    return zip(prediction.words, prediction.begin, prediction.end, contributions, strict=True)


def _tier(
    spans: Sequence[tuple[float, float]], texts: Sequence[str], duration: float
) -> list[tuple[float, float, str]]:
    """Intervals that cover the whole duration, as Praat wants it: silence between the words has no text."""
    intervals = []
    previous = 0.0
    for (begin, end), text in zip(spans, texts, strict=True):
        if end <= begin:  # a word that got no frame
            continue
        if begin > previous:
            intervals.append((previous, begin, ""))
        intervals.append((begin, end, text))
        previous = end
    if previous < duration:
        intervals.append((previous, duration, ""))
    return intervals


def _quoted(text: str) -> str:
    line = io.StringIO()
    csv.writer(line, lineterminator="").writerow([text])
    return line.getvalue()
