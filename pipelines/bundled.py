"""The experiments, search spaces and ablations that come with the package, found by name or by path."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, get_args

from fgcme.errors import UserError

SpaceNoun = Literal["search space", "ablation"]

_HERE = Path(__file__).parent
EXPERIMENTS = _HERE / "experiments"
# A wheel has the spaces inside this package, a checkout at its root.
SEARCH_SPACES = _HERE / "search_spaces" if (_HERE / "search_spaces").is_dir() else _HERE.parent / "search_spaces"


def experiment_file(name: str) -> Path:
    """The file of an experiment, from a name such as `ravdess` or a path.

    Raises:
        UserError: there is none.
    """
    return _file(name, EXPERIMENTS, "experiment")


def space_file(name: str, noun: SpaceNoun = "search space") -> Path:
    """The file of a search space or an ablation, from a name such as `pooling` or a path.

    Args:
        name: of a bundled file, or a path.
        noun: which of the two is wanted; a message offers only these.

    Raises:
        UserError: there is no such file.
    """
    return _file(name, SEARCH_SPACES, noun)


def _file(name: str, folder: Path, noun: str) -> Path:
    named = folder / f"{name}.yaml"
    if named.is_file():
        return named
    path = Path(name)
    if path.is_file():
        return path
    files = sorted(folder.glob("*.yaml"))
    if noun in get_args(SpaceNoun):
        # An ablation names variants, a search space parameters.
        files = [file for file in files if ("\nvariants:" in file.read_text(encoding="utf-8")) == (noun == "ablation")]
    known = ", ".join(file.stem for file in files)
    raise UserError(f"{name}: no such {noun}; name one of {known}, or give the path of a YAML file")
