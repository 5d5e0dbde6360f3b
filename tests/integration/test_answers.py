"""Whoever has the package and the address of the store gets the answers of the evaluation, to the last bit."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
import sysconfig
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile

from fgcme.corpora.ravdess import find
from fgcme.experiment import parse_experiment
from fgcme.tracking import Tracker
from pipelines import prepare, train
from pipelines.register import register
from tests import rated_corpus
from tests.in_process import train_in_process
from tests.speech import say
from tests.speech_encoder import WHISPER_BASE, save_encoder

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("ray_session")]

ROOT = Path(__file__).parents[2]
RAVDESS = ROOT.parent / "shared" / "ravdess"
SENTENCES = ("Kids are talking by the door.", "The tiktoker was late", "Give me 3 dogs!", "Nobody knows, really")
# In the published sizes: products of smaller matrices round alike in a batch and alone.
MODEL = {"acoustic": {"normalisation": "train"}}


@dataclass(frozen=True)
class Corpus:
    """A corpus on disk.

    Attributes:
        settings: the sections `corpus` and `protocol` of an experiment on it.
        recordings: id -> file and what is said in it.
    """

    settings: dict[str, Any]
    recordings: dict[str, tuple[Path, str]]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A path for Python with the libraries and the package as it is installed, and no checkout."""
    folder = tmp_path_factory.mktemp("installed")
    builder = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(builder, cwd=ROOT, check=True, capture_output=True)
    zipfile.ZipFile(next(folder.glob("*.whl"))).extractall(folder / "site")
    return f"{folder / 'site'}:{sysconfig.get_path('purelib')}"


