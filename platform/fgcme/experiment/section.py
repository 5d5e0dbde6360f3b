"""What the sections of an experiment share: they are immutable, know their keys, and take no truth for a number."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationInfo, field_validator

from fgcme.addresses import hide_in_setting

# It becomes part of file names and of MLflow's metric names.
Name = Annotated[str, Field(pattern=r"^[\w.-]+$")]
_NOT_OF_NAME = re.compile(r"[^\w.-]+")
Fraction = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[int, Field(ge=1)]
Natural = Annotated[int, Field(ge=0)]


def as_name(text: str) -> str:
    """A name that an experiment may have, from any text, such as a file's name.

    >>> as_name("my space (2)")
    'my-space-2-'
    """
    return _NOT_OF_NAME.sub("-", text) or "-"


def _check_distinct(numbers: list[int]) -> list[int]:
    if len(set(numbers)) < len(numbers):
        raise ValueError(f"{numbers} has a number twice")
    return numbers


def _check_gpus(gpus: float) -> float:
    if gpus > 1 and gpus != int(gpus):
        raise ValueError(f"{gpus:g} GPUs cannot be had: give a whole number, or a share below 1 of a GPU")
    return gpus


# Whatever is written of an experiment has no password in it.
Address = Annotated[str | None, AfterValidator(hide_in_setting)]
Distinct = Annotated[list[Natural], Field(min_length=1), AfterValidator(_check_distinct)]
Gpus = Annotated[float, Field(ge=0), AfterValidator(_check_gpus)]


class Settings(BaseModel):
    """A section of an experiment: immutable, and closed to keys it does not know."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _reject_bool(cls, value: Any, info: ValidationInfo) -> Any:
        # pydantic would take true for 1.
        annotation = cls.model_fields[str(info.field_name)].annotation
        if isinstance(value, bool) and annotation is not bool:
            expected = "a number" if re.search(r"\b(int|float)\b", str(annotation)) else "text"
            raise ValueError(f"expects {expected}, got {str(value).lower()}")
        return value
