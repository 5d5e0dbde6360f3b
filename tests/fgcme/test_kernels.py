"""A process that hears recordings of many lengths does not grow with each of them."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.ctc_model import SMALL, save_ctc

# Prints by how many MiB a process grows that aligns 60 recordings of different lengths.
GROWTH = """
import re, sys
from pathlib import Path
import numpy as np
from fgcme.alignment.ctc import CtcAligner

def resident():
    return int(re.search(r"VmRSS:\\s*(\\d+)", Path("/proc/self/status").read_text()).group(1)) / 1024

aligner = CtcAligner(sys.argv[1])
sound = np.random.default_rng(0).normal(0, 0.05, 40_000).astype(np.float32)
for number in range(70):
    aligner.align("a", sound[: 20_000 + 320 * number], "yes")
    if number == 9:
        before = resident()
print(resident() - before)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from /proc")
def test_an_aligner_does_not_grow_with_each_length_that_it_hears(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Wide enough for the kernels of a length to show.
    monkeypatch.setitem(SMALL, "hidden_size", 256)
    monkeypatch.setitem(SMALL, "num_conv_pos_embeddings", 64)
    checkpoint = save_ctc(tmp_path / "ctc")
    kept = {"ONEDNN_PRIMITIVE_CACHE_CAPACITY", "LRU_CACHE_CAPACITY"}
    environment = {name: value for name, value in os.environ.items() if name not in kept} | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", GROWTH, checkpoint], env=environment, capture_output=True, text=True, check=True
    )
    assert float(done.stdout) < 30
