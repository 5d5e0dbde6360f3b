"""What is asked for; how much of it fits is tested on real clusters, in `tests/integration`."""

from __future__ import annotations

import pytest

from fgcme.experiment import ScalingSettings
from pipelines.cluster.slots import bundle_of, needs_of


@pytest.mark.parametrize(
    ("settings", "bundle", "needs"),
    [
        ({}, {"CPU": 1}, "1 CPUs and 0 GPUs on one node"),
        ({"workers": 1, "gpus_per_worker": 0.5}, {"CPU": 1, "GPU": 0.5}, "1 CPUs and 0.5 GPUs on one node"),
        (
            {"workers": 4, "cpus_per_worker": 2, "gpus_per_worker": 1},
            {"CPU": 2, "GPU": 1},
            "4 times 2 CPUs and 1 GPUs on one node",
        ),
    ],
)
def test_each_worker_is_asked_for_by_itself_without_what_it_does_not_need(
    settings: dict[str, float], bundle: dict[str, float], needs: str
) -> None:
    scaling = ScalingSettings.model_validate(settings)
    assert (bundle_of(scaling), needs_of(scaling)) == (bundle, needs)
