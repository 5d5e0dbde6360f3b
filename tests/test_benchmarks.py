"""The benchmarks, which no other test runs."""

from __future__ import annotations

import ast
import importlib
from pathlib import Path

import pytest

SCRIPTS = sorted((Path(__file__).parents[1] / "benchmarks").glob("*.py"))


def imports(script: Path) -> list[tuple[str, str]]:
    """What a script takes from this project: module and name."""
    found = [node for node in ast.walk(ast.parse(script.read_text())) if isinstance(node, ast.ImportFrom)]
    own = [node for node in found if (node.module or "").partition(".")[0] in ("fgcme", "pipelines")]
    return [(str(node.module), name.name) for node in own for name in node.names]


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_a_benchmark_imports_what_is_there(script: Path) -> None:
    for module, name in imports(script):
        if not hasattr(importlib.import_module(module), name):
            importlib.import_module(f"{module}.{name}")
