"""The formats that there are."""

import argparse

import pytest

from fgcme.errors import UserError
from fgcme.interchange import FORMATS, find_writer
from fgcme.interchange.formats import require
from pipelines import cli


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_has_a_writer_and_the_verb_offers_it(name: str) -> None:
    assert callable(find_writer(name))
    options = cli.parse(["export-corpus", "demo", "--to", name, "--output", "x"])
    assert isinstance(options, argparse.Namespace) and options.to == name


def test_a_package_that_is_not_installed_is_named_with_its_extra() -> None:
    with pytest.raises(UserError, match=r"needs the package unheard_of: .*`pip install 'fgcme\[unheard_of\]'`"):
        require("unheard_of")
