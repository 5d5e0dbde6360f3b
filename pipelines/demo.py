"""Demo: the whole job on the embedded corpus, by the real stages, in about two minutes on two cores."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from fgcme.addresses import is_hidden
from fgcme.corpora.catalogue import find_corpus
from fgcme.corpora.contract import Utterance
from fgcme.data import SpeechCorpus, apply_protocol, split_fold
from fgcme.experiment import Experiment, load_experiment
from fgcme.tracking import Tracker, resolve_uri
from pipelines import bundled, predict, prepare, register, train, tune
from pipelines.cluster import clock, ray_session, storage_folder
from pipelines.runs.corpus import locate_prepared

NAME, ALIAS = "fgcme-demo", "champion"


def run(overrides: Sequence[str] = ()) -> None:
    """Prepare, train, tune, register and predict; then say how to look at what was recorded.

    Args:
        overrides: of the demo experiment's settings, such as `training.epochs=5`.
    """
    started = time.monotonic()
    experiment = load_experiment(bundled.experiment_file("demo"), overrides)
    uri = resolve_uri(experiment.tracking.uri)
    # One Ray for all stages, which would each start their own.
    with ray_session():
        _title("1/5  prepare: synthesise speech, align words with frames, extract features")
        prepare.run(experiment)
        _title("2/5  train: cross-validation over voices that are not trained on")
        run_id = train.run(experiment)
        _title("3/5  tune: a small sweep over poolings, on dev voices")
        tune.run(_small_sweep(experiment), "pooling")
    _title(f"4/5  register: the best fold's model becomes {NAME}@{ALIAS}")
    registered = register.register(run_id, NAME, ALIAS, uri)
    _title("5/5  predict: a recording of a voice that this model was not trained on")
    fold = int(Tracker(uri).find_run(registered.run).data.tags["fgcme.fold"])
    root, utterance = _unheard(experiment, fold)
    audio = Path(os.path.relpath(root / utterance.audio))
    print(f'"{utterance.text}", meant to be {utterance.raw_label}')
    predict.predict(f"models:/{NAME}@{ALIAS}", [audio], [utterance.text], tracking_uri=uri)
    print(f"\nDone in {clock(time.monotonic() - started)}. To look at every run, curve and model:")
    if uri.startswith("http"):
        print(f"  open {uri} in a browser")
        return
    # MLflow's program takes an address with a password from the environment.
    source = "" if is_hidden(uri) else f" --backend-store-uri {uri}"
    note = ", with the whole address in MLFLOW_BACKEND_STORE_URI" if is_hidden(uri) else ""
    print(f"  {_beside_python('mlflow')} ui{source} --host 127.0.0.1{note}")
    print("  and open http://127.0.0.1:5000 in a browser")


def _small_sweep(experiment: Experiment) -> Experiment:
    return experiment.model_copy(update={"tune": experiment.tune.model_copy(update={"trials": 4})})


def _unheard(experiment: Experiment, fold: int) -> tuple[Path, Utterance]:
    """The corpus's folder, and the first utterance of a fold's test part."""
    corpus = SpeechCorpus(locate_prepared(experiment))
    assignment = apply_protocol(experiment.protocol, experiment.corpus.kind, corpus.table)
    wanted = corpus.table.ids[split_fold(assignment, fold).test[0]]
    root, listing = find_corpus(experiment.corpus, storage_folder(experiment))
    return root, next(utterance for utterance in listing.utterances if utterance.id == wanted)


def _beside_python(program: str) -> str:
    return os.path.relpath(Path(sys.executable).with_name(program))


def _title(text: str) -> None:
    print(f"\n== {text}", flush=True)
