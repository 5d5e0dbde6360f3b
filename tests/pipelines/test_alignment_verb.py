"""What the verb that compares alignments takes."""

import pytest

from pipelines import cli


def test_it_takes_two_alignments_and_how_many_utterances_to_name() -> None:
    options = cli.parse(["compare-alignments", "one", "other", "--worst", "3"])
    assert (options.first, options.second, options.worst) == ("one", "other", 3)
    assert cli.parse(["compare-alignments", "one", "other"]).worst == 10


def test_one_alignment_is_not_enough(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.parse(["compare-alignments", "one"])
    assert "B" in capsys.readouterr().err
