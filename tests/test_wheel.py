"""The wheel works alone: outside of a checkout, with the dependencies that are installed here."""

import subprocess
import sys
import sysconfig
import venv
from pathlib import Path
from zipfile import ZipFile

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation"]
    subprocess.run([*build, "-w", str(folder), str(ROOT)], check=True, timeout=120)
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory) -> Path:
    """An environment with the wheel, which finds this environment's dependencies."""
    folder = tmp_path_factory.mktemp("installed")
    venv.create(folder / "env", with_pip=False)
    packages = next((folder / "env").glob("lib/python*/site-packages"))
    pip = [sys.executable, "-m", "pip", "--python", str(folder / "env/bin/python")]
    subprocess.run([*pip, "install", "-q", "--no-deps", str(wheel)], check=True, timeout=120)
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib"), encoding="utf-8")
    return folder


def run(installed: Path, *arguments: str) -> str:
    command = [str(installed / "env/bin/slicing-rllib"), *arguments]
    # Without PYTHONPATH, which would find the checkout.
    result = subprocess.run(
        command, cwd=installed, env={"PATH": "/usr/bin:/bin", "HOME": str(installed)},
        capture_output=True, text=True, timeout=170,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_the_wheel_holds_the_package_and_its_configs_only(wheel):
    names = ZipFile(wheel).namelist()

    assert {name.split("/")[0].split("-")[0] for name in names} == {"slicing_rllib"}
    assert "slicing_rllib/py.typed" in names
    assert "slicing_rllib/tune_configs/paper.yaml" in names
    assert "slicing_rllib/tune_configs/sweeps/messages.yaml" in names
    assert wheel.stat().st_size < 2_000_000


def test_its_version_is_that_of_the_repository(installed, wheel):
    assert wheel.name.split("-")[1] in run(installed, "--version")


def test_a_config_is_checked_outside_of_a_checkout(installed):
    assert "12 cells" in run(installed, "config", "check", "quick")
