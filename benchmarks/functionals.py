"""What a user would otherwise take: openSMILE's functionals of each utterance and a linear support vector machine.

The classifier sees standardised values: by the training part, and by speaker, which uses unlabelled test audio. Its C
is chosen on the dev part of each fold, then it is trained on train and dev part together. Nothing is chosen on a test
part, and nothing is drawn at random, so there is one seed. Speakers, folds and metrics are those of `fgcme train`. The
last line is JSON. openSMILE is not installed with fgcme: it is free for research only.

    pip install opensmile
    python benchmarks/functionals.py --root RAVDESS [--experiment ravdess] [--features ComParE_2016 eGeMAPSv02]
"""

from __future__ import annotations

import argparse
import json
import os
import warnings
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
from linear import STANDARDISED, cross_validate
from rich.console import Console
from rich.table import Table
from sklearn.svm import SVC

from fgcme import audio
from fgcme.corpora import catalogue
from fgcme.data.assignment import apply_protocol
from fgcme.data.protocol import UtteranceTable
from fgcme.experiment import load_experiment
from pipelines.bundled import experiment_file

PENALTIES = [10.0**exponent for exponent in range(-6, 2)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", required=True, help="folder of the corpus")
    parser.add_argument("--experiment", default="ravdess", help="whose corpus and protocol count")
    parser.add_argument("--features", nargs="+", default=["ComParE_2016"], help="openSMILE's sets of functionals")
    arguments = parser.parse_args()
    experiment = load_experiment(experiment_file(arguments.experiment))
    utterances = catalogue.CORPORA[experiment.corpus.kind].find(Path(arguments.root)).utterances
    columns = zip(
        *((each.id, each.raw_label, each.speaker, each.session, each.act) for each in utterances), strict=True
    )
    table_of_utterances = UtteranceTable(*columns)
    assignment = apply_protocol(experiment.protocol, experiment.corpus.kind, table_of_utterances)
    speakers = np.unique(table_of_utterances.speakers, return_inverse=True)[1]
    paths = [Path(arguments.root) / each.audio for each in utterances]
    table = Table(title=f"{assignment.protocol.name}, linear SVM, C on dev, out-of-fold, one seed")
    for heading in ("functionals", "standardised by", "WA", "UA", "macro-F1"):
        table.add_column(heading, justify="right")
    results = {}
    for name in arguments.features:
        with ProcessPoolExecutor(os.cpu_count()) as pool:
            values = np.stack(list(pool.map(partial(functionals, name), paths, chunksize=16)))
        for by, standardise in STANDARDISED.items():
            standardised = partial(standardise, values, speakers=speakers)
            metrics = cross_validate(assignment, standardised, fitted, SVC.predict, PENALTIES)
            table.add_row(name, by, *(f"{100 * metrics[metric]:.1f}" for metric in ("wa", "ua", "macro_f1")))
            results[f"{name}, {by}"] = {metric: round(value, 4) for metric, value in metrics.items()}
    Console().print(table)
    print(json.dumps(results))


def functionals(name: str, path: Path) -> np.ndarray:
    """Functionals of one recording, [values]: what is not a number counts as 0."""
    import opensmile

    with warnings.catch_warnings():
        # It warns of segments that are short for some of its frames; those functionals are 0.
        warnings.simplefilter("ignore")
        smile = opensmile.Smile(getattr(opensmile.FeatureSet, name), opensmile.FeatureLevel.Functionals)
        values = smile.process_signal(audio.read(path), audio.SAMPLE_RATE).to_numpy()[0]
    return np.nan_to_num(values.astype(np.float64))


def fitted(values: np.ndarray, labels: Sequence[int], penalty: float) -> SVC:
    """A linear support vector machine, one against one, classes weighed alike."""
    return SVC(C=penalty, kernel="linear", class_weight="balanced").fit(values, labels)


if __name__ == "__main__":
    main()
