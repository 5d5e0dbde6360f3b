"""A folder for the hub has all that loads it, and answers as the model does."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from fgcme import audio
from fgcme.errors import UserError
from fgcme.export.hub_folder import write_hub_folder
from fgcme.serving.classifier import Classifier
from tests.fitted_model import save_fitted, write_audio

CARD = "---\nlicense: mit\n---\n\n# a model\n"


def test_it_answers_by_its_own_code_as_the_model_does(tmp_path: Path) -> None:
    fitted, folder = save_fitted(tmp_path / "fitted"), tmp_path / "hub"
    files = write_hub_folder(fitted, CARD, folder)
    assert [path.name for path in files] == ["README.md", "model.json", "model.safetensors", "requirements.txt"]
    sound = write_audio(tmp_path / "a.wav")
    code = (
        "import fgcme, json, sys; from pathlib import Path; from fgcme import audio;"
        "from fgcme.serving.classifier import Classifier;"
        f"answer = Classifier(Path('.')).predict(audio.read({str(sound)!r}), 'the dogs');"
        "print(json.dumps([fgcme.__file__, answer.probabilities]))"
    )
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, env=environment, capture_output=True, text=True, check=True
    )
    source, probabilities = json.loads(done.stdout.splitlines()[-1])
    assert Path(source) == folder / "fgcme" / "__init__.py"
    assert probabilities == Classifier(fitted).predict(audio.read(sound), "the dogs").probabilities


def test_its_card_begins_as_the_hub_wants_it_and_says_how_to_load_it(tmp_path: Path) -> None:
    write_hub_folder(save_fitted(tmp_path / "fitted"), CARD, tmp_path / "hub")
    card = (tmp_path / "hub" / "README.md").read_text()
    assert card.startswith(CARD) and "pip install -r requirements.txt" in card and '"what is said"' in card
    write_hub_folder(save_fitted(tmp_path / "either", modality_dropout=True), CARD, tmp_path / "other")
    assert 'audio.read("some.wav"), None)' in (tmp_path / "other" / "README.md").read_text()
    pinned = (tmp_path / "hub" / "requirements.txt").read_text().splitlines()
    assert any(line.startswith("safetensors==") for line in pinned)


def test_nothing_that_is_there_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / "hub").mkdir()
    (tmp_path / "hub" / "mine.txt").write_text("mine")
    with pytest.raises(UserError, match="is not empty; give a new folder"):
        write_hub_folder(save_fitted(tmp_path / "fitted"), CARD, tmp_path / "hub")
    assert [path.name for path in (tmp_path / "hub").iterdir()] == ["mine.txt"]
