"""The tree's own rules."""

import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).parent.parent


def test_platform_is_a_source_root_and_no_package() -> None:
    # As a package it would shadow the standard library's `platform`, and torch and Ray would not import.
    assert not (ROOT / "platform" / "__init__.py").exists()
    assert not (ROOT / "__init__.py").exists()


def test_the_standard_library_s_platform_is_the_one_imported_from_the_root() -> None:
    code = "import platform, sys; print(platform.python_implementation())"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "CPython"


def test_importing_fgcme_never_imports_ray() -> None:
    modules = [
        ".".join(path.relative_to(ROOT / "platform").with_suffix("").parts)
        for path in (ROOT / "platform" / "fgcme").rglob("*.py")
        if path.name != "served_model.py"
    ]
    code = (
        "import importlib, sys\n"
        f"for name in {[name.removesuffix('.__init__') for name in modules]}: importlib.import_module(name)\n"
        "print([name for name in sys.modules if name == 'ray' or name.startswith('ray.')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip().splitlines()[-1] == "[]"


def test_the_requirements_name_no_address() -> None:
    lines = (ROOT / "requirements.lock").read_text().splitlines()
    assert lines
    assert all("==" in line and "/" not in line for line in lines)


def test_a_built_wheel_carries_both_packages_and_their_data(tmp_path: Path) -> None:
    builder = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(builder, cwd=ROOT, check=True, capture_output=True)
    names = zipfile.ZipFile(next(tmp_path.glob("*.whl"))).namelist()
    for expected in (
        "fgcme/experiment/settings.py",
        "fgcme/protocols/ravdess-8class-6fold.yaml",
        "pipelines/cli.py",
        "pipelines/experiments/demo.yaml",
        "pipelines/search_spaces/pooling.yaml",
    ):
        assert expected in names
    assert not any(name.startswith(("platform/", "tests/")) for name in names)
