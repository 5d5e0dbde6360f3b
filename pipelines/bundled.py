"""The experiments and search spaces that come with the package, found by name or by path."""

from __future__ import annotations

from pathlib import Path

from fgcme.errors import UserError

_HERE = Path(__file__).parent
EXPERIMENTS = _HERE / "experiments"
# In a checkout the spaces lie at the top; a wheel carries them inside this package.
SEARCH_SPACES = _HERE / "search_spaces" if (_HERE / "search_spaces").is_dir() else _HERE.parent / "search_spaces"


def experiment_file(name: str) -> Path:
    """The file of an experiment, from a name such as `ravdess` or a path.

    Raises:
        UserError: there is none.
    """
    return _file(name, EXPERIMENTS, "experiment")


def space_file(name: str) -> Path:
    """The file of a search space, from a name such as `pooling` or a path.

    Raises:
        UserError: there is none.
    """
    return _file(name, SEARCH_SPACES, "search space")


def _file(name: str, folder: Path, noun: str) -> Path:
    named = folder / f"{name}.yaml"
    if named.is_file():
        return named
    path = Path(name)
    if path.is_file():
        return path
    known = ", ".join(sorted(file.stem for file in folder.glob("*.yaml")))
    raise UserError(f"{name}: no such {noun}; name one of {known}, or give the path of a YAML file")
