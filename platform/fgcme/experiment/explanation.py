"""What pydantic refuses, in sentences that name the key and the way out."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from pydantic import ValidationError

from fgcme.experiment.yaml_text import quoted

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails


def explain(error: ValidationError, explain_unknown: Callable[[str], str]) -> list[str]:
    """What is wrong, one sentence per error; unknown keys come first, because a misspelt key is also a missing one.

    Args:
        error: what pydantic refused.
        explain_unknown: dotted key that is not allowed -> what to say of it.
    """
    items = sorted(error.errors(), key=lambda item: item["type"] != "extra_forbidden")
    return [_sentence(item, explain_unknown) for item in items]


def _sentence(item: ErrorDetails, explain_unknown: Callable[[str], str]) -> str:
    # pydantic marks a refused key of a mapping, rather than its value, by a part `[key]`.
    dotted = ".".join(str(part) for part in item["loc"] if part != "[key]")
    if item["type"] == "extra_forbidden":
        return explain_unknown(dotted)
    if item["type"] == "missing":
        return f"{dotted} is missing"
    message = item["msg"].removeprefix("Value error, ")
    if item["type"] == "value_error":
        return f"{dotted}: {message}" if dotted else message
    if item["type"] == "string_pattern_mismatch":
        return f"{dotted}: {quoted(item['input'])} is refused: a name has letters, digits, `.`, `-` and `_`"
    return f"{dotted}: {quoted(item['input'])} is refused: {message[0].lower()}{message[1:]}"
