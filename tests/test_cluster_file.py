"""What describes a cluster (`cluster.yaml`, `kuberay.yaml`, `Dockerfile`, `docs/cluster.md`), checked without one."""

from __future__ import annotations

import itertools
import os
import re
import shlex
import subprocess
import tomllib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from fgcme.experiment import load_experiment
from pipelines import cli
from pipelines.bundled import experiment_file, space_file

ROOT = Path(__file__).parent.parent
REQUIREMENTS = dict(
    line.split("==") for line in (ROOT / "requirements.lock").read_text().splitlines() if not line.startswith("#")
)
TEXTS = {
    name: (ROOT / name).read_text(encoding="utf-8") for name in ("cluster.yaml", "kuberay.yaml", "docs/cluster.md")
}
COMMANDS = [
    (name, re.split(r"\s{2,}", command)[0])
    for name, text in TEXTS.items()
    for command in re.findall(r"fgcme (?:prepare|check|train|tune|ablate|report|register|sync)\b[^'`\n]*", text)
    if " " in command.removeprefix("fgcme ")
]

# What the requirements are pinned for.
(PYTHON,) = re.findall(r"--python-version (\S+)", (ROOT / "Makefile").read_text())

# As on Ubuntu: what follows is for interactive shells only.
BASHRC = "case $- in *i*) ;; *) return;; esac\n"


@pytest.fixture(scope="module")
def cluster() -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load(TEXTS["cluster.yaml"])
    return content


@pytest.fixture(scope="module")
def kubernetes() -> tuple[dict[str, Any], dict[str, Any]]:
    """The volume and the job."""
    claim, job = yaml.safe_load_all(TEXTS["kuberay.yaml"])
    return claim, job


def groups(job: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The pod of each kind of node."""
    spec = job["spec"]["rayClusterSpec"]
    pods = {"head": spec["headGroupSpec"]} | {group["groupName"]: group for group in spec["workerGroupSpecs"]}
    return {name: group["template"]["spec"] for name, group in pods.items()}


def accepted_by_ray(cluster: dict[str, Any]) -> dict[str, Any]:
    """A description as Ray's launcher goes on with it, defaults filled in."""
    from ray.autoscaler._private.util import prepare_config, validate_config

    complete: dict[str, Any] = prepare_config(cluster)
    validate_config(complete)
    return complete


def image_in_place_of_commands() -> dict[str, Any]:
    """What docs/cluster.md puts into `cluster.yaml` for nodes that run the image."""
    blocks = re.findall(r"```yaml\n(.*?)```", TEXTS["docs/cluster.md"], re.DOTALL)
    (image,) = [block for block in map(yaml.safe_load, blocks) if "docker" in block]
    return dict(image)


# What a machine with a GPU and NVIDIA's container toolkit answers to commands that hold these words.
ANSWERS = {
    "command -v docker": "/usr/bin/docker",
    "docker info": "map[io.containerd.runc.v2:{runc []} nvidia:{nvidia-container-runtime []} runc:{runc []}]",
    "json .Config.Env": '["PATH=/usr/local/bin:/usr/bin:/bin"]',
    "/proc/meminfo": "MemAvailable:   32000000 kB",
}


class MachineWithGpu:
    """Keeps the commands that Ray's launcher gives it by SSH, and answers them."""

    def __init__(self) -> None:
        self.commands: list[str] = []

    def check_output(self, command: list[str]) -> bytes:
        self.commands.append(" ".join(command))
        return next((answer for asked, answer in ANSWERS.items() if asked in self.commands[-1]), "").encode()

    def check_call(self, command: list[str], **_: Any) -> int:
        self.check_output(command)
        return 0


def docker_runner(docker: dict[str, Any], cluster: dict[str, Any], machine: MachineWithGpu) -> Any:
    """What Ray's launcher starts containers by, on a machine that is only asked."""
    from ray.autoscaler._private.command_runner import DockerCommandRunner

    provider = SimpleNamespace(internal_ip=lambda _: "10.0.0.1", external_ip=lambda _: "10.0.0.1")
    return DockerCommandRunner(
        docker,
        log_prefix="",
        node_id="a machine",
        provider=provider,
        auth_config=cluster["auth"],
        cluster_name=cluster["cluster_name"],
        process_runner=machine,
        use_internal_ip=True,
    )


@pytest.mark.parametrize(("file", "command"), COMMANDS)
def test_every_command_and_every_setting_in_it_is_understood(file: str, command: str) -> None:
    options = cli.parse(shlex.split(command)[1:])
    if "experiment" in options:
        load_experiment(experiment_file(options.experiment), options.overrides)
    if "space" in options:
        assert space_file(options.space).is_file()


def test_every_file_shows_how_to_prepare_and_how_to_tune() -> None:
    for name in TEXTS:
        assert {"prepare", "tune"} <= {command.split()[1] for file, command in COMMANDS if file == name}


class TestVersions:
    PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())

    def test_all_that_the_project_asks_for_is_pinned_within_its_bounds(self) -> None:
        project = self.PROJECT["project"]
        asked = [Requirement(line) for line in [*project["dependencies"], *project["optional-dependencies"]["dev"]]]
        outside = [str(one) for one in asked if not one.specifier.contains(REQUIREMENTS[one.name.lower()])]
        assert outside == []

    def test_the_requirements_are_pinned_for_the_python_that_the_project_is_written_and_checked_for(self) -> None:
        assert SpecifierSet(self.PROJECT["project"]["requires-python"]) == SpecifierSet(f">={PYTHON}")
        assert self.PROJECT["tool"]["mypy"]["python_version"] == PYTHON
        assert self.PROJECT["tool"]["ruff"]["target-version"] == f"py{PYTHON.replace('.', '')}"

    def test_the_nodes_of_a_cluster_and_the_image_run_that_python(self, cluster: dict[str, Any]) -> None:
        commands = "\n".join(cluster["setup_commands"])
        assert f"make install PYTHON=python{PYTHON}\n" in commands
        assert set(re.findall(r"python(?:3[\d.]*)?-venv", commands)) == {f"python{PYTHON}-venv"}
        (base,) = re.findall(r"^FROM (\S+)$", TestImage.TEXT, re.MULTILINE)
        assert re.fullmatch(rf"python:{re.escape(PYTHON)}\.\d+-slim-\w+", base)

    def test_the_driver_of_the_nodes_is_for_the_cuda_that_is_pinned(self) -> None:
        (named,) = re.findall(r"CUDA (\d+)", TEXTS["cluster.yaml"])
        assert named == REQUIREMENTS["nvidia-cuda-runtime"].split(".")[0]


