"""A verb of the program: its help, its arguments and what it runs."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fgcme.experiment import Experiment

# Name and options of `ArgumentParser.add_argument`.
Argument = tuple[str, dict[str, Any]]


@dataclass(frozen=True)
class Verb:
    """A verb of the program.

    Attributes:
        name: as it is typed.
        summary: its line in `fgcme --help`.
        example: a command that works.
        run: what it does; returns the exit status, or None for success.
        details: what its own help says besides the summary.
        arguments: what it takes.
        one_of: arguments of which at most one may be given.
        resume: the words that make an interrupted call resume; empty if the same call does.
    """

    name: str
    summary: str
    example: str
    run: Callable[[argparse.Namespace], int | None]
    details: str = ""
    arguments: Sequence[Argument] = ()
    one_of: Sequence[Argument] = ()
    resume: Sequence[str] = ()

    def add_to(self, verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
        """Give the program this verb."""
        sentence = f"{self.summary[0].upper()}{self.summary[1:]}."
        parser = verbs.add_parser(
            self.name,
            help=self.summary,
            description=f"{sentence}\n{self.details}".strip(),
            epilog=f"example:\n  {self.example}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        for name, options in self.arguments:
            parser.add_argument(name, **options)
        group = parser.add_mutually_exclusive_group() if self.one_of else parser
        for name, options in self.one_of:
            group.add_argument(name, **options)
        parser.set_defaults(verb=self.name, run=self.run, resume_words=self.resume)


def argument(name: str, text: str, **options: Any) -> Argument:
    """An argument of a verb.

    Args:
        name: as it is typed.
        text: its help.
        options: of `ArgumentParser.add_argument`.
    """
    return name, {"help": text, **options}


def load(options: argparse.Namespace, extra: Sequence[str] = ()) -> Experiment:
    """The experiment that a verb is asked for, with its overrides.

    Args:
        options: of the verb, with `EXPERIMENT` and `OVERRIDES`.
        extra: further overrides.
    """
    from fgcme.experiment import load_experiment
    from pipelines.bundled import experiment_file

    return load_experiment(experiment_file(options.experiment), [*options.overrides, *extra])


def root_override(options: argparse.Namespace) -> list[str]:
    """The option `ROOT` as an override, if it is given."""
    return [f"corpus.root={json.dumps(options.root)}"] if options.root else []


EXPERIMENT = argument(
    "experiment", "name of an experiment, such as `demo` or `ravdess`, or path of its file", metavar="EXPERIMENT"
)
# With a default, argparse does not count them among the arguments that are required.
OVERRIDES = argument("overrides", "settings, e.g. training.epochs=5", metavar="key=value", nargs="*", default=())
ROOT = argument("--root", "folder of the corpus (corpus.root)", metavar="DIR")
MODEL = argument("model", "models:/NAME@ALIAS, models:/NAME/VERSION, runs:/ID/model or a folder", metavar="MODEL_URI")
"""The model that a verb asks."""
TRANSCRIBE = argument(
    "--transcribe",
    "have what is said recognised where nobody says it: by `sphinx`, which is embedded, or by a speech recogniser of "
    "transformers, such as Whisper: its folder or hub name (sphinx)",
    metavar="RECOGNISER",
    nargs="?",
    const="sphinx",
)
"""Who writes down what is said."""
LANGUAGE = argument("--language", "that a recogniser of several languages is told (en)", metavar="CODE", default="en")
"""What is spoken."""
