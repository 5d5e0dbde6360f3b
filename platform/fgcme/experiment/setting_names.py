"""Which settings there are, by dotted name: their types, and what to say of a name that is unknown or out of date."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from typing import Any

from pydantic import BaseModel

from fgcme.errors import UserError
from fgcme.experiment.settings import Experiment

# Settings that have been renamed: whoever uses an old name is told the new one.
RENAMED = {
    "model.excitement.squeeze": "model.excitement.reduction_ratio",
    "prepare.features.layer": "prepare.features.layers",
    "scaling.parallel": "scaling.max_concurrent",
    "storage.study": "tune.study_storage",
    "training.augmentation.gain": "training.augmentation.gain_db",
    "training.augmentation.mixup": "training.augmentation.mixup_alpha",
    "training.augmentation.signal_to_noise": "training.augmentation.snr_db",
    "training.focus": "training.focal_gamma",
    "tune.grace_epochs": "tune.grace_period",
    "tune.reduction": "tune.reduction_factor",
}


def setting_type(dotted: str) -> Any:
    """The annotated type of a setting, or the class of a section.

    Raises:
        UserError: there is no such setting; names its new name or the closest one.
    """
    section: type[BaseModel] = Experiment
    *parents, last = dotted.split(".")
    for depth, name in enumerate(parents, 1):
        inner = _annotation(section, name, ".".join(parents[:depth]))
        if not _is_section(inner):
            raise UserError(f"{dotted}: {'.'.join(parents[:depth])} has no keys below it")
        section = inner
    return _annotation(section, last, dotted)


def explain_unknown(dotted: str) -> str:
    """Explain an unknown setting: its new name, or the closest one and the settings of its section.

    >>> explain_unknown("training.focus")
    'training.focus is now called training.focal_gamma'
    >>> explain_unknown("storage.pat")
    'storage.pat is not a setting; did you mean storage.path? (allowed here: path)'
    """
    if dotted in RENAMED:
        return f"{dotted} is now called {RENAMED[dotted]}"
    known = list(_setting_names(Experiment))
    if dotted in known:
        return f"{dotted}: write it as a key of its section, as in `{_nested(dotted)}`"
    parent = dotted.rpartition(".")[0]
    siblings = [name.rpartition(".")[2] for name in known if name.rpartition(".")[0] == parent]
    # Exclude the sections above it: they are always similar.
    hint = did_you_mean(dotted, (name for name in known if not dotted.startswith(f"{name}.")))
    return f"{dotted} is not a setting{hint} (allowed here: {', '.join(siblings) or 'nothing'})"


def did_you_mean(name: str, known: Iterable[str], cutoff: float = 0.6) -> str:
    """The closest known name as a question, to append to a message; empty if none is close.

    >>> did_you_mean("meen", ["max", "mean"])
    '; did you mean mean?'

    Args:
        name: what was written.
        known: what is allowed.
        cutoff: how alike the two must be at least, from 0 to 1.
    """
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=cutoff)
    return f"; did you mean {close[0]}?" if close else ""


def _annotation(section: type[BaseModel], name: str, dotted: str) -> Any:
    if name not in section.model_fields:
        raise UserError(explain_unknown(dotted))
    return section.model_fields[name].annotation


def _is_section(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def _setting_names(section: type[BaseModel], prefix: str = "") -> Iterator[str]:
    for name, field in section.model_fields.items():
        yield prefix + name
        if _is_section(field.annotation):
            yield from _setting_names(field.annotation, f"{prefix}{name}.")  # type: ignore[arg-type]


def _nested(dotted: str) -> str:
    *parents, last = dotted.split(".")
    return "".join(f"{parent}: {{" for parent in parents) + f"{last}: ..." + "}" * len(parents)
