"""The help of the verb that writes a prepared corpus in the formats of others."""

import pytest

from fgcme.interchange import FORMATS
from pipelines import cli


def test_the_help_explains_every_format_and_shows_an_example(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["export-corpus", "--help"])
    text = capsys.readouterr().out
    assert "fgcme export-corpus ravdess --to textgrid" in text
    assert all(f"\n  {name} " in text for name in FORMATS)


def test_a_format_has_to_be_named_and_known(capsys: pytest.CaptureFixture[str]) -> None:
    for options in ([], ["--to", "docx"]):
        with pytest.raises(SystemExit):
            cli.main(["export-corpus", "demo", "--output", "x", *options])
    assert "--to" in capsys.readouterr().err
