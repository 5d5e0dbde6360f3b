"""What every recogniser keeps to."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fgcme import recognition
from tests.ctc_model import save_ctc

NOISE = np.random.default_rng(0).normal(0, 0.1, 8_000).astype(np.float32)


@pytest.mark.parametrize("kind", ["sphinx", "ctc"])
def test_a_recogniser_has_a_name_and_hears_the_same_each_time_and_is_built_once(tmp_path: Path, kind: str) -> None:
    name = save_ctc(tmp_path / "ctc") if kind == "ctc" else kind
    recogniser = recognition.build(name)
    assert recogniser is recognition.build(name) and recogniser.name == kind
    heard = recogniser.recognise(NOISE)
    assert isinstance(heard, str) and recogniser.recognise(NOISE) == heard
