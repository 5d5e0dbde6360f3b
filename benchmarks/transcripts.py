"""What it costs RAVDESS's answers that nobody has written down what is said: true words, recognised ones, sound alone.

Each test utterance is answered by the models of its own fold, which know none of its speakers, from the sound file, as
`fgcme predict` does: with the true words, with those that PocketSphinx recognises, with Whisper's, and by the sound
alone where the model learnt that (`training.augmentation.modality_dropout`). It is heard once for all of them. Where no
word is recognised a model that can answers by sound alone; of another there is no answer, which is a wrong one. Beside
UA stands the recognisers' word error rate. With the true words, answers are compared with those of the
cross-validation itself. What was recognised is kept in `--words` and what was answered in `--answers`, so that a run
that was stopped goes on where it was. The last line is JSON.

    fgcme train ravdess_whisper model.modalities=both training.augmentation.modality_dropout=0.2 training.seeds=[0]
    python benchmarks/transcripts.py RUN --root RAVDESS --whisper FOLDER
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
import pyarrow.parquet as pq
from rich.console import Console
from rich.table import Table

from fgcme import audio, recognition
from fgcme.alignment.words import normalise
from fgcme.corpora import ravdess
from fgcme.errors import DataError
from fgcme.evaluation.metrics import confusion, measure
from fgcme.prepared.utterance import AnalysedSpeech
from fgcme.serving.classifier import Classifier
from fgcme.tracking import Tracker, resolve_uri
from pipelines.training.job import finished_trainings

TRUE, ALONE = "true words", "sound alone"
Item = TypeVar("Item")


class Model(NamedTuple):
    """A model of the cross-validation: its run, the fold that it was tested on, its seed, and itself."""

    run: str
    fold: int
    seed: int
    classifier: Classifier


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", help="a finished cross-validation on RAVDESS: its id, name or `latest`")
    parser.add_argument("--root", required=True, type=Path, help="folder of RAVDESS")
    parser.add_argument("--whisper", help="folder or hub name; without it only PocketSphinx recognises")
    parser.add_argument("--words", type=Path, default=Path("recognised.jsonl"), help="keeps what was recognised")
    parser.add_argument("--answers", type=Path, default=Path("answered.jsonl"), help="keeps what was answered")
    parser.add_argument("--each", type=int, help="of each actor and emotion only so many utterances")
    parser.add_argument("--words-only", action="store_true", help="print the word error rates, and ask no model")
    arguments = parser.parse_args()
    utterances = {each.id: each for each in chosen(ravdess.find(arguments.root).utterances, arguments.each)}
    tracker = Tracker(resolve_uri(None))
    # An hour of recognising would be too late to hear that there is no such run.
    run = "" if arguments.words_only else tracker.find_run(arguments.run).info.run_id
    recognisers = ["sphinx", *([arguments.whisper] if arguments.whisper else [])]
    texts = {name: recognise(name, utterances, arguments.root, arguments.words) for name in recognisers}
    result: dict[str, Any] = {"utterances": len(utterances)}
    for name, recognised in texts.items():
        result[f"wer {name}"] = round(error_rate(utterances, recognised), 4)
    if not arguments.words_only:
        given: dict[str, dict[str, str]] = {TRUE: {name: each.text for name, each in utterances.items()}}
        given |= texts | {ALONE: dict.fromkeys(utterances, "")}
        result |= answer(tracker, run, arguments.root, utterances, given, arguments.answers)
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


def kept_lines(path: Path) -> list[dict[str, Any]]:
    """What an earlier run has left."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def told(what: str, items: Sequence[Item]) -> Iterator[Item]:
    """The items, and how many are done and how long the others will take."""
    begin = time.monotonic()
    for number, item in enumerate(items):
        if number and number % 20 == 0:
            left = (time.monotonic() - begin) / number * (len(items) - number)
            print(f"{what}: {number} of {len(items)}, {left / 60:.0f} min left", file=sys.stderr, flush=True)
        yield item


def recognise(name: str, utterances: dict[str, Any], root: Path, kept: Path) -> dict[str, str]:
    """What a recogniser writes of each utterance."""
    known = {line["id"]: line["text"] for line in kept_lines(kept) if line["by"] == name}
    recogniser = recognition.build(name)
    with kept.open("a") as file:
        for identity in told(f"recognised by {name}", sorted(utterances.keys() - known.keys())):
            known[identity] = recogniser.recognise(audio.read(root / utterances[identity].audio))
            print(json.dumps({"by": name, "id": identity, "text": known[identity]}), file=file, flush=True)
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


