"""An experiment read from YAML and dotted overrides, and checked; a refusal names the file or override at fault."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from fgcme.errors import UserError
from fgcme.experiment import variants
from fgcme.experiment.dotted import flatten, set_dotted
from fgcme.experiment.explanation import explain
from fgcme.experiment.older_settings import renew_experiment
from fgcme.experiment.setting_names import explain_unknown, setting_type
from fgcme.experiment.settings import Experiment
from fgcme.experiment.yaml_text import parse_yaml, read_yaml

# Made absolute, because a worker runs in another folder.
_PATHS = (
    "corpus.root",
    "corpus.manifest",
    "prepare.folder",
    "prepare.alignment.folder",
    "model.semantic.vectors",
)
# Errors that one message tells at most.
_TOLD = 3


@dataclass(frozen=True)
class _Override:
    """One `key=value` of a command line."""

    text: str
    key: str
    value: Any

    def apply(self, content: dict[str, Any]) -> None:
        """Set its value in an experiment's content, or make it the named variant that it asks for."""
        if self.key == "model" and isinstance(self.value, str):
            variants.apply_variant(content, self.value)
            return
        try:
            set_dotted(content, self.key, self.value)
        except UserError as error:
            raise UserError(f"override {self.text!r}: {error}") from None


def load_experiment(path: str | Path, overrides: Iterable[str] = ()) -> Experiment:
    """Read an experiment file and apply dotted overrides such as `model.pooling.kind=mean`.

    A file's `model` may name a variant, `model: mean`, and settings beside it, `model: {variant: mean, ...}`.

    Relative paths in it are relative to the working directory, and become absolute. `model=recording` takes over the
    settings of a named variant (`fgcme.experiment.variants`), and leaves the others as the file has them. Where a
    setting is text, an override's value is the text as it was typed: `storage.path=2024-06-01` is no date.

    Args:
        path: the experiment file, YAML.
        overrides: each `key=value`, the key dotted, the value YAML; later ones win.

    Raises:
        UserError: the file cannot be read, or a key or value is refused; names the file or the override at fault, the
            key and what is allowed.
    """
    path = Path(path)
    content = read_yaml(path)
    model = content.get("model")
    if isinstance(model, str) or (isinstance(model, dict) and "variant" in model):
        name = content.pop("model") if isinstance(model, str) else model.pop("variant")
        try:
            named = variants.find_variant(str(name))
        except UserError as error:
            raise UserError(f"{path}: {error}") from None
        # Settings of the file's own count before the variant's.
        variants.merge(named, content)
        content = named
    parsed = [_parse_override(text) for text in overrides]
    try:
        return _combine(content, parsed)
    except ValidationError as error:
        raise UserError(_blame(path, content, parsed, explain(error, explain_unknown))) from None


def parse_experiment(content: Mapping[str, Any], source: str = "") -> Experiment:
    """Validate a mapping as an experiment.

    Args:
        content: sections, each with its settings.
        source: what it was read from, to begin messages with.

    Raises:
        UserError: a key or value is refused; names the key and what is allowed.
    """
    try:
        return Experiment.model_validate(content)
    except ValidationError as error:
        sentences = "; ".join(explain(error, explain_unknown)[:_TOLD])
        raise UserError(f"{source}: {sentences}" if source else sentences) from None


def parse_stored(content: Mapping[str, Any], source: str) -> Experiment:
    """Validate an experiment that a run has stored, perhaps an older version's; see `parse_experiment`."""
    return parse_experiment(renew_experiment(content), source)


def apply_configuration(experiment: Experiment, configuration: Mapping[str, Any]) -> Experiment:
    """The experiment with some of its settings, named by their dotted names, changed.

    Raises:
        UserError: a setting is not known or a value is refused.
    """
    content = experiment.model_dump(mode="json")
    for dotted, value in configuration.items():
        set_dotted(content, dotted, value)
    return parse_experiment(content)


def _parse_override(text: str) -> _Override:
    key, equals, typed = text.partition("=")
    if not equals or not key:
        raise UserError(f"override {text!r}: write it as key=value, for example training.epochs=5")
    try:
        value = parse_yaml(typed)
    except UserError as error:
        raise UserError(f"override {text!r}: {error}") from None
    if not (value is None or isinstance(value, str | list | dict)) and _takes_text(key):
        value = typed
    return _Override(text, key, value)


def _takes_text(dotted: str) -> bool:
    try:
        return setting_type(dotted) in (str, str | None)
    except UserError:
        # An unknown setting is refused later, with everything else that is wrong.
        return False


def _combine(content: Mapping[str, Any], overrides: Sequence[_Override]) -> Experiment:
    """The experiment of a file's content and overrides.

    Raises:
        ValidationError: a key or value is refused.
        UserError: an override asks for an unknown variant, or goes below a value that is no section.
    """
    combined = copy.deepcopy(dict(content))
    for override in overrides:
        override.apply(combined)
    flat = flatten(combined)
    for dotted in _PATHS:
        if isinstance(flat.get(dotted), str):
            set_dotted(combined, dotted, str(Path(flat[dotted]).expanduser().absolute()))
    return Experiment.model_validate(combined)


def _blame(path: Path, content: Mapping[str, Any], overrides: Sequence[_Override], sentences: Sequence[str]) -> str:
    """One line that says of each error where it comes from.

    An override is at fault if the same error disappears without it; otherwise the file is.
    """
    errors_without = {
        override.text: _errors(content, [other for other in overrides if other.text != override.text])
        for override in overrides
    }
    by_source: dict[str, list[str]] = {}
    for sentence in sentences[:_TOLD]:
        at_fault = [repr(text) for text, errors in errors_without.items() if sentence not in errors]
        noun = "overrides" if len(at_fault) > 1 else "override"
        source = f"{noun} {' and '.join(at_fault)}" if at_fault else str(path)
        by_source.setdefault(source, []).append(sentence)
    return "; ".join(f"{source}: {'; '.join(said)}" for source, said in by_source.items())


def _errors(content: Mapping[str, Any], overrides: Sequence[_Override]) -> list[str]:
    try:
        _combine(content, overrides)
    except ValidationError as error:
        return explain(error, explain_unknown)
    except UserError as error:
        return [str(error)]
    return []
