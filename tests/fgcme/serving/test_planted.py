"""Packages that somebody has tampered with: reading a model runs nothing of them, and stays in their folder."""

from __future__ import annotations

import json
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from fgcme.errors import UserError
from fgcme.serving.classifier import FITTED_ARTIFACT, Classifier, package_model
from fgcme.serving.registry import download_model
from fgcme.tracking import Tracker
from pipelines.register import register
from tests.fitted_model import save_fitted, write_audio
from tests.store import record_cross_validation


class Planted:
    """Whatever unpickles it writes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str, ...]]:
        return Path.touch, (self.path,)  # type: ignore[return-value]


def plant(package: Path, marker: Path) -> None:
    """Add to a package all that has ever been run from one: code, pickles, YAML that makes objects."""
    payload = pickle.dumps(Planted(marker))
    run = f"import pathlib; pathlib.Path({str(marker)!r}).touch()\n"
    for name in ("python_model.pkl", "artifacts/fitted/model.pkl", "artifacts/fitted/pytorch_model.bin"):
        (package / name).write_bytes(payload)
    for source in package.glob("code/**/*.py"):
        source.write_text(run + source.read_text())
    for name in ("sitecustomize.py", "fgcme.py", "artifacts/fitted/fgcme.py", "served_model.py"):
        (package / name).write_text(run)
    made = f"planted: !!python/object/apply:os.system ['touch {marker}']\n"
    for name in ("MLmodel", "conda.yaml", "python_env.yaml"):
        (package / name).write_text(made + (package / name).read_text())


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made")
    package_model(save_fitted(folder / "fitted"), folder / "package")
    return folder / "package"


@pytest.fixture
def package(made: Path, tmp_path: Path) -> Path:
    return shutil.copytree(made, tmp_path / "package")


def test_a_pickle_is_one(tmp_path: Path) -> None:
    pickle.loads(pickle.dumps(Planted(tmp_path / "marker")))
    assert (tmp_path / "marker").exists()


def test_the_program_answers_by_a_planted_package_and_runs_nothing_of_it(package: Path, tmp_path: Path) -> None:
    plant(package, tmp_path / "marker")
    recording = write_audio(tmp_path / "a.wav")
    command = [sys.executable, "-m", "pipelines.cli", "predict", str(package), str(recording), "--text", "dogs"]
    done = subprocess.run([*command, "--format", "json"], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["words"][0]["word"] == "dogs"
    assert not (tmp_path / "marker").exists()


def test_a_planted_registered_model_is_read_and_runs_nothing(tracker: Tracker, tmp_path: Path) -> None:
    _, folds = record_cross_validation(tracker, tmp_path, [0.4])
    registered = register(folds[0], "speech", "champion", tracker.uri)
    package = next(path.parent for path in tmp_path.glob("artifacts/**/models/*/artifacts/MLmodel"))
    plant(package, tmp_path / "marker")
    (tmp_path / "downloads").mkdir()
    Classifier(download_model(registered.uri, tracker.uri, tmp_path / "downloads"))
    assert not (tmp_path / "marker").exists()


def test_weights_that_are_a_pickle_are_refused(package: Path, tmp_path: Path) -> None:
    torch.save({"weights": Planted(tmp_path / "marker")}, package / "artifacts/fitted/model.safetensors")
    with pytest.raises(UserError, match="not a fitted model, or a damaged one"):
        Classifier(download_model(str(package), None, tmp_path))
    assert not (tmp_path / "marker").exists()


@pytest.mark.parametrize("checkpoint", ["../../../etc", "/etc", "inside/../../outside"])
@pytest.mark.parametrize("part", ["alignment", "features", "text"])
def test_a_checkpoint_outside_of_the_package_is_refused(
    package: Path, tmp_path: Path, part: str, checkpoint: str
) -> None:
    description = package / "artifacts" / FITTED_ARTIFACT / "model.json"
    content = json.loads(description.read_text())
    kind = {"alignment": {"method": "ctc"}, "features": {"kind": "speech_encoder"}, "text": {}}[part]
    content["prepare"][part] |= {**kind, "checkpoint": checkpoint}
    description.write_text(json.dumps(content))
    with pytest.raises(UserError, match=r"is not in the model's folder|leads out of the model's folder"):
        Classifier(download_model(str(package), None, tmp_path))


def test_links_out_of_a_package_are_refused(package: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (package / "artifacts" / FITTED_ARTIFACT / "features_checkpoint").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UserError, match="features_checkpoint: a link"):
        download_model(str(package), None, tmp_path)
