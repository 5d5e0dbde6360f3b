"""`cluster.yaml`, checked without a cloud against what Ray's launcher accepts."""

from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def cluster() -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load((ROOT / "cluster.yaml").read_text())
    return content


def test_ray_accepts_the_cluster(cluster: dict[str, Any]) -> None:
    from ray.autoscaler._private.util import prepare_config, validate_config

    validate_config(prepare_config(cluster))


def test_ray_refuses_a_cluster_with_a_typo(cluster: dict[str, Any]) -> None:
    from ray.autoscaler._private.util import prepare_config, validate_config

    with pytest.raises(Exception, match="max_wrokers"):
        validate_config(prepare_config({**cluster, "max_wrokers": 3}))


def test_there_is_a_head_and_workers_for_preparing_and_training_within_limits(cluster: dict[str, Any]) -> None:
    types = cluster["available_node_types"]
    assert cluster["head_node_type"] == "head"
    assert "GPU" not in types["prepare"]["resources"]
    assert types["train"]["resources"]["GPU"] >= 1
    for name in ("prepare", "train"):
        assert 0 <= types[name]["min_workers"] < types[name]["max_workers"] <= cluster["max_workers"]


def test_the_nodes_run_the_pinned_requirements(cluster: dict[str, Any]) -> None:
    assert any("make install" in command for command in cluster["setup_commands"])
