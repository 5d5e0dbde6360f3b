"""What the README tells a reader to type is what the program understands."""

import re
import shlex
from pathlib import Path

import pytest
import yaml

from fgcme.data import resolve_protocol
from fgcme.experiment import parse_experiment
from pipelines import cli

TEXT = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")
COMMANDS = [line.split("  #")[0].strip() for line in TEXT.splitlines() if line.startswith("fgcme ")]


def test_the_readme_shows_the_whole_path() -> None:
    assert [shlex.split(command)[1] for command in COMMANDS][:8] == [
        "prepare",
        "check",
        "train",
        "tune",
        "ablate",
        "report",
        "register",
        "predict",
    ]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_of_the_readme_parses(command: str) -> None:
    assert callable(cli.parse(shlex.split(command)[1:]).run)


def test_the_experiment_file_of_the_readme_is_valid() -> None:
    block = re.search(r"```yaml\n(.*?)```", TEXT, re.DOTALL)
    assert block is not None
    experiment = parse_experiment(yaml.safe_load(block[1]))
    assert resolve_protocol(experiment.protocol, experiment.corpus.kind).classes == ["angry", "happy", "neutral"]


def test_every_target_of_make_that_the_readme_names_exists() -> None:
    makefile = (Path(__file__).parent.parent / "Makefile").read_text()
    for target in re.findall(r"(?:^|`)make (\w+)", TEXT, re.MULTILINE):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
