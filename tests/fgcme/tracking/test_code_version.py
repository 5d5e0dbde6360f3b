"""A run says which commit and which packages made it."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from fgcme.tracking import code_version_tags


def test_the_tags_name_code_and_versions_and_no_place() -> None:
    import torch

    tags = code_version_tags()
    assert (
        tags["fgcme.version.torch"] == torch.__version__.partition("+")[0]
        or tags["fgcme.version.torch"] in torch.__version__
    )
    assert tags["fgcme.commit"]
    assert not any("/" in value for value in tags.values())


def test_the_commit_is_named_and_called_dirty_when_files_differ_from_it(tmp_path: Path) -> None:
    package = tmp_path / "platform" / "fgcme"
    source = Path(sys.modules["fgcme"].__file__ or "").parent
    shutil.copytree(source, package, ignore=shutil.ignore_patterns("__pycache__"))

    def git(*arguments: str) -> str:
        identity = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
        return subprocess.run(
            ["git", *identity, *arguments], cwd=tmp_path, check=True, capture_output=True, text=True
        ).stdout.strip()

    def commit() -> str:
        code = "from fgcme.tracking import code_version_tags; print(code_version_tags()['fgcme.commit'])"
        return subprocess.run(
            [sys.executable, "-c", code], cwd=package.parent, check=True, capture_output=True, text=True
        ).stdout.strip()

    git("init", "-q")
    assert commit() == "unknown"
    git("add", ".")
    git("commit", "-q", "-m", "all")
    assert commit() == git("rev-parse", "HEAD")
    (package / "errors.py").write_text("# changed\n" + (package / "errors.py").read_text())
    assert commit() == git("rev-parse", "HEAD") + "-dirty"
