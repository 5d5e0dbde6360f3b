"""What a linear classifier reaches on a prepared corpus, fitted until it converges: a model on an encoder must beat it.

It sees the mean and the deviation of each value over the frames of a recording, standardised by the training part, or
by speaker, which uses unlabelled test audio. It is a logistic regression whose C is chosen on the dev part of each
fold, then trained on train and dev part together. Copies at other speeds are trained on, and an utterance is answered
by the mean logits of its recordings, as in `fgcme train`, whose variant `linear_probe` is the same with one penalty for
all corpora and as many epochs as dev chooses. Nothing is chosen on a test part, and nothing is drawn at random. The
last line is JSON.

    fgcme prepare ravdess_whisper --root RAVDESS
    python benchmarks/linear_probe.py --experiment ravdess_whisper --prepared storage/prepared/FOLDER
"""

from __future__ import annotations

import argparse
import json
from functools import partial
from pathlib import Path

import numpy as np
from linear import STANDARDISED, Standardise, cross_validate
from rich.console import Console
from rich.table import Table
from sklearn.linear_model import LogisticRegression

from fgcme.data.assignment import apply_protocol
from fgcme.data.dataset import SpeechCorpus
from fgcme.experiment import load_experiment
from pipelines.bundled import experiment_file

PENALTIES = [3e-5, 3e-4, 3e-3, 3e-2]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prepared", required=True, help="folder of the prepared corpus")
    parser.add_argument("--experiment", default="ravdess_whisper", help="whose protocol counts")
    arguments = parser.parse_args()
    experiment = load_experiment(experiment_file(arguments.experiment))
    corpus = SpeechCorpus(Path(arguments.prepared))
    assignment = apply_protocol(experiment.protocol, experiment.corpus.kind, corpus.table)
    values = statistics(corpus)
    table = Table(title=f"{assignment.protocol.name}, logistic regression")
    for heading in ("standardised by", "WA", "UA", "macro-F1"):
        table.add_column(heading, justify="right")
    results = {}
    for name, standardise in STANDARDISED.items():
        seen = partial(standardised, values, corpus, standardise)
        metrics = cross_validate(assignment, seen, fitted, answer, PENALTIES)
        table.add_row(name, *(f"{100 * metrics[metric]:.1f}" for metric in ("wa", "ua", "macro_f1")))
        results[name] = {metric: round(value, 4) for metric, value in metrics.items()}
    Console().print(table)
    print(json.dumps(results))


def statistics(corpus: SpeechCorpus) -> np.ndarray:
    """Mean and deviation of the frames of all recordings, [utterances, recordings of each, 2 F]."""
    recordings = corpus.recordings(np.arange(len(corpus)))
    rows = []
    for recording in recordings:
        frames = corpus.frames(recording)
        rows.append(np.concatenate([frames.mean(0), frames.std(0)]))
    return np.stack(rows).reshape(len(corpus), -1, 2 * corpus.frame_size)


def standardised(values: np.ndarray, corpus: SpeechCorpus, standardise: Standardise, train: np.ndarray) -> np.ndarray:
    """The values of the recordings of all utterances, standardised.

    Args:
        values: [B, R, V].
        corpus: who speaks.
        standardise: given the training part; copies by themselves, as they sound like other speakers.
        train: utterances of the training part.
    """
    voices, each = corpus.voices.reshape(values.shape[1], -1).T, values.shape[1]
    trained = (train[:, None] * each + np.arange(each)).ravel()
    return standardise(values.reshape(len(values) * each, -1), trained, voices.ravel()).reshape(values.shape)


def fitted(values: np.ndarray, labels: np.ndarray, penalty: float) -> LogisticRegression:
    """A logistic regression of all recordings of some utterances, [B, R, V]."""
    spoken = np.repeat(labels, values.shape[1])
    return LogisticRegression(C=penalty, max_iter=300).fit(values.reshape(len(spoken), -1), spoken)


def answer(model: LogisticRegression, values: np.ndarray) -> np.ndarray:
    """The class of each utterance by the mean logits of its recordings, [B, R, V] -> [B]."""
    logits = model.decision_function(values.reshape(values.shape[0] * values.shape[1], -1))
    return np.asarray(logits.reshape(*values.shape[:2], -1).mean(1).argmax(1))


if __name__ == "__main__":
    main()
