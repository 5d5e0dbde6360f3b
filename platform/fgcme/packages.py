"""Packages that are imported only where they are needed: extras, and the library of pretrained models."""

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


def hide_loading_bars() -> None:
    """Let `transformers` load models without a bar, which would say nothing in each of many processes."""
    from transformers.utils import logging

    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
