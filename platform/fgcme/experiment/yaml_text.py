"""YAML as people write it: read with keys as text and no key twice, and values written as YAML."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

from fgcme.errors import UserError


class _Loader(yaml.SafeLoader):
    """Makes plain values only, keeps keys as the text that is written, and refuses a key that is there twice.

    A raw label may look like a number, a date or a boolean, such as `1` or `no`. Of a double key YAML takes the last.
    """

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        # Checked before `<<` adds inherited keys, which the mapping may override.
        seen = set()
        for key in (key for key, _ in node.value if isinstance(key, yaml.ScalarNode)):
            if key.tag != "tag:yaml.org,2002:merge":
                key.tag = "tag:yaml.org,2002:str"
            if (key.tag, key.value) in seen:
                raise UserError(f"line {key.start_mark.line + 1}: `{key.value}` is there twice: keep one of them")
            seen.add((key.tag, key.value))
        return super().construct_mapping(node, deep)


def parse_yaml(text: str) -> Any:
    """The value that a YAML text holds.

    Raises:
        UserError: it is no YAML, or holds a key twice; says where.
    """
    try:
        return yaml.load(text, _Loader)
    except yaml.MarkedYAMLError as error:
        line = f"line {error.problem_mark.line + 1}: " if error.problem_mark else ""
        raise UserError(f"{line}not valid YAML: {error.problem}") from None
    # PyYAML lets a ValueError through for a date such as 2024-13-01.
    except (yaml.YAMLError, ValueError) as error:
        raise UserError(f"not valid YAML: {' '.join(str(error).split())}") from None


def read_yaml(path: Path) -> dict[str, Any]:
    """The keys and values of a YAML file.

    Raises:
        UserError: the file cannot be read, is not YAML, holds no keys and values, or has a key twice.
    """
    try:
        content = parse_yaml(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read: {error}") from None
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    if not isinstance(content, dict):
        raise UserError(f"{path}: holds no keys and values, such as `name: ravdess`")
    return content


def as_yaml(value: Any) -> str:
    """A value for a message: true, false and null as YAML has them, text without quotes.

    >>> as_yaml(True), as_yaml(None), as_yaml("mean"), as_yaml(0.5)
    ('true', 'null', 'mean', '0.5')
    """
    return json.dumps(value) if value is None or isinstance(value, bool) else str(value)


def quoted(value: Any) -> str:
    """A value for a message, text in quotes, which tell `'5'` from `5`.

    >>> quoted(True), quoted("5"), quoted([1, 2])
    ('true', "'5'", '[1, 2]')
    """
    return as_yaml(value) if value is None or isinstance(value, bool) else repr(value)
