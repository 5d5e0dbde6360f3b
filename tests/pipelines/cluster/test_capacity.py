"""How much work fits on what nodes a cluster has."""

from __future__ import annotations

import pytest

from pipelines.cluster.capacity import worker_capacity

FOUR = {"CPU": 4.0}


@pytest.mark.parametrize(
    ("nodes", "cpus", "gpus", "fit"),
    [
        ([FOUR] * 4, 3, 0, 4),
        ([FOUR] * 4, 2, 0, 8),
        ([FOUR, {"CPU": 2.0}], 3, 0, 1),
        ([FOUR], 5, 0, 0),
        ([{"CPU": 0.3}], 0.1, 0, 3),
        # No worker is spread over two GPUs.
        ([{"CPU": 16.0, "GPU": 2.0}], 1, 0.6, 2),
        ([{"CPU": 16.0, "GPU": 2.0}], 1, 0.4, 4),
        ([{"CPU": 16.0, "GPU": 1.0}], 1, 0.125, 8),
        ([{"CPU": 4.0, "GPU": 1.0}], 1, 0.125, 4),
        ([{"CPU": 16.0, "GPU": 3.0}] * 2, 1, 2, 2),
        ([{"CPU": 16.0}, {"CPU": 2.0, "GPU": 4.0}], 1, 1, 2),
        ([{"memory": 1e9}], 1, 0, 0),
        ([], 1, 0, 0),
    ],
)
def test_workers_are_counted_node_by_node_and_gpu_by_gpu(
    nodes: list[dict[str, float]], cpus: float, gpus: float, fit: int
) -> None:
    assert worker_capacity(nodes, cpus, gpus) == fit
