"""Which code a run was made by: the git commit and the versions of packages, nothing of host or user."""

from __future__ import annotations

import functools
import subprocess
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from types import MappingProxyType

_PACKAGES = ("fgcme", "torch", "torchaudio", "ray", "mlflow", "optuna", "transformers", "numpy", "pocketsphinx")


@functools.cache
def code_version_tags() -> Mapping[str, str]:
    """Tags `fgcme.commit` and `fgcme.version.<package>` of a run.

    The commit ends in `-dirty` when files differ from it, and is `unknown` outside a git checkout.
    """
    versions = {}
    for package in _PACKAGES:
        try:
            versions[f"fgcme.version.{package}"] = metadata.version(package)
        except metadata.PackageNotFoundError:
            versions[f"fgcme.version.{package}"] = "not installed"
    return MappingProxyType({"fgcme.commit": _commit(Path(__file__).parent)} | versions)


def _commit(folder: Path) -> str:
    def git(*arguments: str) -> str | None:
        try:
            done = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, check=False)
        except OSError:
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    # An installed copy may lie within somebody else's repository.
    if git("ls-files", "--error-unmatch", Path(__file__).name) is None:
        return "unknown"
    commit = git("rev-parse", "HEAD")
    if commit is None:
        return "unknown"
    return f"{commit}-dirty" if git("status", "--porcelain", "--untracked-files=no") else commit
