"""The formats that there are, each a module, and the packages that some of them need."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping
from types import ModuleType
from typing import NamedTuple

from fgcme.errors import UserError
from fgcme.interchange.contract import Write


class Format(NamedTuple):
    """A format.

    Attributes:
        summary: what is written.
        needs_audio: whether it says where the audio lies, so that the corpus's folder has to be known.
    """

    summary: str
    needs_audio: bool


FORMATS: Mapping[str, Format] = {
    "textgrid": Format("a TextGrid an utterance, with tiers of words, text, label and speaker", False),
    "ctm": Format("words.ctm, a line a word", False),
}


def find_writer(name: str) -> Write:
    """What writes a format; loaded when it is asked for."""
    write: Write = pkgutil.resolve_name(f"fgcme.interchange.{name.replace('-', '_')}:write")
    return write


def require(package: str) -> ModuleType:
    """A package that only one format needs; the extra has its name.

    Raises:
        UserError: it is not installed.
    """
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise UserError(
            f"this format needs the package {error.name}: install it with `pip install 'fgcme[{package}]'`"
        ) from None
