"""What each verb takes, and how its help says so."""

from __future__ import annotations

import re

import pytest

from pipelines import cli
from pipelines.verb import Verb
from pipelines.verbs import VERBS


@pytest.mark.parametrize("verb", VERBS, ids=lambda verb: verb.name)
def test_every_verb_has_help_with_an_example_that_parses(verb: Verb, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main([verb.name, "--help"])
    assert ended.value.code == 0
    text = capsys.readouterr().out
    example = re.search(rf"example:\n  fgcme ({verb.name}.*)", text)
    assert example is not None
    words = [word.strip('"') for word in re.findall(r'"[^"]*"|\S+', example[1])]
    assert callable(cli.parse(words).run)


def test_help_lists_every_verb(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["--help"])
    listed = re.findall(r"^    ([\w-]+)(?:  +|\n +)\S", capsys.readouterr().out, re.MULTILINE)
    assert listed == [verb.name for verb in VERBS]


def test_a_final_training_names_a_cross_validation_or_takes_the_latest(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.parse(["train", "ravdess", "--final"]).final == "latest"
    assert cli.parse(["train", "ravdess", "--final", "--resume", "latest"]).final == "latest"
    assert cli.parse(["train", "ravdess", "--final", "3fe1d2"]).final == "3fe1d2"
    assert cli.parse(["train", "ravdess"]).final is None
    for words, sentence in (
        (["--final", "training.epochs=5"], "'training.epochs=5' is no run: put settings before this option"),
        (["--final", "--fold", "0"], "not allowed with argument"),
    ):
        with pytest.raises(SystemExit):
            cli.parse(["train", "ravdess", *words])
        assert sentence in capsys.readouterr().err
