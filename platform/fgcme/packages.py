"""Packages that only one format needs, which an extra installs."""

from __future__ import annotations

import importlib
from types import ModuleType

from fgcme.errors import UserError


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
