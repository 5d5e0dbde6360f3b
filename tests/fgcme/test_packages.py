"""Packages that are imported only where they are needed."""

import pytest
from transformers.utils import logging

from fgcme.errors import UserError
from fgcme.packages import hide_loading_bars, require


def test_a_package_that_is_not_installed_is_named_with_its_extra() -> None:
    assert require("json").dumps([]) == "[]"
    with pytest.raises(UserError, match=r"needs the package unheard_of: .*`pip install 'fgcme\[unheard_of\]'`"):
        require("unheard_of")


def test_models_are_loaded_without_a_bar() -> None:
    logging.enable_progress_bar()
    hide_loading_bars()
    assert not logging.is_progress_bar_enabled()
