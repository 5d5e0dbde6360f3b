"""`slurm.sh` without SLURM: what it refuses, and what it asks `srun` for. `tests/integration/test_slurm.py` runs it."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from fgcme.experiment import load_experiment
from pipelines import cli
from pipelines.bundled import experiment_file, space_file

ROOT = Path(__file__).parent.parent
SCRIPT = ROOT / "slurm.sh"
TEXT = SCRIPT.read_text()
DIRECTIVES = dict(re.findall(r"^#SBATCH --([\w-]+)=?(.*)$", TEXT, re.MULTILINE))
# In place of SLURM's: notes what it is called with, and the command's process where the script looks for it.
SRUN = """\
#!/bin/bash
printf '%s\\n' "$@" > "asked$(ls asked* 2>/dev/null | wc -l)"
env > environment
for word in "$@"; do case $word in /tmp/tmp.*) [ -n "$NOTHING_STARTS" ] || echo $$ > "$word" ;; esac; done
exit "${SRUN_EXITS:-0}"
"""


class Done:
    """A job that has ended.

    Attributes:
        status: its exit status.
        said: what it has said.
        asked: the words of each call of `srun`.
        environment: of the first step.
    """

    def __init__(self, folder: Path, *words: str, **environment: str) -> None:
        programs = folder / "programs"
        programs.mkdir(exist_ok=True)
        (programs / "srun").write_text(SRUN)
        (programs / "srun").chmod(0o755)
        surroundings = {
            "PATH": os.pathsep.join([str(programs), str(Path(sys.executable).parent), os.defpath]),
            "MLFLOW_TRACKING_URI": "http://tracking:5000",
            "SLURM_JOB_ID": "1234",
            "SLURM_JOB_NUM_NODES": "3",
            "SLURM_CPUS_ON_NODE": "16",
            "SLURMD_NODENAME": "10.9.9.1",
        }
        done = subprocess.run(
            ["bash", str(SCRIPT), *words],
            cwd=folder,
            env={**surroundings, **environment},
            capture_output=True,
            text=True,
            timeout=60,
        )
        self.status, self.said = done.returncode, done.stdout + done.stderr
        self.asked = [path.read_text().splitlines() for path in sorted(folder.glob("asked*"))]
        lines = (folder / "environment").read_text().splitlines() if self.asked else []
        self.environment = dict(line.split("=", 1) for line in lines if "=" in line)


def test_the_shell_understands_it() -> None:
    subprocess.run(["bash", "-n", str(SCRIPT)], check=True)


@pytest.mark.skipif(shutil.which("shellcheck") is None, reason="shellcheck is not installed")
@pytest.mark.parametrize(
    "script", [SCRIPT, *sorted((ROOT / "tests" / "integration" / "slurm").iterdir())], ids=lambda script: script.name
)
def test_shellcheck_finds_nothing_wrong_with_it(script: Path) -> None:
    subprocess.run(["shellcheck", "--severity=warning", str(script)], check=True)


@pytest.mark.parametrize("file", ["slurm.sh", "docs/cluster.md"])
def test_every_command_that_is_shown_is_understood(file: str) -> None:
    shown = (ROOT / file).read_text()
    commands = re.findall(r"sbatch [^\n]*?slurm\.sh ([a-z][^\n]*?)(?:\s{2,}|\"|\n)", shown)
    verbs = set()
    for command in commands:
        options = cli.parse(shlex.split(command))
        load_experiment(experiment_file(options.experiment), options.overrides)
        assert "space" not in options or space_file(options.space).is_file()
        verbs.add(options.verb)
    assert {"prepare", "tune"} <= verbs


def test_it_asks_for_whole_machines_with_one_task_each() -> None:
    # `ray stop`, by which the task ends, ends every Ray of its user on the machine.
    assert "exclusive" in DIRECTIVES
    assert DIRECTIVES["ntasks-per-node"] == "1"
    assert DIRECTIVES["mem"] == "0"


def test_it_is_told_before_its_time_is_up_early_enough_to_interrupt_the_command_and_runs_again() -> None:
    name, seconds = DIRECTIVES["signal"].removeprefix("B:").split("@")
    (patience,) = re.findall(r"timeout (\d+) tail", TEXT)
    assert f"trap queue_again {name}\n" in TEXT
    assert int(seconds) >= 2 * int(patience)
    assert "requeue" in DIRECTIVES and DIRECTIVES["open-mode"] == "append"


@pytest.mark.parametrize(
    ("words", "environment", "refusal"),
    [
        ([], {}, "no command was given"),
        (["train", "demo"], {"PATH": os.defpath}, "fgcme is not on the path"),
        (["train", "demo"], {"MLFLOW_TRACKING_URI": ""}, "MLFLOW_TRACKING_URI is not set"),
        (["train", "demo"], {"SLURMD_NODENAME": "localhost"}, "localhost has no address that other machines can reach"),
    ],
)
def test_it_says_what_is_missing_before_anything_starts(
    tmp_path: Path, words: list[str], environment: dict[str, str], refusal: str
) -> None:
    done = Done(tmp_path, *words, **environment)
    assert done.status == 1
    assert f"slurm.sh: {refusal}" in done.said
    assert done.asked == []


def test_a_step_starts_ray_on_every_machine_with_the_cpus_that_slurm_gives(tmp_path: Path) -> None:
    done = Done(tmp_path, "train", "demo")
    assert done.status == 0, done.said
    step = done.asked[0]
    assert {"--nodes=3", "--ntasks-per-node=1", "--cpus-per-task=16", "--kill-on-bad-exit=1"} < set(step)
    assert "ray symmetric-run --address=10.9.9.1:6379 --min-nodes=3 --num-cpus=16 -- bash -c" in " ".join(step)
    assert done.environment["RAY_ADDRESS"] == "10.9.9.1:6379"


def test_each_job_has_a_token_of_its_own_which_no_command_line_shows(tmp_path: Path) -> None:
    tokens = set()
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        done = Done(tmp_path / name, "train", "demo")
        token = done.environment["RAY_AUTH_TOKEN"]
        assert done.environment["RAY_AUTH_MODE"] == "token"
        assert re.fullmatch("[0-9a-f]{64}", token)
        assert token not in "\n".join(word for step in done.asked for word in step)
        tokens.add(token)
    assert len(tokens) == 2


@pytest.mark.parametrize(
    ("words", "added"),
    [
        ("train demo", "--resume latest"),
        ("train demo --resume 0123abcd", ""),
        ("tune demo --space joint", "--resume"),
        ("ablate demo --space paper_ablation", "--resume"),
        ("prepare demo", ""),
    ],
)
def test_a_job_that_is_queued_again_resumes(tmp_path: Path, words: str, added: str) -> None:
    for restarts, expected in ((0, words), (1, f"{words} {added}".strip())):
        (tmp_path / str(restarts)).mkdir()
        done = Done(tmp_path / str(restarts), *words.split(), SLURM_RESTART_COUNT=str(restarts))
        assert " ".join(done.asked[0]).endswith(f"/fgcme-1234.log {expected}")
        cli.parse(expected.split())


def test_a_command_that_fails_fails_the_job_and_leaves_ray_s_logs(tmp_path: Path) -> None:
    done = Done(tmp_path, "train", "demo", SRUN_EXITS="3")
    assert done.status == 3
    assert len(done.asked) == 1


def test_a_command_that_succeeds_leaves_nothing_of_ray_on_the_machines(tmp_path: Path) -> None:
    done = Done(tmp_path, "train", "demo")
    assert done.asked[1] == ["--nodes=3", "--ntasks-per-node=1", "rm", "-rf", "/tmp/fgcme-1234"]


def test_the_job_fails_where_ray_does_not_start_although_ray_itself_reports_success(tmp_path: Path) -> None:
    # `ray symmetric-run` says "Failed to start Ray" and exits with 0.
    done = Done(tmp_path, "train", "demo", NOTHING_STARTS="1")
    assert done.status == 1
    assert "Ray did not start on all machines: fgcme-1234-ray.log says why" in done.said
