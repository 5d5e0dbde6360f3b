"""Several fitted models that answer together: a folder with a folder `member-NN` for each, or one fitted model."""

from __future__ import annotations

from pathlib import Path

from fgcme.errors import UserError
from fgcme.model import Network
from fgcme.serving import fitted
from fgcme.serving.fitted import ModelSpec

_MEMBERS = "member-[0-9]*"


def member_folder(folder: Path, number: int) -> Path:
    """The folder of one member of an ensemble."""
    return folder / f"member-{number:02}"


def member_folders(folder: Path) -> list[Path]:
    """The folders of an ensemble's members; of a single fitted model its own."""
    return sorted(path.parent for path in folder.glob(f"{_MEMBERS}/model.json")) or [folder]


def has_model(folder: Path) -> bool:
    """Whether a folder holds a fitted model or an ensemble."""
    return all((member / "model.json").is_file() for member in member_folders(folder))


def load(folder: Path) -> list[tuple[Network, ModelSpec]]:
    """Read the members of an ensemble, or the one model of a folder.

    Raises:
        UserError: there is no model, or a damaged one, or the members differ in what they answer or in how speech is
            prepared.
    """
    members = [fitted.load(member) for member in member_folders(folder)]
    first = members[0][1]
    for _, spec in members[1:]:
        if (spec.tasks, spec.prepare) != (first.tasks, first.prepare):
            raise UserError(
                f"{folder}: its members do not answer the same question: classes, dimensions or `prepare` differ"
            )
    return members
