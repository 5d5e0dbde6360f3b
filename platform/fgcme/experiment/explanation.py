"""What pydantic refuses, in sentences that name the key and the way out."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING

from pydantic import ValidationError

from fgcme.experiment.yaml_text import quoted

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

# What pydantic says in Python's words, in plain ones.
_EXPECTED = {
    "bool_parsing": "expects true or false",
    "bool_type": "expects true or false",
    "dict_type": "expects keys and values",
    "float_parsing": "expects a number",
    "float_type": "expects a number",
    "int_from_float": "expects a whole number",
    "int_parsing": "expects a whole number",
    "int_type": "expects a whole number",
    "list_type": "expects a list",
    "model_type": "expects keys and values",
    "string_pattern_mismatch": "a name has letters, digits, `.`, `-` and `_`",
    "string_type": "expects text",
}
# Parts of a location that are no keys: the key of a mapping itself, and the members of a union.
_MARKS = re.compile(r"\[key\]|int|float|str|bool|list\[.*\]")


def explain(error: ValidationError, explain_unknown: Callable[[str], str]) -> list[str]:
    """What is wrong, one sentence per error; unknown keys come first, because a misspelt key is also a missing one.

    Args:
        error: what pydantic refused.
        explain_unknown: dotted key that is not allowed -> what to say of it.
    """
    items = sorted(error.errors(), key=lambda item: item["type"] != "extra_forbidden")
    return [_sentence(item, explain_unknown) for item in items]


def _sentence(item: ErrorDetails, explain_unknown: Callable[[str], str]) -> str:
    # Checks of our own are never inside a union, but `int` and `float` are keys of a search space's parameter.
    marks = item["type"] not in ("value_error", "extra_forbidden")
    dotted = ".".join(str(part) for part in item["loc"] if not (marks and _MARKS.fullmatch(str(part))))
    if item["type"] == "extra_forbidden":
        return explain_unknown(dotted)
    if item["type"] == "missing":
        return f"{dotted} is missing"
    message = item["msg"].removeprefix("Value error, ")
    if item["type"] == "value_error":
        return f"{dotted}: {message}" if dotted else message
    expected = _EXPECTED.get(item["type"], message[0].lower() + message[1:])
    return f"{dotted}: {quoted(item['input'])} is refused: {expected}"
