"""Doctor: what this machine has for each stage, and what is missing."""

from __future__ import annotations

import importlib
import os
import platform
import tempfile
from collections.abc import Callable
from importlib.metadata import version

import psutil

from fgcme.addresses import without_passwords
from fgcme.errors import UserError
from fgcme.tracking import prepare_store, resolve_uri


def run() -> int:
    """Try what each stage needs and print a line for each; 1 when something is missing."""
    checks: list[tuple[str, Callable[[], str]]] = [
        ("python", lambda: f"{platform.python_version()} on {platform.system()} {platform.machine()}"),
        ("machine", lambda: f"{os.cpu_count()} CPUs, {psutil.virtual_memory().total / 2**30:.0f} GiB of memory"),
        ("torch", _torch),
        ("ray", lambda: f"{version('ray')}, {os.environ.get('RAY_ADDRESS', 'on this machine')}"),
        ("aligner", _aligner),
        ("speech", _speech),
        ("tracking", _tracking),
    ]
    missing = 0
    for name, check in checks:
        try:
            print(f"ok       {name:<9} {check()}")
        except (ImportError, OSError, RuntimeError, UserError) as error:
            missing += 1
            print(f"missing  {name:<9} {without_passwords(str(error))}")
    return 1 if missing else 0


def _torch() -> str:
    torch = importlib.import_module("torch")
    importlib.import_module("torchaudio")
    gpus = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    return f"{torch.__version__}, {', '.join(gpus) or 'no GPU'}"


def _aligner() -> str:
    from fgcme.alignment import build

    build("sphinx")
    return f"pocketsphinx {version('pocketsphinx')}, US English"


def _speech() -> str:
    importlib.import_module("fgcme.corpora.espeak")
    return f"espeakng-loader {version('espeakng-loader')}, for the demo corpus"


def _tracking() -> str:
    uri = resolve_uri(None)
    if uri.startswith("sqlite:"):
        # Try in a temporary folder: the doctor leaves no database behind.
        with tempfile.TemporaryDirectory() as folder:
            prepare_store(f"sqlite:///{folder}/mlflow.db")
    else:
        prepare_store(uri)
    return f"mlflow {version('mlflow')}, {uri}"
