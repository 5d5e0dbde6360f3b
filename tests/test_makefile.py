"""What the Makefile calls is there: verbs, experiments and spaces."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path

from fgcme.experiment import ablation, load_experiment
from pipelines import bundled, cli
from pipelines.runs.corpus import prepared_folder

TEXT = (Path(__file__).parents[1] / "Makefile").read_text(encoding="utf-8")
COMMANDS = [shlex.split(line) for line in re.findall(r"^\t\$\(BIN\)/fgcme (.*)$", TEXT, re.MULTILINE)]


def test_every_command_is_understood() -> None:
    verbs = [cli.parse(words).verb for words in COMMANDS]
    assert verbs == ["demo", "prepare", "ablate", "report"]


def test_the_ablation_is_the_paper_s_comparison_on_the_corpus_of_the_demo() -> None:
    options = next(options for options in map(cli.parse, COMMANDS) if options.verb == "ablate")
    experiment = load_experiment(bundled.experiment_file(options.experiment), options.overrides)
    reference, variants = ablation.load_ablation(bundled.space_file(options.space), experiment)
    assert reference == "fgcme" and {"recording", "even_speech", "semantic_alone", "learned_alignment"} <= set(variants)
    # The honest rule, and the corpus that `make demo` has prepared, if it has.
    assert options.selection is None and experiment.protocol.selection == "dev"
    assert prepared_folder(experiment) == prepared_folder(load_experiment(bundled.experiment_file("demo")))


def test_clean_deletes_what_was_built_and_no_result(tmp_path: Path) -> None:
    (tmp_path / "Makefile").write_text(TEXT)
    for name in ("storage", ".venv", "dist", ".mypy_cache", "pipelines/__pycache__"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "mlflow.db").touch()
    subprocess.run(["make", "clean"], cwd=tmp_path, check=True, capture_output=True)
    left = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")}
    assert left == {"Makefile", "storage", "mlflow.db", "pipelines"}
