"""The commands that Ray's launcher runs on a host before its container starts."""

import os
import re
import stat
import subprocess
from pathlib import Path

import pytest
import yaml
from manifests import ROOT
from ray.autoscaler._private.util import prepare_config

CLUSTERS = ROOT / "clusters"


def run_commands(config: str, folder: Path, stubs: dict[str, str]) -> tuple[int, str]:
    """Runs the initialization commands of a launcher file in a shell, one by one as Ray does.

    Args:
        config: name of the launcher file.
        folder: what stands for /results; commands of `stubs` append their arguments to `log`.
        stubs: script by name of a command.

    Returns the exit code of the first command that failed, and the log.
    """
    binaries = folder.parent / "bin"
    binaries.mkdir(exist_ok=True)
    for name, script in stubs.items():
        stub = binaries / name
        stub.write_text(f'#!/bin/sh\necho "{name} $*" >> {folder.parent}/log\n{script}\n')
        stub.chmod(stub.stat().st_mode | stat.S_IXUSR)
    prepared = prepare_config(yaml.safe_load((CLUSTERS / f"{config}.yaml").read_text()))
    env = os.environ | {"PATH": f"{binaries}:{os.environ['PATH']}", "USER": "ubuntu"}
    code, log = 0, folder.parent / "log"
    for command in prepared["initialization_commands"]:
        command = command.replace("/results", str(folder))
        code = subprocess.run(["bash", "-c", command], env=env, check=False).returncode
        if code:
            break
    return code, log.read_text() if log.exists() else ""


AWS_STUBS = {
    "sudo": 'exec "$@"', "docker": "", "mount.nfs4": "", "usermod": "", "chown": "",
    "mountpoint": "exit 1", "apt-get": "exit 9",
}  # fmt: skip


def test_every_aws_node_mounts_the_file_system_before_docker_could_create_the_folder(
    tmp_path: Path,
):
    """Ray keeps the commands in the config that it prepares, and gives them to the autoscaler."""
    code, log = run_commands("aws", tmp_path / "results", AWS_STUBS | {"mount": ""})

    assert code == 0
    assert re.search(r"^mount -t nfs4 .*:/ \S*/results$", log, re.M)
    assert re.search(r"^chown 1000:100 \S*/results$", log, re.M)
    assert log.index("mount -t nfs4") < log.index("chown 1000:100")
    assert (tmp_path / "results").is_dir()


def test_an_aws_node_that_cannot_mount_the_file_system_does_not_start(tmp_path: Path):
    code, log = run_commands("aws", tmp_path / "results", AWS_STUBS | {"mount": "exit 32"})

    assert code == 32
    assert "chown 1000:100" not in log


def test_an_aws_node_names_its_machine_image():
    """Ray's default is "AWS Deep Learning AMI (Ubuntu 18.04) V71.0", autoscaler/_private/aws/
    config.py: too old for the file system's client and for Docker."""
    config = yaml.safe_load((CLUSTERS / "aws.yaml").read_text())

    nodes = config["available_node_types"].values()
    assert all(node["node_config"]["ImageId"].startswith("ami-") for node in nodes)


@pytest.mark.parametrize(
    ("shared", "owner", "user", "ok"),
    [(True, 1000, 1000, True), (False, 1000, 1000, False), (True, 0, 1000, False),
     (True, 1000, 1001, False)],
)  # fmt: skip
def test_a_host_without_the_shared_folder_or_with_another_user_does_not_start(
    tmp_path: Path, shared: bool, owner: int, user: int, ok: bool
):
    folder = tmp_path / "results"
    folder.mkdir()
    if shared:
        (folder / ".shared").touch()
    stubs = {"stat": f"echo {owner}", "id": f"echo {user}"}

    assert (run_commands("onprem", folder, stubs)[0] == 0) is ok