@pytest.fixture(scope="module")
def spoken(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    """Four sentences by three voices, of very different lengths."""
    folder, recordings = tmp_path_factory.mktemp("spoken"), {}
    with (folder / "list.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "audio", "text", "label", "speaker"])
        for voice in ("en-us", "en-us+f3", "en-us+m3"):
            for number, text in enumerate(SENTENCES):
                name = f"{voice}-{number}"
                soundfile.write(folder / f"{name}.wav", say(text, rate=110 + 40 * number, voice=voice)[0], 16_000)
                writer.writerow([name, f"{name}.wav", text, ("calm", "angry")[number % 2], voice])
                recordings[name] = folder / f"{name}.wav", text
    corpus = {"kind": "manifest", "manifest": str(folder / "list.csv")}
    protocol = {"name": "spoken", "labels": {"calm": "calm", "angry": "angry"}, "folds": 3, "dev_groups": 1}
    return Corpus({"corpus": corpus, "protocol": protocol}, recordings)


@pytest.fixture(scope="module")
def rated(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    """Tones of six speakers with ratings of valence and arousal."""
    folder = tmp_path_factory.mktemp("rated") / "corpus"
    sounds = rated_corpus.sounds_of(rated_corpus.write(folder, each=4))
    with (sounds / "list.csv").open(encoding="utf-8") as file:
        recordings = {row["id"]: (sounds / row["audio"], row["text"]) for row in csv.DictReader(file)}
    protocol = {"name": "rated", "dimensions": rated_corpus.DIMENSIONS, "folds": 3, "dev_groups": 1}
    return Corpus(
        {"corpus": {"kind": "manifest", "manifest": str(sounds / "list.csv")}, "protocol": protocol}, recordings
    )


@pytest.fixture(scope="module")
def acted(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    """Some recordings of three actors of RAVDESS."""
    folder = tmp_path_factory.mktemp("acted")
    for path in sorted(RAVDESS.glob("Actor_0[1-3]/03-01-0[35]-02-01-01-*")):
        (folder / path.parent.name).mkdir(exist_ok=True)
        (folder / path.parent.name / path.name).symlink_to(path)
    said = {each.id: (folder / each.audio, each.text) for each in find(folder).utterances}
    labels = {"happy": "happy", "angry": "angry"}
    protocol = {"name": "acted", "labels": labels, "folds": 3, "dev_groups": 1}
    return Corpus({"corpus": {"kind": "ravdess", "root": str(folder)}, "protocol": protocol}, said)


def check(
    corpus: Corpus, features: dict[str, Any], tracker: Tracker, folder: Path, installed: str, patch: pytest.MonkeyPatch
) -> None:
    """Prepare, train, register; then ask as a stranger does, and compare."""
    train_in_process(train, patch)
    experiment = parse_experiment(
        {
            "name": "mine",
            **corpus.settings,
            "prepare": features,
            "model": MODEL,
            "training": {"epochs": 2, "batch_size": 4},
            "storage": {"path": str(folder / "storage")},
            "tracking": {"uri": tracker.uri},
        }
    )
    prepare.run(experiment, verbose=False)
    run = train.run(experiment)
    chosen = register(run, "mine", "champion", tracker.uri).run
    fold = int(tracker.find_run(chosen).data.tags["fgcme.fold"])
    rows = pq.read_table(tracker.download_artifact(run, "predictions.parquet", folder)).to_pylist()
    expected = {str(corpus.recordings[row["id"]][0]): row for row in rows if row["fold"] == fold}
    assert len(expected) == len(rows) // 3
    texts = [text for path, text in corpus.recordings.values() if str(path) in expected]
    files = [str(path) for path, _ in corpus.recordings.values() if str(path) in expected]
    nowhere, home = folder / "nowhere", folder / "home"
    nowhere.mkdir()
    home.mkdir()
    asked = [arguments for text in texts for arguments in ("--text", text)]
    command = [sys.executable, "-S", "-m", "pipelines.cli", "predict", "models:/mine@champion", *files, *asked]
    environment = {"PYTHONPATH": installed, "HOME": str(home), "PATH": "", "MLFLOW_TRACKING_URI": tracker.uri}
    done = subprocess.run(
        [*command, "--format", "json"], cwd=nowhere, env=environment, capture_output=True, text=True, timeout=400
    )
    assert done.returncode == 0, done.stderr
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert {answer["audio"] for answer in answers} == set(expected)
    for answer in answers:
        row = expected[answer["audio"]]
        assert answer["alignment"] == features.get("alignment", {}).get("method", "sphinx")
        if "dimensions" in corpus.settings["protocol"]:
            ratings = {name: float(np.float32(value)) for name, value in answer["ratings"].items()}
            assert ratings == {name: row[f"{name}_predicted"] for name in rated_corpus.DIMENSIONS}
        else:
            assert answer["label"] == row["prediction"]
            assert list(answer["probabilities"].values()) == row["probabilities"]


def test_of_log_mel_frames(
    spoken: Corpus, tracker: Tracker, tmp_path: Path, installed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    check(spoken, {}, tracker, tmp_path, installed, monkeypatch)


def test_of_an_encoder_s_layers_at_two_speeds(
    spoken: Corpus, tracker: Tracker, tmp_path: Path, installed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "encoder").mkdir()
    encoder = {"kind": "speech_encoder", "checkpoint": save_encoder("whisper", tmp_path / "encoder"), "layers": [1, 3]}
    check(spoken, {"features": encoder, "copies": {"speed": [0.9]}}, tracker, tmp_path, installed, monkeypatch)


def test_of_ratings(
    rated: Corpus, tracker: Tracker, tmp_path: Path, installed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    check(rated, {"alignment": {"method": "uniform"}}, tracker, tmp_path, installed, monkeypatch)


@pytest.mark.slow
@pytest.mark.skipif(not (RAVDESS.is_dir() and WHISPER_BASE.is_dir()), reason="RAVDESS or Whisper base is not here")
def test_of_the_layers_of_whisper_base_on_ravdess(
    acted: Corpus, tracker: Tracker, tmp_path: Path, installed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = {"kind": "speech_encoder", "checkpoint": str(WHISPER_BASE), "layers": [2, 5]}
    check(acted, {"features": encoder, "copies": {"speed": [0.9]}}, tracker, tmp_path, installed, monkeypatch)
