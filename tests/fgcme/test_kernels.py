"""A process that hears recordings of many lengths does not grow with each of them."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.ctc_model import SMALL, save_ctc

# Prints by how many MiB a process grows that hears 60 recordings of different lengths.
GROWTH = """
import re, sys
from pathlib import Path
import numpy as np
{build}

def resident():
    return int(re.search(r"VmRSS:\\s*(\\d+)", Path("/proc/self/status").read_text()).group(1)) / 1024

sound = np.random.default_rng(0).normal(0, 0.05, 40_000).astype(np.float32)
for number in range(70):
    {hear}(sound[: 20_000 + 320 * number])
    if number == 9:
        before = resident()
print(resident() - before)
"""

ALIGNER = """
from fgcme.alignment.ctc import CtcAligner
aligner = CtcAligner(sys.argv[1])
"""
ENCODER = """
from fgcme.features.speech_encoder import SpeechEncoder
encoder = SpeechEncoder(sys.argv[1])
"""
RECOGNISER = """
from fgcme.recognition.pretrained import load_pretrained
recogniser = load_pretrained(sys.argv[1], "en")
"""


@pytest.mark.parametrize(
    ("build", "hear"),
    [
        pytest.param(ALIGNER, "(lambda heard: aligner.align('a', heard, 'yes'))", id="aligner"),
        pytest.param(ENCODER, "(lambda heard: encoder([heard]))", id="encoder"),
        pytest.param(RECOGNISER, "recogniser.recognise", id="recogniser"),
    ],
)
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from /proc")
def test_a_network_does_not_grow_with_each_length_that_it_hears(
    build: str, hear: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Wide enough for the kernels of a length to show.
    monkeypatch.setitem(SMALL, "hidden_size", 256)
    monkeypatch.setitem(SMALL, "num_conv_pos_embeddings", 64)
    checkpoint = save_ctc(tmp_path / "ctc")
    kept = {"ONEDNN_PRIMITIVE_CACHE_CAPACITY", "LRU_CACHE_CAPACITY"}
    environment = {name: value for name, value in os.environ.items() if name not in kept} | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", GROWTH.format(build=build, hear=hear), checkpoint],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert float(done.stdout) < 30
