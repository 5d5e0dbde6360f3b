"""An experiment read from YAML and dotted overrides, and checked; whatever is refused is named."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from fgcme.errors import UserError
from fgcme.experiment import variants
from fgcme.experiment.settings import Experiment

# Where these lie must not depend on the folder that a worker runs in.
_PATHS = (
    ("corpus", "root"),
    ("corpus", "manifest"),
    ("prepare", "folder"),
    ("prepare", "alignment", "folder"),
    ("model", "semantic", "vectors"),
)
# Settings that have been renamed: whoever uses an old name is told the new one.
_RENAMED = {
    "model.excitement.squeeze": "model.excitement.reduction_ratio",
    "scaling.parallel": "scaling.max_concurrent",
    "storage.study": "tune.study_storage",
    "training.augmentation.gain": "training.augmentation.gain_db",
    "training.augmentation.mixup": "training.augmentation.mixup_alpha",
    "training.augmentation.signal_to_noise": "training.augmentation.snr_db",
    "training.focus": "training.focal_gamma",
    "tune.grace_epochs": "tune.grace_period",
    "tune.reduction": "tune.reduction_factor",
}


def load_experiment(path: str | Path, overrides: Iterable[str] = ()) -> Experiment:
    """Read an experiment file and apply dotted overrides such as `model.pooling.kind=mean`.

    Relative paths in it are relative to the working directory, and become absolute. `model=utterance` takes over the
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
    if isinstance(content.get("model"), str):
        content["model"] = variants.find_variant(content["model"])
    blamed: dict[str, str] = {}
    for override in overrides:
        key, equals, text = override.partition("=")
        if not equals or not key:
            raise UserError(f"override {override!r}: write it as key=value, for example training.epochs=5")
        value = _override_value(key, text)
        if key == "model" and isinstance(value, str):
            content["model"] = content.get("model") or {}
            variants.merge(content["model"], variants.find_variant(value))
        else:
            _put(content, key, value)
        blamed[key] = f"override {override!r}"
    for keys in _PATHS:
        _make_absolute(content, keys)
    return parse_experiment(content, source=str(path), blamed=blamed)


def _override_value(key: str, text: str) -> Any:
    try:
        value = yaml.load(text, _Loader)
    except UserError as error:
        raise UserError(f"override {key}={text}: {error}") from None
    except yaml.YAMLError:
        raise UserError(f"override {f'{key}={text}'!r}: the value is not valid YAML") from None
    if value is None or isinstance(value, str | list | dict):
        return value
    try:
        takes_text = setting_type(key) in (str, str | None)
    except UserError:
        # An unknown key is refused with the whole experiment.
        return value
    return text if takes_text else value


class _Loader(yaml.SafeLoader):
    """Takes keys as the text that is written, and refuses one that is there twice, of which YAML would take the last.

    A raw label may look like a number, a date or a truth, such as `1` or `no`.
    """

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        # Before it takes over what it inherits by `<<`, which it may override.
        seen = set()
        for key in (key for key, _ in node.value if isinstance(key, yaml.ScalarNode)):
            if key.tag != "tag:yaml.org,2002:merge":
                key.tag = "tag:yaml.org,2002:str"
            if (key.tag, key.value) in seen:
                raise UserError(f"line {key.start_mark.line + 1}: `{key.value}` is there twice: keep one of them")
            seen.add((key.tag, key.value))
        return super().construct_mapping(node, deep)


def read_yaml(path: Path) -> dict[str, Any]:
    """The keys and values of a YAML file.

    Raises:
        UserError: the file cannot be read, or holds anything else, or a key twice.
    """
    try:
        # A safe loader, which makes nothing but plain values.
        content = yaml.load(path.read_text(encoding="utf-8"), _Loader)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UserError(f"{path}: cannot be read as YAML: {' '.join(str(error).split())}") from None
    if not isinstance(content, dict):
        raise UserError(f"{path}: holds no keys and values, such as `name: ravdess`")
    return content


def parse_experiment(
    content: Mapping[str, Any], source: str = "experiment", blamed: Mapping[str, str] | None = None
) -> Experiment:
    """Validate a mapping as an experiment.

    Args:
        content: sections, each with its settings.
        source: what it was read from, for messages.
        blamed: dotted setting -> what set it besides the source, such as an override.

    Raises:
        UserError: a key or value is refused; names the key and what is allowed.
    """
    try:
        return Experiment.model_validate(content)
    except ValidationError as error:
        by_source: dict[str, list[str]] = {}
        for item in error.errors()[:3]:
            dotted = ".".join(str(part) for part in item["loc"])
            at_fault = (text for key, text in (blamed or {}).items() if f"{dotted}.".startswith(f"{key}."))
            by_source.setdefault(next(at_fault, source), []).append(_explain(item))
        raise UserError("; ".join(f"{where}: {'; '.join(said)}" for where, said in by_source.items())) from None


def setting_type(dotted: str) -> Any:
    """The annotated type of a dotted setting, for a search space to check its values against.

    Raises:
        UserError: there is no such setting; names the closest one.
    """
    section: type[BaseModel] = Experiment
    parts = dotted.split(".")
    for depth, part in enumerate(parts):
        field = section.model_fields.get(part)
        if field is None:
            raise UserError(_unknown(".".join(parts[: depth + 1])))
        if depth == len(parts) - 1:
            return field.annotation
        if not (isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)):
            raise UserError(f"{dotted}: {'.'.join(parts[: depth + 1])} has no keys below it")
        section = field.annotation
    raise UserError("an empty setting name")


def _put(content: dict[str, Any], dotted: str, value: Any) -> None:
    *sections, last = dotted.split(".")
    for depth, section in enumerate(sections):
        inner = content.get(section)
        if inner is None:
            inner = content[section] = {}
        if not isinstance(inner, dict):
            raise UserError(f"override {dotted}: {'.'.join(sections[: depth + 1])} has no keys below it")
        content = inner
    content[last] = value


def _make_absolute(content: dict[str, Any], keys: Sequence[str]) -> None:
    *sections, last = keys
    for section in sections:
        inner = content.get(section)
        if not isinstance(inner, dict):
            return
        content = inner
    if isinstance(content.get(last), str):
        content[last] = str(Path(content[last]).expanduser().absolute())


def _known_keys() -> list[str]:
    def walk(section: type[BaseModel], prefix: str) -> Iterable[str]:
        for name, field in section.model_fields.items():
            yield prefix + name
            if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
                yield from walk(field.annotation, f"{prefix}{name}.")

    return list(walk(Experiment, ""))


def _unknown(dotted: str) -> str:
    if dotted in _RENAMED:
        return f"{dotted} is now called {_RENAMED[dotted]}"
    parent = dotted.rpartition(".")[0]
    siblings = [key for key in _known_keys() if key.rpartition(".")[0] == parent]
    close = difflib.get_close_matches(dotted, _known_keys(), n=1)
    hint = f"did you mean {close[0]}? " if close else ""
    return f"{dotted} is not a setting; {hint}(allowed here: {', '.join(siblings) or 'nothing'})"


def _explain(item: Any) -> str:
    dotted = ".".join(str(part) for part in item["loc"])
    if item["type"] == "extra_forbidden":
        return _unknown(dotted)
    if item["type"] == "missing":
        return f"{dotted} is missing"
    message = item["msg"].removeprefix("Value error, ")
    if item["type"] == "value_error":
        return f"{dotted}: {message}" if dotted else message
    return f"{dotted}: {item['input']!r} is refused: {message[0].lower()}{message[1:]}"
