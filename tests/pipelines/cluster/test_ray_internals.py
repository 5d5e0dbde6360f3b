"""Names that Ray keeps private and this project uses: they hold for the version given here."""

from __future__ import annotations

import inspect

import pytest
import ray
import ray._private.utils
from ray._private import parameter, ray_constants, worker
from ray.autoscaler.v2 import utils
from ray.core.generated import autoscaler_pb2, common_pb2
from ray.job_config import JobConfig

from pipelines.cluster import ray_internals

TRIED_WITH = "2.60"
FOUND = f"Ray {ray.__version__}, where {TRIED_WITH} was tried: mend pipelines/cluster/ray_internals.py"


def test_the_private_names_hold_for_the_installed_ray() -> None:
    assert "fetch_from_server" in inspect.signature(utils.is_autoscaler_v2).parameters, FOUND
    assert hasattr(ray_constants, "DEBUG_AUTOSCALING_STATUS"), FOUND
    state, cluster = (
        {field.name for field in getattr(autoscaler_pb2, name).DESCRIPTOR.fields}
        for name in ("AutoscalingState", "ClusterResourceState")
    )
    assert {"last_seen_cluster_resource_state_version", "infeasible_cluster_resource_constraints"} <= state, FOUND
    assert {"cluster_resource_state_version", "cluster_resource_constraints"} <= cluster, FOUND
    assert "print_to_stdstream" in inspect.getsource(worker.listen_error_messages), FOUND
    assert "dashboard_agent_listen_port" in inspect.signature(parameter.RayParams).parameters, FOUND
    assert hasattr(ray_constants, "ENABLE_RAY_CLUSTER"), FOUND
    assert "get_entrypoint_name()" in inspect.getsource(ray.init), FOUND


def test_a_job_of_installed_code_drops_the_folders_that_ray_adds() -> None:
    for job, folders in ((JobConfig(), ["/mine"]), (ray_internals.job_of_installed_code(), [])):
        job._py_driver_sys_path.extend(["/mine"])
        sent = common_pb2.JobConfig.FromString(job._serialize())
        assert list(sent.py_driver_sys_path) == folders, FOUND


def test_only_a_ray_started_in_the_block_gets_an_agent_on_any_port() -> None:
    before = parameter.RayParams
    with ray_internals.agent_on_any_port():
        assert parameter.RayParams().dashboard_agent_listen_port == 0
    assert parameter.RayParams is before


def test_the_command_that_ray_keeps_has_no_password_in_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        ray._private.utils, "get_entrypoint_name", lambda: "fgcme train tracking.uri=http://me:sec/ret@host"
    )
    with ray_internals.command_without_passwords():
        assert ray._private.utils.get_entrypoint_name() == "fgcme train tracking.uri=http://me:...@host"
    assert ray._private.utils.get_entrypoint_name() == "fgcme train tracking.uri=http://me:sec/ret@host"
