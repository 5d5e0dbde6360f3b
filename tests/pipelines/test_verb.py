"""A verb's place in the program: its help, and arguments of which one is allowed."""

from __future__ import annotations

import argparse

import pytest

from pipelines.verb import Verb, argument


def program(verb: Verb) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="fgcme")
    verb.add_to(parser.add_subparsers())
    return parser


VERB = Verb(
    name="fly",
    summary="leave the ground",
    example="fgcme fly high --slowly",
    run=lambda options: 7,
    details="Wings are needed.",
    arguments=[argument("where", "to which place")],
    one_of=[argument("--slowly", "with care", action="store_true"), argument("--by", "a pilot", default="nobody")],
    resume=["--again"],
)


def test_a_verb_takes_its_arguments_and_says_what_runs_it_and_what_resumes_it() -> None:
    options = program(VERB).parse_args(["fly", "high", "--by", "night"])
    assert (options.verb, options.where, options.slowly, options.by) == ("fly", "high", False, "night")
    assert options.run(options) == 7 and options.resume_words == ["--again"]


def test_at_most_one_of_its_alternatives_is_taken(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        program(VERB).parse_args(["fly", "high", "--slowly", "--by", "night"])
    assert "not allowed with argument" in capsys.readouterr().err


def test_its_help_has_its_summary_as_a_sentence_its_details_and_its_example(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        program(VERB).parse_args(["fly", "--help"])
    printed = capsys.readouterr().out
    assert "Leave the ground.\nWings are needed.\n" in printed and "example:\n  fgcme fly high --slowly" in printed
    assert "to which place" in printed