def answer(
    tracker: Tracker, run: str, root: Path, utterances: dict[str, Any], given: dict[str, dict[str, str]], kept: Path
) -> dict[str, Any]:
    """UA by what is given of the words, over folds and seeds; and how far answers are from the cross-validation's."""
    with tempfile.TemporaryDirectory() as scratch:
        table = pq.read_table(tracker.download_artifact(run, "predictions.parquet", Path(scratch)))
        rows = {(row["id"], row["fold"], row["seed"]): row for row in table.to_pylist() if row["id"] in utterances}
        models = [load(tracker, training, Path(scratch)) for training in finished_trainings(tracker, run)]
        # What one of them hears, all do.
        assert len({model.classifier.spec.prepare.model_dump_json() for model in models}) == 1
        tested = {
            identity: [model for model in models if (identity, model.fold, model.seed) in rows]
            for identity in utterances
        }
        answers = {(line["run"], line["id"], line["way"]): line for line in kept_lines(kept)}
        left = [
            identity
            for identity, of_fold in sorted(tested.items())
            if any((model.run, identity, way) not in answers for model in of_fold for way in ways(model, given))
        ]
        with kept.open("a") as file:
            for identity in told("answered", left):
                samples = audio.read(root / utterances[identity].audio)
                heard = tested[identity][0].classifier.hear(samples)
                for model in tested[identity]:
                    for way in ways(model, given):
                        said = answer_one(model.classifier, heard, samples, given[way][identity])
                        line = {"run": model.run, "id": identity, "way": way, **said}
                        answers[model.run, identity, way] = line
                        print(json.dumps(line), file=file, flush=True)
    asked = [
        (model, identity, rows[identity, model.fold, model.seed]) for identity in tested for model in tested[identity]
    ]
    return summarise(asked, answers, given)


def load(tracker: Tracker, training: Any, scratch: Path) -> Model:
    """The model of a finished training."""
    folder = scratch / training.info.run_id
    folder.mkdir()
    fold, seed = (int(training.data.tags[f"fgcme.{key}"]) for key in ("fold", "seed"))
    classifier = Classifier(tracker.download_artifact(training.info.run_id, "model", folder))
    return Model(training.info.run_id, fold, seed, classifier)


def ways(model: Model, given: dict[str, dict[str, str]]) -> list[str]:
    """What the model is asked: it may not have learnt to do without words."""
    return [way for way in given if way != ALONE or not model.classifier.needs.text]


def answer_one(classifier: Classifier, heard: AnalysedSpeech, samples: audio.Samples, text: str) -> dict[str, Any]:
    """The answer to an utterance, and whether it is one by its words; no label where there is none."""
    by_words = bool(normalise(text)) or classifier.needs.text
    try:
        prediction = classifier.predict_heard(heard, samples, text if by_words else None)
    except DataError:
        return {"label": "", "probabilities": {}, "by_words": by_words}
    return {"label": prediction.label, "probabilities": prediction.probabilities, "by_words": by_words}


def summarise(
    asked: list[tuple[Model, str, dict[str, Any]]],
    answers: dict[tuple[str, str, str], dict[str, Any]],
    given: dict[str, dict[str, str]],
) -> dict[str, Any]:
    """UA of each way; and how far answers by true words are from those of the cross-validation."""
    classes = sorted({row["label"] for _, _, row in asked})
    result: dict[str, Any] = {}
    for way in given:
        lines = [
            (row, answers[model.run, identity, way]) for model, identity, row in asked if way in ways(model, given)
        ]
        if lines:
            result[f"ua {way}"] = round(
                ua([row["label"] for row, _ in lines], [own["label"] for _, own in lines], classes), 4
            )
        if way not in (TRUE, ALONE):
            result[f"by sound alone {way}"] = sum(not own["by_words"] for _, own in lines)
            result[f"no answer {way}"] = sum(not own["label"] for _, own in lines)
    furthest, same, equal = 0.0, 0, 0
    for model, identity, row in asked:
        line = answers[model.run, identity, TRUE]
        own = [line["probabilities"][name] for name in model.classifier.spec.classes]
        furthest = max(furthest, float(np.abs(np.subtract(own, row["probabilities"])).max()))
        same, equal = same + (line["label"] == row["prediction"]), equal + (own == row["probabilities"])
    return result | {
        "same labels": f"{same} of {len(asked)}",
        "same probabilities": f"{equal} of {len(asked)}",
        "furthest probability": furthest,
    }


def ua(labels: list[str], answers: list[str], classes: list[str]) -> float:
    """Unweighted accuracy; no answer is a wrong one."""
    numbers = {name: number for number, name in enumerate([*classes, ""])}
    true, own = (np.array([numbers[name] for name in some]) for some in (labels, answers))
    return measure(confusion(true, own, len(numbers)))["ua"]


if __name__ == "__main__":
    main()
