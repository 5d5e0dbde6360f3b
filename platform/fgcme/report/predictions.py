"""Predictions written out: JSON, CSV, Praat's TextGrid, or a table to read."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass

from fgcme.serving.classifier import to_record
from fgcme.serving.fitted import Prediction


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
    'audio,unit,text,begin,end,label,alignment,calm,happy'
    """
    return ",".join(["audio", "unit", "text", "begin", "end", "label", "alignment", *map(_quoted, classes)])


def to_csv(answer: Answer) -> str:
    """Lines of CSV: one with `unit` = `utterance`, then one with `unit` = `word` for each word; times in seconds."""
    prediction = answer.prediction
    rows = [("utterance", answer.text, 0.0, answer.duration, prediction.probabilities)]
    for word, begin, end, probabilities in zip(
        prediction.words, prediction.begin, prediction.end, prediction.word_probabilities, strict=True
    ):
        rows.append(("word", word, begin, end, probabilities))
    lines = io.StringIO()
    writer = csv.writer(lines, lineterminator="\n")
    for unit, text, begin, end, probabilities in rows:
        writer.writerow(
            [
                answer.audio,
                unit,
                text,
                f"{begin:.2f}",
                f"{end:.2f}",
                likeliest(probabilities),
                prediction.alignment,
                *(f"{probabilities[name]:.6f}" if probabilities else "" for name in prediction.probabilities),
            ]
        )
    return lines.getvalue().rstrip("\n")


def to_textgrid(answer: Answer) -> str:
    """A TextGrid with three tiers of intervals: words, each word's likeliest emotion, the utterance's emotion."""
    prediction = answer.prediction
    spans = list(zip(prediction.begin, prediction.end, strict=True))
    tiers = [
        ("words", _tier(spans, prediction.words, answer.duration)),
        ("word emotion", _tier(spans, [likeliest(word) for word in prediction.word_probabilities], answer.duration)),
        ("emotion", [(0.0, answer.duration, prediction.label)]),
    ]
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
    """Lines to read: the emotions of the utterance, likeliest first, and each word with its time and its emotion."""
    prediction = answer.prediction
    ranked = sorted(prediction.probabilities.items(), key=lambda item: -item[1])
    lines = [
        f"{answer.audio}  {prediction.label}",
        "  " + "  ".join(f"{name} {100 * probability:.0f}%" for name, probability in ranked),
        f"  words aligned by {prediction.alignment}:",
    ]
    width = max((len(word) for word in prediction.words), default=0)
    for word, begin, end, probabilities in zip(
        prediction.words, prediction.begin, prediction.end, prediction.word_probabilities, strict=True
    ):
        label = likeliest(probabilities)
        said = f"{label} {100 * probabilities[label]:.0f}%" if label else ""
        lines.append(f"    {begin:6.2f} - {end:5.2f} s  {word:<{width}}  {said}".rstrip())
    return "\n".join(lines)


def likeliest(probabilities: dict[str, float]) -> str:
    """The most probable class; empty where there are none, as for the words of a model that does not go by words.

    >>> likeliest({"calm": 0.2, "happy": 0.8})
    'happy'
    """
    return max(probabilities, key=lambda name: probabilities[name], default="")


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
