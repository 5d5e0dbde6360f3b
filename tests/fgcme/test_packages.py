"""Packages that an extra installs."""

import pytest

from fgcme.errors import UserError
from fgcme.packages import require


def test_a_package_that_is_not_installed_is_named_with_its_extra() -> None:
    assert require("json").dumps([]) == "[]"
    with pytest.raises(UserError, match=r"needs the package unheard_of: .*`pip install 'fgcme\[unheard_of\]'`"):
        require("unheard_of")
