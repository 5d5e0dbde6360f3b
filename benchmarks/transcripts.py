"""What it costs RAVDESS's answers that nobody has written down what is said: true words, recognised ones, sound alone.

Each test utterance is answered by the model of its own fold, which knows none of its speakers, from the sound file, as
`fgcme predict` does: with the true words, with those that PocketSphinx recognises, with Whisper's, and by the sound
alone where the model learnt that (`training.augmentation.modality_dropout`). Beside UA stands the recognisers' word
error rate. With the true words, answers are compared with those of the cross-validation itself. What was recognised is
kept in `--words`, so that another run does not recognise it again. The last line is JSON.

    fgcme train ravdess_whisper model.modalities=both training.augmentation.modality_dropout=0.2 training.seeds=[0]
    python benchmarks/transcripts.py RUN --root RAVDESS --whisper FOLDER
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from rich.console import Console
from rich.table import Table

from fgcme import audio, recognition
from fgcme.alignment.words import normalise
from fgcme.corpora import ravdess
from fgcme.errors import DataError
from fgcme.evaluation.metrics import confusion, measure
from fgcme.serving.classifier import Classifier
from fgcme.tracking import Tracker, resolve_uri
from pipelines.training.job import finished_trainings

TRUE, ALONE = "true words", "sound alone"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", help="a finished cross-validation on RAVDESS: its id, name or `latest`")
    parser.add_argument("--root", required=True, type=Path, help="folder of RAVDESS")
    parser.add_argument("--whisper", help="folder or hub name; without it only PocketSphinx recognises")
    parser.add_argument("--words", type=Path, default=Path("recognised.jsonl"), help="keeps what was recognised")
    parser.add_argument("--each", type=int, help="of each actor and emotion only so many utterances")
    parser.add_argument("--words-only", action="store_true", help="print the word error rates, and ask no model")
    arguments = parser.parse_args()
    utterances = {each.id: each for each in chosen(ravdess.find(arguments.root).utterances, arguments.each)}
    recognisers = ["sphinx", *([arguments.whisper] if arguments.whisper else [])]
    texts = {name: recognise(name, utterances, arguments.root, arguments.words) for name in recognisers}
    result: dict[str, Any] = {"utterances": len(utterances)}
    for name, recognised in texts.items():
        result[f"wer {name}"] = round(error_rate(utterances, recognised), 4)
    if not arguments.words_only:
        given: dict[str, dict[str, str | None]] = {TRUE: {name: each.text for name, each in utterances.items()}}
        given |= texts | {ALONE: dict.fromkeys(utterances)}
        result |= answer(arguments.run, arguments.root, utterances, given)
    table = Table(title="RAVDESS, one model a fold, on the speakers that it does not know")
    for heading in ("", "figure"):
        table.add_column(heading)
    for name, figure in result.items():
        table.add_row(name, str(figure))
    Console().print(table)
    print(json.dumps(result))


def chosen(utterances: Any, each: int | None) -> list[Any]:
    """The utterances, or so many of each actor and emotion, in turn of another sentence, intensity and repetition."""
    groups = defaultdict(list)
    for utterance in sorted(utterances, key=lambda utterance: utterance.id):
        _, _, emotion, *_, actor = utterance.id.split("-")
        groups[int(emotion), int(actor)].append(utterance)
    found = []
    for (emotion, actor), some in groups.items():
        shift = (emotion + actor) % len(some)
        found += [*some[shift:], *some[:shift]][:each]
    return found


def recognise(name: str, utterances: dict[str, Any], root: Path, kept: Path) -> dict[str, str]:
    """What a recogniser writes of each utterance."""
    lines = [json.loads(line) for line in kept.read_text().splitlines()] if kept.exists() else []
    known = {line["id"]: line["text"] for line in lines if line["by"] == name}
    recogniser = recognition.build(name)
    with kept.open("a") as file:
        for identity in sorted(utterances.keys() - known.keys()):
            known[identity] = recogniser.recognise(audio.read(root / utterances[identity].audio))
            file.write(json.dumps({"by": name, "id": identity, "text": known[identity]}) + "\n")
            file.flush()
    return {identity: known[identity] for identity in utterances}


def error_rate(utterances: dict[str, Any], recognised: dict[str, str]) -> float:
    """Words to insert, delete and replace, by the number of true words."""
    pairs = [(normalise(each.text), normalise(recognised[identity])) for identity, each in utterances.items()]
    return sum(distance(true, heard) for true, heard in pairs) / sum(len(true) for true, _ in pairs)


def distance(true: list[str], heard: list[str]) -> int:
    """The fewest words to insert, delete and replace.

    >>> distance(["the", "door"], ["a", "the", "doors"])
    2
    """
    row = list(range(len(heard) + 1))
    for number, word in enumerate(true, start=1):
        before, row[0] = row[0], number
        for place, other in enumerate(heard, start=1):
            before, row[place] = row[place], min(row[place] + 1, row[place - 1] + 1, before + (word != other))
    return row[-1]


def answer(run: str, root: Path, utterances: dict[str, Any], given: dict[str, dict[str, str | None]]) -> dict[str, Any]:
    """UA by what is given of the words, over folds and seeds; and how far answers are from the cross-validation's."""
    tracker = Tracker(resolve_uri(None))
    found = tracker.find_run(run)
    labels: defaultdict[str, list[str]] = defaultdict(list)
    answers: defaultdict[str, list[str]] = defaultdict(list)
    furthest, same, compared = 0.0, 0, 0
    with tempfile.TemporaryDirectory() as scratch:
        predictions = tracker.download_artifact(found.info.run_id, "predictions.parquet", Path(scratch))
        rows = pq.read_table(predictions).to_pylist()
        for number, training in enumerate(finished_trainings(tracker, found.info.run_id)):
            folder = Path(scratch) / str(number)
            folder.mkdir()
            classifier = Classifier(tracker.download_artifact(training.info.run_id, "model", folder))
            fold, seed = (int(training.data.tags[f"fgcme.{key}"]) for key in ("fold", "seed"))
            for row in rows:
                if (row["fold"], row["seed"]) != (fold, seed) or row["id"] not in utterances:
                    continue
                samples = audio.read(root / utterances[row["id"]].audio)
                for way, texts in given.items():
                    if way == ALONE and classifier.needs_text:
                        continue
                    try:
                        prediction = classifier.predict(samples, texts[row["id"]])
                    except DataError:
                        # Of one in which no word is recognised there is no answer, which is a wrong one.
                        labels[way].append(row["label"])
                        answers[way].append("")
                        continue
                    labels[way].append(row["label"])
                    answers[way].append(prediction.label)
                    if way == TRUE:
                        own = [prediction.probabilities[name] for name in classifier.spec.classes]
                        furthest = max(furthest, float(np.abs(np.subtract(own, row["probabilities"])).max()))
                        same, compared = same + (prediction.label == row["prediction"]), compared + 1
    classes = sorted(set(labels[TRUE]))
    result: dict[str, Any] = {f"ua {way}": round(ua(labels[way], answers[way], classes), 4) for way in answers}
    return result | {"same labels": f"{same} of {compared}", "furthest probability": furthest}


def ua(labels: list[str], answers: list[str], classes: list[str]) -> float:
    """Unweighted accuracy; no answer is a wrong one."""
    numbers = {name: number for number, name in enumerate([*classes, ""])}
    true, own = (np.array([numbers[name] for name in some]) for some in (labels, answers))
    return measure(confusion(true, own, len(numbers)))["ua"]


if __name__ == "__main__":
    main()
