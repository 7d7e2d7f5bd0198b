"""What the Dockerfile installs."""

import re
import tomllib

import torch
from manifests import ROOT
from packaging.requirements import Requirement
from packaging.version import Version

DOCKERFILE = (ROOT / "clusters" / "Dockerfile").read_text()


def test_the_image_pins_pytorch_for_the_cpu_and_takes_another_build_as_an_argument():
    (default,) = re.findall(r"^ARG TORCH=(\S+)$", DOCKERFILE, re.M)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    (needed,) = (r for r in map(Requirement, project["dependencies"]) if r.name == "torch")

    assert Version(default).local == "cpu"
    assert Version(default).public in needed.specifier
    assert Version(default).public == Version(torch.__version__).public
    assert '"torch==${TORCH}"' in DOCKERFILE


def test_the_image_contains_what_kuberay_and_the_launcher_call_in_it():
    """Probes: controllers/ray/utils/constant.go:340. The launcher reads HOME from the image's
    variables and calls rsync in it, autoscaler/_private/command_runner.py; its login shells read
    /etc/profile.d, and its autoscaler on the head connects to further nodes with ssh."""
    packages = re.search(r"apt-get install -y --no-install-recommends\s+\\\n\s*(.*?)\\", DOCKERFILE)

    assert packages
    assert {"openssh-client", "rsync", "wget"} <= set(packages[1].split())
    assert "HOME=/home/ray" in DOCKERFILE
    assert "> /etc/profile.d/" in DOCKERFILE
    assert re.findall(r"^USER (\S+)$", DOCKERFILE, re.M)[-1] == "1000:100"