class TestLauncher:
    def test_ray_accepts_the_cluster(self, cluster: dict[str, Any]) -> None:
        accepted_by_ray(cluster)

    def test_ray_refuses_a_cluster_with_a_typo(self, cluster: dict[str, Any]) -> None:
        with pytest.raises(Exception, match="max_wrokers"):
            accepted_by_ray({**cluster, "max_wrokers": 3})

    def test_there_is_a_head_and_workers_for_preparing_and_training_within_limits(
        self, cluster: dict[str, Any]
    ) -> None:
        types = cluster["available_node_types"]
        assert cluster["head_node_type"] == "head"
        assert types["head"]["resources"] == {"CPU": 0}
        assert "GPU" not in types["prepare"]["resources"]
        assert types["train"]["resources"]["GPU"] >= 1
        for name in ("prepare", "train"):
            assert 0 == types[name]["min_workers"] < types[name]["max_workers"]
        assert types["prepare"]["max_workers"] + types["train"]["max_workers"] == cluster["max_workers"]

    def test_workers_may_be_lost_and_the_head_may_not(self, cluster: dict[str, Any]) -> None:
        markets = {
            name: kind["node_config"].get("InstanceMarketOptions", {}).get("MarketType")
            for name, kind in cluster["available_node_types"].items()
        }
        assert markets == {"head": None, "prepare": "spot", "train": "spot"}

    def test_every_node_has_room_for_the_environment(self, cluster: dict[str, Any]) -> None:
        for kind in cluster["available_node_types"].values():
            (disk,) = kind["node_config"]["BlockDeviceMappings"]
            assert disk["Ebs"]["VolumeSize"] >= 50

    def test_the_nodes_run_the_pinned_requirements_and_nothing_that_ray_would_add(
        self, cluster: dict[str, Any]
    ) -> None:
        complete = accepted_by_ray(cluster)
        for commands in (complete["head_setup_commands"], complete["worker_setup_commands"]):
            assert commands == cluster["setup_commands"]
            assert any("make install" in command for command in commands)
        # The head starts machines by it.
        assert "boto3" in REQUIREMENTS

    def test_every_shell_on_a_node_finds_the_program_the_cluster_and_the_tracking_server(
        self, cluster: dict[str, Any], tmp_path: Path
    ) -> None:
        from ray.autoscaler._private.command_runner import _with_interactive

        def shell(command: str) -> str:
            """Run a command as Ray does over SSH."""
            environment = {"HOME": str(tmp_path), "PATH": os.environ["PATH"]}
            remote = " ".join(_with_interactive(command))
            done = subprocess.run(remote, shell=True, env=environment, capture_output=True, text=True, timeout=60)
            assert done.returncode == 0, done.stderr
            return done.stdout

        (tmp_path / ".bashrc").write_text(BASHRC)
        environment = [command for command in cluster["setup_commands"] if ".fgcme" in command]
        # Set up, set up again, and set up with another server.
        for command in [*environment, *environment, *(line.replace("EDIT", "tracking") for line in environment)]:
            shell(command)
        seen = dict(line.split("=", 1) for line in shell("env").splitlines() if "=" in line)
        assert seen["PATH"].startswith("/home/ubuntu/fgcme/.venv/bin:")
        assert seen["RAY_ADDRESS"] == "auto"
        assert seen["MLFLOW_TRACKING_URI"] == "http://tracking:5000"
        # Ray itself takes a token unasked on the head only.
        assert seen["RAY_AUTH_MODE"] == "token"
        assert seen["RAY_AUTH_TOKEN_PATH"].startswith("/shared/")
        assert (tmp_path / ".bashrc").read_text().count(".fgcme") == 1
        assert any(seen["RAY_AUTH_TOKEN_PATH"] in command for command in cluster["setup_commands"][:-2])

    def test_the_code_goes_to_the_nodes_and_what_git_ignores_does_not(self, cluster: dict[str, Any]) -> None:
        assert cluster["file_mounts"] == {"/home/ubuntu/fgcme": "."}
        assert cluster["rsync_filter"] == [".gitignore"]
        ignored = (ROOT / ".gitignore").read_text().split("\n")
        assert {".venv/", "/storage/", "/mlflow.db*"} <= set(ignored)

    def test_the_image_can_take_the_place_of_set_up_commands(self, cluster: dict[str, Any]) -> None:
        image = image_in_place_of_commands()
        complete = accepted_by_ray({**cluster, **image})
        assert complete["head_setup_commands"] == complete["worker_setup_commands"] == []
        given = shlex.split(" ".join(image["docker"]["run_options"]))
        variables = {value.partition("=")[0] for option, value in itertools.pairwise(given) if option == "--env"}
        assert {"RAY_ADDRESS", "RAY_AUTH_MODE", "RAY_AUTH_TOKEN_PATH", "MLFLOW_TRACKING_URI"} < variables

    def test_ray_starts_the_image_s_container_so_that_it_sees_the_gpus_of_its_machine(
        self, cluster: dict[str, Any]
    ) -> None:
        machine = MachineWithGpu()
        docker_runner(image_in_place_of_commands()["docker"], cluster, machine).run_init(
            as_head=False, file_mounts={}, sync_run_yet=True
        )
        (start,) = [words for words in machine.commands if "docker run" in words]
        options = shlex.split(shlex.split(start)[-1])
        assert "--runtime=nvidia" in options
        # NVIDIA's runtime shows what these variables name, and nothing where they are not set.
        given = {value for option, value in itertools.pairwise(options) if option == "--env"}
        assert {"NVIDIA_VISIBLE_DEVICES=all", "NVIDIA_DRIVER_CAPABILITIES=compute,utility"} <= given


