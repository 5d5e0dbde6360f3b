"""The tree's own rules."""

import ast
import re
import subprocess
import sys
import zipfile
from graphlib import TopologicalSorter
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


# Folders and loose modules, lowest first: each imports only from itself and from those above it in this list.
ORDER = [
    "fgcme.errors",
    "fgcme.addresses",
    "fgcme.files",
    "fgcme.packages",
    "fgcme.seeds",
    "fgcme.threads",
    "fgcme.kernels",
    "fgcme.sound",
    "fgcme.audio",
    "fgcme.experiment",
    "fgcme.corpora",
    "fgcme.alignment",
    "fgcme.features",
    "fgcme.recognition",
    "fgcme.prepared",
    "fgcme.interchange",
    "fgcme.data",
    "fgcme.model",
    "fgcme.evaluation",
    "fgcme.training",
    "fgcme.tracking",
    "fgcme.serving",
    "fgcme.report",
    "fgcme.robustness",
    "fgcme.card",
    "fgcme.export",
    "fgcme.server",
    "pipelines.bundled",
    "pipelines.cluster",
    "pipelines.runs",
    "pipelines.preparing",
    "pipelines.training",
    "pipelines.sweep",
    "pipelines.reporting",
    "pipelines.predicting",
    # The verbs; `demo` runs others.
    *(f"pipelines.{verb}" for verb in ("prepare", "check", "train", "final", "tune", "ablate", "report")),
    "pipelines.robustness",
    "pipelines.register",
    "pipelines.promote",
    "pipelines.predict",
    "pipelines.export",
    "pipelines.corpora",
    "pipelines.export_corpus",
    "pipelines.serve",
    "pipelines.sync",
    "pipelines.compare_alignments",
    "pipelines.doctor",
    "pipelines.demo",
    "pipelines.verb",
    "pipelines.alignment_verb",
    "pipelines.predict_verb",
    "pipelines.export_corpus_verb",
    "pipelines.verbs",
    "pipelines.surroundings",
    "pipelines.cli",
]


def modules() -> dict[str, Path]:
    """Every module of the two packages, and where it lies."""
    found = {}
    for source in (ROOT / "platform", ROOT):
        for path in (source / ("fgcme" if source.name == "platform" else "pipelines")).rglob("*.py"):
            parts = path.relative_to(source).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports(path: Path, known: dict[str, Path], at_start: bool) -> set[str]:
    """The modules of the two packages that a file imports: anywhere in it, or only when it is itself imported."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    nodes = tree.body if at_start else list(ast.walk(tree))
    found = set()
    for node in nodes:
        if isinstance(node, ast.ImportFrom) and node.module is not None:
            for name in node.names:
                inner = f"{node.module}.{name.name}"
                found.add(inner if inner in known else node.module)
        elif isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
    return found & set(known)


def test_no_import_runs_against_the_order_of_the_folders() -> None:
    known = modules()
    rank = {name: position for position, name in enumerate(ORDER)}

    def folder(module: str) -> str:
        return ".".join(module.split(".")[:2])

    unplaced = {folder(module) for module in known} - set(ORDER) - {"fgcme", "pipelines"}
    assert not unplaced, f"say in ORDER where {unplaced} belong"
    against = [
        f"{module} imports {target}"
        for module, path in known.items()
        for target in imports(path, known, at_start=False)
        if rank.get(folder(target), -1) > rank.get(folder(module), -1)
    ]
    assert against == []


def test_no_modules_import_each_other_in_a_circle() -> None:
    known = modules()
    graph = {}
    for module, path in known.items():
        # A folder's face imports its modules; they import each other, not the face.
        graph[module] = imports(path, known, at_start=True) - {module}
    TopologicalSorter(graph).prepare()


def test_importing_a_verb_s_package_needs_no_engine() -> None:
    code = "import sys, pipelines; print([name for name in ('ray', 'torch', 'mlflow') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_nothing_is_searched_for_cycles_when_a_command_ends() -> None:
    # What is registered first runs last.
    code = "import atexit, gc; atexit.register(lambda: print(gc.get_freeze_count() > 0)); import pipelines"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "True"


def test_only_what_runs_ray_train_imports_it() -> None:
    # With all that it imports, it would take each training's process a second.
    at_start = [
        f"{module} imports {name}"
        for module, path in modules().items()
        for node in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in [getattr(node, "module", None), *(alias.name for alias in node.names)]
        if name is not None and (name == "ray.train" or name.startswith(("ray.train.", "ray.tune.integration")))
    ]
    assert at_start == []


def test_every_module_has_a_mirror_in_the_tests() -> None:
    without = {
        module
        for module, path in modules().items()
        if path.name != "__init__.py"
        and not (ROOT / "tests" / Path(*module.split(".")[:-1]) / f"test_{path.name}").exists()
    }
    assert without == set()


def test_no_module_is_longer_than_400_lines() -> None:
    long = {module for module, path in modules().items() if len(path.read_text(encoding="utf-8").splitlines()) > 400}
    assert long == set()


def functions(path: Path) -> list[tuple[str, ast.FunctionDef]]:
    """The functions and methods of a module, each with its qualified name."""
    found = []

    def visit(node: ast.AST, prefix: str) -> None:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.ClassDef):
                visit(child, f"{prefix}{child.name}.")
            elif isinstance(child, ast.FunctionDef):
                found.append((prefix + child.name, child))
                visit(child, f"{prefix}{child.name}.")

    visit(ast.parse(path.read_text(encoding="utf-8")), "")
    return found


def test_no_function_is_longer_than_60_lines() -> None:
    long = [
        f"{module}.{name}"
        for module, path in modules().items()
        for name, node in functions(path)
        if (node.end_lineno or 0) - node.lineno + 1 > 60
    ]
    assert long == []


def test_every_public_function_of_three_parameters_explains_them() -> None:
    # ruff's D417 holds that section to the parameters. An override is explained by the interface that it overrides.
    unexplained = []
    for module, path in modules().items():
        for name, node in functions(path):
            inner = name.split(".")
            if any(part.startswith("_") for part in inner) or any(map(is_override, node.decorator_list)):
                continue
            names = [argument.arg for argument in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)]
            if len([name for name in names if name not in ("self", "cls")]) < 3:
                continue
            documented = ast.get_docstring(node)
            if documented is not None and "Args:" not in documented:
                unexplained.append(f"{module}.{name}")
    assert unexplained == []


def is_override(decorator: ast.expr) -> bool:
    return isinstance(decorator, ast.Name) and decorator.id == "override"


def test_the_shapes_in_docstrings_use_the_legend_of_architecture_md() -> None:
    text = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    legend = re.search(r"one legend: (.*?)\.\n", text, re.DOTALL)
    assert legend is not None
    letters = set(re.findall(r"\b([A-Z])\b", legend.group(1)))
    unknown = []
    for module, path in modules().items():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)):
                for shape in re.findall(r"\[([A-Z](?:, [A-Z])*)\]", ast.get_docstring(node) or ""):
                    unknown += [f"{module}: [{shape}]" for letter in shape.split(", ") if letter not in letters]
    assert unknown == []
