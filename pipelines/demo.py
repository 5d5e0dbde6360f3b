"""Demo: the whole job on the embedded corpus, every stage the real one, in a few minutes on two cores."""

from __future__ import annotations

import time
from pathlib import Path

from fgcme.corpora.catalogue import find
from fgcme.experiment import Experiment, load
from fgcme.tracking import resolve_uri
from pipelines import catalogue, engine, predict, prepare, register, train, tune
from pipelines.progress import clock

NAME, ALIAS = "fgcme-demo", "champion"


def run() -> None:
    """Prepare, train, tune, register and predict; then say how to look at what was recorded."""
    started = time.monotonic()
    experiment = load(catalogue.experiment_file("demo"))
    # One Ray for all stages: each would otherwise start its own.
    with engine.session():
        _title("1/5  prepare: synthesise speech, align words with frames, extract features")
        prepare.run(experiment)
        _title("2/5  train: cross-validation over voices that are not trained on")
        run_id = train.run(experiment)
        _title("3/5  tune: a small sweep over poolings, on dev voices")
        tune.run(_small_sweep(experiment), "pooling")
    _title(f"4/5  register: the best fold's model becomes {NAME}@{ALIAS}")
    register.register(run_id, NAME, ALIAS)
    _title("5/5  predict: one recording")
    audio, text, label = _recording(experiment)
    print(f'{audio}: "{text}", meant to be {label}')
    predict.predict(f"models:/{NAME}@{ALIAS}", [audio], [text])
    print(f"\nDone in {clock(time.monotonic() - started)}. To look at every run, curve and model:")
    print(f"  .venv/bin/mlflow ui --backend-store-uri {resolve_uri(experiment.tracking.uri)} --host 127.0.0.1")
    print("  and open http://127.0.0.1:5000 in a browser")


def _small_sweep(experiment: Experiment) -> Experiment:
    return experiment.model_copy(update={"tune": experiment.tune.model_copy(update={"trials": 4})})


def _recording(experiment: Experiment) -> tuple[Path, str, str]:
    root, listing = find(experiment.corpus, train.storage_folder(experiment))
    utterance = listing.utterances[0]
    return root / utterance.audio, utterance.text, utterance.raw_label


def _title(text: str) -> None:
    print(f"\n== {text}", flush=True)