class TestKubernetes:
    def test_the_job_is_one_that_kuberay_knows(self, kubernetes: tuple[dict[str, Any], dict[str, Any]]) -> None:
        claim, job = kubernetes
        assert (claim["apiVersion"], claim["kind"]) == ("v1", "PersistentVolumeClaim")
        assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob")
        assert job["spec"]["shutdownAfterJobFinishes"] is True
        assert job["spec"]["rayClusterSpec"]["enableInTreeAutoscaling"] is True
        assert job["spec"]["rayClusterSpec"]["authOptions"] == {"mode": "token"}
        assert job["spec"]["rayClusterSpec"]["rayVersion"] == REQUIREMENTS["ray"]

    def test_the_entrypoint_is_one_command(self, kubernetes: tuple[dict[str, Any], dict[str, Any]]) -> None:
        entrypoint = kubernetes[1]["spec"]["entrypoint"]
        assert not re.search(r"[;&|<>$`\n]", entrypoint)
        options = cli.parse(shlex.split(entrypoint)[1:])
        assert options.verb == "tune"
        assert load_experiment(experiment_file(options.experiment), options.overrides).storage.path.startswith(
            "/shared/"
        )

    def test_rays_autoscaler_reads_the_groups(self, kubernetes: tuple[dict[str, Any], dict[str, Any]]) -> None:
        from ray.autoscaler._private.kuberay.autoscaling_config import _derive_autoscaling_config_from_ray_cr

        spec = kubernetes[1]["spec"]["rayClusterSpec"]
        config = _derive_autoscaling_config_from_ray_cr(
            {"metadata": {"name": "fgcme", "namespace": "default"}, "spec": spec}
        )
        kinds = {
            name: (kind["resources"]["CPU"], kind["resources"].get("GPU", 0), kind["min_workers"], kind["max_workers"])
            for name, kind in config["available_node_types"].items()
        }
        assert kinds == {"headgroup": (0, 0, 0, 0), "prepare": (16, 0, 0, 12), "train": (8, 1, 0, 64)}
        assert config["idle_timeout_minutes"] == 10

    def test_a_pod_is_given_what_it_asks_for(self, kubernetes: tuple[dict[str, Any], dict[str, Any]]) -> None:
        for pod in groups(kubernetes[1]).values():
            for container in pod["containers"]:
                # Ray takes the limits for what it may use.
                assert container["resources"]["limits"] == container["resources"]["requests"]
                assert {"cpu", "memory"} <= set(container["resources"]["limits"])

    def test_all_pods_run_one_pinned_image_and_know_the_tracking_server(
        self, kubernetes: tuple[dict[str, Any], dict[str, Any]]
    ) -> None:
        containers = [container for pod in groups(kubernetes[1]).values() for container in pod["containers"]]
        (image,) = {container["image"] for container in containers}
        assert re.fullmatch(r"\S+/fgcme:[0-9a-f]{12}", image)
        for container in containers:
            assert "MLFLOW_TRACKING_URI" in {variable["name"] for variable in container["env"]}

    def test_all_pods_mount_the_volume_that_all_may_write_to(
        self, kubernetes: tuple[dict[str, Any], dict[str, Any]]
    ) -> None:
        claim, job = kubernetes
        assert claim["spec"]["accessModes"] == ["ReadWriteMany"]
        for pod in groups(job).values():
            volumes = {volume["name"]: volume for volume in pod["volumes"]}
            for container in pod["containers"]:
                mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
                assert mounts.keys() == volumes.keys()
                assert mounts["shared"] == "/shared"
            assert volumes["shared"]["persistentVolumeClaim"]["claimName"] == claim["metadata"]["name"]


class TestImage:
    TEXT = (ROOT / "Dockerfile").read_text()

    def test_it_holds_the_pinned_requirements_by_the_installer_of_a_checkout(self) -> None:
        makefile = (ROOT / "Makefile").read_text()
        assert "--requirement requirements.lock" in self.TEXT
        assert re.findall(r"uv==\S+", self.TEXT) == re.findall(r"uv==\S+", makefile)

    def test_it_holds_what_its_users_call(self) -> None:
        installed = re.search(r"apt-get install [^\n]*", self.TEXT)
        assert installed is not None
        # Ray's launcher reaches machines from the head's container by ssh and rsync, and keeps drivers in tmux.
        assert {"git", "openssh-client", "rsync", "tmux", "wget"} <= set(installed[0].split())
