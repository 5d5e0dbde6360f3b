"""What an autoscaler of version 1 says of the nodes that it starts; with real ones: `integration/test_growing.py`."""

from __future__ import annotations

import pytest

from pipelines.cluster.growing import starting_nodes


@pytest.mark.parametrize(
    ("report", "nodes"),
    [
        ({"pending_launches": {}, "pending_nodes": [], "pending_resources": {}}, []),
        (
            # Two are asked for, one is there and being set up.
            {
                "pending_launches": {"gpu": 2},
                "pending_nodes": [["10.0.0.7", "gpu", "setting-up"]],
                "pending_resources": {"CPU": 24, "GPU": 3},
            },
            [{"CPU": 8, "GPU": 1}] * 3,
        ),
    ],
)
def test_nodes_that_are_asked_for_or_set_up_share_the_resources_that_are_to_come(
    report: dict[str, object], nodes: list[dict[str, float]]
) -> None:
    assert starting_nodes(report) == nodes
