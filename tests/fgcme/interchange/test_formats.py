"""The formats that there are."""

import argparse

import pytest

from fgcme.interchange import FORMATS, find_writer
from pipelines import cli


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_has_a_writer_and_the_verb_offers_it(name: str) -> None:
    assert callable(find_writer(name))
    options = cli.parse(["export-corpus", "demo", "--to", name, "--output", "x"])
    assert isinstance(options, argparse.Namespace) and options.to == name
