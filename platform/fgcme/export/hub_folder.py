"""A fitted model as a folder for the Hugging Face hub, with all that loads it: weights, settings, card, code."""

from __future__ import annotations

import shutil
from pathlib import Path

from fgcme.errors import UserError
from fgcme.serving import ensemble
from fgcme.serving.classifier import copy_fitted, requirements_of
from fgcme.serving.needs import needs_of
from fgcme.serving.registry import CARD_FILE

_USE = """
## From this folder

It holds the code that loads it, in `fgcme`, and the packages that this needs, in `requirements.txt`:

```
pip install -r requirements.txt
python -c 'from pathlib import Path; from fgcme import audio; from fgcme.serving.classifier import Classifier
print(Classifier(Path(".")).predict(audio.read("some.wav"), {said}))'
```

With fgcme installed, `fgcme predict FOLDER some.wav` answers from it.
"""


def write_hub_folder(folder: Path, card: str, destination: Path) -> list[Path]:
    """Write a fitted model as a folder for the Hugging Face hub.

    Args:
        folder: of the fitted model, or of an ensemble's members.
        card: what its README.md says, with the hub's metadata.
        destination: created; may be empty.

    Returns:
        The files in it, without those of the code, in alphabetical order.

    Raises:
        UserError: the destination holds something, or `folder` no fitted model.
    """
    import fgcme

    specs = [spec for _, spec in ensemble.load(folder)]
    if destination.exists() and (not destination.is_dir() or any(destination.iterdir())):
        raise UserError(f"{destination}: is not empty; give a new folder with --hub-folder, or empty this one")
    copy_fitted(folder, destination)
    said = '"what is said"' if needs_of(specs).text else "None"
    (destination / CARD_FILE).write_text(card.rstrip() + "\n" + _USE.format(said=said), encoding="utf-8")
    requirements = "".join(f"{line}\n" for line in requirements_of(specs))
    (destination / "requirements.txt").write_text(requirements, encoding="utf-8")
    files = sorted(path for path in destination.rglob("*") if path.is_file())
    code = destination / "fgcme"
    shutil.copytree(Path(fgcme.__file__).parent, code, ignore=shutil.ignore_patterns("__pycache__"))
    return files
