"""What the tests of sweeps share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipelines.sweep.plan import SweepPlan, plan_sweep
from tests import small_corpus

SPACE = """\
parameters:
  training.learning_rate: {float: [1.0e-4, 1.0e-2], log: true}
"""
MakePlan = Callable[..., SweepPlan]


@pytest.fixture
def make_plan(tmp_path: Path) -> MakePlan:
    """Plans small sweeps on a small corpus, in a space of one learning rate or another one."""
    corpus = small_corpus.write(tmp_path / "corpus")

    def make(space: str = SPACE, **sections: dict[str, Any]) -> SweepPlan:
        path = tmp_path / "space.yaml"
        path.write_text(space)
        return plan_sweep(small_corpus.experiment(**sections, prepare={"folder": str(corpus)}), str(path))

    return make
